//! `POST /encrypt`, `POST /encrypt-all` and `POST /re-encrypt`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use origan_codec_host::crypto::{EncryptedDek, EncryptedValue, Plaintext, ValueFormat};
use serde::de::MapAccess;

use super::answer::Json;
use super::auth::Authenticated;
use super::code::{Code, code_of_envelope};
use super::decrypt::refuse_malformed;
use super::json::{self, Object, Text, Trace, Variable, required};
use super::problem::Problem;
use super::variable::{VariableFields, recorded_len};
use super::{Edge, body, long};
use crate::caller::Action;
use crate::names::{ProjectId, VariableName};
use crate::service::{
    Answered, Encrypt, EncryptAll, EncryptVariable, Encrypted, EncryptedVariable, ReEncrypt, StoredVariable,
};

pub(super) async fn encrypt(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::Encrypt, request, edge.limits.body_bytes).await?;
    let place = long::place_for(&body, &edge);
    let work = async move {
        let call = parse_encrypt(&body)?;
        let answered = edge.ready()?.encrypt(&context, call).await?;
        let (encrypted, encrypted_dek) = (answered.value.sealed, answered.value.encrypted_dek.encode());
        let mut json = Json::object(encrypted.len() + encrypted_dek.len() + 64);
        json.text("encrypted", &encrypted);
        json.number("keyVersion", u64::from(answered.value.key_version.number()));
        json.text("encryptedDEK", &encrypted_dek);
        Ok(json.into_audited_response(answered.receipt))
    };
    long::at(place, work).await
}

pub(super) async fn encrypt_all(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::EncryptAll, request, edge.limits.batch_body_bytes).await?;
    let place = long::place_for(&body, &edge);
    let work = async move {
        let call = parse_encrypt_all(&body, edge.limits.variables)?;
        let answered = edge.ready()?.encrypt_all(&context, call).await?;
        Ok(write_all(2 * body.len() + 256, answered))
    };
    long::at(place, work).await
}

pub(super) async fn re_encrypt(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::ReEncrypt, request, edge.limits.batch_body_bytes).await?;
    let place = long::place_for(&body, &edge);
    let work = async move {
        let call = parse_re_encrypt(&body, edge.limits.variables)?;
        let answered = edge.ready()?.re_encrypt(&context, call).await?;
        Ok(write_all(body.len() + 256, answered))
    };
    long::at(place, work).await
}

fn write_all(expected_len: usize, answered: Answered<Encrypted<Vec<(VariableName, EncryptedVariable)>>>) -> Response {
    let mut json = Json::object(expected_len);
    json.nested("variables", |json| {
        for (name, variable) in &answered.value.sealed {
            json.nested(name.as_str(), |json| write_stored(json, variable));
        }
    });
    json.number("keyVersion", u64::from(answered.value.key_version.number()));
    json.text("encryptedDEK", &answered.value.encrypted_dek.encode());
    json.into_audited_response(answered.receipt)
}

/// As the platform stores it: the `variables` that `/decrypt-all` takes.
fn write_stored(json: &mut Json, variable: &EncryptedVariable) {
    match variable {
        EncryptedVariable::Plain(text) => {
            json.text("type", "plain");
            json.text("value", text.expose_secret());
        }
        EncryptedVariable::Secret(value, version) => {
            json.text("type", "secret");
            json.boolean("encrypted", true);
            json.text("value", &value.encode());
            if let Some(version) = version {
                json.number("keyVersion", u64::from(version.number()));
            }
        }
        EncryptedVariable::External(reference) => {
            json.text("type", "external");
            json.text("provider", reference.provider());
            json.text("ref", reference.reference());
            if let Some(version) = reference.version() {
                json.text("version", version);
            }
        }
    }
}

fn parse_encrypt(body: &[u8]) -> Result<Encrypt, Problem> {
    let fields: EncryptFields<'_> = json::parse(body, 0)?;
    Ok(Encrypt {
        format: format(fields.format.as_deref())?,
        project_id: required(fields.project_id, "projectId")?,
        value: required(fields.value, "value")?,
        encrypted_dek: fields.encrypted_dek,
        name: fields.name,
    })
}

