//! One suite for both stores.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use origan_codec::names::{KeyVersion, ProjectId};
use origan_codec::store::{Canary, DekOrigin, DekRow, DekState, DekStore, ENCRYPTIONS_MAX, PostgresStore, SqliteStore};
use origan_codec_host::crypto::{Dek, Kek, KeyRing, WrapContext};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::support::{Launch, postgres};

const DEADLINE: Duration = Duration::from_secs(5);

struct Fixture {
    store: Arc<dyn DekStore>,
    ring: KeyRing,
    _dir: TempDir,
}

async fn fixtures() -> Vec<Fixture> {
    let dir = TempDir::new().expect("a folder");
    let sqlite = SqliteStore::open(&dir.path().join("db"), DEADLINE).await.expect("opens");
    let url = postgres::database().await;
    let postgres = PostgresStore::open(&url, 4, DEADLINE).await.expect("opens");
    let fixture = |store, dir| {
        let kek = Kek::generate().expect("random");
        Fixture { store, ring: KeyRing::new(&kek, &[]).expect("a ring"), _dir: dir }
    };
    vec![fixture(Arc::new(sqlite), dir), fixture(Arc::new(postgres), TempDir::new().expect("a folder"))]
}

impl Fixture {
    fn row(&self, project: &str, version: u64, state: DekState) -> DekRow {
        let dek = Dek::generate().expect("random");
        let wrapped =
            self.ring.wrap_dek(&dek, WrapContext::Unrecorded).now_or_never().expect("in memory").expect("random");
        DekRow {
            project_id: project.parse().expect("an id"),
            version: version.try_into().expect("a version"),
            kek_id: wrapped.kek_id,
            fingerprint: self.ring.fingerprint(wrapped.kek_id, &dek).expect("in the ring").0,
            encrypted_dek: wrapped.encrypted_dek,
            row_mac: [7; 32],
            state,
            origin: DekOrigin::Created,
            created_at_ms: 1_700_000_000_123,
            former_digests: Vec::new(),
            generation: 1,
            last_used_at_ms: 0,
        }
    }
}

fn project(name: &str) -> ProjectId {
    name.parse().expect("an id")
}

#[tokio::test]
async fn rows_come_back_as_they_went_in_by_every_way() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let row = fixture.row("shop", 1, DekState::Primary);
        assert!(store.insert(&row).await.expect("inserted"));
        let ways = [
            store.primary(&row.project_id).await,
            store.version(&row.project_id, KeyVersion::FIRST).await,
            store.by_encrypted_dek(&row.encrypted_dek).await,
            store.by_fingerprints(&[[1; 32], row.fingerprint]).await,
            store.any_row().await,
        ];
        for found in ways {
            assert_eq!(format!("{:?}", found.expect("found").expect("a row")), format!("{row:?}"), "{}", store.kind());
        }
        assert_eq!(store.newest_version(&row.project_id).await.expect("answers"), Some(KeyVersion::FIRST));
        let nobody = project("nobody");
        assert!(store.primary(&nobody).await.expect("answers").is_none());
        assert!(store.version(&row.project_id, 2.try_into().expect("2")).await.expect("answers").is_none());
        assert!(store.newest_version(&nobody).await.expect("answers").is_none());
        assert!(store.by_fingerprints(&[[0; 32]]).await.expect("answers").is_none());
        assert_eq!(store.rows_by_kek().await.expect("answers"), vec![(row.kek_id.to_string(), 1)]);
    }
}

#[tokio::test]
async fn what_clashes_is_not_added_whatever_it_clashes_by() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let row = fixture.row("shop", 1, DekState::Primary);
        assert!(store.insert(&row).await.expect("inserted"));
        let clashes = [
            ("version", fixture.row("shop", 1, DekState::DecryptOnly)),
            ("primary", fixture.row("shop", 2, DekState::Primary)),
            (
                "encrypted DEK",
                DekRow { encrypted_dek: row.encrypted_dek.clone(), ..fixture.row("other", 1, DekState::Primary) },
            ),
            ("fingerprint", DekRow { fingerprint: row.fingerprint, ..fixture.row("other", 1, DekState::Primary) }),
        ];
        for (case, clash) in clashes {
            assert!(!store.insert(&clash).await.expect("answers"), "{} {case}", store.kind());
        }
        assert!(store.insert(&fixture.row("shop", 2, DekState::DecryptOnly)).await.expect("inserted"));
        assert_eq!(store.newest_version(&row.project_id).await.expect("answers").map(KeyVersion::number), Some(2));
    }
}

