//! Signatures for AWS: by keys that are given, by keys that a web identity brings, by a clock that differs.

use super::*;

fn aws(service: &str, keys: AwsKeys) -> CredentialSettings {
    CredentialSettings::Aws(AwsSettings { region: "us-east-1".into(), service: service.into(), keys })
}

fn key_files(files: &Files, id: &str, key: &str, token: Option<&str>) -> AwsKeys {
    AwsKeys::Files {
        access_key_id: files.put("id", id),
        secret_access_key: files.put("key", key),
        session_token: token.map(|token| files.put("session", token)),
    }
}

/// A user of `aws` that may do everything: id and key.
async fn user(aws: &S3) -> (String, String) {
    aws.call("iam", &[("Action", "CreateUser"), ("UserName", "codec"), ("Version", "2010-05-08")]).await;
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let policy = policy.to_string();
    aws.call(
        "iam",
        &[
            ("Action", "PutUserPolicy"),
            ("UserName", "codec"),
            ("PolicyName", "all"),
            ("PolicyDocument", &policy),
            ("Version", "2010-05-08"),
        ],
    )
    .await;
    let made =
        aws.call("iam", &[("Action", "CreateAccessKey"), ("UserName", "codec"), ("Version", "2010-05-08")]).await;
    (made.get("AccessKeyId"), made.get("SecretAccessKey"))
}

