//! `codec keys`.

mod kek_dir;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use origan_codec_host::crypto::{EncryptedDek, Kek};

use super::Setting;
use crate::app;
use crate::audit::Journal;
use crate::keys::{Imported, Importer};
use crate::names::ProjectId;
use crate::store::foreign::{ForeignDek, ForeignTable};
use crate::store::{Access, DekState};

/// Rows worked on at once: enough for the journal's group commit, few enough for the database.
const ROWS_AT_ONCE: usize = 32;
/// Refused rows that are named; the rest is counted.
const NAMED_MAX: usize = 20;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a KEK: base64 of 32 random bytes.
    Generate(Generate),
    /// Say which KEKs there are, where, which of them wraps, and how many DEKs each holds. Beside a process that serves, if need be.
    List,
    /// Put a new KEK into the folder `keys.kek_dir`, as one that only unwraps until it is promoted; as primary, if it is the first.
    Add(Add),
    /// Have a KEK of that folder wrap from now on; the one that did so only unwraps. Once every replica lists it.
    Promote(Named),
    /// Have a KEK of that folder neither wrap nor unwrap any more. Refused while rows need it.
    Retire(Named),
    /// Take over the DEKs that a table of another database holds, as `project.encrypted_dek` of the platform does.
    ImportDeks(ImportDeks),
}

#[derive(Args)]
pub(super) struct Generate {
    /// Write it to a new file that only you can read, rather than to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make it in the token that `keys.pkcs11` names, under the name that it gives: nobody ever sees it.
    #[arg(long, conflicts_with = "out")]
    pkcs11: bool,
}

impl Generate {
    pub(super) fn is_in_a_token(&self) -> bool {
        self.pkcs11
    }
}

#[derive(Args)]
pub(super) struct Add {
    /// What it is called: the name of its file.
    name: String,
    /// Take it from this file, rather than make one.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Named {
    /// By its name or its id.
    kek: String,
}

#[derive(Args)]
pub(super) struct ImportDeks {
    /// The other database: postgres://… or sqlite:<path>.
    #[arg(long, value_name = "URL")]
    from: String,
    /// Its table.
    #[arg(long, default_value = "project")]
    table: String,
    /// The column that holds the project's id.
    #[arg(long, default_value = "id")]
    project_column: String,
    /// The column that holds the encrypted DEK; rows where it is null are passed over.
    #[arg(long, default_value = "encrypted_dek")]
    dek_column: String,
    /// Take them over to decrypt only; new values are encrypted under new DEKs.
    #[arg(long)]
    decrypt_only: bool,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Journal for the records of the import, if the service is running and writes the usual one.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
}

pub(super) fn generate(command: &Generate) -> anyhow::Result<ExitCode> {
    let kek = Kek::generate()?;
    let text = kek.encode_base64();
    match &command.out {
        None => println!("{}", &*text),
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = file.and_then(|mut file| writeln!(file, "{}", &*text).and_then(|()| file.sync_all()));
            written.with_context(|| format!("cannot write {}; an existing file is never replaced", path.display()))?;
        }
    }
    eprintln!("KEK {}: keep it apart from the database and its backups", kek.id());
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: Command, setting: Setting) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate(command) if command.pkcs11 => generate_in_a_token(&setting),
        Command::Generate(command) => generate(&command),
        Command::List => list(&setting).await,
        Command::Add(command) => kek_dir::add(&command, &setting),
        Command::Promote(command) => kek_dir::promote(&command, &setting),
        Command::Retire(command) => kek_dir::retire(&command, &setting).await,
        Command::ImportDeks(command) => import_deks(command, setting).await,
    }
}

