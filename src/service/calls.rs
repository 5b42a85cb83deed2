//! What is asked and answered, parsed: the service's side of the HTTP contract.

use origan_codec_host::crypto::{Dek, EncryptedDek, EncryptedValue, ParseEnvelopeError, Plaintext, ValueFormat};
use zeroize::Zeroizing;

use super::Cause;
use crate::names::{DeploymentId, ExternalReference, KeyVersion, ProjectId, VariableName};
use crate::store::RowPlace;

/// `POST /encrypt`.
#[derive(Debug)]
pub struct Encrypt {
    /// Whose value.
    pub project_id: ProjectId,
    /// The value.
    pub value: Plaintext,
    /// Under this DEK of the project, rather than whichever is primary.
    pub encrypted_dek: Option<EncryptedDek>,
    /// The variable's name, for the record, and for what v2 binds.
    pub name: Option<VariableName>,
    /// How it is to be written; none: as the project's values are.
    pub format: Option<ValueFormat>,
}

/// One sealed value and the DEK it is under.
#[derive(Debug)]
pub struct Encrypted<T> {
    /// What was sealed.
    pub sealed: T,
    /// The DEK's version.
    pub key_version: KeyVersion,
    /// The DEK, wrapped.
    pub encrypted_dek: EncryptedDek,
}

/// `POST /encrypt-all`.
#[derive(Debug)]
pub struct EncryptAll {
    /// Whose values.
    pub project_id: ProjectId,
    /// Under this DEK of the project, rather than whichever is primary.
    pub encrypted_dek: Option<EncryptedDek>,
    /// In the order given.
    pub variables: Vec<(VariableName, EncryptVariable)>,
    /// How they are to be written; none: as the project's values are.
    pub format: Option<ValueFormat>,
}

/// A variable on its way to the platform's store.
#[derive(Debug)]
pub enum EncryptVariable {
    /// To be sealed.
    Secret(Plaintext),
    /// Passed through.
    Plain(Plaintext),
    /// Sealed already; passed through.
    Sealed(EncryptedValue, Option<KeyVersion>),
    /// Somewhere else; passed through, and not looked at there.
    External(Box<ExternalReference>),
}

/// A variable as the platform stores it.
#[derive(Debug)]
pub enum EncryptedVariable {
    /// Under the DEK's version, or the one it came with.
    Secret(EncryptedValue, Option<KeyVersion>),
    /// Passed through.
    Plain(Plaintext),
    /// Passed through.
    External(Box<ExternalReference>),
}

/// The DEK that `/decrypt-value` is given.
#[derive(Debug)]
pub enum PresentedDek {
    /// Itself. With a project, it must be that project's.
    Raw(Dek, Option<ProjectId>),
    /// As `/decrypt-dek` sealed it. With a project, it must be that project's.
    Handle(String, Option<ProjectId>),
    /// Wrapped, with the project it belongs to.
    Wrapped(ProjectId, EncryptedDek),
}

/// `POST /decrypt-value`.
#[derive(Debug)]
pub struct DecryptValue {
    /// What to open.
    pub value: EncryptedValue,
    /// Under what.
    pub dek: PresentedDek,
    /// For which deployment, for the record.
    pub deployment_id: Option<DeploymentId>,
    /// The variable's name, for the record, and for what v2 binds.
    pub name: Option<VariableName>,
}

/// `POST /decrypt-all`.
#[derive(Debug)]
pub struct DecryptAll {
    /// Whose values.
    pub project_id: ProjectId,
    /// For which deployment.
    pub deployment_id: DeploymentId,
    /// The DEK of values that name no version, or its own.
    pub encrypted_dek: Option<EncryptedDek>,
    /// In the order given.
    pub variables: Vec<(VariableName, StoredVariable)>,
    /// Whether the good ones are answered when some are bad.
    pub partial: bool,
}

/// `POST /re-encrypt`.
#[derive(Debug)]
pub struct ReEncrypt {
    /// Whose values.
    pub project_id: ProjectId,
    /// The DEK of values that name no version, or its own.
    pub encrypted_dek: Option<EncryptedDek>,
    /// In the order given.
    pub variables: Vec<(VariableName, StoredVariable)>,
    /// How they are to be written; none: as the project's values are, else each as it is.
    pub format: Option<ValueFormat>,
}

/// `POST /rewrap-dek`.
#[derive(Debug)]
pub struct RewrapDek {
    /// Whose DEK.
    pub project_id: ProjectId,
    /// The one that the caller keeps; none: the version.
    pub encrypted_dek: Option<EncryptedDek>,
    /// Which version; none: the primary one.
    pub key_version: Option<KeyVersion>,
}

/// `POST /rewrap-all`.
#[derive(Debug)]
pub struct RewrapAll {
    /// Where to go on.
    pub after: RowPlace,
    /// DEKs at most.
    pub limit: u32,
    /// Everything but the writing.
    pub shadow: bool,
}

/// What came of a stretch.
#[derive(Debug, Default)]
pub struct RewrappedStretch {
    /// Are under the primary now, or would be.
    pub rewrapped: u64,
    /// Were by then.
    pub already: u64,
    /// Those that were not, and why.
    pub failed: Vec<(RowPlace, Cause)>,
    /// Where to go on; none: it was the last.
    pub next: Option<RowPlace>,
}

/// A variable as the platform stores it.
#[derive(Debug)]
pub enum StoredVariable {
    /// Passed through.
    Plain(Plaintext),
    /// To be opened, if it parsed.
    Secret(Result<EncryptedValue, ParseEnvelopeError>, Option<KeyVersion>),
    /// To be found at a provider.
    External(Box<ExternalReference>),
}

/// A variable as the worker gets it, or why not.
#[derive(Debug)]
pub struct DecryptedVariable {
    /// Its name.
    pub name: VariableName,
    /// Its value; a cause only in a partial answer.
    pub value: Result<Plaintext, Cause>,
}

/// What `/decrypt-dek` answers in its field `dek`: the DEK in base64, or a handle.
pub type ReleasedDek = Zeroizing<String>;
