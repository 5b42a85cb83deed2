//! A restore that is killed has happened whole or not at all, and can be run again.

use std::io::BufWriter;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use origan_codec::store::backup::{BackupHeader, BackupWriter};
use origan_codec::store::{Canary, DekOrigin, DekRow, DekState, KeptCanary, KeptRow};
use origan_codec_host::crypto::{Dek, Kek, KeyRing, WrapContext};

use super::{backed_up, body, empty_stores, restored, rows};
use crate::support::Launch;

/// Enough that there is time to kill it; `CODEC_BACKUP_ROWS` says otherwise.
const ROWS: usize = 4_000;
const ROUNDS: usize = 12;

fn rows_wanted() -> usize {
    std::env::var("CODEC_BACKUP_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS)
}

/// A backup as `codec` writes it, of a store that nobody has made.
pub(super) fn write_backup(kek: &str, count: usize, path: &Path) {
    let kek = Kek::parse_base64(kek).expect("a KEK");
    let ring = KeyRing::new(&kek, &[]).expect("a ring");
    let header = BackupHeader { created_at: "2026-11-27T00:00:00.000Z".into(), kek_id: kek.id() };
    let file = std::fs::File::create_new(path).expect("a new file");
    let mut writer = BackupWriter::begin(BufWriter::new(file), &header).expect("written");
    let canary = Canary { kek_id: kek.id(), sealed: ring.seal_canary().expect("random") };
    writer.canary(&KeptCanary { canary, place: Some(1), created_at_ms: 1 }).expect("written");
    for number in 0..count {
        let project = format!("project-{number:07}");
        let context = WrapContext::Dek { project_id: &project, version: 1 };
        let dek = Dek::generate().expect("random");
        let wrapped = ring.wrap_dek(&dek, context).now_or_never().expect("in memory").expect("random");
        let parts: [&[u8]; 4] = [project.as_bytes(), &1_u32.to_be_bytes(), b"primary", &wrapped.encrypted_dek.digest()];
        let row = DekRow {
            project_id: project.parse().expect("an id"),
            version: 1.try_into().expect("a version"),
            kek_id: kek.id(),
            fingerprint: ring.fingerprint(kek.id(), &dek).expect("in the ring").0,
            row_mac: ring.row_mac(kek.id(), &parts).expect("in the ring").0,
            encrypted_dek: wrapped.encrypted_dek,
            state: DekState::Primary,
            origin: DekOrigin::Created,
            created_at_ms: 1_700_000_000_123,
            former_digests: Vec::new(),
            generation: 1,
            last_used_at_ms: 0,
        };
        writer.row(&KeptRow { row, encryptions: 64 }).expect("written");
    }
    writer.end(|digest| digest.with_parts(|parts| ring.backup_mac(parts))).expect("written");
}

/// A new one, of that kind.
async fn empty_store(kind: &str, like: &Launch) -> Launch {
    let [sqlite, postgres] = empty_stores(like).await;
    if kind == "SQLite" { sqlite.1 } else { postgres.1 }
}

#[tokio::test]
async fn killed_anywhere_it_happened_whole_or_not_at_all_and_is_run_again() {
    let launch = Launch::new();
    let file = launch.dir.path().join("made");
    write_backup(&launch.kek, rows_wanted(), &file);
    for (kind, whole) in empty_stores(&launch).await {
        let begun = Instant::now();
        assert!(restored(&whole, &file).contains(&format!("{} DEKs and 1 canaries added", rows_wanted())));
        let took = begun.elapsed();
        let begun = Instant::now();
        assert_eq!(body(&backed_up(&whole, "again")), body(&file), "{kind}");
        eprintln!("{kind}: {} rows restored in {took:?}, backed up in {:?}", rows_wanted(), begun.elapsed());
        let mut target = empty_store(kind, &launch).await;
        let (mut none, mut all) = (0, 0);
        // From its very beginning to somewhat beyond its end.
        let pauses = (1..=ROUNDS).map(|round| took.mul_f64(1.2 * (round as f64 - 0.5) / ROUNDS as f64));
        // If what was timed was slow, these may all come too late: then sooner and sooner, until one is killed in time.
        let sooner = std::iter::successors(Some(took / 50), |pause| Some(*pause / 2)).take(ROUNDS);
        for (round, pause) in pauses.chain(sooner).enumerate() {
            if round >= ROUNDS && none > 0 {
                break;
            }
            let mut command = target.command(&["restore", &file.to_string_lossy()]);
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = child.expect("codec starts");
            tokio::time::sleep(pause).await;
            let _ = child.kill();
            child.wait().expect("it ends");
            let found = rows(&target).await;
            match found.len() {
                0 => none += 1,
                count if count == rows_wanted() => {
                    all += 1;
                    assert_eq!(found, rows(&whole).await, "{kind}");
                    target = empty_store(kind, &launch).await;
                }
                count => panic!("{kind}: {count} rows after a kill in round {round}"),
            }
        }
        assert!(none > 0, "{kind}: it was never killed before its end, only after, {all} times");
        // A database that rolls back what a killed process left may take its moment.
        tokio::time::sleep(Duration::from_millis(200)).await;
        restored(&target, &file);
        assert_eq!(rows(&target).await, rows(&whole).await, "{kind}");
    }
}