async fn list(setting: &Setting) -> anyhow::Result<ExitCode> {
    let kek = app::kek_for_command(&setting.config, &setting.environment).await?;
    let store = app::open_store_to_read(&setting.config).await?;
    let ring = kek.open(&*store).await?;
    let mut rows: BTreeMap<String, u64> = store.rows_by_kek().await?.into_iter().collect();
    let mut says_primary = "primary";
    for (id, outside) in ring.keks() {
        let (id, place) = (id.to_string(), outside.map_or_else(|| "memory".to_owned(), |kek| kek.name()));
        println!("{id}  {says_primary:<8}  {:>9} DEKs  {place}", rows.remove(&id).unwrap_or_default());
        says_primary = "retained";
    }
    for id in ring.retired_ids().map(|id| id.to_string()) {
        println!("{id}  retired   {:>9} DEKs  memory", rows.remove(&id).unwrap_or_default());
    }
    for (id, count) in &rows {
        println!("{id}  MISSING   {count:>9} DEKs  not configured: they do not open");
    }
    Ok(if rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn generate_in_a_token(setting: &Setting) -> anyhow::Result<ExitCode> {
    let name = app::generate_in_a_token(&setting.config, &setting.environment)?;
    println!("made a KEK in {name}; it cannot be extracted, so back the token up as its vendor says");
    Ok(ExitCode::SUCCESS)
}

async fn import_deks(command: ImportDeks, setting: Setting) -> anyhow::Result<ExitCode> {
    let mut config = setting.config;
    if let Some(dir) = command.audit_dir {
        config.audit.dir = Some(dir);
    }
    let kek = app::kek_for_command(&config, &setting.environment).await?;
    let table = ForeignTable::open(&command.from, &command.table, &command.project_column, &command.dek_column).await?;
    let total = table.count().await.context("cannot count the rows to import")?;
    let store = match command.dry_run {
        true => {
            let store = app::open_store_to_read_if_made(&config).await?;
            if let Some(store) = &store {
                // Its schema must be this program's.
                drop(store.whole(Access::Read).await?);
            }
            store
        }
        false => {
            app::prepare_folders(&config)?;
            Some(app::open_store(&config).await?)
        }
    };
    let ring = match &store {
        Some(store) if !command.dry_run => kek.prove(&**store).await?,
        other => kek.check(other.as_deref()).await?,
    };
    let settings = app::journal_settings(&config);
    let journal = match command.dry_run {
        true => None,
        false => Some(Journal::open(&settings, &ring).context("an import is recorded; see --audit-dir")?),
    };
    let importer = Importer { ring, store, journal: journal.clone(), as_primary: !command.decrypt_only };
    let report = import_rows(&importer, &table, total).await;
    if let Some(journal) = journal {
        journal.close().await;
    }
    let report = report?;
    report.print(command.dry_run);
    Ok(if report.refused.is_empty() && report.refused_unnamed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn import_rows(importer: &Importer, table: &ForeignTable, total: u64) -> anyhow::Result<Report> {
    let bar = progress_bar(total, "{human_pos} of {human_len} rows, {per_sec}, {eta} to go");
    let mut report = Report::default();
    let rows = table.rows().map(|row| async move {
        let row = row?;
        let outcome = import_row(importer, &row).await;
        anyhow::Ok((row.project, outcome))
    });
    let mut outcomes = std::pin::pin!(rows.buffer_unordered(ROWS_AT_ONCE));
    while let Some(outcome) = outcomes.next().await {
        let (project, outcome) =
            outcome.context("the import stopped half-way; run it again, it goes on where it was")?;
        report.add(project, outcome);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(report)
}

async fn import_row(importer: &Importer, row: &ForeignDek) -> Result<Imported, String> {
    let Some(encrypted_dek) = &row.encrypted_dek else { return Err(String::new()) };
    let project: ProjectId = row.project.parse().map_err(|error| format!("its id {error}"))?;
    let encrypted_dek = EncryptedDek::parse(encrypted_dek).map_err(|error| format!("its encrypted DEK is {error}"))?;
    importer.import(&project, &encrypted_dek).await.map_err(|error| error.to_string())
}

#[derive(Default)]
struct Report {
    primary: u64,
    decrypt_only: u64,
    known: u64,
    without: u64,
    refused: Vec<(String, String)>,
    refused_unnamed: u64,
}

impl Report {
    fn add(&mut self, project: String, outcome: Result<Imported, String>) {
        let why = match outcome {
            Ok(Imported::Added(DekState::Primary)) => return self.primary += 1,
            Ok(Imported::Added(_)) => return self.decrypt_only += 1,
            Ok(Imported::Known) => return self.known += 1,
            Ok(Imported::AnotherProjects) => "its DEK is another project's already".to_owned(),
            Ok(Imported::CannotOpen) => "its encrypted DEK does not open under this KEK".to_owned(),
            Ok(Imported::WrongLength) => "its encrypted DEK does not hold 32 bytes".to_owned(),
            Err(why) if why.is_empty() => return self.without += 1,
            Err(why) => why,
        };
        if self.refused.len() < NAMED_MAX {
            self.refused.push((project, why));
        } else {
            self.refused_unnamed += 1;
        }
    }

    fn print(&self, dry_run: bool) {
        let would = if dry_run { "would be " } else { "" };
        println!("{} DEKs {would}taken over as primary", self.primary);
        println!("{} DEKs {would}taken over to decrypt only", self.decrypt_only);
        println!("{} were here already, {} rows have none", self.known, self.without);
        for (project, why) in &self.refused {
            println!("REFUSED: project {}: {why}", project.escape_debug());
        }
        if self.refused_unnamed > 0 {
            println!("REFUSED: {} more", self.refused_unnamed);
        }
    }
}

/// On a terminal, to standard error; nowhere else.
pub(super) fn progress_bar(total: u64, counts: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(&format!("[{{bar:40}}] {counts}")) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
