//! `POST /decrypt-value` and `POST /decrypt-all`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use origan_codec_host::crypto::{Dek, EncryptedDek, EncryptedValue};
use serde::de::MapAccess;
use zeroize::Zeroizing;

use super::answer::Json;
use super::auth::Authenticated;
use super::code::{Code, code_of, code_of_envelope};
use super::json::{self, Object, Text, Trace, Variable, required};
use super::problem::Problem;
use super::variable::{VariableFields, recorded_len};
use super::{Edge, body, long};
use crate::caller::Action;
use crate::keys::DekHandle;
use crate::names::{DeploymentId, ProjectId, VariableName};
use crate::service::{DecryptAll, DecryptValue, DecryptedVariable, PresentedDek, StoredVariable};

pub(super) async fn decrypt_value(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::DecryptValue, request, edge.limits.body_bytes).await?;
    let place = long::place_for(&body, &edge);
    let work = async move {
        let call = parse_decrypt_value(&body)?;
        let answered = edge.ready()?.decrypt_value(&context, call).await?;
        let value = answered.value.expose_secret();
        let mut json = Json::object(value.len() + value.len() / 8 + 16);
        json.text("value", value);
        Ok(json.into_audited_response(answered.receipt))
    };
    long::at(place, work).await
}

pub(super) async fn decrypt_all(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::DecryptAll, request, edge.limits.batch_body_bytes).await?;
    let place = long::place_for(&body, &edge);
    let work = async move {
        let call = parse_decrypt_all(&body, edge.limits.variables)?;
        let partial = call.partial;
        let answered = edge.ready()?.decrypt_all(&context, call).await?;
        // A value is shorter than what it was sealed to, unless it is full of escapes.
        let mut json = Json::object(body.len());
        if partial {
            json.nested("values", |json| write_values(json, &answered.value));
            json.nested("errors", |json| write_errors(json, &answered.value));
        } else {
            write_values(&mut json, &answered.value);
        }
        Ok(json.into_audited_response(answered.receipt))
    };
    long::at(place, work).await
}

fn write_values(json: &mut Json, variables: &[DecryptedVariable]) {
    for variable in variables {
        if let Ok(text) = &variable.value {
            json.text(variable.name.as_str(), text.expose_secret());
        }
    }
}

fn write_errors(json: &mut Json, variables: &[DecryptedVariable]) {
    for variable in variables {
        if let Err(cause) = variable.value {
            let code = code_of(cause);
            json.nested(variable.name.as_str(), |json| {
                json.text("code", code.name());
                json.text("detail", code.title());
            });
        }
    }
}

pub(super) fn parse_decrypt_value(body: &[u8]) -> Result<DecryptValue, Problem> {
    let fields: DecryptValueFields<'_> = json::parse(body, 0)?;
    Ok(DecryptValue {
        value: required(fields.encrypted, "encrypted")?,
        deployment_id: fields.deployment_id,
        name: fields.name,
        dek: presented(fields.dek, fields.project_id, fields.encrypted_dek)?,
    })
}

/// A raw DEK or a handle in `dek`; or `projectId` with `encryptedDEK`.
fn presented(
    dek: Option<Zeroizing<String>>,
    project_id: Option<ProjectId>,
    encrypted_dek: Option<EncryptedDek>,
) -> Result<PresentedDek, Problem> {
    match (dek, encrypted_dek) {
        (Some(_), Some(_)) => Err(Problem::detailed(Code::InvalidRequest, "give `dek` or `encryptedDEK`, not both")),
        (None, Some(encrypted_dek)) => Ok(PresentedDek::Wrapped(required(project_id, "projectId")?, encrypted_dek)),
        (None, None) => required(None, "dek"),
        (Some(dek), None) if DekHandle::is_meant_by(&dek) => Ok(PresentedDek::Handle(dek.to_string(), project_id)),
        (Some(dek), None) => Ok(PresentedDek::Raw(parse_raw_dek(&dek)?, project_id)),
    }
}

fn parse_raw_dek(text: &str) -> Result<Dek, Problem> {
    let bytes = STANDARD.decode(text).map(Zeroizing::new);
    let dek = bytes.ok().and_then(|bytes| Dek::from_slice(&bytes).ok());
    dek.ok_or_else(|| Problem::new(Code::InvalidDek))
}

