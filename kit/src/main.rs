//! `codec-plugin`: what plugin authors type.
//!
//! One module for each command, alike inside: `Args`, which clap fills, and `run`, which does it. What operators and scripts read is on
//! standard output; progress and mistakes are on standard error.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line speaks on its two streams")]

mod bench;
mod build;
mod check;
mod host;
mod inspect;
mod kind;
mod new;
mod plugin;
mod replay;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Make, build, test and examine plugins of codec.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a plugin: a project in Rust, JavaScript, Python or C that builds, and whose cases pass.
    New(new::Args),
    /// Build plugins: each a component in one file. Finds or makes the toolchain.
    Build(build::Args),
    /// Ask the host's own admission whether it would let a plugin live.
    Check(check::Args),
    /// Run a plugin's cases: query and decision, batch and what was sent, references and secrets, a key and its ciphertext.
    Test(test::Args),
    /// Measure a plugin: a decision fresh and warm, a batch, a provider's calls, an admission, memory.
    Bench(bench::Args),
    /// Show what a plugin is: its kind, the grants that it wants, sizes, sha-256.
    Inspect(inspect::Args),
    /// Ask a policy what it would have decided on what a journal has recorded.
    Replay(replay::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Replay(args) => replay::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codec-plugin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
