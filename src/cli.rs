//! What operators type.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line speaks on its two streams")]

mod audit;
mod backup;
mod config;
mod keys;
mod new_file;
mod rewrap;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use origan_codec_host::plugin::CodeFor;
use tracing_subscriber::filter::LevelFilter;

use crate::app::DevFiles;
use crate::config::{Config, ConfigError, DEFAULT_PATH, Environment, LogConfig, LogFormat, LogLevel};

/// Exit code of a mistake in the configuration or on the command line.
const EXIT_CONFIG: u8 = 2;

/// How long the end waits for what still runs.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// Encrypts and decrypts a platform's environment secrets; every operation is durably audited.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Configuration file; without it ./codec.toml, if there is one.
    #[arg(long, global = true, env = "CODEC_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use the secrets that `codec serve --dev` keeps in the data directory, and make them if they are missing.
    #[arg(long, global = true)]
    dev: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve,
    /// Keys: make a KEK, list, add, promote and retire them, take over DEKs.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Wrap every DEK by the primary KEK.
    Rewrap(rewrap::Rewrap),
    /// Back up the store, beside a process that serves if need be: its rows as they are, never a KEK.
    Backup(backup::Backup),
    /// Restore a backup into the store. Nothing that is newer there is made older, and it happens whole or not at all.
    Restore(backup::Restore),
    /// The audit journal: verify it, follow it.
    #[command(subcommand)]
    Audit(audit::Command),
    /// The configuration: check it.
    #[command(subcommand)]
    Config(config::Command),
    /// What `codec` starts for itself: the code of the component on stdin, to stdout.
    #[command(hide = true)]
    CompilePlugin {
        /// What the code is for.
        #[arg(long = "for", value_parser = code_for)]
        code_for: CodeFor,
    },
}

fn code_for(name: &str) -> Result<CodeFor, String> {
    CodeFor::ALL.into_iter().find(|code_for| code_for.name() == name).ok_or_else(|| "no such engine".into())
}

/// What every command gets.
struct Setting {
    config: Config,
    /// Where it was read, or would have been.
    config_path: PathBuf,
    environment: Environment,
    dev: bool,
}

/// Runs the command line, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("codec: {error:#}");
            let is_config = error.chain().any(|cause| cause.downcast_ref::<ConfigError>().is_some());
            if is_config { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    crate::app::harden_process();
    if let Command::Keys(keys::Command::Generate(generate)) = &cli.command
        && !generate.is_in_a_token()
    {
        return keys::generate(generate);
    }
    if let Command::CompilePlugin { code_for } = cli.command {
        return crate::app::compile_stdin(code_for);
    }
    let mut environment = Environment::read()?;
    let (config_path, is_there) = config_path(&cli, &environment)?;
    let config = Config::load(is_there.then_some(&*config_path), &environment)?;
    log_to_stderr(&config.log);
    if cli.dev {
        DevFiles::under(&config.data_dir).fill(&mut environment, &config)?;
    }
    // ring does TLS for the store and the object stores; nothing else may choose for it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setting = Setting { config, config_path, environment, dev: cli.dev };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = match cli.command {
        Command::Serve => runtime.block_on(serve::serve(setting)),
        Command::Keys(command) => runtime.block_on(keys::run(command, setting)),
        Command::Rewrap(command) => runtime.block_on(rewrap::run(command, setting)),
        Command::Backup(command) => runtime.block_on(backup::backup(command, setting)),
        Command::Restore(command) => runtime.block_on(backup::restore(command, setting)),
        Command::Audit(command) => runtime.block_on(audit::run(command, &setting)),
        Command::Config(command) => runtime.block_on(config::run(command, setting)),
        Command::CompilePlugin { code_for } => crate::app::compile_stdin(code_for),
    };
    // A thread that waits for a disk which does not answer is not waited for.
    runtime.shutdown_timeout(SHUTDOWN_DEADLINE);
    outcome
}

/// Where the configuration is read, and whether it must be there. `--dev` makes one of its own where there is no other.
fn config_path(cli: &Cli, environment: &Environment) -> anyhow::Result<(PathBuf, bool)> {
    if let Some(named) = &cli.config {
        return Ok((named.clone(), true));
    }
    let default = PathBuf::from(DEFAULT_PATH);
    if !cli.dev || default.exists() {
        return Ok((default, false));
    }
    let files = DevFiles::under(environment.data_dir());
    if matches!(cli.command, Command::Serve) {
        files.make_plugins()?;
    }
    let is_there = files.config.exists();
    Ok(if is_there { (files.config, true) } else { (default, false) })
}

fn log_to_stderr(log: &LogConfig) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
