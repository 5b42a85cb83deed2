//! Writes the hostile corpus (`tests/hostile/`) as `.wasm` files, with a table of what must come of each: for whoever wants to run it
//! against a host of their own.
//!
//!     cargo run -p origan-codec-host --example hostile -- OUTDIR

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a tool of the tests")]

#[expect(dead_code, reason = "the tests look at more of it")]
#[path = "../../tests/hostile/corpus.rs"]
mod corpus;

use std::path::PathBuf;

fn main() {
    let outdir = PathBuf::from(std::env::args().nth(1).expect("usage: hostile OUTDIR"));
    let mut table = String::from("file\tworld\tattack\trow\tmust\n");
    for guest in corpus::all() {
        let file = format!("{}.wasm", guest.name);
        let path = outdir.join(&file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        std::fs::write(&path, &guest.bytes).expect("a file can be written");
        let must: Vec<String> = guest.must.iter().map(ToString::to_string).collect();
        table.push_str(&format!("{file}\t{:?}\t{}\t{}\t{}\n", guest.world, guest.attack, guest.row, must.join(" or ")));
    }
    let honest = [
        ("honest-policy.wasm", corpus::honest_policy()),
        ("honest-sink.wasm", corpus::honest_sink()),
        ("honest-provider.wasm", corpus::honest_provider()),
        ("honest-key.wasm", corpus::honest_key_provider()),
    ];
    for (name, bytes) in honest {
        std::fs::write(outdir.join(name), bytes).expect("a file can be written");
    }
    std::fs::write(outdir.join("table.tsv"), table).expect("a file can be written");
    println!("written to {}", outdir.display());
}
