//! What a module's error means.

use cryptoki::error::{Error, RvError};

/// Why a call to a token gave nothing. The texts are for operators; none holds a PIN or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It does not open under the key.
    #[error("it does not open")]
    CannotOpen,
    /// The session or the token is gone; a new session may do.
    #[error("{0}")]
    Lost(String),
    /// A new session would not do either, yet it may pass.
    #[error("{0}")]
    NotNow(String),
    /// Somebody has to do something first.
    #[error("{0}")]
    Never(String),
}

/// What decrypting says where it yields nothing.
pub(super) enum Refused {
    /// The tag is wrong, or the token is in trouble: the same code for both, in SoftHSM for one.
    Doubtful(String),
    /// As any call.
    Fault(Fault),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = text(&error);
        match code(&error) {
            // The token or the key cannot do it, however often it is asked.
            Some(
                RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::KeyFunctionNotPermitted
                | RvError::KeyTypeInconsistent
                | RvError::KeySizeRange
                | RvError::FunctionNotSupported,
            ) => Self::Never(text),
            // Others have all that there are.
            Some(RvError::SessionCount) => Self::NotNow(text),
            _ => Self::Lost(text),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match code(&error) {
            Some(
                RvError::GeneralError
                | RvError::FunctionFailed
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::SignatureInvalid
                | RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                // CKR_AEAD_DECRYPT_FAILED of PKCS #11 3.0, which the crate does not name.
                | RvError::UnknownErrorCode(0x42),
            ) => Self::Doubtful(text(&error)),
            _ => Self::Fault(error.into()),
        }
    }
}

/// Whether the token means the PIN, and asking again would count against it.
pub(super) fn is_about_the_pin(error: &Error) -> bool {
    matches!(
        code(error),
        Some(
            RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked
                | RvError::UserPinNotInitialized
        )
    )
}

pub(super) fn code(error: &Error) -> Option<RvError> {
    match error {
        Error::Pkcs11(code, _) => Some(*code),
        _ => None,
    }
}

/// `C_Login: PinIncorrect`.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?}: {code:?}"),
        other => other.to_string(),
    }
}
