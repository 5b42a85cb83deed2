//! DEKs that are under another KEK than the primary, wrapped anew under that: unwrapped, wrapped, unwrapped again and compared, recorded, and
//! only then put in the place of the very row that they came from. Whatever is killed in between, every row opens at every moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use origan_codec_host::crypto::{KeyRing, ServiceKey, UnwrapError};
use subtle::ConstantTimeEq;

use super::row::{dek_context, refuse_unusable, retied, rewrapped, unwrapped, verify};
use super::{Keys, KeysError};
use crate::audit::Journal;
use crate::audit::record::{DekNote, Record};
use crate::names::{KeyVersion, ProjectId};
use crate::policy::Permit;
use crate::store::{DekRow, DekState, DekStore, Replacement, RowPlace, StoreError};

/// Attempts at a row that something else keeps changing.
const ATTEMPTS: u32 = 5;

/// How long a call waits for the KEK's place, where that gave some rows no answer: as long as it is left alone by default, and a little more.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between looks at it. Others look, too, once a second, and where theirs fails it is left alone for a while: not in step with them.
const ANSWER_PAUSE: Duration = Duration::from_millis(370);

/// DEKs a service works on at once, where a KEK is outside.
const AT_ONCE: usize = 8;

impl Keys {
    /// One version of a project's DEK, by the primary KEK: its row.
    pub async fn rewrap(
        &self,
        _permit: &Permit,
        project_id: &ProjectId,
        version: KeyVersion,
        cause: &Record,
    ) -> Result<DekRow, KeysError> {
        let row = self.version_row(project_id, version).await?;
        self.verify(&row)?;
        refuse_unusable(&row)?;
        let before = row.row_mac;
        let row = self.rewrapper(false).one(row, cause).await?;
        // What is answered is what the caller is to keep: it may have been destroyed meanwhile.
        self.verify(&row)?;
        refuse_unusable(&row)?;
        if row.row_mac != before {
            self.cache.invalidate_project(project_id).await;
        }
        Ok(row)
    }

    /// The next DEKs after `place`, whoever's they are, by the primary KEK. Others may keep what they have of them: it is the same DEK.
    pub async fn rewrap_next(
        &self,
        _permit: &Permit,
        place: &RowPlace,
        count: u32,
        is_shadow: bool,
        cause: &Record,
    ) -> Result<Walk, KeysError> {
        self.rewrapper(is_shadow).walk(place, count, cause).await
    }

    fn rewrapper(&self, is_shadow: bool) -> Rewrapper {
        let journal = (!is_shadow).then(|| self.journal.clone());
        Rewrapper { ring: self.ring(), store: self.store.clone(), journal, at_once: AT_ONCE, patience: PATIENCE }
    }
}

/// Wraps DEKs anew.
pub struct Rewrapper {
    /// Its primary is what they are to be under.
    pub ring: Arc<KeyRing>,
    /// Where they are.
    pub store: Arc<dyn DekStore>,
    /// Where it is recorded. None: everything is done but written (shadow).
    pub journal: Option<Arc<Journal>>,
    /// DEKs worked on at once, where a KEK is outside.
    pub at_once: usize,
    /// How long the place of that KEK is waited for, where it gave some rows no answer.
    pub patience: Duration,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrapped {
    /// It is under the primary now, or would be.
    Done,
    /// Somebody else did it meanwhile.
    Already,
}

/// A row, and what is to take its place.
type Prepared = (RowPlace, Result<Replacement, KeysError>);

/// A stretch of a walk through all rows.
#[derive(Debug)]
pub struct Walk {
    /// The rows that were under another KEK, and what became of each.
    pub rows: Vec<(RowPlace, Result<Rewrapped, KeysError>)>,
    /// Where the walk goes on; none at its end.
    pub next: Option<RowPlace>,
}

impl Rewrapper {
    /// The next rows after `place`, at most `count`. An error says that nothing of it is known to have happened: what it was may pass, and the
    /// same stretch can be walked again.
    pub async fn walk(&self, place: &RowPlace, count: u32, cause: &Record) -> Result<Walk, KeysError> {
        let found = self.store.not_under(self.ring.primary_id(), place, count).await?;
        let next = found.last().filter(|_| found.len() == count as usize).map(|walked| walked.place.clone());
        let mut rows = Vec::with_capacity(found.len());
        let mut left = Vec::with_capacity(found.len());
        for walked in found {
            match walked.row {
                Ok(row) => left.push((walked.place, row)),
                Err(error) => rows.push((walked.place, Err(error.into()))),
            }
        }
        for _ in 0..ATTEMPTS {
            left = self.attempt(left, &mut rows, cause).await?;
            if left.is_empty() {
                return Ok(Walk { rows, next });
            }
        }
        let busy = || KeysError::Store("something else keeps changing it".into());
        rows.extend(left.into_iter().map(|(place, _)| (place, Err(busy()))));
        Ok(Walk { rows, next })
    }

    /// One version of a project, wherever it is: its row, under the primary.
    pub async fn one(&self, row: DekRow, cause: &Record) -> Result<DekRow, KeysError> {
        let (project_id, version) = (row.project_id.clone(), row.version);
        let mut left = vec![(row.place(), row)];
        for _ in 0..ATTEMPTS {
            if let Some((_, row)) = left.first()
                && row.kek_id == self.ring.primary_id()
            {
                return Ok(row.clone());
            }
            let mut rows = Vec::new();
            left = self.attempt(left, &mut rows, cause).await?;
            if let Some((_, outcome)) = rows.pop() {
                outcome?;
                left = self.again(&project_id, version).await?.into_iter().collect();
            }
        }
        Err(KeysError::Store("something else keeps changing the DEK".into()))
    }

