//! `POST /generate-dek` and `POST /decrypt-dek`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use origan_codec_host::crypto::EncryptedDek;
use serde::de::MapAccess;

use super::answer::Json;
use super::auth::Authenticated;
use super::change::write_dek;
use super::json::{self, Object, Trace, required};
use super::problem::Problem;
use super::{Edge, body};
use crate::caller::Action;
use crate::names::ProjectId;

pub(super) async fn generate_dek(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::GenerateDek, request, edge.limits.body_bytes).await?;
    let fields: GenerateFields = json::parse(&body, 0)?;
    let project_id = required(fields.project_id, "projectId")?;
    Ok(write_dek(edge.ready()?.generate_dek(&context, project_id).await?))
}

pub(super) async fn decrypt_dek(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::DecryptDek, request, edge.limits.body_bytes).await?;
    let fields: DekFields = json::parse(&body, 0)?;
    let project_id = required(fields.project_id, "projectId")?;
    let encrypted_dek = required(fields.encrypted_dek, "encryptedDEK")?;
    let answered = edge.ready()?.decrypt_dek(&context, project_id, encrypted_dek).await?;
    let mut json = Json::object(answered.value.len() + 16);
    json.text("dek", &answered.value);
    Ok(json.into_audited_response(answered.receipt))
}

#[derive(Default)]
struct GenerateFields {
    project_id: Option<ProjectId>,
}

impl<'de> Object<'de> for GenerateFields {
    const FIELDS: &'static [&'static str] = &["projectId"];

    fn take<A: MapAccess<'de>>(&mut self, _field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        self.project_id = json::optional_name(map, trace)?;
        Ok(())
    }
}

#[derive(Default)]
struct DekFields {
    project_id: Option<ProjectId>,
    encrypted_dek: Option<EncryptedDek>,
}

impl<'de> Object<'de> for DekFields {
    const FIELDS: &'static [&'static str] = &["projectId", "encryptedDEK"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.project_id = json::optional_name(map, trace)?,
            _ => self.encrypted_dek = json::optional_encrypted_dek(map, trace)?,
        }
        Ok(())
    }
}