#[tokio::test]
async fn leases_add_up_and_end_at_the_cap() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let row = fixture.row("shop", 1, DekState::Primary);
        store.insert(&row).await.expect("inserted");
        let of = async |fingerprint, count| {
            store.lease(&row.project_id, KeyVersion::FIRST, fingerprint, count).await.expect("answers")
        };
        let lease = async |count| of(&row.fingerprint, count).await;
        assert_eq!(lease(64).await, Some(64));
        assert_eq!(lease(36).await, Some(100));
        assert_eq!(lease(ENCRYPTIONS_MAX - 99).await, None);
        assert_eq!(lease(ENCRYPTIONS_MAX - 100).await, Some(ENCRYPTIONS_MAX));
        assert_eq!(lease(1).await, None);
        let nobodys = store.lease(&project("nobody"), KeyVersion::FIRST, &row.fingerprint, 1).await;
        assert_eq!(nobodys.expect("answers"), None);
        // Another DEK that has taken its place counts for itself.
        let row = fixture.row("shop-2", 1, DekState::Primary);
        store.insert(&row).await.expect("inserted");
        let other = store.lease(&row.project_id, KeyVersion::FIRST, &[7; 32], 1).await;
        assert_eq!(other.expect("answers"), None);
    }
}

#[tokio::test]
async fn leases_taken_at_once_never_overlap() {
    for fixture in fixtures().await {
        let row = fixture.row("shop", 1, DekState::Primary);
        fixture.store.insert(&row).await.expect("inserted");
        let leases = (0..40).map(|_| {
            let (store, row) = (fixture.store.clone(), row.clone());
            tokio::spawn(async move { store.lease(&row.project_id, KeyVersion::FIRST, &row.fingerprint, 5).await })
        });
        let mut totals = HashSet::new();
        for lease in leases.collect::<Vec<_>>() {
            totals.insert(lease.await.expect("no panic").expect("answers").expect("granted"));
        }
        assert_eq!(totals, (1..=40).map(|n| n * 5).collect(), "{}", fixture.store.kind());
    }
}

#[tokio::test]
async fn of_many_who_add_a_first_dek_at_once_one_wins() {
    for fixture in fixtures().await {
        let inserts = (0..20).map(|_| {
            let (store, row) = (fixture.store.clone(), fixture.row("shop", 1, DekState::Primary));
            tokio::spawn(async move { store.insert(&row).await })
        });
        let mut added = 0;
        for insert in inserts.collect::<Vec<_>>() {
            added += u32::from(insert.await.expect("no panic").expect("answers"));
        }
        assert_eq!(added, 1, "{}", fixture.store.kind());
    }
}

#[tokio::test]
async fn canaries_stay_as_they_were_first() {
    for fixture in fixtures().await {
        let kek_id = fixture.ring.primary_id();
        assert!(fixture.store.canaries().await.expect("answers").is_empty());
        for sealed in [vec![1, 2, 3], vec![4]] {
            fixture.store.insert_canary(&Canary { kek_id, sealed }, 1).await.expect("answers");
        }
        let canaries = fixture.store.canaries().await.expect("answers");
        assert_eq!((canaries.len(), canaries[0].kek_id, &canaries[0].sealed[..]), (1, kek_id, &[1, 2, 3][..]));
        // Another KEK does not take its place, and may come after it; once.
        let other = Kek::generate().expect("random").id();
        for (place, expected) in [(1, 1), (2, 2), (3, 2)] {
            fixture.store.insert_canary(&Canary { kek_id: other, sealed: vec![5] }, place).await.expect("answers");
            assert_eq!(fixture.store.canaries().await.expect("answers").len(), expected);
        }
    }
}

#[tokio::test]
async fn a_second_opening_finds_what_the_first_left() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("db");
    let url = postgres::database().await;
    for round in 0..2 {
        let sqlite = SqliteStore::open(&path, DEADLINE).await.expect("opens");
        let postgres = PostgresStore::open(&url, 2, DEADLINE).await.expect("opens");
        let kek_id = Kek::generate().expect("random").id();
        for store in [&sqlite as &dyn DekStore, &postgres] {
            assert_eq!(store.canaries().await.expect("answers").len(), round.min(1), "{}", store.kind());
            store.insert_canary(&Canary { kek_id, sealed: vec![1] }, 1).await.expect("answers");
            store.ping().await.expect("answers");
        }
    }
}

#[tokio::test]
async fn a_database_that_would_answer_before_it_is_durable_is_told_not_to() {
    for (set, expected) in [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
        let url = postgres::database().await;
        let mut database = PgConnection::connect(&url).await.expect("connects");
        let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut database).await.expect("one");
        let statement = format!("ALTER DATABASE \"{name}\" SET synchronous_commit = {set}");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.expect("set");
        let codec = Launch::new().variable("DATABASE_URL", &url).start().await;
        let witness = "CREATE TABLE witness (setting TEXT); \
             CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO witness VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$; \
             CREATE TRIGGER witness BEFORE INSERT ON project_dek FOR EACH ROW EXECUTE FUNCTION witness()";
        sqlx::raw_sql(witness).execute(&mut database).await.expect("made");
        codec.client.encrypt("shop", "v").await;
        let seen: Vec<String> =
            sqlx::query_scalar("SELECT setting FROM witness").fetch_all(&mut database).await.expect("seen");
        assert_eq!(seen, [expected], "{set}");
    }
}
