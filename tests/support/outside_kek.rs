//! What tests of KEKs that are somewhere else look at, be they in a token or behind a key service.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::{Client, Codec, Launch};

/// `/decrypt-all` of one value gives `value`.
pub async fn decrypts(client: &Client, project: &str, encrypted: &Value, value: &str) {
    let variables = json!({"A": {"type": "secret", "value": encrypted}});
    let call = json!({"projectId": project, "deploymentId": "d", "variables": variables});
    assert_eq!(client.post("/decrypt-all", call).await.ok(), json!({"A": value}));
}

/// What `/status` says of the KEK.
pub async fn kek(client: &Client) -> Value {
    client.get("/status").await.ok()["kek"].clone()
}

/// The store of `launch`, SQLite's.
pub async fn database(launch: &Launch) -> SqliteConnection {
    let url = format!("sqlite:{}", launch.data_dir().join("codec.db").display());
    SqliteConnection::connect(&url).await.expect("the database")
}

/// It ends as it should; how it was started.
pub async fn stopped(mut codec: Codec) -> Launch {
    codec.terminate().await;
    codec.launch.clone()
}

/// It is not ready: what it waits for, once it has tried. On a busy machine it listens before that.
pub async fn waiting_for(codec: &Codec) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        codec.client.get("/readyz").await.refused(503, "not_ready");
        let cause = codec.client.get("/status").await.ok()["waitingFor"].as_str().expect("a cause").to_owned();
        if cause != "starting" && !cause.contains("its plugin is not loaded yet") {
            return cause;
        }
        assert!(Instant::now() < deadline, "{cause}:\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
