//! The order of steps, and nothing else: authorise → key → open or seal → record → answer.
//!
//! Keys are reached with a [`Permit`](crate::policy::Permit); what they open is withheld until a
//! [`Receipt`] says that its record is durable.

mod authorise;
mod calls;
mod change;
mod decrypt;
mod encrypt;
mod error;
mod explain;
mod external;
mod opening;
mod reencrypt;
mod sealing;

use std::net::IpAddr;
use std::sync::Arc;

use crate::audit::{Journal, Outcome, Pending, Receipt, Record, Withheld};
use crate::caller::{Action, Caller};
use crate::config::DekRelease;
use crate::deployments::Deployments;
use crate::keys::Keys;
use crate::names::{ProjectPattern, RequestId};
use crate::policy::Policies;
use crate::providers::Providers;

pub use calls::{
    DecryptAll, DecryptValue, DecryptedVariable, Encrypt, EncryptAll, EncryptVariable, Encrypted, EncryptedVariable,
    PresentedDek, ReEncrypt, ReleasedDek, RewrapAll, RewrapDek, RewrappedStretch, StoredVariable,
};
pub use change::action_of;
pub use error::{Cause, Refusal};
pub use explain::{Explain, ExplainedVariable, Explanation};

/// Everything an operation goes through.
pub struct Service {
    /// May they?
    pub policies: Arc<Policies>,
    /// Projects' DEKs.
    pub keys: Keys,
    /// Secrets that live elsewhere.
    pub providers: Arc<Providers>,
    /// Deployment facts.
    pub deployments: Deployments,
    /// The audit journal.
    pub journal: Arc<Journal>,
    /// What operators set of it.
    pub settings: ServiceSettings,
}

/// What operators set.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// How `/decrypt-dek` answers.
    pub dek_release: DekRelease,
    /// How long a handle is good for, in seconds.
    pub dek_handle_ttl_s: u64,
    /// Whether `/decrypt-all` needs a deployment that is known.
    pub deployment_required: bool,
    /// Projects whose values are written in v2 unless a call says otherwise.
    pub v2_projects: Vec<ProjectPattern>,
}

/// Who asks, and in which request.
#[derive(Debug, Clone)]
pub struct Context {
    /// As authenticated.
    pub caller: Arc<Caller>,
    /// Of this request.
    pub request_id: RequestId,
    /// The peer's address.
    pub remote: Option<IpAddr>,
}

/// An answer and the receipt of its record.
#[derive(Debug)]
pub struct Answered<T> {
    /// What to answer.
    pub value: T,
    /// Proof of the record.
    pub receipt: Receipt,
}

impl Service {
    /// Whether `context` may do `action`, for what leaves no record when it is allowed.
    pub async fn admit(&self, context: &Context, action: Action) -> Result<(), Refusal> {
        let pending = self.begin(context, action);
        match self.policies.admit(&context.caller, action) {
            Ok(()) => {
                pending.forget();
                Ok(())
            }
            Err(denial) => self.conclude::<()>(pending, Err(denial.into())).await.map(|_| ()),
        }
    }

    fn begin(&self, context: &Context, action: Action) -> Pending {
        self.journal.begin(Record::of(action, &context.caller, &context.request_id, context.remote))
    }

    /// Records how it ended; only then is anything let go.
    async fn conclude<T>(
        &self,
        pending: Pending,
        outcome: Result<Withheld<T>, Refusal>,
    ) -> Result<Answered<T>, Refusal> {
        match outcome {
            Ok(withheld) => {
                let receipt = pending.commit(Outcome::Allowed, None).await.map_err(|_| Cause::AuditUnavailable)?;
                Ok(Answered { value: withheld.release(&receipt), receipt })
            }
            Err(refusal) => {
                let (outcome, reason) = (refusal.cause.outcome(), refusal.cause.code());
                let receipt = pending.commit(outcome, Some(reason)).await.map_err(|_| Cause::AuditUnavailable)?;
                Err(Refusal { receipt: Some(receipt), ..refusal })
            }
        }
    }
}
