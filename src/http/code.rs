//! The closed list of codes: what each is called, its status, and which cause is which.

use http::StatusCode;
use origan_codec_host::crypto::ParseEnvelopeError;

use crate::service::Cause;

/// Everything that can be wrong, as callers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is documented by its title")]
pub enum Code {
    InvalidJson,
    DuplicateKey,
    InvalidRequest,
    InvalidBase64,
    CiphertextTooShort,
    InvalidDek,
    Unauthenticated,
    Denied,
    DeploymentInvalid,
    DekNotRecognised,
    DekHandleInvalid,
    DekReleaseRefused,
    DekDisabled,
    NotFound,
    UnknownProject,
    UnknownDeployment,
    MethodNotAllowed,
    RequestTimeout,
    DekExhausted,
    DekNotPrimary,
    DekPrimary,
    DekNotDisabled,
    DekDestroyed,
    PayloadTooLarge,
    UnsupportedMediaType,
    DecryptFailed,
    PlaintextNotUtf8,
    NameRequired,
    UnsupportedFormat,
    UnknownKeyVersion,
    TooManyWrongTokens,
    Internal,
    DekCorrupt,
    NotReady,
    Overloaded,
    AuditUnavailable,
    StoreUnavailable,
    KekUnavailable,
    DeploymentUnavailable,
    UnknownProvider,
    SecretNotFound,
    ProviderDenied,
    InvalidReference,
    ProviderAnswerInvalid,
    ProviderUnavailable,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 45] = [
        Self::InvalidJson,
        Self::DuplicateKey,
        Self::InvalidRequest,
        Self::InvalidBase64,
        Self::CiphertextTooShort,
        Self::InvalidDek,
        Self::Unauthenticated,
        Self::Denied,
        Self::DeploymentInvalid,
        Self::DekNotRecognised,
        Self::DekHandleInvalid,
        Self::DekReleaseRefused,
        Self::DekDisabled,
        Self::NotFound,
        Self::UnknownProject,
        Self::UnknownDeployment,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::DekExhausted,
        Self::DekNotPrimary,
        Self::DekPrimary,
        Self::DekNotDisabled,
        Self::DekDestroyed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::DecryptFailed,
        Self::PlaintextNotUtf8,
        Self::NameRequired,
        Self::UnsupportedFormat,
        Self::UnknownKeyVersion,
        Self::TooManyWrongTokens,
        Self::Internal,
        Self::DekCorrupt,
        Self::NotReady,
        Self::Overloaded,
        Self::AuditUnavailable,
        Self::StoreUnavailable,
        Self::KekUnavailable,
        Self::DeploymentUnavailable,
        Self::UnknownProvider,
        Self::SecretNotFound,
        Self::ProviderDenied,
        Self::InvalidReference,
        Self::ProviderAnswerInvalid,
        Self::ProviderUnavailable,
    ];

    /// Status, stable name, title.
    fn describe(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidJson => (S::BAD_REQUEST, "invalid_json", "The body is not one JSON value in UTF-8"),
            Self::DuplicateKey => (S::BAD_REQUEST, "duplicate_key", "A key appears twice in one object"),
            Self::InvalidRequest => {
                (S::BAD_REQUEST, "invalid_request", "A field is missing or has a wrong type or value")
            }
            Self::InvalidBase64 => (S::BAD_REQUEST, "invalid_base64", "Not canonical, padded, standard base64"),
            Self::CiphertextTooShort => (S::BAD_REQUEST, "ciphertext_too_short", "Shorter than an IV and a tag"),
            Self::InvalidDek => (S::BAD_REQUEST, "invalid_dek", "A DEK is base64 of 32 bytes"),
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "No valid token"),
            Self::Denied => (S::FORBIDDEN, "denied", "A policy refused the operation"),
            Self::DeploymentInvalid => {
                (S::FORBIDDEN, "deployment_invalid", "The deployment's metadata is unreadable or another project's")
            }
            Self::DekNotRecognised => (S::FORBIDDEN, "dek_not_recognised", "The DEK is not this project's"),
            Self::DekHandleInvalid => (S::FORBIDDEN, "dek_handle_invalid", "The DEK handle is not valid"),
            Self::DekReleaseRefused => (S::FORBIDDEN, "dek_release_refused", "DEKs are not released here"),
            Self::NotFound => (S::NOT_FOUND, "not_found", "No such path"),
            Self::UnknownProject => (S::NOT_FOUND, "unknown_project", "The project has no DEK"),
            Self::UnknownDeployment => (S::NOT_FOUND, "unknown_deployment", "The deployment is not known"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method"),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout", "The body did not arrive in time"),
            Self::DekExhausted => (S::CONFLICT, "dek_exhausted", "The DEK has sealed as much as it may: rotate it"),
            Self::DekNotPrimary => (S::CONFLICT, "dek_not_primary", "The DEK only decrypts"),
            Self::DekPrimary => (S::CONFLICT, "dek_primary", "The DEK encrypts: rotate it first"),
            Self::DekNotDisabled => (S::CONFLICT, "dek_not_disabled", "Only a disabled DEK can be destroyed"),
            Self::DekDestroyed => (S::GONE, "dek_destroyed", "The DEK was destroyed"),
            Self::DekDisabled => (S::FORBIDDEN, "dek_disabled", "The DEK is disabled"),
            Self::PayloadTooLarge => (S::PAYLOAD_TOO_LARGE, "payload_too_large", "More than one call may bring"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be application/json, not encoded")
            }
            Self::DecryptFailed => (S::UNPROCESSABLE_ENTITY, "decrypt_failed", "A ciphertext does not open"),
            Self::PlaintextNotUtf8 => (S::UNPROCESSABLE_ENTITY, "plaintext_not_utf8", "The value is not text"),
            Self::NameRequired => {
                (S::UNPROCESSABLE_ENTITY, "name_required", "Format v2 binds the variable's name, which is missing")
            }
            Self::UnsupportedFormat => {
                (S::UNPROCESSABLE_ENTITY, "unsupported_format", "A format this service does not read or write")
            }
            Self::UnknownKeyVersion => (S::UNPROCESSABLE_ENTITY, "unknown_key_version", "No DEK of that version"),
            Self::TooManyWrongTokens => {
                (S::TOO_MANY_REQUESTS, "too_many_wrong_tokens", "Too many wrong tokens from here")
            }
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Something went wrong"),
            Self::DekCorrupt => (S::INTERNAL_SERVER_ERROR, "dek_corrupt", "The DEK is corrupt; an alarm was raised"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not_ready", "Not ready yet"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too much at once"),
            Self::AuditUnavailable => (S::SERVICE_UNAVAILABLE, "audit_unavailable", "The audit record is not durable"),
            Self::StoreUnavailable => (S::SERVICE_UNAVAILABLE, "store_unavailable", "The DEK store does not answer"),
            Self::KekUnavailable => {
                (S::SERVICE_UNAVAILABLE, "kek_unavailable", "The KEK is outside and does not answer")
            }
            Self::DeploymentUnavailable => {
                (S::SERVICE_UNAVAILABLE, "deployment_unavailable", "Deployments cannot be looked up")
            }
            Self::UnknownProvider => {
                (S::UNPROCESSABLE_ENTITY, "unknown_provider", "No provider of this name is configured")
            }
            Self::SecretNotFound => (S::NOT_FOUND, "secret_not_found", "The provider's backend has no such secret"),
            Self::ProviderDenied => (S::FORBIDDEN, "provider_denied", "The provider's backend refuses this secret"),
            Self::InvalidReference => {
                (S::UNPROCESSABLE_ENTITY, "invalid_reference", "Not a reference that the provider knows")
            }
            Self::ProviderAnswerInvalid => {
                (S::BAD_GATEWAY, "provider_answer_invalid", "The provider's answer is not one")
            }
            Self::ProviderUnavailable => {
                (S::SERVICE_UNAVAILABLE, "provider_unavailable", "The provider or its backend does not answer")
            }
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.describe().0
    }

    /// Its stable name.
    pub fn name(self) -> &'static str {
        self.describe().1
    }

    pub(super) fn title(self) -> &'static str {
        self.describe().2
    }
}

