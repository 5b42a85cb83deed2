//! Logins to Vault: once for all who ask, renewed, replaced, left alone while they fail.

use super::*;

/// One that runs, and a guest that may ask it.
async fn vault(set_up: VaultSetUp, deadline: Duration) -> (VaultLogin, Guest, Files) {
    let server = VaultLogin::start(set_up.clone()).await;
    let files = Files::new();
    let file = files.put("proof", &server.proof());
    let method = match set_up.mount {
        "approle" => VaultMethod::AppRole { role_id: "app-role".into(), secret_id_file: file },
        _ => VaultMethod::Kubernetes { role: "app-role".into(), token_file: file },
    };
    let settings = VaultSettings {
        login: login(&server.stub.origin()),
        method,
        mount: set_up.mount.into(),
        namespace: set_up.namespace.map(Into::into),
    };
    let guest = Guest::in_time(&server.stub.origin(), CredentialSettings::Vault(settings), deadline);
    (server, guest, files)
}

const PATIENT: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn vault_is_logged_in_to_once_for_all_who_ask_and_by_either_method() {
    let kubernetes = VaultSetUp { mount: "k8s/prod", namespace: Some("team-a"), ..VaultSetUp::default() };
    for set_up in [VaultSetUp::default(), kubernetes] {
        let mount = set_up.mount;
        let (server, guest, _files) = vault(set_up, PATIENT).await;
        assert!(!guest.credential.state().was_had);
        let url = server.stub.url("/v1/secret/data/app");
        let asking = (0..20).map(|_| guest.get(&url));
        for answer in futures_util::future::join_all(asking).await {
            assert_eq!(answer.status, 200, "{mount}: {}", text(&answer));
        }
        assert_eq!(server.logins(), 1, "{mount}: one flight");
        let state = guest.credential.state();
        assert!(state.was_had && state.failing.is_none() && state.counts.logins == 1);
        assert!(state.expires.is_some_and(|at| at > SystemTime::now() + Duration::from_secs(3_000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_is_renewed_before_it_ends_though_nobody_asks() {
    let set_up = VaultSetUp { ttl: Duration::from_secs(3), ..VaultSetUp::default() };
    let (server, guest, _files) = vault(set_up, PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    assert_eq!(guest.get(&url).await.status, 200);
    until("renewed three times", || guest.credential.state().counts.renewals >= 3).await;
    // On a busy machine it may come too late for one, and only a login helps then.
    assert_eq!((guest.get(&url).await.status, server.needless_logins()), (200, 0));
    assert!(server.renewals() >= 3);
    // Whoever lets go of it ends the renewals too.
    drop(guest);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let renewals = server.renewals();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.renewals(), renewals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_that_cannot_be_renewed_any_more_is_replaced_and_no_request_fails() {
    let ttl = Duration::from_secs(3);
    let no_more = VaultSetUp { ttl, max_ttl: Duration::from_secs(5), ..VaultSetUp::default() };
    let never = VaultSetUp { ttl, is_renewable: false, ..VaultSetUp::default() };
    let refused = VaultSetUp { ttl, ..VaultSetUp::default() };
    for (case, set_up) in [("max_ttl", no_more), ("not renewable", never), ("refused", refused)] {
        let (server, guest, _files) = vault(set_up, PATIENT).await;
        if case == "refused" {
            server.refuse_renewals();
        }
        let url = server.stub.url("/v1/secret/data/app");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(9) {
            let answer = guest.get(&url).await;
            assert_eq!(answer.status, 200, "{case}: {}", text(&answer));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((2..8).contains(&server.logins()), "{case}: {}", server.logins());
        assert_eq!(server.renewals() > 0, case == "max_ttl", "{case}");
        assert_eq!(guest.failure(), None, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_that_was_revoked_leads_to_one_login_and_one_repeat_and_a_denial_to_no_loop() {
    let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    assert_eq!(guest.get(&url).await.status, 200);
    for round in 2..4 {
        server.revoke_all();
        let before = server.stub.asked().len();
        assert_eq!(guest.get(&url).await.status, 200);
        assert_eq!((server.logins(), server.stub.asked().len()), (round, before + 3), "refused, logged in, repeated");
    }
    server.revoke_all();
    for answer in futures_util::future::join_all((0..10).map(|_| guest.get(&url))).await {
        assert_eq!(answer.status, 200, "{}", text(&answer));
    }
    assert_eq!(server.logins(), 4, "one flight");
    // What the token may not, no other one may either.
    let denied = server.stub.url("/v1/secret/data/denied");
    let before = server.stub.asked().len();
    for _ in 0..10 {
        assert_eq!(guest.get(&denied).await.status, 403);
    }
    assert_eq!(
        (server.logins(), server.stub.asked().len()),
        (5, before + 12),
        "one login, one repeat, for all of them"
    );
    assert_eq!(guest.get(&url).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_is_told_without_secrets_left_alone_for_a_while_and_tried_again_when_its_file_changes() {
    let (server, guest, files) = vault(VaultSetUp::default(), PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    let good = server.proof();
    // The next secret id is not in the file yet.
    server.change_proof(&secret("proof-2"));
    server.reply(&[Reply::new(400, r#"{"errors":["invalid role or secret ID"]}"#).with("retry-after", "60")]);
    let why = guest.refused(&url).await;
    assert!(why.contains("HTTP 400: invalid role or secret ID") && why.contains(&server.stub.origin()), "{why}");
    assert!(!why.contains(&good));
    for _ in 0..5 {
        assert_eq!(guest.refused(&url).await, why);
    }
    assert_eq!(server.logins(), 1, "left alone");
    let state = guest.credential.state();
    assert!(!state.was_had && state.counts.failures == 1 && guest.failure() == Some(why));
    files.put("proof", &secret("proof-2"));
    assert_eq!(guest.get(&url).await.status, 200, "at once");
    assert!(guest.failure().is_none() && server.logins() == 2);

    // What may pass: refused for being too many, broken, redirected, nonsense, too long, a proof repeated.
    for (reply, told) in [
        (Reply::new(403, r#"{"errors":["permission denied"]}"#), "HTTP 403: permission denied"),
        (Reply::new(500, "<html>").with("x", "y"), "HTTP 500"),
        (Reply::new(503, r#"{"errors":["Vault is sealed"]}"#), "HTTP 503: Vault is sealed"),
        (Reply::new(307, "").with("location", server.stub.url("/elsewhere")), "HTTP 307: a redirect is not followed"),
        (Reply::new(200, "{}"), "HTTP 200 without a token"),
        (Reply::new(200, "not JSON"), "HTTP 200 without a token"),
        (Reply::new(200, r#"{"auth":{"client_token":"a\nb-c-d-e-f","lease_duration":1}}"#), "HTTP 200 without a token"),
        (Reply::new(200, "x".repeat(1 << 20)), "an answer of more than"),
        (
            Reply::new(400, json!({"errors": [format!("{} is bad\n\u{1b}[2J", secret("proof-1"))]}).to_string()),
            "HTTP 400: ****",
        ),
    ] {
        let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
        server.reply(std::slice::from_ref(&reply));
        let why = guest.refused(&server.stub.url("/v1/secret/data/app")).await;
        assert!(why.contains(told) && !why.contains(|c: char| c.is_control()), "{reply:?}: {why}");
        assert_eq!(server.stub.asked().iter().filter(|asked| asked.path == "/elsewhere").count(), 0);
        until("it is tried again by itself", || guest.credential.state().failing.is_some()).await;
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(guest.get(&server.stub.url("/v1/secret/data/app")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_waits_as_long_as_the_server_says_and_goes_on_when_its_guest_is_gone() {
    let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    server.reply(&[Reply::new(
        429,
        r#"{"errors":["request path \"auth/approle/login\": rate limit quota exceeded"]}"#,
    )
    .with("retry-after", "3")]);
    let began = Instant::now();
    let why = guest.refused(&url).await;
    assert!(why.contains("HTTP 429: request path"), "{why}");
    while server.logins() == 1 {
        let _ = guest.send("GET", &url, &[], "").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(3) && guest.get(&url).await.status == 200);

    let (server, hasty, _files) = vault(VaultSetUp::default(), Duration::from_millis(300)).await;
    let url = server.stub.url("/v1/secret/data/app");
    server.delay_logins(Duration::from_secs(60));
    let why = hasty.refused(&url).await;
    assert!(why.contains("has not ended in the time"), "{why}");
    server.delay_logins(Duration::ZERO);
    until("the login goes on", || hasty.credential.state().was_had).await;
    let patient = Guest::lent(&server.stub.origin(), hasty.credential.clone(), PATIENT);
    assert_eq!((patient.get(&url).await.status, server.logins()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_goes_on_while_vault_cannot_renew_it() {
    // From two thirds of it on another one is wanted, and it is good for nine tenths.
    let set_up = VaultSetUp { ttl: Duration::from_secs(12), is_renewable: false, ..VaultSetUp::default() };
    let (server, guest, _files) = vault(set_up, PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    assert_eq!(guest.get(&url).await.status, 200);
    server.reply(&[Reply::new(500, ""), Reply::new(502, "")]);
    until("it fails", || guest.failure().is_some()).await;
    assert_eq!(guest.get(&url).await.status, 200, "held, and good");
    until("it is had again", || guest.failure().is_none()).await;
    assert_eq!((guest.get(&url).await.status, server.issued().len()), (200, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_is_neither_set_nor_seen_by_a_guest_and_goes_nowhere_else() {
    let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
    let answer = guest.get(&server.stub.url("/v1/secret/data/echo")).await;
    let token = server.issued().remove(0);
    assert!(answer.status == 200 && text(&answer).contains("****"), "{}", text(&answer));
    assert!(!text(&answer).to_lowercase().contains(&token.to_lowercase()), "{}", text(&answer));
    let moved = guest.get(&server.stub.url("/v1/secret/data/moved")).await;
    assert_eq!(moved.status, 307, "an answer like any other");
    let before = server.stub.asked().len();
    for header in ["X-Vault-Token", "x-vault-namespace", "X-Vault-Wrap-TTL", "Accept-Encoding", "Authorization"] {
        let outcome = guest.send("GET", &server.stub.url("/v1/secret/data/app"), &[(header, "mine")], "").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{header}: {outcome:?}");
    }
    for path in [
        "/v1/auth/token/lookup-self",
        "/v1/%61uth/token/create",
        "/v1//AUTH/approle/login",
        "/v1/ns1/auth/token/create",
    ] {
        let outcome = guest.send("POST", &server.stub.url(path), &[], "{}").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{path}: {outcome:?}");
    }
    let elsewhere = Stub::start(|_| Reply::new(200, "")).await;
    let outcome = guest.send("GET", &elsewhere.url("/v1/secret/data/app"), &[], "").await;
    assert!(matches!(outcome, Err(SendError::NotGranted(_))), "{outcome:?}");
    assert_eq!((server.stub.asked().len(), elsewhere.asked().len()), (before, 0), "nothing was sent");
    // Another origin that is granted, without the credential.
    let grant = |origin: String, credentials: &[Arc<Credential>]| OriginGrant {
        origin,
        addresses: vec![LOOPBACK.parse().expect("a network")],
        credentials: credentials.to_vec(),
        ca_pem: None,
    };
    let grants = [grant(server.stub.origin(), std::slice::from_ref(&guest.credential)), grant(elsewhere.origin(), &[])];
    let egress = Egress::new(&grants, EgressLimits::default()).expect("set up");
    let outside = Granted { http: Some(egress), ..Granted::default() };
    let (method, url) = ("GET".to_owned(), elsewhere.url("/"));
    let request = HttpRequest { method, url, headers: vec![], body: vec![], credential: Some("lent".into()) };
    assert!(
        matches!(outside.send(request).await, Err(SendError::NotGranted(why)) if why.contains("no credential `lent`"))
    );
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_logs_in_by_the_same_checked_way_as_a_guest_sends() {
    let server = VaultLogin::start(VaultSetUp::default()).await;
    let certificates = Certificates::new();
    let proxy = HaProxy::start(&server.stub.address.to_string(), Some(&certificates.both())).await;
    let files = Files::new();
    let file = files.put("proof", &server.proof());
    let guest = |login: LoginSettings| {
        let method = VaultMethod::AppRole { role_id: "app-role".into(), secret_id_file: file.clone() };
        let settings = VaultSettings { login, method, mount: "approle".into(), namespace: None };
        Guest::new(&server.stub.origin(), CredentialSettings::Vault(settings))
    };
    let url = server.stub.url("/v1/secret/data/app");
    let https = format!("https://{}", proxy.address);
    let named = format!("https://localhost:{}", proxy.address.rsplit_once(':').expect("a port").1);
    for (case, settings, told) in [
        (
            "an address that is not granted",
            LoginSettings { addresses: vec![], ..login(&server.stub.origin()) },
            "`addresses`",
        ),
        ("a name that leads there", LoginSettings { addresses: vec![], ..login(&named) }, "`addresses`"),
        ("an authority that nobody knows", login(&https), "TLS: "),
        ("nobody there", login("http://127.0.0.1:1"), "its login at http://127.0.0.1:1"),
    ] {
        let why = guest(settings).refused(&url).await;
        assert!(why.contains(told), "{case}: {why}");
        assert_eq!(server.stub.asked().len(), 0, "{case}: nothing was sent");
    }
    let ca_pem = Some(std::fs::read(certificates.ca()).expect("readable"));
    assert_eq!(guest(LoginSettings { ca_pem, ..login(&https) }).get(&url).await.status, 200);
    for wrong in ["http://vault.example:8200", "https://u:p@vault.example", "vault", "ftp://127.0.0.1"] {
        let method = VaultMethod::AppRole { role_id: "r".into(), secret_id_file: file.clone() };
        let settings = VaultSettings { login: login(wrong), method, mount: "approle".into(), namespace: None };
        let error = Credential::new("lent", CredentialSettings::Vault(settings)).err().expect("refused").to_string();
        assert!(error.contains("login_url"), "{wrong}: {error}");
    }
}
