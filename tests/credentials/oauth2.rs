//! Bearer tokens of OAuth 2.0, however the client proves who it is.

use super::*;

/// A token endpoint: the token that is good now, and how many it has given out.
pub(super) struct Issuer {
    pub(super) stub: Stub,
    issued: Arc<AtomicUsize>,
}

impl Issuer {
    /// Whose tokens last so long.
    pub(super) async fn start(expires_in: serde_json::Value) -> Self {
        let issued = Arc::new(AtomicUsize::new(0));
        let counting = issued.clone();
        let stub = Stub::start(move |asked| {
            let n = counting.fetch_add(1, Ordering::SeqCst) + 1;
            let is_form = asked.header("content-type") == "application/x-www-form-urlencoded" && asked.method == "POST";
            if !is_form
                || asked.field("grant_type") != "client_credentials"
                || asked.path != "/tenant/oauth2/v2.0/token"
            {
                return Reply::new(400, r#"{"error":"invalid_request"}"#);
            }
            let token = json!({"token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": 3599, "access_token": bearer(n)});
            Reply::new(200, token.to_string())
        });
        Self { stub: stub.await, issued }
    }

    fn settings(&self, proof: ClientProof) -> OAuth2Settings {
        OAuth2Settings {
            login: login(&self.stub.url("/tenant/oauth2/v2.0/token")),
            client_id: "client:1".into(),
            proof,
            scope: Some("https://vault.azure.net/.default".into()),
            audience: None,
        }
    }

    pub(super) fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }
}

pub(super) fn bearer(n: usize) -> String {
    secret(&format!("bearer-{n}"))
}

