//! `codec-plugin inspect`: what a component is, without running any of it.

mod anatomy;
mod text;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

pub(crate) use anatomy::Anatomy;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The component.
    file: PathBuf,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Shows the anatomy of a file on standard output.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let bytes = read(&args.file)?;
    let anatomy = Anatomy::of(&bytes).with_context(|| args.file.display().to_string())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&anatomy)?);
    } else {
        print!("{}", text::of(&anatomy));
    }
    Ok(())
}

/// The bytes of a component, or of what is taken for one.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    File::open(path).with_context(cannot)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(cannot)?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "{} has more than {MAX_FILE_BYTES} bytes: no plugin is that long",
        path.display()
    );
    Ok(bytes)
}

/// Far above any guest; a device that never ends is not read to its end.
const MAX_FILE_BYTES: u64 = 256 << 20;
