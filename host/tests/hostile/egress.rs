//! What a hostile guest may ask of `http`, and what comes of what a hostile server answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use origan_codec_host::plugin::outside::{
    Credential, CredentialSettings, Egress, EgressLimits, Granted, HeaderSettings, HttpRequest, HttpResponse,
    OriginGrant, Outside, SendError,
};
use tokio::net::TcpListener;

use super::server::Server;

const SECRET: &str = "canary-5e0f3c9a71";
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// For what may end by it.
const SHORT_DEADLINE: Duration = Duration::from_millis(500);
const ANSWER_MAX: usize = 256 << 10;

#[tokio::test]
async fn an_origin_that_is_not_listed_is_refused_whatever_its_spelling() {
    let server = Server::new().await;
    let (port, guest) = (server.port(), server.granted(&["127.0.0.0/8"]));
    let other = Server::new().await;
    for url in [
        format!("http://127.0.0.1:{}/", other.port()),
        "http://127.0.0.1/".to_owned(),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://2852039166/".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        format!("http://127.0.0.1.evil.example:{port}/"),
        format!("http://127.0.0.1%2eevil.example:{port}/"),
        format!("http://evil.example\\@127.0.0.1:{port}/"),
        format!("http://evil.example/http://127.0.0.1:{port}/"),
        format!("http://evil.example?@127.0.0.1:{port}/"),
    ] {
        match guest.send(get(&url)).await {
            Err(SendError::NotGranted(why)) => assert!(why.contains("`http` does not list the origin"), "{url}: {why}"),
            // A URL that two readers could read differently.
            Err(SendError::InvalidRequest(_)) => {}
            other => panic!("{url}: {other:?}"),
        }
    }
    assert!(guest.http.as_ref().is_some_and(|http| http.refused() >= 10), "counted");
    assert_eq!((server.seen(), other.seen()), (vec![], vec![]), "nothing was sent");
}

