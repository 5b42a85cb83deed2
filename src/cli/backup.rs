//! `codec backup` and `codec restore`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use clap::Args;
use origan_codec_host::crypto::KeyRing;

use super::Setting;
use super::keys::progress_bar;
use super::new_file::NewFile;
use crate::app;
use crate::audit::journal::OpenJournalError;
use crate::audit::record::{BackupNote, Record};
use crate::audit::{Journal, Outcome};
use crate::clock::rfc3339;
use crate::config::Config;
use crate::keys::{self, BackupError, Faults, KekSource, VerifiedBackup, back_up};
use crate::store::backup::{BackupHeader, BackupReader, BackupWriter, Part};
use crate::store::{Access, Canary, DekStore, KeptCanary, RowPlace, WholeStore};

/// Written at once.
const BUFFER: usize = 1 << 18;
/// Instead of a file's name: standard output.
const STANDARD_OUTPUT: &str = "-";

#[derive(Args)]
pub(super) struct Backup {
    /// A new file, which only you can read; `-` for standard output. One that is there is never replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Journal for the record of the backup, if the service is running and writes the usual one.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Restore {
    /// What `codec backup` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Open each DEK, too, and see that it is the one that its row says.
    #[arg(long)]
    unwrap: bool,
    /// Mend rows that are corrupt in the store, though others are newer there: those stay.
    #[arg(long)]
    mend: bool,
    /// Say what would happen, and change nothing. Beside a process that serves, if need be.
    #[arg(long)]
    dry_run: bool,
    /// Journal for the record of the restore, if the service is running and writes the usual one.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
}

