//! Vault's logins on loopback, as its API pages have them: AppRole, Kubernetes, `auth/token/renew-self`, and a secret that takes a token.
//!
//! - "AppRole auth method (API)": `POST /auth/:mount/login` with `role_id`, `secret_id`; 400 `invalid role or secret ID`.
//! - "Kubernetes auth method (API)": `POST /auth/:mount/login` with `role`, `jwt`; 403 `permission denied`.
//! - "Token auth method (API)": `POST /auth/token/renew-self`; never beyond `max_ttl`; 403 of a token that is not known.
//! - "HTTP API": `X-Vault-Token`, `X-Vault-Namespace`; every error is `{"errors": […]}`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::reply::Reply;
use super::secret;
use super::stub::{Asked, Stub};

/// How a Vault is set up.
#[derive(Clone)]
pub struct VaultSetUp {
    pub mount: &'static str,
    pub namespace: Option<&'static str>,
    pub ttl: Duration,
    pub max_ttl: Duration,
    pub is_renewable: bool,
}

/// One that runs.
pub struct VaultLogin {
    pub stub: Stub,
    state: Arc<Mutex<State>>,
}

struct State {
    set_up: VaultSetUp,
    /// The secret id, or the service account's token, that is good now.
    proof: String,
    tokens: HashMap<String, Token>,
    issued: Vec<String>,
    logins: usize,
    /// Those that came while a token had more than a tenth of its life before it.
    needless_logins: usize,
    renewals: usize,
    /// In place of the next logins.
    replies: VecDeque<Reply>,
    refuses_renewals: bool,
    delay: Duration,
    /// What no Vault would have understood.
    wrong: Vec<String>,
}

struct Token {
    made: Instant,
    ends: Instant,
}

impl Default for VaultSetUp {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self { mount: "approle", namespace: None, ttl: hour, max_ttl: hour * 24, is_renewable: true }
    }
}