#[tokio::test]
async fn an_address_that_is_not_public_takes_a_grant_whatever_its_spelling() {
    let server = Server::new().await;
    let port = server.port();
    for (origin, urls) in [
        (
            format!("http://127.0.0.1:{port}"),
            ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "１２７.0.0.1"]
                .as_slice(),
        ),
        (format!("http://localhost:{port}"), &["localhost", "LOCALHOST"]),
        (format!("http://[::1]:{port}"), &["[::1]", "[0:0:0:0:0:0:0:1]"]),
        (format!("http://[::ffff:127.0.0.1]:{port}"), &["[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]),
        (format!("http://0.0.0.0:{port}"), &["0.0.0.0", "0"]),
    ] {
        let guest = server.granted_to(&origin, &[], &[]);
        for host in urls {
            let url = format!("http://{host}:{port}/");
            match guest.send(get(&url)).await {
                Err(SendError::NotGranted(why)) => assert!(why.contains("`addresses`"), "{url}: {why}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }
    assert_eq!(server.seen(), Vec::<String>::new(), "nothing was sent");
}

#[tokio::test]
async fn a_redirect_comes_back_and_is_not_followed() {
    let (server, other) = (Server::new().await, Server::new().await);
    let guest = server.granted(&["127.0.0.0/8"]);
    for status in [301, 302, 303, 307, 308] {
        let target = format!("/redirect/{status}/{}", other.port());
        let answer = guest.send(get(&server.url(&target))).await.expect("an answer");
        assert_eq!(answer.status, status);
        assert!(answer.headers.iter().any(|(name, _)| name == "location"));
    }
    assert_eq!(other.seen(), Vec::<String>::new(), "nothing was sent");
}

#[tokio::test]
async fn a_url_is_sent_as_one_target_to_its_own_origin() {
    let server = Server::new().await;
    let guest = server.granted(&["127.0.0.0/8"]);
    let base = server.url("");
    for url in [
        format!("{base}/a\r\nX-Injected: 1\r\n\r\nGET /b HTTP/1.1\r\n"),
        format!("{base}/a HTTP/1.1\nX-Injected: 1\n"),
        format!("{base}/http://evil.example/"),
        format!("{base}//evil.example/"),
        format!("{base}\\evil.example"),
        format!("{base}/%0d%0aX-Injected:%201"),
        format!("{base}/\u{0}\u{7f}é"),
        format!("{base}/?q=\r\nX-Injected: 1"),
    ] {
        let answer = guest.send(get(&url)).await.expect("an answer");
        let seen = server.seen();
        assert_eq!((answer.status, seen.len()), (200, 1), "{url:?}: {seen:?}");
        let lines: Vec<&str> = seen[0].trim_end().split("\r\n").collect();
        assert!(lines[0].starts_with("GET /") && lines[0].ends_with(" HTTP/1.1"), "{lines:?}");
        assert_eq!(lines[0].split(' ').count(), 3, "{lines:?}");
        assert!(!lines[1..].iter().any(|line| line.to_ascii_lowercase().starts_with("x-injected")), "{lines:?}");
        assert!(lines.contains(&&*format!("host: 127.0.0.1:{}", server.port())), "{lines:?}");
    }
    for url in [
        "",
        "/",
        "a",
        "//a",
        "127.0.0.1",
        "file:///etc/passwd",
        "ftp://a/",
        "gopher://a/",
        "data:,a",
        "http://",
        "javascript:1",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        format!("http://user@127.0.0.1:{}/", server.port()),
        format!("http://user:word@127.0.0.1:{}/", server.port()),
        format!("http://127.0.0.1:{}@evil.example/", server.port()),
        format!("{base}/#fragment"),
        format!("http://127.0.0.1:{}/", 70_000),
    ]) {
        assert!(matches!(guest.send(get(&url)).await, Err(SendError::InvalidRequest(_))), "{url}");
    }
    assert_eq!(server.seen(), Vec::<String>::new(), "nothing was sent");
}

#[tokio::test]
async fn headers_and_methods_that_are_not_the_guests_are_refused() {
    let server = Server::new().await;
    let guest = server.granted(&["127.0.0.0/8"]);
    let with_header = |name: &str, value: &str| HttpRequest {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..get(&server.url("/"))
    };
    for (name, value) in [
        ("Host", "evil.example"),
        ("Authorization", "Bearer x"),
        ("Proxy-Authorization", "Basic x"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "0"),
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Expect", "100-continue"),
        ("Keep-Alive", "timeout=1"),
        ("x", "a\r\nHost: evil.example"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x\r\nhost", "evil.example"),
        ("x y", "z"),
        ("", "z"),
        (":authority", "evil.example"),
        ("transfer-encoding ", "chunked"),
    ] {
        let outcome = guest.send(with_header(name, value)).await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{name:?}: {value:?}: {outcome:?}");
    }
    for method in ["CONNECT", "TRACE", "OPTIONS", "get", "", "GET ", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET", "PRI"] {
        let request = HttpRequest { method: method.to_owned(), ..get(&server.url("/")) };
        assert!(matches!(guest.send(request).await, Err(SendError::InvalidRequest(_))), "{method:?}");
    }
    let many = HttpRequest { headers: vec![("x".into(), "y".into()); 100_000], ..get(&server.url("/")) };
    assert!(matches!(guest.send(many).await, Err(SendError::InvalidRequest(_))));
    assert_eq!(server.seen(), Vec::<String>::new(), "nothing was sent");
}

#[tokio::test]
async fn a_credential_goes_to_its_own_origin_and_no_other() {
    let (server, other) = (Server::new().await, Server::new().await);
    let file = secret_file();
    let own = server.grant(&server.url(""), &["127.0.0.0/8"], &[credential(file.path())]);
    let foreign = server.grant(&other.url(""), &["127.0.0.0/8"], &[]);
    let guest = granted(&[own, foreign]);
    let with = |url: String, name: &str| HttpRequest { credential: Some(name.to_owned()), ..get(&url) };
    for (url, name) in
        [(other.url("/"), "vault"), (server.url("/"), "other"), (server.url("/"), ""), (server.url("/"), "../vault")]
    {
        match guest.send(with(url.clone(), name)).await {
            Err(SendError::NotGranted(why)) => assert!(why.contains("no credential"), "{why}"),
            other => panic!("{url} {name}: {other:?}"),
        }
    }
    assert_eq!((server.seen(), other.seen()), (vec![], vec![]), "nothing was sent");
    guest.send(with(server.url("/"), "vault")).await.expect("an answer");
    assert!(server.seen()[0].contains(&format!("authorization: Bearer {SECRET}\r\n")));
    // A redirect by the origin that has it carries it nowhere.
    guest.send(with(server.url(&format!("/redirect/307/{}", other.port())), "vault")).await.expect("an answer");
    assert_eq!(other.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_credential_that_the_server_repeats_does_not_reach_the_guest() {
    let server = Server::new().await;
    let file = secret_file();
    let guest = server.granted_to(&server.url(""), &["127.0.0.0/8"], &[credential(file.path())]);
    let with = |path: &str, headers: &[(&str, &str)]| HttpRequest {
        credential: Some("vault".to_owned()),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..get(&server.url(path))
    };
    for path in ["/echo", "/echo-in-header", "/echo-in-header-name", "/echo-twice", "/echo-in-pieces", "/echo-as-gzip"]
    {
        let outcome = guest.send(with(path, &[])).await;
        let shown = match &outcome {
            Ok(HttpResponse { headers, body, .. }) => format!("{headers:?} {}", String::from_utf8_lossy(body)),
            Err(error) => format!("{error:?}"),
        };
        assert!(!shown.contains(SECRET), "{path}: {shown}");
        assert_eq!(outcome.is_err(), path == "/echo-as-gzip", "{path}: {shown}");
    }
    // Ways to have it repeated such that the host would not know it again.
    for header in ["Accept-Encoding", "Range", "If-Range", "Authorization"] {
        let outcome = guest.send(with("/echo", &[(header, "bytes=0-9")])).await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{header}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_answer_of_any_shape_ends_at_its_cap_or_its_deadline() {
    // Memory is measured here too, and guests that are compiled beside it take some.
    let _turn = super::TURN.lock().await;
    let server = Server::new().await;
    let patient = server.granted(&["127.0.0.0/8"]);
    let hasty = granted_in(&[server.grant(&server.url(""), &["127.0.0.0/8"], &[])], SHORT_DEADLINE);
    let before = super::resident_bytes();
    for (path, expected) in [
        ("/10-mb", "too-large"),
        ("/10-mb-chunked", "too-large"),
        ("/10-mb-until-close", "too-large"),
        ("/announces-an-exabyte", "too-large|timeout|protocol"),
        ("/endless", "too-large|timeout"),
        ("/drip", "timeout"),
        ("/drip-headers", "timeout"),
        ("/never", "timeout"),
        ("/cut", "protocol"),
        ("/cut-chunked", "protocol"),
        ("/cut-headers", "protocol"),
        ("/hangs-up", "protocol"),
        ("/garbage", "protocol"),
        ("/endless-headers", "protocol|timeout"),
        ("/two-lengths", "protocol"),
        ("/length-and-chunked", "ok|protocol"),
        ("/bad-chunk", "protocol"),
        ("/switching", "ok|protocol|timeout"),
        ("/continues-for-ever", "timeout|protocol"),
    ] {
        let guest = if expected.contains("timeout") { &hasty } else { &patient };
        let began = Instant::now();
        let outcome = guest.send(get(&server.url(path))).await;
        let code = match &outcome {
            Ok(_) => "ok",
            Err(SendError::TooLarge(_)) => "too-large",
            Err(SendError::Timeout) => "timeout",
            Err(SendError::Protocol(_)) => "protocol",
            Err(_) => "other",
        };
        assert!(expected.split('|').any(|one| one == code), "{path}: {outcome:?}");
        assert!(began.elapsed() < DEADLINE * 2, "{path}");
    }
    assert!(super::resident_bytes().saturating_sub(before) < super::GROWTH_MAX_BYTES);
    patient.send(get(&server.url("/"))).await.expect("an honest answer");
}

#[tokio::test]
async fn an_answer_to_nothing_is_not_taken_for_the_next_one() {
    let server = Server::new().await;
    let guest = server.granted(&["127.0.0.0/8"]);
    for _ in 0..20 {
        let _ = guest.send(get(&server.url("/and-one-more"))).await;
        let answer = guest.send(get(&server.url("/"))).await.expect("an answer");
        assert_eq!(answer.body, b"fine");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_or_is_not_there_is_told_apart() {
    let server = Server::new().await;
    let origin = format!("https://127.0.0.1:{}", server.port());
    let guest = server.granted_to(&origin, &["127.0.0.0/8"], &[]);
    let outcome = guest.send(get(&format!("{origin}/"))).await;
    assert!(matches!(outcome, Err(SendError::Tls(_))), "{outcome:?}");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let guest = server.granted_to(&format!("http://{free}"), &["127.0.0.0/8"], &[]);
    let outcome = guest.send(get(&format!("http://{free}/"))).await;
    assert!(matches!(outcome, Err(SendError::Connect(_))), "{outcome:?}");
}

fn get(url: &str) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), headers: Vec::new(), body: Vec::new(), credential: None }
}

fn granted(grants: &[OriginGrant]) -> Granted {
    granted_in(grants, DEADLINE)
}

fn granted_in(grants: &[OriginGrant], deadline: Duration) -> Granted {
    let limits = EgressLimits { deadline, request_bytes: 1 << 20, response_bytes: ANSWER_MAX };
    Granted { http: Some(Egress::new(grants, limits).expect("set up")), ..Granted::default() }
}

fn secret_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{SECRET}\n")).expect("written");
    file
}

fn credential(file: &std::path::Path) -> Arc<Credential> {
    let header = "authorization".parse().expect("a header");
    let settings = HeaderSettings { header, prefix: "Bearer ".into(), file: file.to_owned() };
    Arc::new(Credential::new("vault", CredentialSettings::Header(settings)).expect("set up"))
}

/// What a guest is granted of it.
impl Server {
    fn grant(&self, origin: &str, addresses: &[&str], credentials: &[Arc<Credential>]) -> OriginGrant {
        let addresses = addresses.iter().map(|net| net.parse().expect("a network")).collect();
        OriginGrant { origin: origin.to_owned(), addresses, credentials: credentials.to_vec(), ca_pem: None }
    }

    fn granted_to(&self, origin: &str, addresses: &[&str], credentials: &[Arc<Credential>]) -> Granted {
        granted(&[self.grant(origin, addresses, credentials)])
    }

    fn granted(&self, addresses: &[&str]) -> Granted {
        self.granted_to(&self.url(""), addresses, &[])
    }
}
