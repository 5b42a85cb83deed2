//! `POST /rotate-dek`, `/rewrap-dek`, `/rewrap-all`, `/disable-dek`, `/enable-dek` and `/destroy-dek`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use origan_codec_host::crypto::EncryptedDek;
use serde::de::MapAccess;

use super::answer::Json;
use super::auth::Authenticated;
use super::code::{Code, code_of};
use super::json::{self, Object, Text, Trace, required};
use super::problem::Problem;
use super::{Edge, body};
use crate::caller::Action;
use crate::keys::DekChange;
use crate::names::{KeyVersion, ProjectId};
use crate::service::{Answered, Encrypted, RewrapAll, RewrapDek, action_of};
use crate::store::{DekState, RowPlace};

/// DEKs of a `/rewrap-all` that says no number.
const LIMIT: u64 = 256;
/// And at most: what can be wrapped while a caller waits.
const LIMIT_MAX: u64 = 1_000;

pub(super) async fn rotate_dek(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::RotateDek, request, edge.limits.body_bytes).await?;
    let fields: DekFields = json::parse(&body, 0)?;
    let project_id = required(fields.project_id, "projectId")?;
    Ok(write_dek(edge.ready()?.rotate_dek(&context, project_id, fields.key_version).await?))
}

pub(super) async fn rewrap_dek(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::RewrapDek, request, edge.limits.body_bytes).await?;
    let fields: DekFields = json::parse(&body, 0)?;
    let call = RewrapDek {
        project_id: required(fields.project_id, "projectId")?,
        encrypted_dek: fields.encrypted_dek,
        key_version: fields.key_version,
    };
    if call.encrypted_dek.is_some() && call.key_version.is_some() {
        return Err(Problem::detailed(Code::InvalidRequest, "either `encryptedDEK` or `keyVersion`, not both"));
    }
    Ok(write_dek(edge.ready()?.rewrap_dek(&context, call).await?))
}

pub(super) async fn rewrap_all(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::RewrapAll, request, edge.limits.body_bytes).await?;
    let call = parse_rewrap_all(&body)?;
    let answered = edge.ready()?.rewrap_all(&context, call).await?;
    let stretch = &answered.value;
    let mut json = Json::object(160);
    json.number("rewrapped", stretch.rewrapped);
    json.number("already", stretch.already);
    json.list("failed", &stretch.failed, |json, (place, cause)| {
        json.text("projectId", &place.project_id);
        json.number("keyVersion", place.version.unsigned_abs());
        json.text("code", code_of(*cause).name());
    });
    if let Some(next) = &stretch.next {
        json.text("next", &next.to_string());
    }
    Ok(json.into_audited_response(answered.receipt))
}

/// Of the three that change what a version may be used for.
pub(super) async fn change_dek(
    change: DekChange,
    edge: Arc<Edge>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, action_of(change), request, edge.limits.body_bytes).await?;
    let fields: DekFields = json::parse(&body, 0)?;
    let project_id = required(fields.project_id, "projectId")?;
    let version = required(fields.key_version, "keyVersion")?;
    Ok(write_state(version, edge.ready()?.change_dek(&context, project_id, version, change).await?))
}

pub(super) fn write_dek(answered: Answered<Encrypted<()>>) -> Response {
    let mut json = Json::object(160);
    json.text("encryptedDEK", &answered.value.encrypted_dek.encode());
    json.number("keyVersion", u64::from(answered.value.key_version.number()));
    json.into_audited_response(answered.receipt)
}

fn write_state(version: KeyVersion, answered: Answered<DekState>) -> Response {
    let mut json = Json::object(48);
    json.number("keyVersion", u64::from(version.number()));
    json.text(
        "state",
        match answered.value {
            DekState::Primary | DekState::DecryptOnly => "enabled",
            DekState::Disabled => "disabled",
            DekState::Destroyed => "destroyed",
        },
    );
    json.into_audited_response(answered.receipt)
}

fn parse_rewrap_all(body: &[u8]) -> Result<RewrapAll, Problem> {
    let fields: RewrapAllFields<'_> = json::parse(body, 0)?;
    let invalid = |what| Problem::detailed(Code::InvalidRequest, what);
    let after = match fields.after {
        None => RowPlace::default(),
        Some(text) => text.parse().map_err(|_| invalid("`after`: what an answer had in `next`"))?,
    };
    let limit = match fields.limit.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => limit as u32,
        _ => return Err(invalid("`limit`: a whole number from 1 to 1000")),
    };
    Ok(RewrapAll { after, limit, shadow: fields.shadow.unwrap_or(false) })
}

#[derive(Default)]
struct DekFields {
    project_id: Option<ProjectId>,
    encrypted_dek: Option<EncryptedDek>,
    key_version: Option<KeyVersion>,
}

impl<'de> Object<'de> for DekFields {
    const FIELDS: &'static [&'static str] = &["projectId", "encryptedDEK", "keyVersion"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.project_id = json::optional_name(map, trace)?,
            1 => self.encrypted_dek = json::optional_encrypted_dek(map, trace)?,
            _ => self.key_version = json::optional_key_version(map, trace)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct RewrapAllFields<'de> {
    after: Option<Cow<'de, str>>,
    limit: Option<u64>,
    shadow: Option<bool>,
}

impl<'de> Object<'de> for RewrapAllFields<'de> {
    const FIELDS: &'static [&'static str] = &["after", "limit", "shadow"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, _trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.after = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0),
            1 => self.limit = map.next_value()?,
            _ => self.shadow = map.next_value()?,
        }
        Ok(())
    }
}