/// The one place that chooses a code, and so a status, for every cause.
pub(super) fn code_of(cause: Cause) -> Code {
    match cause {
        Cause::Denied { .. } => Code::Denied,
        Cause::PolicyBusy => Code::Overloaded,
        Cause::Envelope(error) => code_of_envelope(error),
        Cause::UnknownProject => Code::UnknownProject,
        Cause::UnknownDeployment => Code::UnknownDeployment,
        Cause::DeploymentInvalid => Code::DeploymentInvalid,
        Cause::UnknownKeyVersion => Code::UnknownKeyVersion,
        Cause::DekNotRecognised => Code::DekNotRecognised,
        Cause::DekHandleInvalid => Code::DekHandleInvalid,
        Cause::DekReleaseRefused => Code::DekReleaseRefused,
        Cause::DekNotPrimary => Code::DekNotPrimary,
        Cause::DekPrimary => Code::DekPrimary,
        Cause::DekNotDisabled => Code::DekNotDisabled,
        Cause::DekDestroyed => Code::DekDestroyed,
        Cause::DekDisabled => Code::DekDisabled,
        Cause::DekExhausted => Code::DekExhausted,
        Cause::DekCorrupt => Code::DekCorrupt,
        Cause::DecryptFailed => Code::DecryptFailed,
        Cause::PlaintextNotUtf8 => Code::PlaintextNotUtf8,
        Cause::NameRequired => Code::NameRequired,
        Cause::AuditUnavailable => Code::AuditUnavailable,
        Cause::StoreUnavailable => Code::StoreUnavailable,
        Cause::KekUnavailable => Code::KekUnavailable,
        Cause::DeploymentUnavailable => Code::DeploymentUnavailable,
        Cause::UnknownProvider => Code::UnknownProvider,
        Cause::SecretNotFound => Code::SecretNotFound,
        Cause::ProviderDenied => Code::ProviderDenied,
        Cause::InvalidReference => Code::InvalidReference,
        Cause::ProviderAnswerInvalid => Code::ProviderAnswerInvalid,
        Cause::ProviderUnavailable { .. } => Code::ProviderUnavailable,
        Cause::FoundTooLong => Code::PayloadTooLarge,
        Cause::RandomnessUnavailable => Code::Internal,
    }
}

