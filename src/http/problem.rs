//! Errors as RFC 9457 says.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};

use super::code::{Code, code_of};
use crate::audit::Receipt;
use crate::policy::PolicyCode;
use crate::service::{Cause, Refusal};

/// An error on its way out. It travels as an extension of an empty response; [`edge`](super::edge) writes it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) detail: Cow<'static, str>,
    pub(super) variable: Option<String>,
    pub(super) policy_code: Option<PolicyCode>,
    pub(super) receipt: Option<Box<Receipt>>,
    /// Of what may pass: when, in seconds.
    pub(super) retry_after_s: u16,
    /// For the log alone.
    pub(super) internal: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.title()),
            variable: None,
            policy_code: None,
            receipt: None,
            retry_after_s: 1,
            internal: None,
        }
    }

    pub(super) fn detailed(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..Self::new(code) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let policy_code = match refusal.cause {
            Cause::Denied { policy_code } => Some(policy_code),
            _ => None,
        };
        let retry_after_s = match refusal.cause {
            Cause::ProviderUnavailable { after_s } => after_s,
            _ => 1,
        };
        Self {
            retry_after_s,
            variable: refusal.variable.map(|name| name.to_string()),
            policy_code,
            receipt: refusal.receipt.map(Box::new),
            internal: refusal.internal,
            ..Self::new(code_of(refusal.cause))
        }
    }
}
