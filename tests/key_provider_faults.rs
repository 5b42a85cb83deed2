//! A key service that gives no answer, or a wrong one, with the plugin for Vault Transit and a Vault of the tests: what is cached outlasts it,
//! nothing is announced that did not come about, and no DEK is taken for another.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::key_providers::start;
use crate::support::backend::{Fault, Reply};
use crate::support::outside_kek::{decrypts, kek};

/// Longer than `cache_ttl_s = 1`.
const OUT_OF_THE_CACHE: Duration = Duration::from_millis(1_100);

pub(crate) fn down() -> Fault {
    Fault::Say(Reply::new(503, json!({"errors": ["Vault is sealed"]}).to_string()))
}

#[tokio::test]
async fn deks_in_the_cache_outlast_an_outage_to_their_ttl_and_then_it_is_503_until_vault_is_back() {
    let (codec, vault) = start("cache_ttl_s = 4", "breaker_failures = 2\nbreaker_ms = 300").await;
    let began = Instant::now();
    let sealed = codec.client.encrypt("shop", "v").await;
    let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
    let call = json!({"projectId": "shop", "deploymentId": "d", "variables": variables});
    vault.always(Some(down()));
    let records = codec.records().len();
    let refused = codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await;
    refused.refused(503, "kek_unavailable");
    // Nothing was announced that did not come about.
    assert!(codec.records()[records..].iter().all(|record| record["action"] != "DEK_CREATE"), "{:#?}", codec.records());
    codec.until_logged("gives no answer: DEKs in the cache go on").await;
    assert_eq!(kek(&codec.client).await["answers"], false);
    let mut from_cache = 0;
    let ended = loop {
        let answer = codec.client.post("/decrypt-all", call.clone()).await;
        if answer.status != 200 {
            answer.refused(503, "kek_unavailable");
            break began.elapsed();
        }
        assert_eq!(answer.ok(), json!({"A": "v"}));
        from_cache += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // Of its four seconds, less what a busy machine may have taken to unwrap it and to keep it.
    assert!(from_cache > 0 && ended >= Duration::from_secs(3), "{from_cache} in {ended:?}");
    // Left alone meanwhile, but for a look now and then.
    let looked_since = Instant::now();
    vault.requests();
    for _ in 0..100 {
        codec.client.post("/decrypt-all", call.clone()).await.refused(503, "kek_unavailable");
    }
    let (looks, looked_for) = (vault.requests(), looked_since.elapsed());
    assert!(looks as u128 <= 1 + looked_for.as_millis() / 300, "{looks} looks in {looked_for:?}");
    vault.always(None);
    codec.until_logged(" answers again").await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    codec.client.encrypt("new", "v").await;
    assert_eq!(kek(&codec.client).await["answers"], true);
    codec.verify(&[]);
}

/// Whatever comes in place of an answer: nothing is made, nothing announced, and the next call that is answered is as if nothing had been.
#[tokio::test]
async fn what_is_no_answer_is_503_and_nothing_is_lost() {
    let (codec, vault) = start("cache_ttl_s = 1", "deadline_ms = 10000\nbreaker_failures = 1000").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    tokio::time::sleep(OUT_OF_THE_CACHE).await;
    let json = |status: u16, text: &str| Fault::Say(Reply::new(status, text).with("content-type", "application/json"));
    for (index, (case, fault)) in [
        ("403", json(403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#)),
        ("404", json(404, r#"{"errors":[]}"#)),
        ("no such key", json(400, r#"{"errors":["encryption key not found"]}"#)),
        ("429", Fault::Say(Reply::new(429, "{}"))),
        ("500", json(500, r#"{"errors":["internal error"]}"#)),
        ("503", down()),
        ("slow", Fault::Late(Duration::from_secs(60))),
        ("cut in the middle", Fault::Cut),
        ("10 MB", Fault::Huge(10 << 20)),
        ("not JSON", Fault::Say(Reply::new(200, "<html>"))),
        ("no data", json(200, "{}")),
        ("not base64", json(200, r#"{"data":{"plaintext":"***","ciphertext":"vault:v1:***","key_version":1}}"#)),
        ("a redirect", Fault::Say(Reply::new(307, "").with("location", "http://127.0.0.1:9/"))),
    ]
    .into_iter()
    .enumerate()
    {
        let records = codec.records().len();
        vault.always(Some(fault));
        let project = format!("p-{index}");
        let encrypting = codec.client.post("/encrypt", json!({"projectId": project, "value": "v"}));
        let call = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]});
        let decrypting = codec.client.post("/decrypt-dek", call);
        let (encrypting, decrypting) = tokio::join!(encrypting, decrypting);
        for refused in [encrypting, decrypting] {
            assert_eq!(refused.problem(), (503, "kek_unavailable".into()), "{case}: {}", refused.text);
        }
        assert!(!codec.log().contains("ALARM"), "{case}");
        assert!(codec.records()[records..].iter().all(|record| record["action"] != "DEK_CREATE"), "{case}");
        vault.always(None);
        codec.client.encrypt(&project, "v").await;
    }
    let call = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]});
    codec.client.post("/decrypt-dek", call).await.ok();
    // It says for how long it wants to be left alone, and is: who asked it sooner would be answered.
    vault.fault(Fault::Say(Reply::new(429, "{}").with("retry-after", "2")));
    let (began, call) = (Instant::now(), json!({"projectId": "busy", "value": "v"}));
    codec.client.post("/encrypt", call.clone()).await.refused(503, "kek_unavailable");
    codec.client.until_status(200, "/encrypt", call).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    codec.verify(&[]);
}

/// Callers who give up say nothing of Vault, and make no room for more calls of it than there may be.
#[tokio::test]
async fn callers_who_go_away_open_no_breaker() {
    let (codec, vault) = start("", "breaker_failures = 2\nbreaker_ms = 60000\ncalls_max = 2").await;
    vault.requests();
    vault.always(Some(Fault::Late(Duration::from_millis(1_500))));
    let impatient = (0..12).map(|index| {
        let call = json!({"projectId": format!("p-{index}"), "value": "v"});
        let calling = codec.client.post("/encrypt", call);
        tokio::time::timeout(Duration::from_millis(300), calling)
    });
    let given_up = futures_util::future::join_all(impatient).await;
    assert!(given_up.iter().all(Result::is_err));
    assert!(vault.requests() <= 2, "no more than two at once");
    vault.always(None);
    let breaker = codec.plugins().await["keyProvider"]["breaker"].clone();
    assert_eq!(breaker, "closed");
    codec.client.encrypt("patient", "v").await;
    assert_eq!(codec.plugins().await["keyProvider"]["leftAlone"], 0);
}

/// A Vault that lies: what it opens is not what was wrapped.
#[tokio::test]
async fn another_dek_in_place_of_the_projects_is_an_alarm_and_opens_nothing() {
    let (codec, vault) = start("cache_ttl_s = 1", "").await;
    codec.client.encrypt("other", "v").await;
    let (others_dek, _) = codec.client.dek("other").await;
    for (index, (case, plaintext)) in [
        ("another project's DEK", others_dek.as_str()),
        ("32 zeros", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("31 bytes", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="),
        ("33 bytes", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("nothing", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let project = format!("shop-{index}");
        let sealed = codec.client.encrypt(&project, "v").await;
        tokio::time::sleep(OUT_OF_THE_CACHE).await;
        let lie = json!({"data": {"plaintext": plaintext}}).to_string();
        vault.fault(Fault::Say(Reply::new(200, lie).with("content-type", "application/json")));
        let call = json!({"projectId": project, "encryptedDEK": sealed["encryptedDEK"]});
        let answer = codec.client.post("/decrypt-dek", call.clone()).await;
        assert_eq!(answer.problem(), (500, "dek_corrupt".into()), "{case}: {}", answer.text);
        assert!(codec.log().contains("ALARM"), "{case}");
        // Nothing of it was kept.
        codec.client.post("/decrypt-dek", call).await.ok();
    }
    // A wrap that does not open again as what it was is not believed: no row, no record.
    let records = codec.records().len();
    vault.with(|vault| vault.change("POST", "transit/keys/other/rotate", json!({})));
    for plaintext in [others_dek.as_str(), "", "AAAA"] {
        let lie = json!({"data": {"plaintext": plaintext}}).to_string();
        let lie = Fault::Say(Reply::new(200, lie).with("content-type", "application/json"));
        let honest = Fault::Late(Duration::ZERO);
        vault.fault(honest);
        vault.fault(lie);
        codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "kek_unavailable");
    }
    assert!(codec.records()[records..].iter().all(|record| record["action"] != "DEK_CREATE"));
    codec.client.encrypt("new", "v").await;
}