pub(super) fn parse_decrypt_all(body: &[u8], limit: usize) -> Result<DecryptAll, Problem> {
    let fields: DecryptAllFields = json::parse(body, limit)?;
    let call = DecryptAll {
        project_id: required(fields.project_id, "projectId")?,
        deployment_id: required(fields.deployment_id, "deploymentId")?,
        encrypted_dek: fields.encrypted_dek,
        variables: required(fields.variables, "variables")?,
        partial: fields.partial.unwrap_or(false),
    };
    if call.partial {
        return Ok(call);
    }
    refuse_malformed(&call.variables)?;
    Ok(call)
}

/// What is malformed is told before anything is opened.
pub(super) fn refuse_malformed(variables: &[(VariableName, StoredVariable)]) -> Result<(), Problem> {
    for (name, variable) in variables {
        if let StoredVariable::Secret(Err(error), _) = variable {
            let mut problem = Problem::new(code_of_envelope(*error));
            problem.variable = Some(name.to_string());
            return Err(problem);
        }
    }
    Ok(())
}

#[derive(Default)]
struct DecryptValueFields<'de> {
    encrypted: Option<EncryptedValue>,
    dek: Option<Zeroizing<String>>,
    project_id: Option<ProjectId>,
    encrypted_dek: Option<EncryptedDek>,
    deployment_id: Option<DeploymentId>,
    name: Option<VariableName>,
    of: std::marker::PhantomData<&'de ()>,
}

impl<'de> Object<'de> for DecryptValueFields<'de> {
    const FIELDS: &'static [&'static str] = &["encrypted", "dek", "projectId", "encryptedDEK", "deploymentId", "name"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => {
                let text: Option<Text<'de>> = map.next_value()?;
                self.encrypted = text.map(|text| trace.envelope(EncryptedValue::parse(&text.0))).transpose()?;
            }
            1 => self.dek = map.next_value::<Option<Text<'de>>>()?.map(|text| Zeroizing::new(text.0.into_owned())),
            2 => self.project_id = json::optional_name(map, trace)?,
            3 => self.encrypted_dek = json::optional_encrypted_dek(map, trace)?,
            4 => self.deployment_id = json::optional_name(map, trace)?,
            _ => self.name = json::optional_name(map, trace)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct DecryptAllFields {
    project_id: Option<ProjectId>,
    deployment_id: Option<DeploymentId>,
    variables: Option<Vec<(VariableName, StoredVariable)>>,
    encrypted_dek: Option<EncryptedDek>,
    partial: Option<bool>,
}

impl<'de> Object<'de> for DecryptAllFields {
    const FIELDS: &'static [&'static str] = &["projectId", "deploymentId", "variables", "encryptedDEK", "partial"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.project_id = json::optional_name(map, trace)?,
            1 => self.deployment_id = json::optional_name(map, trace)?,
            2 => self.variables = Some(json::variables(map, trace)?),
            3 => self.encrypted_dek = json::optional_encrypted_dek(map, trace)?,
            _ => self.partial = map.next_value()?,
        }
        Ok(())
    }
}

impl<'de> Variable<'de> for StoredVariable {
    type Fields = VariableFields<'de>;

    fn written_len(&self) -> usize {
        match self {
            Self::External(reference) => recorded_len(reference),
            Self::Plain(_) | Self::Secret(..) => 0,
        }
    }

    fn from_fields(fields: VariableFields<'de>) -> Result<Self, (Code, &'static str)> {
        if let Some(reference) = fields.external()? {
            return Ok(Self::External(reference));
        }
        let VariableFields { kind, value, encrypted, key_version, .. } = fields;
        let invalid = |why| (Code::InvalidRequest, why);
        let value: Cow<'de, str> = value.ok_or(invalid("`value` is missing"))?;
        match (kind.as_deref(), encrypted) {
            (Some("plain"), None | Some(false)) => Ok(Self::Plain(Text(value).into_plaintext())),
            (Some("plain"), Some(true)) => Err(invalid("a plain variable cannot be encrypted")),
            (Some("secret"), None | Some(true)) => {
                let value = EncryptedValue::parse(&value);
                let key_version = match &value {
                    Ok(value) => super::variable::key_version_of(value, key_version)?,
                    Err(_) => key_version,
                };
                Ok(Self::Secret(value, key_version))
            }
            (Some("secret"), Some(false)) => Err(invalid("a secret that is not encrypted is not decrypted either")),
            _ => Err(invalid(super::variable::UNKNOWN_TYPE)),
        }
    }
}
