//! The PIN of the token's user.

use std::path::{Path, PathBuf};

use cryptoki::types::AuthPin;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Where it comes from. A file is read each time it is needed, so that a PIN can be changed.
pub(super) enum PinSource {
    Given(Pin),
    File(PathBuf),
}

/// The PIN: wiped on drop, never shown.
#[derive(Clone)]
pub(super) struct Pin(Zeroizing<String>);

impl PinSource {
    pub(super) fn read(&self) -> Result<Pin, String> {
        match self {
            Self::Given(pin) => Ok(pin.clone()),
            Self::File(path) => Pin::read(path),
        }
    }

    /// Where, in words.
    pub(super) fn place(&self) -> &'static str {
        match self {
            Self::Given(_) => "CODEC_PKCS11_PIN",
            Self::File(_) => "keys.pkcs11.pin_file",
        }
    }
}

impl Pin {
    pub(super) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = Zeroizing::new(text);
        // One trailing newline is an editor's.
        let line = text.strip_suffix('\n').map_or(&**text, |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() { Err(format!("{}: is empty", path.display())) } else { Ok(Self(line.to_owned().into())) }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// As the module takes it.
    pub(super) fn for_login(&self) -> AuthPin {
        AuthPin::from(self.0.to_string())
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(..)")
    }
}
