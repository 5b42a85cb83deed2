//! Why an operation is refused: the closed list of causes.

use origan_codec_host::crypto::{OpenValueError, ParseEnvelopeError};

use crate::audit::{Outcome, Receipt};
use crate::deployments::LookupError;
use crate::keys::{HandleInvalid, KeysError};
use crate::names::VariableName;
use crate::policy::{Denial, PolicyCode};
use crate::providers::ProviderError;

/// A cause, and where it struck.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// In a call with several variables: which one.
    pub variable: Option<VariableName>,
    /// Proof of the record that the refusal left, if it left one.
    pub receipt: Option<Receipt>,
    /// For the operator's log; never for the caller.
    pub internal: Option<String>,
}

/// Why. Carries nothing that a caller may not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A policy said no; with its public code.
    Denied {
        /// Short, public, stable.
        policy_code: PolicyCode,
    },
    /// A policy is asked for more than it can decide now. May pass.
    PolicyBusy,
    /// The encrypted value or DEK is not one.
    Envelope(ParseEnvelopeError),
    /// Nothing is known of the project, and no DEK came along.
    UnknownProject,
    /// The deployment must be known, and is not.
    UnknownDeployment,
    /// Its metadata is unreadable, or another project's.
    DeploymentInvalid,
    /// The project has no DEK of that version.
    UnknownKeyVersion,
    /// The encrypted DEK is another project's, or nobody's and such are refused.
    DekNotRecognised,
    /// The handle is expired, another's or altered.
    DekHandleInvalid,
    /// `dek_release = "never"`.
    DekReleaseRefused,
    /// The DEK decrypts only.
    DekNotPrimary,
    /// The version of the DEK is disabled.
    DekDisabled,
    /// The version of the DEK is destroyed.
    DekDestroyed,
    /// The version is the primary one, and stays enabled.
    DekPrimary,
    /// Only a disabled version is destroyed.
    DekNotDisabled,
    /// 2^32 encryptions.
    DekExhausted,
    /// A DEK of the wrong length, or a row that was altered.
    DekCorrupt,
    /// A ciphertext does not open.
    DecryptFailed,
    /// It opens, to bytes that are not UTF-8.
    PlaintextNotUtf8,
    /// A v2 value, and the call does not say what it is called.
    NameRequired,
    /// The record is not durable.
    AuditUnavailable,
    /// The store does not answer.
    StoreUnavailable,
    /// The KEK is outside, and does not answer.
    KekUnavailable,
    /// Deployments cannot be looked up.
    DeploymentUnavailable,
    /// No provider of this name is configured.
    UnknownProvider,
    /// The provider's backend has no such secret.
    SecretNotFound,
    /// The provider's backend refuses.
    ProviderDenied,
    /// The provider does not know references of this form.
    InvalidReference,
    /// The provider's answer is none.
    ProviderAnswerInvalid,
    /// The provider or its backend does not answer. May pass.
    ProviderUnavailable {
        /// In so many seconds.
        after_s: u16,
    },
    /// What the providers have found for the call is too long together.
    FoundTooLong,
    /// The operating system gave no randomness.
    RandomnessUnavailable,
}

impl Cause {
    /// Its stable name, in the answer and in the record.
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::PolicyBusy => "overloaded",
            Self::Envelope(ParseEnvelopeError::InvalidBase64) => "invalid_base64",
            Self::Envelope(ParseEnvelopeError::TooShort) => "ciphertext_too_short",
            Self::Envelope(ParseEnvelopeError::UnsupportedFormat) => "unsupported_format",
            Self::UnknownProject => "unknown_project",
            Self::UnknownDeployment => "unknown_deployment",
            Self::DeploymentInvalid => "deployment_invalid",
            Self::UnknownKeyVersion => "unknown_key_version",
            Self::DekNotRecognised => "dek_not_recognised",
            Self::DekHandleInvalid => "dek_handle_invalid",
            Self::DekReleaseRefused => "dek_release_refused",
            Self::DekNotPrimary => "dek_not_primary",
            Self::DekDisabled => "dek_disabled",
            Self::DekDestroyed => "dek_destroyed",
            Self::DekPrimary => "dek_primary",
            Self::DekNotDisabled => "dek_not_disabled",
            Self::DekExhausted => "dek_exhausted",
            Self::DekCorrupt => "dek_corrupt",
            Self::DecryptFailed => "decrypt_failed",
            Self::PlaintextNotUtf8 => "plaintext_not_utf8",
            Self::NameRequired => "name_required",
            Self::AuditUnavailable => "audit_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::KekUnavailable => "kek_unavailable",
            Self::DeploymentUnavailable => "deployment_unavailable",
            Self::UnknownProvider => "unknown_provider",
            Self::SecretNotFound => "secret_not_found",
            Self::ProviderDenied => "provider_denied",
            Self::InvalidReference => "invalid_reference",
            Self::ProviderAnswerInvalid => "provider_answer_invalid",
            Self::ProviderUnavailable { .. } => "provider_unavailable",
            Self::FoundTooLong => "payload_too_large",
            Self::RandomnessUnavailable => "internal",
        }
    }

    /// How the record calls it: a "no" is denied, an impossibility failed.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Denied { .. }
            | Self::UnknownDeployment
            | Self::DeploymentInvalid
            | Self::DekNotRecognised
            | Self::DekHandleInvalid
            | Self::DekReleaseRefused
            | Self::DekDisabled
            | Self::ProviderDenied => Outcome::Denied,
            Self::PolicyBusy
            | Self::Envelope(_)
            | Self::UnknownProject
            | Self::UnknownKeyVersion
            | Self::DekNotPrimary
            | Self::DekDestroyed
            | Self::DekPrimary
            | Self::DekNotDisabled
            | Self::DekExhausted
            | Self::DekCorrupt
            | Self::DecryptFailed
            | Self::PlaintextNotUtf8
            | Self::NameRequired
            | Self::AuditUnavailable
            | Self::StoreUnavailable
            | Self::KekUnavailable
            | Self::DeploymentUnavailable
            | Self::UnknownProvider
            | Self::SecretNotFound
            | Self::InvalidReference
            | Self::ProviderAnswerInvalid
            | Self::ProviderUnavailable { .. }
            | Self::FoundTooLong
            | Self::RandomnessUnavailable => Outcome::Failed,
        }
    }
}

