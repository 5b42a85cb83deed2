//! Honest calls that go on while something else happens: whatever is sealed must open, at every moment, on every process that is there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Answer, Client};

/// Clients that call without end.
pub struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the clients know.
#[derive(Default)]
pub struct Shared {
    /// Who answers now.
    targets: RwLock<Vec<Client>>,
    /// Everything that was sealed: whose, the variable as the platform stores it, its DEK as it was answered, and what it is.
    sealed: Mutex<Vec<Sealed>>,
    stop: AtomicBool,
    writes_v2: AtomicBool,
    /// Whether the store may be away.
    outage: AtomicBool,
    pub answers: AtomicU64,
    pub broken_connections: AtomicU64,
    pub outages: AtomicU64,
}

/// Why a call was not answered.
#[derive(Debug)]
pub enum Unanswered {
    /// The process was killed in the middle, or is just gone.
    Connection,
    /// The store does not answer.
    Outage,
}

impl From<reqwest::Error> for Unanswered {
    fn from(_: reqwest::Error) -> Self {
        Self::Connection
    }
}

/// What was answered; it must be a success.
fn answered(answer: &Answer) -> Result<Value, Unanswered> {
    if answer.status == 503 && answer.problem().1 == "store_unavailable" {
        return Err(Unanswered::Outage);
    }
    Ok(answer.ok())
}

#[derive(Clone)]
pub struct Sealed {
    pub project: String,
    pub name: String,
    pub variable: Value,
    pub encrypted_dek: Value,
    pub value: String,
}

impl Load {
    /// `clients` of them, on `projects` projects, at `targets`.
    pub fn start(clients: usize, projects: usize, targets: Vec<Client>) -> Self {
        let shared = Arc::new(Shared { targets: RwLock::new(targets), ..Shared::default() });
        let tasks = (0..clients).map(|client| tokio::spawn(shared.clone().call(client, projects))).collect();
        Self { shared, tasks }
    }

    /// Who answers from now on.
    pub fn targets(&self, targets: Vec<Client>) {
        *self.shared.targets.write().expect("not poisoned") = targets;
    }

    pub fn sealed(&self) -> Vec<Sealed> {
        self.shared.sealed.lock().expect("not poisoned").clone()
    }

    /// Puts `changed` in the place of what it was made of.
    pub fn store(&self, index: usize, changed: Sealed) {
        self.shared.sealed.lock().expect("not poisoned")[index] = changed;
    }

    /// New values are of format v2 from now on.
    pub fn write_v2(&self) {
        self.shared.writes_v2.store(true, Ordering::Relaxed);
    }

    /// The store may be away, or is there from now on.
    pub fn outage(&self, may_be: bool) {
        self.shared.outage.store(may_be, Ordering::Relaxed);
    }

    /// Calls that the store was away for, so far.
    pub fn outages(&self) -> u64 {
        self.shared.outages.load(Ordering::Relaxed)
    }

    /// Until the clients have had so many answers more, or one of them has failed.
    pub async fn answers(&self, more: u64) {
        let until = self.shared.answers.load(Ordering::Relaxed) + more;
        while self.shared.answers.load(Ordering::Relaxed) < until && !self.has_failed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn has_failed(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// Ends it: no client has failed. Everything that was ever sealed opens at `client`.
    pub async fn end(self, client: &Client) -> Arc<Shared> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("every call was answered as it should be");
        }
        let sealed = self.shared.sealed.lock().expect("not poisoned").clone();
        for one in &sealed {
            one.opens_by_version(client).await.expect("an answer");
            one.opens_by_dek(client).await.expect("an answer");
        }
        self.shared
    }
}

impl Shared {
    async fn call(self: Arc<Self>, client: usize, projects: usize) {
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let Some(target) = self.any_target() else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let known = self.any_sealed();
            // Whoever begins while it may be away may hear of it when it is there again.
            let may_be_away = self.outage.load(Ordering::Relaxed);
            let outcome = match (turn % 16, known) {
                (0, _) | (_, None) => self.seal(&target, client, turn, projects).await,
                (1..=5, Some(known)) => known.opens_by_dek(&target).await,
                (_, Some(known)) => known.opens_by_version(&target).await,
            };
            match outcome {
                Ok(()) => drop(self.answers.fetch_add(1, Ordering::Relaxed)),
                Err(Unanswered::Outage) => {
                    let may_be_away = may_be_away || self.outage.load(Ordering::Relaxed);
                    assert!(may_be_away, "503 store_unavailable, and the store is there");
                    self.outages.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // Another answers.
                Err(Unanswered::Connection) => {
                    self.broken_connections.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    fn any_target(&self) -> Option<Client> {
        any(&self.targets.read().expect("not poisoned")).cloned()
    }

    fn any_sealed(&self) -> Option<Sealed> {
        any(&self.sealed.lock().expect("not poisoned")).cloned()
    }

    async fn seal(&self, target: &Client, client: usize, turn: usize, projects: usize) -> Result<(), Unanswered> {
        let project = format!("project-{}", random() % projects);
        let (name, value) = (format!("V_{client}_{turn}"), format!("value {client} {turn}"));
        let format = if self.writes_v2.load(Ordering::Relaxed) { "v2" } else { "v1" };
        let call = json!({"projectId": project, "value": value, "name": name, "format": format});
        let answer = answered(&target.try_post("/encrypt", call).await?)?;
        let variable = json!({"type": "secret", "encrypted": true, "value": answer["encrypted"], "keyVersion": answer["keyVersion"]});
        let encrypted_dek = answer["encryptedDEK"].clone();
        let sealed = Sealed { project, name, variable, encrypted_dek, value };
        self.sealed.lock().expect("not poisoned").push(sealed);
        Ok(())
    }
}

impl Sealed {
    /// As the runner asks.
    pub async fn opens_by_version(&self, client: &Client) -> Result<(), Unanswered> {
        let call =
            json!({"projectId": self.project, "deploymentId": "d", "variables": {self.name.as_str(): self.variable}});
        let answer = answered(&client.try_post("/decrypt-all", call).await?)?;
        assert_eq!(answer, json!({self.name.as_str(): self.value}));
        Ok(())
    }

    /// As a caller asks that keeps the encrypted DEK, however long ago it was answered.
    pub async fn opens_by_dek(&self, client: &Client) -> Result<(), Unanswered> {
        let call = json!({"projectId": self.project, "encryptedDEK": self.encrypted_dek, "name": self.name,
                          "encrypted": self.variable["value"]});
        assert_eq!(answered(&client.try_post("/decrypt-value", call).await?)?, json!({"value": self.value}));
        Ok(())
    }
}

fn random() -> usize {
    getrandom::u32().expect("random") as usize
}

fn any<T>(of: &[T]) -> Option<&T> {
    of.get(random() % of.len().max(1))
}