pub(super) async fn backup(command: Backup, setting: Setting) -> anyhow::Result<ExitCode> {
    let mut config = setting.config;
    let cannot_write = || format!("cannot write {}; an existing file is never replaced", command.out.display());
    let file = match command.out.as_os_str() == STANDARD_OUTPUT {
        true => None,
        false => Some(NewFile::begin(&command.out).with_context(cannot_write)?),
    };
    let kek = app::kek_for_command(&config, &setting.environment).await?;
    let store = app::open_store_to_read(&config).await?;
    let mut whole = store.whole(Access::Read).await?;
    let canaries = whole.canaries().await?;
    let ring = ring_of(&kek, &canaries).await?;
    let rows = whole.rows_by_kek().await?.iter().map(|(_, rows)| rows).sum();
    let header = BackupHeader { created_at: rfc3339(SystemTime::now()), kek_id: ring.primary_id() };
    if let Some(journal) = journal_of_a_backup(&mut config, command.audit_dir, &ring)? {
        let created = header.created_at.clone();
        let mut record = Record::of_command("STORE_BACKUP", "backup");
        let note = BackupNote { created, sha256: None, rows, added: None, brought_forward: None, mended: None };
        record.backup = Some(Box::new(note));
        record.end(Outcome::Allowed, None);
        let recorded = journal.append(&record).await;
        journal.close().await;
        recorded.context("it could not be recorded, and did not happen")?;
    }
    let bar = progress_bar(rows, "{human_pos} of {human_len} rows, {per_sec}, {eta} to go");
    let (digest, left_out) = match file {
        Some(file) => {
            let writer = BackupWriter::begin(BufWriter::with_capacity(BUFFER, file), &header)?;
            let (out, digest, left_out) = back_up(&mut *whole, &canaries, &ring, writer, |n| bar.inc(n)).await?;
            out.into_inner().map_err(|error| error.into_error()).and_then(NewFile::keep).with_context(cannot_write)?;
            (digest, left_out)
        }
        None => {
            let writer = BackupWriter::begin(BufWriter::with_capacity(BUFFER, std::io::stdout()), &header)?;
            let (mut out, digest, left_out) = back_up(&mut *whole, &canaries, &ring, writer, |n| bar.inc(n)).await?;
            out.flush()?;
            (digest, left_out)
        }
    };
    bar.finish_and_clear();
    eprintln!(
        "{} DEKs and {} canaries backed up, under the word of KEK {}",
        digest.rows, digest.canaries, header.kek_id
    );
    eprintln!("SHA-256 {}", digest.sha256_hex());
    eprintln!("it is worth nothing without its KEK ({}): keep that apart, and as long", kek.name());
    eprint!("{}", lines(&left_out, "LEFT OUT"));
    Ok(if left_out.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) async fn restore(command: Restore, setting: Setting) -> anyhow::Result<ExitCode> {
    let mut config = setting.config;
    let named = || format!("cannot restore {}", command.file.display());
    let in_file = canaries_of(&command.file).with_context(named)?;
    let kek = app::kek_for_command(&config, &setting.environment).await?;
    let store = match command.dry_run {
        true => app::open_store_to_read_if_made(&config).await?,
        false => {
            app::prepare_folders(&config)?;
            let store = app::open_store(&config).await;
            Some(store.context("cannot open the store to write to it; where it is SQLite, stop the service first")?)
        }
    };
    let in_store = match &store {
        Some(store) => store.canaries().await?,
        None => Vec::new(),
    };
    let ring = match in_store.is_empty() {
        true => ring_of(&kek, &in_file).await.with_context(named)?,
        false => {
            kek.of(&in_store).await.with_context(named)?;
            // The store's own come first. Of KEKs that are new to it, the backup has what it takes.
            let in_both: Vec<Canary> =
                in_store.into_iter().chain(in_file.iter().map(|kept| kept.canary.clone())).collect();
            kek.of(&in_both).await.with_context(named)?
        }
    };
    // Before the work: without one there is no restore.
    let journal = match command.dry_run {
        true => None,
        false => {
            config.audit.dir = command.audit_dir.clone().or(config.audit.dir);
            let journal = Journal::open(&app::journal_settings(&config), &ring);
            Some(journal.context("a restore is recorded; see --audit-dir")?)
        }
    };
    let outcome = restore_into(store.as_deref(), &ring, journal.as_deref(), &command).await;
    if let Some(journal) = journal {
        journal.close().await;
    }
    let outcome = match outcome {
        Err(error) => Err(or_begun_anew(error, store.as_deref(), &kek, &in_file).await),
        done => done,
    };
    outcome.with_context(named)
}

/// What it means that a KEK of the backup is missing, and the one at hand opens its canary: it is outside, and the store has another service key
/// for it. That key is a service's by now, which would go on under it, and its journal's; so it is not taken away behind their backs.
async fn or_begun_anew(
    error: anyhow::Error,
    store: Option<&dyn DekStore>,
    kek: &KekSource,
    in_file: &[KeptCanary],
) -> anyhow::Error {
    let missing = match error.downcast_ref::<BackupError>() {
        Some(BackupError::OtherKek { theirs, .. }) => theirs.to_string(),
        Some(BackupError::UnknownKek { kek_id, .. }) => kek_id.clone(),
        Some(_) | None => return error,
    };
    let opens = ring_of(kek, in_file).await.is_ok_and(|ring| ring.kek_ids().any(|id| id.to_string() == missing));
    let Some(store) = store.filter(|_| opens) else { return error };
    let Ok(rows) = store.rows_by_kek().await else { return error };
    let begun = format!(
        "the KEK is the right one, but the store has another service key for it than the backup (KEK {missing}): a service was begun on it"
    );
    match rows.is_empty() {
        false => anyhow!("{begun}, and has made DEKs; restore into an empty store"),
        true => anyhow!(
            "{begun}, and has made no DEK yet; end every service on this store, put their journals aside, take its service key away \
             (DELETE FROM kek_canary), and run it again"
        ),
    }
}

async fn restore_into(
    store: Option<&dyn DekStore>,
    ring: &KeyRing,
    journal: Option<&Journal>,
    command: &Restore,
) -> anyhow::Result<ExitCode> {
    let reader = BackupReader::open(&command.file)?;
    let created = reader.header().created_at.clone();
    let bar = progress_bar(0, "{human_pos} rows verified, {per_sec}");
    let verified = VerifiedBackup::read(reader, ring, command.unwrap, |rows| bar.inc(rows)).await?;
    bar.finish_and_clear();
    let sha256 = verified.digest.sha256_hex();
    if verified.faults.count > 0 {
        print!("{}", lines(&verified.faults, "REFUSED"));
        println!("nothing was restored: {} rows of the backup are corrupt", verified.faults.count);
        return Ok(ExitCode::FAILURE);
    }
    let mut whole = match store {
        Some(store) => Some(store.whole(if command.dry_run { Access::Read } else { Access::Write }).await?),
        None => None,
    };
    let rows = verified.digest.rows;
    let bar = progress_bar(rows, "{human_pos} of {human_len} rows, {per_sec}, {eta} to go");
    let (is_dry, only_mends) = (command.dry_run, command.mend);
    let into = keys::Restore { whole: as_dyn(&mut whole), is_dry, only_mends, ring };
    let restored = into.run(BackupReader::open(&command.file)?, &verified, |rows| bar.inc(rows)).await?;
    bar.finish_and_clear();
    let is_refused = restored.refused.count > 0;
    if let Some(journal) = journal {
        let mut record = Record::of_command("STORE_RESTORE", "restore");
        record.backup = Some(Box::new(BackupNote {
            created,
            sha256: Some(sha256.clone()),
            rows,
            added: Some(restored.added),
            brought_forward: Some(restored.brought_forward),
            mended: Some(restored.mended.count),
        }));
        match is_refused {
            true => record.end(Outcome::Failed, Some("store_newer")),
            false => record.end(Outcome::Allowed, None),
        }
        journal.append(&record).await.context("it could not be recorded, and did not happen")?;
    }
    if is_refused {
        print!("{}", lines(&restored.refused, "REFUSED"));
        let rows = restored.refused.count;
        println!("nothing was restored: {rows} rows are in the way");
        if !command.mend {
            println!("to mend corrupt rows all the same, and leave what is newer as it is: --mend");
        }
        return Ok(ExitCode::FAILURE);
    }
    if let Some(whole) = whole.filter(|_| !command.dry_run) {
        let committed = whole.commit().await;
        committed.context("it is not known whether it has happened; run it again, which does no harm")?;
    }
    let (would, mended) = if command.dry_run { ("would be ", "WOULD BE MENDED") } else { ("", "MENDED") };
    print!("{}", lines(&restored.mended, mended));
    println!("{} DEKs and {} canaries {would}added", restored.added, restored.canaries);
    println!("{} DEKs {would}brought forward", restored.brought_forward);
    println!("{} DEKs {would}mended", restored.mended.count);
    if command.mend {
        println!("{} DEKs are newer here, or of another history, and stay", restored.newer);
        print!("{}", lines(&restored.unknown, "UNKNOWN"));
    }
    println!("{} DEKs were here already", restored.same);
    println!("SHA-256 {sha256}");
    Ok(if restored.unknown.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What stands before the rows. Nobody vouches for it yet, but for the canaries themselves.
fn canaries_of(file: &Path) -> anyhow::Result<Vec<KeptCanary>> {
    let mut reader = BackupReader::open(file)?;
    let mut canaries = Vec::new();
    while let Part::Canary(canary) = reader.next_part()? {
        canaries.push(canary);
    }
    Ok(canaries)
}

async fn ring_of(kek: &KekSource, canaries: &[KeptCanary]) -> anyhow::Result<Arc<KeyRing>> {
    let canaries: Vec<Canary> = canaries.iter().map(|kept| kept.canary.clone()).collect();
    Ok(kek.of(&canaries).await?)
}

fn as_dyn(whole: &mut Option<Box<dyn WholeStore>>) -> Option<&mut dyn WholeStore> {
    match whole {
        Some(whole) => Some(&mut **whole),
        None => None,
    }
}

/// A backup is not kept from an operator for want of a journal, unless they have named one: whoever may read the store can copy it anyhow.
fn journal_of_a_backup(
    config: &mut Config,
    audit_dir: Option<PathBuf>,
    ring: &Arc<KeyRing>,
) -> anyhow::Result<Option<Arc<Journal>>> {
    let is_named = audit_dir.is_some();
    config.audit.dir = audit_dir.or(config.audit.dir.take());
    if !is_named && !config.journal_dir().exists() {
        eprintln!("this backup is not recorded: there is no journal here; see --audit-dir");
        return Ok(None);
    }
    match Journal::open(&app::journal_settings(config), ring) {
        Err(OpenJournalError::Locked(_)) if !is_named => {
            eprintln!("this backup is not recorded: another codec process writes the audit journal; see --audit-dir");
            Ok(None)
        }
        journal => Ok(Some(journal.context("a backup is recorded; see --audit-dir")?)),
    }
}

/// A line for each row that is named, and one for the rest.
pub(super) fn lines(faults: &Faults, what: &str) -> String {
    let line = |(place, why): &(RowPlace, String)| format!("{what}: {}: {why}\n", place.to_string().escape_debug());
    let mut lines: String = faults.named.iter().map(line).collect();
    let unnamed = faults.count - faults.named.len() as u64;
    if unnamed > 0 {
        lines += &format!("{what}: {unnamed} more\n");
    }
    lines
}