#[tokio::test]
async fn aws_takes_what_is_signed_and_nothing_else() {
    let server = S3::start().await;
    server.put("/bucket", None).await;
    let (id, key) = user(&server).await;
    server.verify(true).await;
    let files = Files::new();
    let s3 = Guest::new(&server.url, aws("s3", key_files(&files, &id, &key, None)));
    // Names that a careless signer gets wrong.
    for name in ["plain", "a b", "a+b", "é/ü", "(x)!*'", "a%2Fb", "a=b&c", "~.-_", "x//y", "%25"] {
        let url = url::Url::parse(&server.url).expect("a URL");
        let escaped = match name {
            "a%2Fb" => name.to_owned(),
            name => name.replace('%', "%25").replace('+', "%2B"),
        };
        let url = url.join("/bucket/").and_then(|base| base.join(&format!("./{escaped}"))).expect("a URL");
        let put =
            s3.send("PUT", url.as_str(), &[("content-type", "text/plain"), ("x-amz-meta-a", " b   c ")], "v").await;
        assert_eq!(put.as_ref().map(|answer| answer.status), Ok(200), "{name}: {put:?}");
        let got = s3.get(url.as_str()).await;
        assert_eq!((got.status, &*got.body), (200, &b"v"[..]), "{name}");
    }
    for query in
        ["list-type=2&prefix=a%20b", "list-type=2&prefix=a+b&max-keys=1", "list-type=2&prefix=%C3%A9%2F", "location"]
    {
        let answer = s3.get(&format!("{}/bucket?{query}", server.url)).await;
        assert_eq!(answer.status, 200, "{query}: {}", text(&answer));
        assert!(!query.contains("prefix") || text(&answer).contains("<Key>"), "{query}: {}", text(&answer));
    }
    let kept = Guest::new(&server.url, aws("secretsmanager", key_files(&files, &id, &key, None)));
    let url = format!("{}/", server.url);
    let call = async |guest: &Guest, target: &str, body: &str| {
        let target = format!("secretsmanager.{target}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &*target)];
        guest.send("POST", &url, &headers, body).await.expect("an answer")
    };
    let made = call(&kept, "CreateSecret", r#"{"Name": "app", "SecretString": "value-é"}"#).await;
    assert_eq!(made.status, 200, "{}", text(&made));
    let got = call(&kept, "GetSecretValue", r#"{"SecretId": "app"}"#).await;
    assert!(got.status == 200 && text(&got).contains("SecretString"), "{}", text(&got));
    // The server does look at signatures: one byte of the key, the region's name, and it refuses.
    let other = format!("{}{}", &key[..key.len() - 1], if key.ends_with('A') { 'B' } else { 'A' });
    let wrong = Files::new();
    let wrong = Guest::new(&server.url, aws("secretsmanager", key_files(&wrong, &id, &other, None)));
    let refused = call(&wrong, "GetSecretValue", r#"{"SecretId": "app"}"#).await;
    assert!(refused.status == 403 && text(&refused).contains("SignatureDoesNotMatch"), "{}", text(&refused));
    // A key that is replaced counts at once.
    files.put("key", &other);
    assert_eq!(call(&kept, "GetSecretValue", r#"{"SecretId": "app"}"#).await.status, 403);
    files.put("key", &key);
    assert_eq!(call(&kept, "GetSecretValue", r#"{"SecretId": "app"}"#).await.status, 200);
    std::fs::remove_file(files.0.path().join("key")).expect("removed");
    let why = kept.refused(&url).await;
    assert!(why.contains("cannot be read"), "{why}");
}

/// STS in front of one that verifies signatures: nobody signs this call, and the server behind would ask for it.
async fn sts(server: &Arc<S3>, files: &Files) -> Stub {
    let server = server.clone();
    let token_file = files.0.path().join("web-token");
    Stub::start_slow(move |asked: Asked| {
        let (server, token_file) = (server.clone(), token_file.clone());
        Box::pin(async move {
            let expected = std::fs::read_to_string(token_file).unwrap_or_default();
            if asked.field("WebIdentityToken") != expected.trim_end() || !asked.header("authorization").is_empty() {
                let body = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>";
                return Reply::new(400, body);
            }
            server.verify(false).await;
            let field = |name: &str| asked.field(name);
            let (action, version, role, name) = (field("Action"), field("Version"), field("RoleArn"), field("RoleSessionName"));
            let fields = [("Action", &*action), ("Version", &*version), ("RoleArn", &*role), ("RoleSessionName", &*name)];
            let answer = server.call("sts", &fields).await;
            server.verify(true).await;
            let expiration = Utc::now() + chrono::Duration::seconds(3_600);
            Reply::new(
                200,
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                     <SessionToken>{}</SessionToken><SecretAccessKey>{}</SecretAccessKey><Expiration>{}</Expiration>\
                     <AccessKeyId>{}</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
                    answer.get("SessionToken"),
                    answer.get("SecretAccessKey"),
                    expiration.format("%Y-%m-%dT%H:%M:%SZ"),
                    answer.get("AccessKeyId"),
                ),
            )
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_keys_are_had_for_a_web_identity_and_had_anew_when_they_are_not_known_any_more() {
    let server = Arc::new(S3::start().await);
    let role_arn = role(&server).await;
    server.verify(true).await;
    let files = Files::new();
    let token_file = files.put("web-token", &secret("web-token-1"));
    let sts = sts(&server, &files).await;
    let keys = AwsKeys::WebIdentity {
        login: login(&sts.origin()),
        role_arn,
        token_file: token_file.clone(),
        session_name: "codec".into(),
    };
    let guest = Guest::new(&server.url, aws("s3", keys));
    let url = format!("{}/bucket/object", server.url);
    for _ in 0..3 {
        let put = guest.send("PUT", &url, &[], "v").await.expect("an answer");
        assert_eq!(put.status, 200, "{}", text(&put));
    }
    assert_eq!(sts.asked().len(), 1, "keys are kept");
    let expires = guest.credential.state().expires.expect("they end");
    assert!(expires > SystemTime::now() + Duration::from_secs(3_500));
    // The server knows none of them any more, and the token in the file is another one by now.
    server.reset().await;
    server.verify(false).await;
    role(&server).await;
    server.verify(true).await;
    files.put("web-token", &secret("web-token-2"));
    let put = guest.send("PUT", &url, &[], "v").await.expect("an answer");
    assert_eq!(put.status, 200, "{}", text(&put));
    let asked = sts.asked();
    let tokens: Vec<String> = asked.iter().map(|asked| asked.field("WebIdentityToken")).collect();
    assert_eq!(tokens, [secret("web-token-1"), secret("web-token-2")]);
    let call = [asked[0].method.clone(), asked[0].field("Action"), asked[0].field("Version")];
    assert_eq!(call, ["POST", "AssumeRoleWithWebIdentity", "2011-06-15"]);
}

/// A bucket, and a role that may do everything with it: its ARN.
async fn role(aws: &S3) -> String {
    aws.put("/bucket", None).await;
    let may = |action: &str, whom: serde_json::Value| {
        let mut statement = json!({"Effect": "Allow", "Action": action});
        statement.as_object_mut().expect("an object").extend(whom.as_object().expect("an object").clone());
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    };
    let trust = may("sts:AssumeRoleWithWebIdentity", json!({"Principal": {"Federated": "x"}}));
    let all = may("*", json!({"Resource": "*"}));
    let named = [("RoleName", "codec"), ("Version", "2010-05-08")];
    let made = [&named[..], &[("Action", "CreateRole"), ("AssumeRolePolicyDocument", &trust)]].concat();
    let made = aws.call("iam", &made).await;
    let put = [("Action", "PutRolePolicy"), ("PolicyName", "all"), ("PolicyDocument", &all)];
    aws.call("iam", &[&named[..], &put].concat()).await;
    made.get("Arn")
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_keys_that_have_ended_are_had_anew_once_and_not_again_if_that_does_not_help() {
    let files = Files::new();
    let token_file = files.put("web-token", &secret("web-token"));
    let issued = Arc::new(AtomicUsize::new(0));
    let counting = issued.clone();
    let sts = Stub::start(move |_| {
        let n = counting.fetch_add(1, Ordering::SeqCst) + 1;
        let expiration = (Utc::now() + chrono::Duration::seconds(3_600)).timestamp();
        let body = json!({"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": {
            "AccessKeyId": format!("ASIA{n:012}"), "SecretAccessKey": "k".repeat(40),
            "SessionToken": secret(&format!("session-{n}")), "Expiration": expiration}}}});
        Reply::new(200, body.to_string())
    })
    .await;
    // The first keys have ended, and so have all that ask for /never.
    let service = Stub::start(|asked| {
        let is_first = asked.header("authorization").contains("ASIA000000000001/");
        if is_first || asked.path == "/never" {
            let token = asked.header("x-amz-security-token");
            let body = format!("{{\"__type\":\"ExpiredTokenException\",\"message\":\"{token} has expired\"}}");
            return Reply::new(400, body);
        }
        Reply::new(200, "fine")
    })
    .await;
    let keys = AwsKeys::WebIdentity {
        login: login(&sts.origin()),
        role_arn: "arn:aws:iam::123456789012:role/codec".into(),
        token_file,
        session_name: "codec".into(),
    };
    let guest = Guest::new(&service.origin(), aws("kms", keys));
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    assert_eq!((issued.load(Ordering::SeqCst), service.asked().len()), (2, 2));
    for _ in 0..5 {
        let answer = guest.get(&service.url("/never")).await;
        assert!(answer.status == 400 && !text(&answer).contains("canary"), "{}", text(&answer));
    }
    assert_eq!(issued.load(Ordering::SeqCst), 3, "had anew once, and then not believed");
    // Each but the first of those was sent once.
    assert_eq!(service.asked().len(), 2 + 2 + 4);
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
}

/// The time that a signature states, less the server's, in seconds.
fn apart_s(asked: &Asked, theirs: DateTime<Utc>) -> i64 {
    let stamp = chrono::NaiveDateTime::parse_from_str(asked.header("x-amz-date"), "%Y%m%dT%H%M%SZ").expect("a time");
    (stamp.and_utc() - theirs).num_seconds()
}

/// A server whose clock is so many seconds ahead of ours and that refuses signatures of another time.
async fn skewed(ahead_s: i64, dates_s: i64, body: &'static str) -> Stub {
    Stub::start(move |asked| {
        let theirs = Utc::now() + chrono::Duration::seconds(ahead_s);
        let dated = (Utc::now() + chrono::Duration::seconds(dates_s)).to_rfc2822();
        let reply = if apart_s(asked, theirs).abs() < 300 { Reply::new(200, "fine") } else { Reply::new(403, body) };
        reply.with("date", dated)
    })
    .await
}

#[tokio::test]
async fn a_clock_that_differs_is_set_right_once_by_what_the_server_says() {
    let files = Files::new();
    let keys = || key_files(&files, "AKIDEXAMPLE0", &secret("aws-key"), None);
    const XML: &str = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    const JSON: &str = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
    for (ahead_s, body) in [(3_600, XML), (-7_200, JSON)] {
        let server = skewed(ahead_s, ahead_s, body).await;
        let guest = Guest::new(&server.origin(), aws("s3", keys()));
        assert_eq!(guest.get(&server.url("/")).await.status, 200, "{ahead_s}");
        assert_eq!(server.asked().len(), 2, "refused, and repeated");
        assert_eq!(guest.get(&server.url("/")).await.status, 200);
        assert_eq!(server.asked().len(), 3, "right at once from then on");
    }
    // A server that lies about its time, one that is a week away, and one that refuses for another reason.
    for (ahead_s, dates_s, body, requests) in
        [(7_200, 3_600, XML, 2), (604_800, 604_800, XML, 1), (3_600, 0, JSON, 1), (3_600, 3_600, "AccessDenied", 1)]
    {
        let server = skewed(ahead_s, dates_s, body).await;
        let guest = Guest::new(&server.origin(), aws("s3", keys()));
        assert_eq!(guest.get(&server.url("/")).await.status, 403);
        assert_eq!(server.asked().len(), requests, "{ahead_s} {dates_s} {body}: bounded");
    }
}

#[tokio::test]
async fn what_a_signature_consists_of_is_neither_set_nor_seen_by_a_guest() {
    let server = Stub::start(|asked| {
        let shown = format!("{:?} {}", asked.headers, asked.header("authorization").to_uppercase());
        Reply::new(403, shown)
            .with("x-echo", asked.header("authorization"))
            .with("x-amz-token", asked.header("x-amz-security-token"))
    })
    .await;
    let files = Files::new();
    let token = secret("session/with+slashes==");
    let guest =
        Guest::new(&server.origin(), aws("s3", key_files(&files, "AKIDEXAMPLE0", &secret("aws-key"), Some(&token))));
    let answer = guest.get(&server.url("/")).await;
    let sent = server.asked().remove(0);
    assert!(sent.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE0/"));
    assert_eq!(sent.header("x-amz-security-token"), token);
    let signature = sent.header("authorization").rsplit_once('=').expect("a signature").1.to_owned();
    for hidden in [&*token, &*signature, "AKIDEXAMPLE0", &*signature.to_uppercase(), "canary"] {
        assert!(!text(&answer).contains(hidden), "{hidden}: {}", text(&answer));
    }
    for header in ["authorization", "x-amz-date", "X-Amz-Security-Token", "x-amz-content-sha256", "host"] {
        let outcome = guest.send("GET", &server.url("/"), &[(header, "mine")], "").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{header}: {outcome:?}");
    }
    for query in ["X-Amz-Signature=mine", "a=b&x-amz-date=mine", "%58-Amz-Credential=mine"] {
        let outcome = guest.send("GET", &server.url(&format!("/?{query}")), &[], "").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{query}: {outcome:?}");
    }
    assert_eq!(server.asked().len(), 1, "nothing of it was sent");
}