pub(super) fn code_of_envelope(error: ParseEnvelopeError) -> Code {
    match error {
        ParseEnvelopeError::InvalidBase64 => Code::InvalidBase64,
        ParseEnvelopeError::TooShort => Code::CiphertextTooShort,
        ParseEnvelopeError::UnsupportedFormat => Code::UnsupportedFormat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyCode;

    #[test]
    fn every_cause_has_the_same_name_in_the_record_and_in_the_answer() {
        for cause in [
            Cause::Denied { policy_code: PolicyCode::of("x") },
            Cause::PolicyBusy,
            Cause::Envelope(ParseEnvelopeError::InvalidBase64),
            Cause::Envelope(ParseEnvelopeError::TooShort),
            Cause::Envelope(ParseEnvelopeError::UnsupportedFormat),
            Cause::UnknownProject,
            Cause::UnknownDeployment,
            Cause::DeploymentInvalid,
            Cause::UnknownKeyVersion,
            Cause::DekNotRecognised,
            Cause::DekHandleInvalid,
            Cause::DekReleaseRefused,
            Cause::DekNotPrimary,
            Cause::DekPrimary,
            Cause::DekNotDisabled,
            Cause::DekDestroyed,
            Cause::DekDisabled,
            Cause::DekExhausted,
            Cause::DekCorrupt,
            Cause::DecryptFailed,
            Cause::PlaintextNotUtf8,
            Cause::NameRequired,
            Cause::AuditUnavailable,
            Cause::StoreUnavailable,
            Cause::KekUnavailable,
            Cause::DeploymentUnavailable,
            Cause::UnknownProvider,
            Cause::SecretNotFound,
            Cause::ProviderDenied,
            Cause::InvalidReference,
            Cause::ProviderAnswerInvalid,
            Cause::ProviderUnavailable { after_s: 1 },
            Cause::FoundTooLong,
            Cause::RandomnessUnavailable,
        ] {
            assert_eq!(code_of(cause).name(), cause.code());
        }
    }

    #[test]
    fn names_of_codes_are_unique() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
