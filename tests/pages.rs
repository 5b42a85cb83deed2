//! The pages for readers: what they link to is there, and the plugins that they show are those that `codec-plugin new` writes, which build
//! and do what their cases say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::root;

/// Folders that hold no pages of ours.
const NOT_OURS: [&str; 5] = ["target", "node_modules", ".git", ".venv", "data"];

/// Every page in the tree.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !NOT_OURS.contains(&&*name) {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found
}

/// A page without its fenced blocks.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect::<String>()
    };
    headings.map(anchor).collect()
}

fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn what_a_page_links_to_is_there() {
    for path in pages() {
        let text = std::fs::read_to_string(&path).expect("readable");
        let folder = path.parent().expect("a folder");
        for link in links(&prose(&text)) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            let Some(anchor) = anchor else { continue };
            let there = anchors(&prose(&std::fs::read_to_string(&target).expect("a page")));
            assert!(there.contains(anchor), "{}: {link}; there are {there:?}", path.display());
        }
    }
}

#[test]
fn the_plugins_that_pages_show_are_those_that_new_writes() {
    for (page, template, files) in [
        ("policies", "policy", ["policy.rs", "lib.rs"]),
        ("sinks", "audit-sink", ["sink.rs", "lib.rs"]),
        ("secret-providers", "secret-provider", ["provider.rs", "lib.rs"]),
        ("key-providers", "key-provider", ["provider.rs", "lib.rs"]),
    ] {
        let text = std::fs::read_to_string(root().join(format!("docs/plugins/{page}.md"))).expect("readable");
        let blocks: Vec<&str> =
            text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::trim_end).collect();
        assert_eq!(blocks.len(), files.len(), "{page}");
        for (block, file) in blocks.iter().zip(files) {
            let written = source(&root().join("kit/templates").join(template).join("src").join(file));
            assert_eq!(*block, written, "{page}: {file}");
        }
    }
}

/// That of the policy is built by the README's transcript.
#[test]
fn those_plugins_build_and_pass_their_cases() {
    let kit = Path::new(env!("CARGO_BIN_EXE_codec")).with_file_name("codec-plugin");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let output = Command::new(&kit).args(arguments).current_dir(folder.path()).output().expect("the kit runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    for (kind, name) in [("audit-sink", "my-trail"), ("secret-provider", "my-secrets"), ("key-provider", "my-keys")] {
        run(&["new", kind, name]);
        // What both depend on is compiled once.
        let (target, shared) = (folder.path().join(name).join("target"), folder.path().join("compiled"));
        std::fs::create_dir_all(&shared).and_then(|()| std::fs::create_dir(&target)).expect("folders");
        std::os::unix::fs::symlink(shared, target.join("codec-plugin")).expect("a link");
        let said = run(&["test", name]);
        assert!(said.ends_with(" passed, 0 failed\n"), "{said}");
    }
}

/// A source without its tests.
fn source(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("readable");
    text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().trim_end().to_owned()
}
