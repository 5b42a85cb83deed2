//! DEKs change: `/rotate-dek`, `/rewrap-dek`, `/rewrap-all`, `/disable-dek`, `/enable-dek`, `/destroy-dek`.

use super::authorise::Subject;
use super::{Answered, Context, Encrypted, Refusal, RewrapAll, RewrapDek, RewrappedStretch, Service};
use crate::audit::{Pending, Withheld};
use crate::caller::Action;
use crate::keys::{DekChange, Rewrapped};
use crate::names::{KeyVersion, ProjectId};
use crate::store::DekState;

impl Service {
    /// Makes a new version of a project's DEK, which encrypts from now on. With `rotates`, only if that version does so now.
    pub async fn rotate_dek(
        &self,
        context: &Context,
        project_id: ProjectId,
        rotates: Option<KeyVersion>,
    ) -> Result<Answered<Encrypted<()>>, Refusal> {
        let mut pending = self.begin(context, Action::RotateDek);
        let outcome = self.try_rotate_dek(context, &mut pending, &project_id, rotates).await;
        self.conclude(pending, outcome).await
    }

    async fn try_rotate_dek(
        &self,
        context: &Context,
        pending: &mut Pending,
        project_id: &ProjectId,
        rotates: Option<KeyVersion>,
    ) -> Result<Withheld<Encrypted<()>>, Refusal> {
        pending.record().project_id = Some(project_id.clone());
        let subject = Subject::of_project(Action::RotateDek, project_id);
        let permit = self.authorise(context, pending, &subject).await?;
        let dek = self.keys.rotate(&permit, project_id, rotates, pending.record()).await?;
        pending.record().key_versions = vec![dek.version()];
        Ok(super::encrypt::under(&dek, ()))
    }

    /// Wraps one version of a project's DEK by the primary KEK, if it is not, and answers what the caller is to keep.
    pub async fn rewrap_dek(&self, context: &Context, call: RewrapDek) -> Result<Answered<Encrypted<()>>, Refusal> {
        let mut pending = self.begin(context, Action::RewrapDek);
        let outcome = self.try_rewrap_dek(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_rewrap_dek(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: RewrapDek,
    ) -> Result<Withheld<Encrypted<()>>, Refusal> {
        pending.record().project_id = Some(call.project_id.clone());
        let subject = Subject::of_project(Action::RewrapDek, &call.project_id);
        let permit = self.authorise(context, pending, &subject).await?;
        let keys = &self.keys;
        let version = match (&call.encrypted_dek, call.key_version) {
            (Some(presented), _) => {
                keys.by_encrypted_dek(&permit, &call.project_id, presented, pending.record()).await?.version()
            }
            (None, Some(version)) => version,
            (None, None) => keys.primary(&permit, &call.project_id).await?.version(),
        };
        pending.record().key_versions = vec![version];
        let row = keys.rewrap(&permit, &call.project_id, version, pending.record()).await?;
        Ok(Withheld::new(Encrypted { sealed: (), key_version: row.version, encrypted_dek: row.encrypted_dek }))
    }

    /// Wraps the next DEKs that are under another KEK than the primary, whoever's they are.
    pub async fn rewrap_all(&self, context: &Context, call: RewrapAll) -> Result<Answered<RewrappedStretch>, Refusal> {
        let mut pending = self.begin(context, Action::RewrapAll);
        let outcome = self.try_rewrap_all(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_rewrap_all(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: RewrapAll,
    ) -> Result<Withheld<RewrappedStretch>, Refusal> {
        let subject =
            Subject { action: Action::RewrapAll, project_id: None, deployment_id: None, variables: &Vec::new };
        let permit = self.authorise(context, pending, &subject).await?;
        let walk = self.keys.rewrap_next(&permit, &call.after, call.limit, call.shadow, pending.record()).await?;
        let mut stretch = RewrappedStretch { next: walk.next, ..RewrappedStretch::default() };
        for (place, outcome) in walk.rows {
            match outcome {
                Ok(Rewrapped::Done) => stretch.rewrapped += 1,
                Ok(Rewrapped::Already) => stretch.already += 1,
                Err(error) => stretch.failed.push((place, Refusal::from(error).cause)),
            }
        }
        Ok(Withheld::new(stretch))
    }

    /// Changes what one version of a project's DEK may be used for, and answers what it may be used for now.
    pub async fn change_dek(
        &self,
        context: &Context,
        project_id: ProjectId,
        version: KeyVersion,
        change: DekChange,
    ) -> Result<Answered<DekState>, Refusal> {
        let action = action_of(change);
        let mut pending = self.begin(context, action);
        let outcome = self.try_change_dek(context, &mut pending, &project_id, version, (action, change)).await;
        self.conclude(pending, outcome).await
    }

    async fn try_change_dek(
        &self,
        context: &Context,
        pending: &mut Pending,
        project_id: &ProjectId,
        version: KeyVersion,
        (action, change): (Action, DekChange),
    ) -> Result<Withheld<DekState>, Refusal> {
        pending.record().project_id = Some(project_id.clone());
        pending.record().key_versions = vec![version];
        let permit = self.authorise(context, pending, &Subject::of_project(action, project_id)).await?;
        Ok(Withheld::new(self.keys.change_version(&permit, project_id, version, change, pending.record()).await?))
    }
}

/// What is asked for.
pub fn action_of(change: DekChange) -> Action {
    match change {
        DekChange::Disable => Action::DisableDek,
        DekChange::Enable => Action::EnableDek,
        DekChange::Destroy => Action::DestroyDek,
    }
}
