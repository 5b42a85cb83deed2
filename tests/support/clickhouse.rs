//! ClickHouse, Debian's: a database that takes newline-delimited JSON by POST and says what it has. (Nothing else among the packages
//! takes records by HTTP: InfluxDB 1.6 has its own line protocol alone, and Elasticsearch, OpenSearch, Loki, Splunk, Fluent Bit, Vector
//! and VictoriaLogs are not packaged.)

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Client, free_port, root};

/// The user's password, a secret that no trace of `codec` may hold.
pub const PASSWORD: &str = concat!("canary-7c1f5e", "-clickhouse");

pub struct ClickHouse {
    child: Child,
    _dir: TempDir,
    pub address: String,
    client: Client,
}

impl ClickHouse {
    /// With a table `audit` that keeps rows as they came.
    pub async fn start() -> Self {
        let dir = TempDir::new().expect("a folder");
        let (http, tcp) = (free_port(), free_port());
        let at = dir.path().display();
        let config = format!(
            "<yandex><logger><level>error</level><console>1</console></logger>
             <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
             <path>{at}/data/</path><tmp_path>{at}/tmp/</tmp_path><mark_cache_size>5368709</mark_cache_size>
             <users_config>{at}/users.xml</users_config>
             <default_profile>default</default_profile><default_database>default</default_database></yandex>"
        );
        let users = format!(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas>
             <users><codec><password>{PASSWORD}</password><networks><ip>127.0.0.1</ip></networks>
             <profile>default</profile><quota>default</quota></codec></users></yandex>"
        );
        std::fs::write(dir.path().join("config.xml"), config).expect("written");
        std::fs::write(dir.path().join("users.xml"), users).expect("written");
        let child = Command::new(root().join("tests/support/tether.sh"))
            .arg("/usr/sbin/clickhouse-server")
            .arg(format!("--config-file={at}/config.xml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tether.sh");
        let address = format!("127.0.0.1:{http}");
        let client = Client::new(&format!("http://{address}"), "");
        let server = Self { child, _dir: dir, address, client };
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.client.send(server.client.bare(reqwest::Method::GET, "/")).await.is_err() {
            assert!(Instant::now() < deadline, "clickhouse-server does not start: run the tests with `make test`");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // This engine appends, and reads in the same order.
        server
            .query("CREATE TABLE audit (chain String, seq UInt64, action String, prev String, hash String) ENGINE = TinyLog")
            .await;
        server
    }

    pub async fn query(&self, sql: &str) -> String {
        let request = self.client.bare(reqwest::Method::POST, "/?max_threads=1").body(sql.to_owned());
        let request = request.header("X-ClickHouse-User", "codec").header("X-ClickHouse-Key", PASSWORD);
        let answer = self.client.send(request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text);
        answer.text
    }

    /// What identifies each record, in the order in which they came. The hash is of the whole record.
    pub async fn hashes(&self) -> Vec<String> {
        let rows = self.query("SELECT hash FROM audit FORMAT TabSeparated").await;
        rows.lines().map(String::from).collect()
    }

    /// Where records go, below an origin.
    pub fn insert() -> &'static str {
        "/?query=INSERT%20INTO%20audit%20FORMAT%20JSONEachRow&input_format_skip_unknown_fields=1"
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
