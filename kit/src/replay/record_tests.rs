//! Lines as the service writes them, and the queries that it had made of the calls.

use super::*;

/// What policies were told is in `facts`.
const DECRYPT_ALL: &str = r#"{"chain":"00000000000000aa","seq":12,"time":"2026-01-01T12:00:00.250Z","action":"SECRET_DECRYPT","operation":"decrypt-all","projectId":"shop","deploymentId":"d-1","caller":{"name":"runner","method":"token"},"variables":["DATABASE_URL","API_TOKEN"],"keyVersions":[1],"facts":{"deployment":{"created":"2026-01-01T11:00:00Z"},"plainVariables":["MODE"],"sizes":[96,80,4],"versions":[2,0]},"decisions":{"recency":"allow"},"outcome":"allowed","requestId":"r-9","remote":"10.0.0.1","prev":"00","hash":"11"}"#;

fn record(json: &str) -> Record {
    serde_json::from_str(json).expect("a record")
}

async fn asked(json: &str, needs: Lookups) -> Result<String, Missing> {
    record(json).with_query(needs, async |query| format!("{query:?}")).await
}

#[tokio::test]
async fn a_record_holds_the_query_that_it_was_made_of() {
    let record = record(DECRYPT_ALL);
    let asking = record.with_query(Lookups::DEPLOYMENT | Lookups::VARIABLES, async |query| {
        assert_eq!((query.request_id, query.action, query.time), ("r-9", "decrypt-all", 1_767_268_800_250));
        assert_eq!((query.caller.name, query.caller.method), ("runner", "token"));
        assert_eq!(query.project_id, Some("shop"));
        let attributes: Vec<_> = query.attributes.iter().map(|one| (one.name, one.value)).collect();
        assert_eq!(attributes, [("remote", "10.0.0.1")]);
        let DeploymentFact::Known(known) = &query.deployment else { panic!("{:?}", query.deployment) };
        assert_eq!((known.id, known.project_id, known.created), ("d-1", "shop", 1_767_265_200_000));
        let variables: Vec<_> =
            query.variables.iter().map(|one| (one.name, one.kind, one.key_version, one.size_bytes)).collect();
        let secrets = [("DATABASE_URL", "secret", Some(2), 96), ("API_TOKEN", "secret", None, 80)];
        assert_eq!(variables, [secrets[0], secrets[1], ("MODE", "plain", None, 4)]);
    });
    asking.await.expect("decidable");
}

#[tokio::test]
async fn variables_that_live_elsewhere_come_last_with_where_they_are() {
    let external = r#""external":[{"name":"FAR","provider":"vault","reference":"secret/data/app#a","askedVersion":"1","version":"1"}],"facts""#;
    let json = DECRYPT_ALL.replace(r#""facts""#, external).replace("[96,80,4]", "[96,80,4,0]");
    let record = record(&json);
    let asking = record.with_query(Lookups::VARIABLES, async |query| {
        let last = query.variables.last().expect("four");
        assert_eq!((query.variables.len(), last.name, last.kind, last.size_bytes), (4, "FAR", "external", 0));
        assert_eq!((last.provider, last.reference), (Some("vault"), Some("secret/data/app#a")));
        assert_eq!(query.variables[2].provider, None);
    });
    asking.await.expect("decidable");
    // Nobody had asked for variables then.
    let unasked = json.replace("[96,80,4,0]", "[]").replace(r#""versions":[2,0]"#, r#""versions":[]"#);
    assert_eq!(asked(&unasked, Lookups::VARIABLES).await, Err(Missing::Variables));
}

#[tokio::test]
async fn a_policy_is_told_only_what_it_needs() {
    let text = asked(DECRYPT_ALL, Lookups::empty()).await.expect("decidable");
    assert!(!text.contains("DATABASE_URL") && !text.contains("d-1"), "{text}");
}

#[tokio::test]
async fn what_the_record_does_not_say_is_never_made_up() {
    let (deployment, variables) = (Lookups::DEPLOYMENT, Lookups::VARIABLES);
    let head = r#""time":"2026-01-01T12:00:00Z","caller":{"name":"c","method":"token"}"#;
    let line = |rest: &str| format!("{{{head},{rest}}}");
    let all = r#""operation":"decrypt-all","projectId":"shop","deploymentId":"d-1","variables":["A"]"#;
    for (json, needs, expected) in [
        (line(all), deployment, Err(Missing::Deployment)),
        (line(all), variables, Err(Missing::Variables)),
        (line(&format!(r#"{all},"facts":{{"deployment":{{"known":false}}}}"#)), deployment, Ok("Unknown(\"d-1\")")),
        // Plain ones alone were given, or none, or nobody asked.
        (line(r#""operation":"encrypt-all","projectId":"shop""#), variables, Err(Missing::Variables)),
        (line(r#""operation":"encrypt","projectId":"shop""#), variables, Ok("variables: []")),
        (line(r#""operation":"encrypt","projectId":"shop","variables":["A"]"#), variables, Err(Missing::Variables)),
        (line(r#""operation":"decrypt-value","projectId":"shop""#), deployment | variables, Ok("None")),
        // A deployment is known, and nobody can tell whose it is.
        (
            line(
                r#""operation":"decrypt-value","deploymentId":"d","facts":{"deployment":{"created":"2026-01-01T00:00:00Z"}}"#,
            ),
            deployment,
            Err(Missing::Deployment),
        ),
        (r#"{"operation":"decrypt-value"}"#.into(), Lookups::empty(), Err(Missing::Time)),
    ] {
        let found = asked(&json, needs).await;
        match (&found, expected) {
            (Ok(text), Ok(part)) => assert!(text.contains(part), "{json}: {text}"),
            _ => assert_eq!(found.err(), expected.err(), "{json}"),
        }
    }
}

#[test]
fn only_operations_that_policies_were_asked_about_are_judged() {
    assert!(record(DECRYPT_ALL).is_judged());
    for json in [
        r#"{"chain":"aa","seq":1,"time":"2026-01-01T12:00:00Z","action":"SEGMENT_START","kekId":"k"}"#,
        r#"{"action":"DEK_CREATE","operation":"encrypt","caller":{"name":"c","method":"token"}}"#,
        r#"{"action":"DEK_IMPORT","operation":"decrypt-all","caller":{"name":"c","method":"token"}}"#,
        r#"{"action":"STATUS_READ","operation":"status","caller":{"name":"c","method":"token"}}"#,
        r#"{"action":"KEK_ROTATE","operation":"encrypt","caller":{"name":"operator","method":"command-line"}}"#,
    ] {
        assert!(!record(json).is_judged(), "{json}");
    }
}
