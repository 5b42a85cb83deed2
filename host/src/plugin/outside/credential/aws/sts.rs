//! Keys for a token of a web identity: `AssumeRoleWithWebIdentity` of STS, which nobody signs.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use zeroize::Zeroizing;

use super::super::failure::CredentialError;
use super::super::login::{LoginError, LoginPlace, LoginRequest, LoginSettings};
use super::super::session::{Grantor, Lease, Life};
use super::super::{Secrets, secrets};
use super::sign::Keys;

/// What asks for keys.
pub(super) struct WebIdentity {
    name: String,
    place: LoginPlace,
    role_arn: String,
    token_file: PathBuf,
    session_name: String,
}

impl WebIdentity {
    pub(super) fn new(
        name: &str,
        login: &LoginSettings,
        role_arn: String,
        token_file: PathBuf,
        session_name: String,
    ) -> Result<Self, CredentialError> {
        let place = LoginPlace::new(name, login)?;
        Ok(Self { name: name.to_owned(), place, role_arn, token_file, session_name })
    }

    pub(super) fn check(&self) -> Result<(), CredentialError> {
        secrets::read(&self.name, &self.token_file).map(|_| ())
    }
}

impl Grantor for WebIdentity {
    type Token = Keys;

    async fn log_in(&self) -> Result<Lease<Keys>, LoginError> {
        let token = secrets::read(&self.name, &self.token_file).map_err(LoginError::ours)?;
        let body = secrets::form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role_arn),
            ("RoleSessionName", &self.session_name),
            ("WebIdentityToken", &token),
        ]);
        let content_type = "application/x-www-form-urlencoded";
        let secrets = Secrets::of(&[&token]);
        let request = LoginRequest { path: "", content_type, headers: Vec::new(), body, secrets };
        let answer = self.place.post(request, |text| field(text, "Code").map(|code| code.to_string())).await?;
        let text = answer.text().unwrap_or("");
        let value = |name: &str| field(text, name).filter(|value| secrets::is_value(value));
        let keys = || {
            Some(Keys {
                access_key_id: value("AccessKeyId")?,
                secret_access_key: value("SecretAccessKey")?,
                session_token: Some(value("SessionToken")?),
            })
        };
        // By the server's clock, whatever ours says.
        let now = answer.header("date").and_then(|text| DateTime::parse_from_rfc2822(text).ok());
        let now = now.map_or_else(SystemTime::now, |date| date.to_utc().into());
        let lasts = field(text, "Expiration").and_then(|expiration| lasts(&expiration, now));
        let (Some(token), Some(lasts)) = (keys(), lasts) else {
            return Err(self.place.bad_answer("HTTP 200 without keys that are good for a while"));
        };
        Ok(Lease { token, life: Life { lasts: Some(lasts), is_renewable: false } })
    }

    async fn renew(&self, _token: &Keys) -> Result<Option<Life>, LoginError> {
        Ok(None)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.token_file.clone()]
    }
}

/// RFC 3339, or seconds since 1970, as STS writes it in JSON.
fn lasts(expiration: &str, now: SystemTime) -> Option<Duration> {
    let expires = DateTime::parse_from_rfc3339(expiration).ok().map(|time| time.to_utc());
    let seconds = || DateTime::from_timestamp(expiration.parse::<f64>().ok()? as i64, 0);
    let expires = expires.or_else(seconds)?;
    SystemTime::from(expires).duration_since(now).ok().filter(|lasts| !lasts.is_zero())
}

/// A field of STS's answer, which is XML or JSON as the server likes. Its values need no escaping; one that has some is none of them.
fn field(text: &str, name: &str) -> Option<Zeroizing<String>> {
    let in_xml = || text.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"));
    let in_json = || {
        let rest = text.split_once(&format!("\"{name}\""))?.1.trim_start().strip_prefix(':')?.trim_start();
        match rest.strip_prefix('"') {
            Some(rest) => rest.split_once('"'),
            None => Some(rest.split_at(rest.find([',', '}']).unwrap_or(rest.len()))),
        }
    };
    let (value, _) = in_xml().or_else(in_json)?;
    (!value.contains(['<', '&', '\\'])).then(|| Zeroizing::new(value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_and_one_in_json_say_the_same() {
        for text in [
            "<R><Credentials><AccessKeyId>ASIA1</AccessKeyId><Expiration>2026-01-01T01:00:00Z</Expiration></Credentials></R>",
            r#"{"R":{"Credentials":{"Expiration":1.7672292E9,"AccessKeyId":"ASIA1"}}}"#,
            r#"{"Credentials": {"AccessKeyId" : "ASIA1", "Expiration": 1767229200}}"#,
        ] {
            assert_eq!(field(text, "AccessKeyId").as_deref().map(String::as_str), Some("ASIA1"), "{text}");
            let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").expect("a time").to_utc().into();
            let expiration = field(text, "Expiration").expect("there");
            assert_eq!(lasts(&expiration, now), Some(Duration::from_secs(3_600)), "{text}");
        }
        assert!(field("<Code>a&amp;b</Code>", "Code").is_none());
        assert!(field("{}", "Code").is_none());
    }
}