impl Refusal {
    /// `cause`, if this is that a ciphertext does not open.
    pub(super) fn or_if_it_does_not_open(self, cause: Cause) -> Self {
        if self.cause == Cause::DecryptFailed { cause.into() } else { self }
    }

    pub(super) fn at(self, variable: &VariableName) -> Self {
        Self { variable: Some(variable.clone()), ..self }
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, variable: None, receipt: None, internal: None }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let internal = denial.policy.map(|policy| format!("policy `{policy}`: {}", denial.reason));
        let cause = match denial.is_busy {
            true => Cause::PolicyBusy,
            false => Cause::Denied { policy_code: denial.code },
        };
        Self { internal, ..cause.into() }
    }
}

impl From<KeysError> for Refusal {
    fn from(error: KeysError) -> Self {
        let internal = error.to_string();
        let cause = match error {
            KeysError::UnknownProject => Cause::UnknownProject,
            KeysError::UnknownVersion { .. } => Cause::UnknownKeyVersion,
            KeysError::NotRecognised => Cause::DekNotRecognised,
            KeysError::Corrupt(_) => Cause::DekCorrupt,
            KeysError::CannotOpen(_) => Cause::DecryptFailed,
            KeysError::NotPrimary => Cause::DekNotPrimary,
            KeysError::Disabled => Cause::DekDisabled,
            KeysError::Destroyed => Cause::DekDestroyed,
            KeysError::Primary => Cause::DekPrimary,
            KeysError::NotDisabled => Cause::DekNotDisabled,
            KeysError::UnknownKek(_) => Cause::KekUnavailable,
            KeysError::Exhausted => Cause::DekExhausted,
            KeysError::Store(_) => Cause::StoreUnavailable,
            KeysError::Kek(_) => Cause::KekUnavailable,
            KeysError::Audit(_) => Cause::AuditUnavailable,
            KeysError::Randomness(_) => Cause::RandomnessUnavailable,
        };
        Self { internal: Some(internal), ..cause.into() }
    }
}

impl From<OpenValueError> for Refusal {
    fn from(error: OpenValueError) -> Self {
        match error {
            OpenValueError::CannotOpen(_) => Cause::DecryptFailed.into(),
            OpenValueError::NotUtf8 => Cause::PlaintextNotUtf8.into(),
            OpenValueError::BindingUnknown => Cause::NameRequired.into(),
        }
    }
}

impl From<ParseEnvelopeError> for Refusal {
    fn from(error: ParseEnvelopeError) -> Self {
        Cause::Envelope(error).into()
    }
}

impl From<HandleInvalid> for Refusal {
    fn from(HandleInvalid: HandleInvalid) -> Self {
        Cause::DekHandleInvalid.into()
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let internal = error.to_string();
        let cause = match error {
            ProviderError::Unknown => Cause::UnknownProvider,
            ProviderError::NotFound => Cause::SecretNotFound,
            ProviderError::Denied(_) => Cause::ProviderDenied,
            ProviderError::InvalidReference(_) => Cause::InvalidReference,
            ProviderError::NotText => Cause::PlaintextNotUtf8,
            ProviderError::BadAnswer(_) => Cause::ProviderAnswerInvalid,
            ProviderError::TooLong => Cause::FoundTooLong,
            ProviderError::Unavailable { after, .. } => {
                let after_ms = after.unwrap_or_default().as_millis();
                let after_s = u16::try_from(after_ms.div_ceil(1_000)).unwrap_or(u16::MAX);
                Cause::ProviderUnavailable { after_s: after_s.max(1) }
            }
        };
        Self { internal: Some(internal), ..cause.into() }
    }
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        let internal = error.to_string();
        let cause = match error {
            LookupError::Unavailable(_) => Cause::DeploymentUnavailable,
            LookupError::Invalid(_) => Cause::DeploymentInvalid,
        };
        Self { internal: Some(internal), ..cause.into() }
    }
}