pub(super) fn parse_encrypt_all(body: &[u8], limit: usize) -> Result<EncryptAll, Problem> {
    let fields: BatchFields<'_, EncryptVariable> = json::parse(body, limit)?;
    Ok(EncryptAll {
        format: format(fields.format.as_deref())?,
        project_id: required(fields.project_id, "projectId")?,
        encrypted_dek: fields.encrypted_dek,
        variables: required(fields.variables, "variables")?,
    })
}

fn parse_re_encrypt(body: &[u8], limit: usize) -> Result<ReEncrypt, Problem> {
    let fields: BatchFields<'_, StoredVariable> = json::parse(body, limit)?;
    let variables = required(fields.variables, "variables")?;
    refuse_malformed(&variables)?;
    Ok(ReEncrypt {
        format: format(fields.format.as_deref())?,
        project_id: required(fields.project_id, "projectId")?,
        encrypted_dek: fields.encrypted_dek,
        variables,
    })
}

/// How the call wants its values written.
fn format(named: Option<&str>) -> Result<Option<ValueFormat>, Problem> {
    let unknown = || Problem::detailed(Code::UnsupportedFormat, "`format`: this service writes v1 and v2");
    named.map(|name| ValueFormat::named(name).ok_or_else(unknown)).transpose()
}

#[derive(Default)]
struct EncryptFields<'de> {
    project_id: Option<ProjectId>,
    value: Option<Plaintext>,
    encrypted_dek: Option<EncryptedDek>,
    name: Option<VariableName>,
    format: Option<Cow<'de, str>>,
}

impl<'de> Object<'de> for EncryptFields<'de> {
    const FIELDS: &'static [&'static str] = &["projectId", "value", "encryptedDEK", "name", "format"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.project_id = json::optional_name(map, trace)?,
            1 => self.value = map.next_value::<Option<Text<'de>>>()?.map(Text::into_plaintext),
            2 => self.encrypted_dek = json::optional_encrypted_dek(map, trace)?,
            3 => self.name = json::optional_name(map, trace)?,
            _ => self.format = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0),
        }
        Ok(())
    }
}

/// Of a call with several variables.
struct BatchFields<'de, V> {
    project_id: Option<ProjectId>,
    variables: Option<Vec<(VariableName, V)>>,
    encrypted_dek: Option<EncryptedDek>,
    format: Option<Cow<'de, str>>,
}

impl<V> Default for BatchFields<'_, V> {
    fn default() -> Self {
        Self { project_id: None, variables: None, encrypted_dek: None, format: None }
    }
}

impl<'de, V: Variable<'de>> Object<'de> for BatchFields<'de, V> {
    const FIELDS: &'static [&'static str] = &["projectId", "variables", "encryptedDEK", "format"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.project_id = json::optional_name(map, trace)?,
            1 => self.variables = Some(json::variables(map, trace)?),
            2 => self.encrypted_dek = json::optional_encrypted_dek(map, trace)?,
            _ => self.format = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0),
        }
        Ok(())
    }
}

impl<'de> Variable<'de> for EncryptVariable {
    type Fields = VariableFields<'de>;

    fn written_len(&self) -> usize {
        match self {
            Self::External(reference) => recorded_len(reference),
            Self::Secret(_) | Self::Plain(_) | Self::Sealed(..) => 0,
        }
    }

    fn from_fields(fields: VariableFields<'de>) -> Result<Self, (Code, &'static str)> {
        if let Some(reference) = fields.external()? {
            return Ok(Self::External(reference));
        }
        let VariableFields { kind, value, encrypted, key_version, .. } = fields;
        let invalid = |why| (Code::InvalidRequest, why);
        let value = value.ok_or(invalid("`value` is missing"))?;
        match (kind.as_deref(), encrypted.unwrap_or(false)) {
            (Some("plain"), false) => Ok(Self::Plain(Text(value).into_plaintext())),
            (Some("plain"), true) => Err(invalid("a plain variable cannot be encrypted")),
            (Some("secret"), false) => Ok(Self::Secret(Text(value).into_plaintext())),
            (Some("secret"), true) => {
                let value = EncryptedValue::parse(&value).map_err(|error| {
                    let code = code_of_envelope(error);
                    (code, code.title())
                })?;
                let key_version = super::variable::key_version_of(&value, key_version)?;
                Ok(Self::Sealed(value, key_version))
            }
            _ => Err(invalid(super::variable::UNKNOWN_TYPE)),
        }
    }
}
