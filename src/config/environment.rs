//! The environment, read once.

use origan_codec_host::crypto::ServiceToken;
use zeroize::Zeroizing;

use super::{Config, ConfigError};

/// The variables that count. `KEK_SECRET` and `INTERNAL_SERVICE_TOKEN` are the platform's own names.
#[derive(Default)]
pub struct Environment {
    /// `KEK_SECRET`: the KEK, base64 of 32 bytes.
    pub kek_secret: Option<Zeroizing<String>>,
    /// `KEK_SECRET_RETAINED`: KEKs that only unwrap, in the same form, white space between them.
    pub kek_secret_retained: Option<Zeroizing<String>>,
    /// `CODEC_PKCS11_PIN`: the PIN of the token that holds the KEK.
    pub pkcs11_pin: Option<Zeroizing<String>>,
    /// `INTERNAL_SERVICE_TOKEN`: the token that every service of the platform shares.
    pub service_token: Option<ServiceToken>,
    /// `CODEC_LISTEN`.
    listen: Option<std::net::SocketAddr>,
    /// `CODEC_DATA_DIR`.
    data_dir: Option<std::path::PathBuf>,
    /// `DATABASE_URL`.
    database_url: Option<String>,
}

impl Environment {
    /// Reads the process's environment. A variable that is there and not text is an error; an empty one is as none.
    pub fn read() -> Result<Self, ConfigError> {
        let listen = variable("CODEC_LISTEN")?;
        let listen = listen.map(|text| {
            let parsed = text.parse();
            parsed.map_err(|_| ConfigError::Variable {
                name: "CODEC_LISTEN",
                message: "is not an address and a port such as 127.0.0.1:8686".into(),
            })
        });
        Ok(Self {
            kek_secret: variable("KEK_SECRET")?.map(Zeroizing::new),
            kek_secret_retained: variable("KEK_SECRET_RETAINED")?.map(Zeroizing::new),
            pkcs11_pin: variable("CODEC_PKCS11_PIN")?.map(Zeroizing::new),
            service_token: variable("INTERNAL_SERVICE_TOKEN")?.map(ServiceToken::new),
            listen: listen.transpose()?,
            data_dir: variable("CODEC_DATA_DIR")?.map(Into::into),
            database_url: variable("DATABASE_URL")?,
        })
    }

    /// The data directory that it names, or the default: before any file has been read.
    pub fn data_dir(&self) -> &std::path::Path {
        self.data_dir.as_deref().unwrap_or(std::path::Path::new(super::DEFAULT_DATA_DIR))
    }

    /// What the environment says wins over the file.
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        if self.database_url.is_some() {
            config.store.url.clone_from(&self.database_url);
        }
    }
}

fn variable(name: &'static str) -> Result<Option<String>, ConfigError> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(ConfigError::Variable { name, message: "is not UTF-8 text".into() })
        }
    }
}