/// A service that takes the bearer tokens of these numbers.
async fn service(good: impl Fn(usize) -> bool + Send + Sync + 'static) -> Stub {
    Stub::start(move |asked| {
        let is_good = (1..50).any(|n| good(n) && asked.header("authorization") == format!("Bearer {}", bearer(n)));
        if is_good && asked.path != "/never" {
            Reply::new(200, "fine")
        } else {
            Reply::new(401, format!("you sent {}", asked.header("authorization"))).with("www-authenticate", "Bearer")
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_proves_who_it_is_in_each_way_and_its_token_is_had_once() {
    let files = Files::new();
    let file = files.put("proof", &secret("se/cret +&=%"));
    for proof in [
        ClientProof::SecretInBody(file.clone()),
        ClientProof::SecretInHeader(file.clone()),
        ClientProof::Assertion(file.clone()),
    ] {
        // Some write the number as text.
        let issuer = Issuer::start(json!("3599")).await;
        let service = service(|n| n == 1).await;
        let guest = Guest::new(&service.origin(), CredentialSettings::OAuth2(issuer.settings(proof.clone())));
        let url = service.url("/");
        for answer in futures_util::future::join_all((0..20).map(|_| guest.get(&url))).await {
            assert_eq!(answer.status, 200, "{proof:?}: {}", text(&answer));
        }
        assert_eq!(issuer.issued(), 1, "{proof:?}: one flight");
        assert!(guest.credential.state().expires.is_some_and(|at| at > SystemTime::now() + Duration::from_secs(3_500)));
        let asked = issuer.stub.asked().remove(0);
        let (field, basic) = (|name: &str| asked.field(name), asked.header("authorization"));
        assert_eq!(field("scope"), "https://vault.azure.net/.default");
        match proof {
            ClientProof::SecretInBody(_) => {
                assert_eq!((field("client_id"), field("client_secret")), ("client:1".into(), secret("se/cret +&=%")));
                assert_eq!(basic, "");
            }
            ClientProof::SecretInHeader(_) => {
                // printf %s 'client%3A1:canary-7c1f5e-se%2Fcret+%2B%26%3D%25' | base64
                assert_eq!(basic, "Basic Y2xpZW50JTNBMTpjYW5hcnktN2MxZjVlLXNlJTJGY3JldCslMkIlMjYlM0QlMjU=");
                assert_eq!((field("client_id"), field("client_secret")), (String::new(), String::new()));
            }
            ClientProof::Assertion(_) => {
                assert_eq!(field("client_assertion"), secret("se/cret +&=%"));
                assert_eq!(field("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                assert_eq!((field("client_id"), basic), ("client:1".into(), ""));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_is_had_anew_before_it_ends_and_by_what_its_file_holds_then() {
    let files = Files::new();
    let file = files.put("proof", &secret("assertion-1"));
    let issuer = Issuer::start(json!(3)).await;
    let service = service(|_| true).await;
    let guest =
        Guest::new(&service.origin(), CredentialSettings::OAuth2(issuer.settings(ClientProof::Assertion(file))));
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    files.put("proof", &secret("assertion-2"));
    until("another one was had", || issuer.issued() >= 2).await;
    until("it is held", || guest.credential.state().counts.logins >= 2).await;
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    let assertions: Vec<String> = issuer.stub.asked().iter().map(|asked| asked.field("client_assertion")).collect();
    assert_eq!(assertions[..2], [secret("assertion-1"), secret("assertion-2")]);
    assert!(service.asked()[1].header("authorization") != service.asked()[0].header("authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_that_is_refused_is_had_anew_once_and_the_request_repeated_once() {
    let files = Files::new();
    let file = files.put("proof", &secret("client-secret"));
    let issuer = Issuer::start(json!(3_600)).await;
    // The first one has been revoked.
    let service = service(|n| n > 1).await;
    let settings = issuer.settings(ClientProof::SecretInBody(file));
    let guest = Guest::new(&service.origin(), CredentialSettings::OAuth2(settings));
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    assert_eq!((issuer.issued(), service.asked().len()), (2, 2));
    for _ in 0..5 {
        let answer = guest.get(&service.url("/never")).await;
        assert!(answer.status == 401 && text(&answer).contains("you sent Bearer ***"), "{}", text(&answer));
        assert!(!text(&answer).contains("canary"), "{}", text(&answer));
    }
    assert_eq!((issuer.issued(), service.asked().len()), (3, 8), "one login, one repeat, for all of them");
    let outcome = guest.send("GET", &service.url("/"), &[("authorization", "Bearer mine")], "").await;
    assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{outcome:?}");
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_gives_none_is_told_without_secrets() {
    for (status, body, told) in [
        (
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: canary-7c1f5e-client-secret is wrong.\r\nTrace"}"#,
            "HTTP 401: invalid_client AADSTS7000215: ****",
        ),
        (400, r#"{"error":"unauthorized_client"}"#, "HTTP 400: unauthorized_client"),
        (429, "slow down", "HTTP 429"),
        (500, "", "HTTP 500"),
        (302, "", "HTTP 302: a redirect is not followed"),
        (200, r#"{"token_type":"mac","access_token":"canary-7c1f5e-x"}"#, "not a bearer token"),
        (200, r#"{"token_type":"Bearer","access_token":"short"}"#, "without a token"),
        (200, r#"{"error":"invalid_client"}"#, "without a token"),
    ] {
        let issuer = Stub::start(move |_| Reply::new(status, body).with("location", "http://127.0.0.1:1/")).await;
        let files = Files::new();
        let proof = ClientProof::SecretInBody(files.put("proof", &secret("client-secret")));
        let settings = OAuth2Settings {
            login: login(&issuer.url("/token")),
            client_id: "client".into(),
            proof,
            scope: None,
            audience: None,
        };
        let guest = Guest::new(&issuer.origin(), CredentialSettings::OAuth2(settings));
        let why = guest.refused(&issuer.url("/")).await;
        assert!(why.contains(told) && !why.contains(|c: char| c.is_control()), "{why}");
        assert_eq!(issuer.asked().len(), 1, "nothing but the login: {why}");
    }
}
