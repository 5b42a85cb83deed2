//! Who asks, as authenticated, and what callers may ask for.

use std::fmt;

use origan_codec_host::crypto::ServiceToken;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What records call whoever comes with `INTERNAL_SERVICE_TOKEN`.
pub const SHARED_CALLER: &str = "service";
/// What they call whoever uses the command line.
pub const OPERATOR: &str = "operator";
/// What they call the service, where nobody asked.
pub const ITSELF: &str = "codec";

/// Everything a caller can ask for. The name is what `codec.toml`, policies and the record's `operation` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// One value, under the project's primary DEK.
    Encrypt,
    /// Several values at once.
    EncryptAll,
    /// One value.
    DecryptValue,
    /// A deployment's variables at once.
    DecryptAll,
    /// A project's DEK itself.
    DecryptDek,
    /// Makes a project's first DEK.
    GenerateDek,
    /// Values under old versions, or in another format, under the primary DEK.
    ReEncrypt,
    /// Makes a new version of a project's DEK.
    RotateDek,
    /// Wraps a project's DEK by the primary KEK.
    RewrapDek,
    /// The same of any project's.
    RewrapAll,
    /// Disables a version of a project's DEK.
    DisableDek,
    /// Enables one again.
    EnableDek,
    /// Destroys one.
    DestroyDek,
    /// Reads `/status`.
    Status,
    /// Asks what would be decided, and why.
    Explain,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Encrypt,
        Self::EncryptAll,
        Self::DecryptValue,
        Self::DecryptAll,
        Self::DecryptDek,
        Self::GenerateDek,
        Self::ReEncrypt,
        Self::RotateDek,
        Self::RewrapDek,
        Self::RewrapAll,
        Self::DisableDek,
        Self::EnableDek,
        Self::DestroyDek,
        Self::Status,
        Self::Explain,
    ];

    /// Its name: that of its path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::EncryptAll => "encrypt-all",
            Self::DecryptValue => "decrypt-value",
            Self::DecryptAll => "decrypt-all",
            Self::DecryptDek => "decrypt-dek",
            Self::GenerateDek => "generate-dek",
            Self::ReEncrypt => "re-encrypt",
            Self::RotateDek => "rotate-dek",
            Self::RewrapDek => "rewrap-dek",
            Self::RewrapAll => "rewrap-all",
            Self::DisableDek => "disable-dek",
            Self::EnableDek => "enable-dek",
            Self::DestroyDek => "destroy-dek",
            Self::Status => "status",
            Self::Explain => "explain",
        }
    }

    /// Whether policies are asked about it: whatever touches a secret or a key.
    pub fn is_judged(self) -> bool {
        !matches!(self, Self::Status | Self::Explain)
    }

    /// Its place in [`Action::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How a caller was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The platform's one `INTERNAL_SERVICE_TOKEN`.
    SharedToken,
    /// A token of its own.
    Token,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// As configured: `runner`, `control-api`; `service` for the shared token.
    pub name: String,
    /// How it was known.
    pub method: Method,
    /// What it may ask for.
    pub actions: Vec<Action>,
}

impl Method {
    /// Its name, as records and policies have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SharedToken => "shared-token",
            Self::Token => "token",
        }
    }
}

impl Caller {
    /// Whether it may ask for `action` at all, before any policy is asked.
    pub fn may(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }
}

/// SHA-256 of a token: what is kept of it.
#[derive(Clone)]
pub struct TokenDigest([u8; 32]);

/// Not 64 hexadecimal digits, with or without `sha256:` in front.
#[derive(Debug, thiserror::Error)]
#[error("a token digest is `sha256:` and 64 hexadecimal digits, and not that of the empty token")]
pub struct ParseTokenDigestError;

impl TokenDigest {
    /// Of `token`.
    pub fn of(token: &ServiceToken) -> Self {
        Self::of_bytes(token.expose_secret().as_bytes())
    }

