//! `codec`: parse, build, run.

use std::process::ExitCode;

fn main() -> ExitCode {
    origan_codec::cli::main()
}
