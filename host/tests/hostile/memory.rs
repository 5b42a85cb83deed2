//! A guest that looks for a credential in all of its own memory: before it has asked for anything, and after a server has repeated it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use origan_codec_host::plugin::outside::{
    AwsKeys, AwsSettings, ClientProof, Credential, CredentialSettings, Egress, EgressLimits, Granted, HeaderSettings,
    LoginSettings, OAuth2Settings, OriginGrant, VaultMethod, VaultSettings,
};
use origan_codec_host::plugin::{Engines, Fault, Limits, WriteOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is looked for. The guest holds it masked: it must not find what it looks for by.
const SECRET: &str = "canary-5e0f3c9a71-in-memory";
const MASK: u8 = 0x5a;

/// Looks for the secret, asks the URL of the settings, looks again; traps where it finds it. With the credential, if it is lent one.
fn guest(has_credential: bool) -> Vec<u8> {
    let masked: String = SECRET.bytes().map(|byte| format!("\\{:02x}", byte ^ MASK)).collect();
    let (len, has_credential) = (SECRET.len(), i32::from(has_credential));
    let write = format!(
        "(if (call $holds) (then (unreachable)))
         (call $send
           (i32.const 2048) (i32.const 4) (global.get $url) (global.get $url-len) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const {has_credential}) (i32.const 3000) (i32.const 4) (i32.const 256))
         ;; Without an answer there was nothing to look for: another trap.
         (drop (i32.div_u (i32.const 1) (i32.eqz (i32.load8_u (i32.const 256)))))
         (if (call $holds) (then (unreachable)))
         (call $ok)\n"
    );
    let module = format!(
        "(data (i32.const 3000) \"lent\")
         (data (i32.const 3072) \"{masked}\")
         (func $holds (result i32) (local $at i32) (local $i i32)
           (loop $places
             (local.set $i (i32.const 0))
             (block $differs
               (loop $bytes
                 (br_if $differs (i32.ne
                   (i32.load8_u (i32.add (local.get $at) (local.get $i)))
                   (i32.xor (i32.load8_u (i32.add (i32.const 3072) (local.get $i))) (i32.const {MASK}))))
                 (local.set $i (i32.add (local.get $i) (i32.const 1)))
                 (br_if $bytes (i32.lt_u (local.get $i) (i32.const {len}))))
               (return (i32.const 1)))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br_if $places (i32.le_u
               (i32.add (local.get $at) (i32.const {len})) (i32.mul (memory.size) (i32.const 65536)))))
           (i32.const 0))\n"
    );
    // Nothing is cleared away between the calls.
    super::corpus::made(super::corpus::World::Sink, &[("write", &write), ("module", &module), ("after", "")])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_anywhere_in_a_guests_memory_before_or_after_a_server_repeats_it() {
    let _turn = super::TURN.lock().await;
    let dir = tempfile::TempDir::new().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    let (secret, other): (PathBuf, PathBuf) = (file("secret", SECRET), file("other", "something-else"));
    let address = server().await;
    let login = |path: &str| LoginSettings {
        url: format!("http://{address}{path}"),
        addresses: vec!["127.0.0.0/8".parse().expect("a network")],
        ca_pem: None,
    };
    let header = "x-token".parse().expect("a header");
    let kinds = [
        CredentialSettings::Header(HeaderSettings { header, prefix: "Token ".into(), file: secret.clone() }),
        CredentialSettings::Vault(VaultSettings {
            login: login(""),
            method: VaultMethod::AppRole { role_id: "r".into(), secret_id_file: other.clone() },
            mount: "approle".into(),
            namespace: None,
        }),
        CredentialSettings::OAuth2(OAuth2Settings {
            login: login("/token"),
            client_id: "c".into(),
            proof: ClientProof::Assertion(other.clone()),
            scope: None,
            audience: None,
        }),
        CredentialSettings::Aws(AwsSettings {
            region: "r".into(),
            service: "s3".into(),
            keys: AwsKeys::Files {
                access_key_id: other.clone(),
                secret_access_key: other.clone(),
                session_token: Some(secret.clone()),
            },
        }),
    ];
    let engines = Arc::new(Engines::new().expect("engines"));
    for settings in kinds {
        let credential = Arc::new(Credential::new("lent", settings).expect("set up"));
        let outcomes = run(&engines, address, "/echo", &credential, true).await;
        assert_eq!(outcomes, vec![Ok(WriteOutcome::Written); 3], "{}", credential.kind());
    }
    // The guest does find what is there: what a server says of itself, to a guest that is lent nothing.
    let header = "x-token".parse().expect("a header");
    let settings = CredentialSettings::Header(HeaderSettings { header, prefix: String::new(), file: secret });
    let credential = Arc::new(Credential::new("lent", settings).expect("set up"));
    let outcomes = run(&engines, address, "/says-it", &credential, false).await;
    assert!(matches!(&outcomes[0], Err(Fault::Trap(why)) if why.contains("unreachable")), "{outcomes:?}");
    // And nothing is hidden in it that the guest does not ask for.
    let outcomes = run(&engines, address, "/echo", &credential, false).await;
    assert_eq!(outcomes, vec![Ok(WriteOutcome::Written); 3]);
}

/// Three batches, one after the other in one memory.
async fn run(
    engines: &Arc<Engines>,
    address: SocketAddr,
    path: &str,
    credential: &Arc<Credential>,
    has_credential: bool,
) -> Vec<Result<WriteOutcome, Fault>> {
    let grant = OriginGrant {
        origin: format!("http://{address}"),
        addresses: vec!["127.0.0.0/8".parse().expect("a network")],
        credentials: vec![credential.clone()],
        ca_pem: None,
    };
    let limits = EgressLimits { deadline: Duration::from_secs(5), ..EgressLimits::default() };
    let http = Some(Egress::new(&[grant], limits).expect("set up"));
    let outside = Granted { http, lines: super::host::granted(address).lines };
    let settings = format!("{{\"url\":\"http://{address}{path}\"}}");
    let limits = Limits { compile_deadline: Duration::from_secs(20), ..Limits::sink() };
    let candidate = super::host::candidate("memory", guest(has_credential), limits, address);
    let candidate = origan_codec_host::plugin::Candidate { settings, ..candidate };
    let mut plugin = engines.admit_sink(candidate, Arc::new(outside), true, true).await.expect("admitted");
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(plugin.write(&super::host::batch()).await);
    }
    outcomes
}

/// Logs anybody in with the secret, and repeats what it is asked.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4_096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&piece[..read]),
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() < length.parse().expect("a number") {
            continue;
        }
        let answer = match head.split(' ').nth(1).unwrap_or_default() {
            "/v1/auth/approle/login" => {
                format!("{{\"auth\":{{\"client_token\":\"{SECRET}\",\"lease_duration\":3600,\"renewable\":true}}}}")
            }
            "/token" => format!("{{\"access_token\":\"{SECRET}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}"),
            "/says-it" => SECRET.to_owned(),
            _ => format!("{head} {}", head.to_uppercase()),
        };
        let echo = head.lines().find(|line| line.contains(SECRET)).map(|line| format!("x-echo: {line}\r\n"));
        let (echo, length) = (echo.unwrap_or_default(), answer.len());
        let answer = format!("HTTP/1.1 200 OK\r\n{echo}content-length: {length}\r\n\r\n{answer}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        request.clear();
    }
}