    /// Whether both are of one token.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses `sha256:<64 hexadecimal digits>`.
    pub fn parse(text: &str) -> Result<Self, ParseTokenDigestError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(ParseTokenDigestError);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let text = std::str::from_utf8(pair).map_err(|_| ParseTokenDigestError)?;
            *byte = u8::from_str_radix(text, 16).map_err(|_| ParseTokenDigestError)?;
        }
        // That of nothing: `printf %s "$TOKEN" | sha256sum` where TOKEN is not set.
        if digest == Self::of_bytes(b"").0 {
            return Err(ParseTokenDigestError);
        }
        Ok(Self(digest))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// Two callers with one token.
#[derive(Debug, thiserror::Error)]
#[error("is also a token of caller `{other}`")]
pub struct TokenTaken {
    /// Whose it is already.
    pub other: String,
}

/// Every token that opens the door, and whose it is.
#[derive(Debug, Default)]
pub struct Callers {
    known: Vec<(TokenDigest, std::sync::Arc<Caller>)>,
}

impl Callers {
    /// Lets `caller` in with any of `tokens`, all or none. A token that lets another in already is an error: who would it be?
    pub fn admit(&mut self, caller: Caller, tokens: impl IntoIterator<Item = TokenDigest>) -> Result<(), TokenTaken> {
        let caller = std::sync::Arc::new(caller);
        let tokens: Vec<TokenDigest> = tokens.into_iter().collect();
        let is_taken = |(known, other): &&(TokenDigest, std::sync::Arc<Caller>)| {
            other.name != caller.name && tokens.iter().any(|token| token.0 == known.0)
        };
        if let Some((_, other)) = self.known.iter().find(is_taken) {
            return Err(TokenTaken { other: other.name.clone() });
        }
        self.known.extend(tokens.into_iter().map(|token| (token, caller.clone())));
        Ok(())
    }

    /// Whether nobody can get in.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The caller of this name.
    pub fn named(&self, name: &str) -> Option<&std::sync::Arc<Caller>> {
        self.known.iter().map(|(_, caller)| caller).find(|caller| caller.name == name)
    }

    /// Whose token `presented` is. Compares digests, all of them, each in constant time: every wrong token takes as long.
    pub fn authenticate(&self, presented: &[u8]) -> Option<&std::sync::Arc<Caller>> {
        if presented.is_empty() {
            return None;
        }
        let digest = TokenDigest::of_bytes(presented);
        let mut found = None;
        for (token, caller) in &self.known {
            let same: Choice = token.0.ct_eq(&digest.0);
            if bool::from(same) {
                found = Some(caller);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller { name: name.into(), method: Method::Token, actions: vec![Action::Encrypt] }
    }

    #[test]
    fn two_tokens_of_one_caller_are_valid_at_once_and_nothing_near_them() {
        let mut callers = Callers::default();
        let digest = |token: &str| TokenDigest::of(&ServiceToken::new(token.into()));
        callers.admit(caller("runner"), [digest("old-token"), digest("new-token")]).expect("new");
        callers.admit(caller("api"), [digest("api-token")]).expect("new");
        assert!(callers.admit(caller("thief"), [digest("new-token")]).is_err());
        let name = |token: &str| callers.authenticate(token.as_bytes()).map(|caller| caller.name.as_str());
        assert_eq!(
            (name("old-token"), name("new-token"), name("api-token")),
            (Some("runner"), Some("runner"), Some("api"))
        );
        for wrong in ["", "old-toke", "old-token\n", " old-token", "OLD-TOKEN"] {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn names_in_configuration_are_those_of_the_paths() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_string(&action).expect("a string"), format!("\"{}\"", action.name()));
            assert_eq!(Action::ALL[action.index()], action);
        }
    }

    #[test]
    fn digests_parse_in_one_form() {
        let hex = "ab".repeat(32);
        assert!(TokenDigest::parse(&format!("sha256:{hex}")).is_ok());
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in
            ["", of_nothing, "sha256:", &hex[..62], &format!("{hex}00"), &"zz".repeat(32), &format!("+1{}", &hex[2..])]
        {
            assert!(TokenDigest::parse(text).is_err(), "{text}");
        }
    }
}