impl VaultLogin {
    pub async fn start(set_up: VaultSetUp) -> Self {
        let state = Arc::new(Mutex::new(State {
            set_up,
            proof: secret("proof-1"),
            tokens: HashMap::new(),
            issued: Vec::new(),
            logins: 0,
            needless_logins: 0,
            renewals: 0,
            replies: VecDeque::new(),
            refuses_renewals: false,
            delay: Duration::ZERO,
            wrong: Vec::new(),
        }));
        let shared = state.clone();
        let stub = Stub::start_slow(move |asked| {
            let shared = shared.clone();
            Box::pin(async move {
                let (is_login, came) = (asked.path.ends_with("/login"), Instant::now());
                while is_login && came.elapsed() < shared.lock().expect("unharmed").delay {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                shared.lock().expect("unharmed").answer(&asked)
            })
        });
        Self { stub: stub.await, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    pub fn proof(&self) -> String {
        self.state().proof.clone()
    }

    /// From now on another proof is good.
    pub fn change_proof(&self, proof: &str) {
        proof.clone_into(&mut self.state().proof);
    }

    /// Every token that it has given out.
    pub fn issued(&self) -> Vec<String> {
        self.state().issued.clone()
    }

    pub fn logins(&self) -> usize {
        self.state().logins
    }

    pub fn needless_logins(&self) -> usize {
        self.state().needless_logins
    }

    pub fn renewals(&self) -> usize {
        self.state().renewals
    }

    pub fn revoke_all(&self) {
        self.state().tokens.clear();
    }

    pub fn refuse_renewals(&self) {
        self.state().refuses_renewals = true;
    }

    /// Answers the next logins so.
    pub fn reply(&self, replies: &[Reply]) {
        self.state().replies.extend(replies.iter().cloned());
    }

    /// Also those that wait already.
    pub fn delay_logins(&self, delay: Duration) {
        self.state().delay = delay;
    }
}

impl Drop for VaultLogin {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let wrong = &self.state().wrong;
            assert!(wrong.is_empty(), "no Vault would have understood: {wrong:#?}");
        }
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let namespace = asked.headers.get("x-vault-namespace").and_then(|value| value.to_str().ok());
        if namespace != self.set_up.namespace {
            return errors(403, "permission denied");
        }
        let path = asked.path.strip_prefix("/v1/").unwrap_or("");
        if path == format!("auth/{}/login", self.set_up.mount) {
            return self.log_in(asked);
        }
        let token = asked.header("x-vault-token").to_owned();
        let now = Instant::now();
        let is_good = self.tokens.get(&token).is_some_and(|token| now < token.ends);
        match path {
            _ if !is_good => errors(403, "permission denied"),
            "auth/token/renew-self" => self.renew(&token),
            "secret/data/app" => {
                Reply::new(200, json!({"data": {"data": {"value": "v"}, "metadata": {"version": 1}}}).to_string())
            }
            "secret/data/echo" => {
                Reply::new(200, format!("{{\"you\":\"{token}\",\"upper\":\"{}\"}}", token.to_uppercase()))
                    .with("x-echo", token)
            }
            "secret/data/moved" => Reply::new(307, "").with("location", "http://127.0.0.1:1/v1/secret/data/app"),
            _ => errors(403, "1 error occurred:\n\t* permission denied\n\n"),
        }
    }

    fn log_in(&mut self, asked: &Asked) -> Reply {
        self.logins += 1;
        let soon = Instant::now() + self.set_up.ttl / 10;
        self.needless_logins += usize::from(self.tokens.values().any(|token| token.ends > soon));
        if let Some(reply) = self.replies.pop_front() {
            return reply;
        }
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let is_approle = body.get("role_id").is_some();
        let keys: &[&str] = if is_approle { &["role_id", "secret_id"] } else { &["role", "jwt"] };
        let is_known =
            body.as_object().is_some_and(|body| body.len() == 2 && keys.iter().all(|key| body.contains_key(*key)));
        if !matches!(&*asked.method, "POST" | "PUT") || !is_known || !asked.header("x-vault-token").is_empty() {
            self.wrong.push(format!("{asked:?}"));
            return errors(400, "missing client token");
        }
        if body[keys[0]] != "app-role" || body[keys[1]] != *self.proof {
            return if is_approle {
                errors(400, "invalid role or secret ID")
            } else {
                errors(403, "permission denied")
            };
        }
        let token = format!("hvs.{}-{:016x}", super::CANARY, getrandom::u64().expect("random"));
        let made = Instant::now();
        self.tokens.insert(token.clone(), Token { made, ends: made + self.set_up.ttl });
        self.issued.push(token.clone());
        self.auth(&token, self.set_up.ttl)
    }

    fn renew(&mut self, token: &str) -> Reply {
        if self.refuses_renewals || !self.set_up.is_renewable {
            return errors(400, "lease is not renewable");
        }
        self.renewals += 1;
        let (ttl, max_ttl) = (self.set_up.ttl, self.set_up.max_ttl);
        let Some(known) = self.tokens.get_mut(token) else { return errors(403, "permission denied") };
        let now = Instant::now();
        known.ends = (now + ttl).min(known.made + max_ttl);
        let left = known.ends.saturating_duration_since(now);
        self.auth(token, left)
    }

    /// As Vault writes it, with all that nobody asks for.
    fn auth(&self, token: &str, lasts: Duration) -> Reply {
        let auth = json!({
            "client_token": token, "accessor": "0e9e354a-520f-df04-6867-ee81cae3d42d", "policies": ["default"],
            "token_policies": ["default"], "metadata": {"role_name": "app-role"}, "lease_duration": lasts.as_secs(),
            "renewable": self.set_up.is_renewable, "entity_id": "", "token_type": "service", "orphan": true,
            "mfa_requirement": null, "num_uses": 0,
        });
        let body = json!({
            "request_id": "b1a5b1a5", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null,
            "wrap_info": null, "warnings": null, "auth": auth,
        });
        Reply::new(200, body.to_string()).with("content-type", "application/json")
    }
}

fn errors(status: u16, why: &str) -> Reply {
    Reply::new(status, json!({"errors": [why]}).to_string()).with("content-type", "application/json")
}