    /// Tries once; what has changed meanwhile, and is still under another KEK, is given back as it is now.
    async fn attempt(
        &self,
        rows: Vec<(RowPlace, DekRow)>,
        outcomes: &mut Vec<(RowPlace, Result<Rewrapped, KeysError>)>,
        cause: &Record,
    ) -> Result<Vec<(RowPlace, DekRow)>, KeysError> {
        let prepared = self.prepared(rows).await?;
        let mut replacements = Vec::with_capacity(prepared.len());
        let mut places = Vec::with_capacity(prepared.len());
        for (place, outcome) in prepared {
            match outcome {
                Ok(replacement) => {
                    replacements.push(replacement);
                    places.push(place);
                }
                Err(error) => outcomes.push((place, Err(error))),
            }
        }
        let Some(journal) = &self.journal else {
            outcomes.extend(places.into_iter().map(|place| (place, Ok(Rewrapped::Done))));
            return Ok(Vec::new());
        };
        let recording = replacements.iter().map(async |replacement| {
            let (project_id, version) = (&replacement.row.project_id, replacement.row.version);
            journal.append(&Record::of_dek(project_id, version, DekNote::Rewrapped, cause)).await
        });
        // Durable before the rows: no change without its record.
        for recorded in join_all(recording).await {
            recorded?;
        }
        let mut left = Vec::new();
        let done = self.store.replace_each(&replacements).await?;
        for ((place, replacement), done) in places.into_iter().zip(replacements).zip(done) {
            if done {
                outcomes.push((place, Ok(Rewrapped::Done)));
                continue;
            }
            match self.again(&replacement.row.project_id, replacement.row.version).await? {
                Some((_, row)) if row.row_mac == replacement.replaces => {
                    outcomes.push((place, Err(KeysError::Corrupt("another row has the fingerprint of its DEK"))));
                }
                Some((_, row)) if row.kek_id != self.ring.primary_id() => left.push((place, row)),
                _ => outcomes.push((place, Ok(Rewrapped::Already))),
            }
        }
        Ok(left)
    }

    /// What is to take each row's place. An error says that the place of a KEK gives no answer to anybody: all of it can be tried again. Where
    /// it answers, and not for a row, that is the row's own: the version of the key that it is under may have been cut off there.
    async fn prepared(&self, rows: Vec<(RowPlace, DekRow)>) -> Result<Vec<Prepared>, KeysError> {
        let patience = if rows.len() == 1 { Duration::ZERO } else { self.patience };
        let preparing = rows.into_iter().map(async |(place, row)| {
            let outcome = self.replacement(&row).await;
            (place, row, outcome)
        });
        let preparing = futures_util::stream::iter(preparing).buffered(self.at_once.max(1));
        let first: Vec<_> = preparing.collect().await;
        let outside = self.ring.keks().find(|(_, outside)| outside.is_some()).map(|(id, _)| id);
        let answered = |(_, row, outcome): &&(RowPlace, DekRow, Result<Replacement, KeysError>)| {
            outcome.is_ok() && Some(row.kek_id) == outside && row.state != DekState::Destroyed
        };
        let witness = first.iter().find(answered).map(|(_, row, _)| row.clone());
        let (mut prepared, mut answers) = (Vec::with_capacity(first.len()), false);
        for (place, row, mut outcome) in first {
            if let Err(KeysError::Kek(_)) = outcome {
                // What others were refused may have stood in its way. One at a time: answers in between keep the way open.
                if !answers {
                    self.answers(witness.as_ref(), patience).await?;
                }
                outcome = self.replacement(&row).await;
                if let Err(KeysError::Kek(_)) = outcome {
                    self.answers(witness.as_ref(), patience).await?;
                }
                answers = true;
            }
            prepared.push((place, outcome));
        }
        Ok(prepared)
    }

    /// Whether the KEK that is outside answers: it opens `witness`, which it has opened before, or wraps what is no row's. Waits for that, for a
    /// while.
    async fn answers(&self, witness: Option<&DekRow>, patience: Duration) -> Result<(), KeysError> {
        let Some(kek) = self.ring.outside() else { return Ok(()) };
        let began = Instant::now();
        loop {
            let outcome = match witness {
                Some(row) => unwrapped(&self.ring, row).await.map(drop),
                None => ServiceKey::generate()?.wrap(kek).await.map(drop).map_err(Into::into),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() >= patience => return Err(error),
                Err(_) => tokio::time::sleep(ANSWER_PAUSE.min(patience)).await,
            }
        }
    }

    async fn again(
        &self,
        project_id: &ProjectId,
        version: KeyVersion,
    ) -> Result<Option<(RowPlace, DekRow)>, StoreError> {
        Ok(self.store.version(project_id, version).await?.map(|row| (row.place(), row)))
    }

    /// What is to take the row's place: it has been opened again, and is the same DEK.
    async fn replacement(&self, row: &DekRow) -> Result<Replacement, KeysError> {
        verify(&self.ring, row)?;
        if row.state == DekState::Destroyed {
            return retied(&self.ring, row);
        }
        let context = dek_context(&row.project_id, row.version);
        let dek = unwrapped(&self.ring, row).await?;
        let wrapped = self.ring.wrap_dek(&dek, context).await?;
        let again = self.ring.unwrap_dek(wrapped.kek_id, &wrapped.encrypted_dek, context).await;
        match again {
            Ok(again) if bool::from(again.expose_secret().ct_eq(dek.expose_secret())) => {}
            Err(UnwrapError::Unavailable(why)) => return Err(why.into()),
            Ok(_) | Err(_) => return Err(KeysError::Corrupt("it does not open to the same under the primary KEK")),
        }
        rewrapped(&self.ring, row, wrapped, &dek)
    }
}
