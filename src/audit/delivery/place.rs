//! Where a sink is in the journal, kept across restarts.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Acked;
use crate::audit::cursor::Place;

/// The file that keeps one sink's place.
#[derive(Debug, Clone)]
pub struct KeptPlace {
    path: PathBuf,
}

/// A place that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct PlaceError {
    path: PathBuf,
    source: io::Error,
}

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlaceRecord {
    /// Where the next record stands.
    #[serde(flatten)]
    pub(super) place: Place,
    /// The last one that the sink has.
    #[serde(flatten)]
    pub(super) acked: Acked,
}

/// What is kept of a sink.
#[derive(Debug)]
pub(super) enum Kept {
    /// Nothing: it is new.
    Never,
    /// What a power loss leaves of a file that was not synced.
    Lost,
    At(PlaceRecord),
}

impl KeptPlace {
    /// Of the sink `name`, in `dir`.
    pub fn of(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(format!("{name}.json")) }
    }

    /// What cannot be understood is an error: to begin again would be safe, and could be a million records.
    pub(super) fn read(&self) -> Result<Kept, PlaceError> {
        let wrong = |source| PlaceError { path: self.path.clone(), source };
        match fs::read(&self.path) {
            Ok(bytes) if bytes.is_empty() => Ok(Kept::Lost),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Kept::At).map_err(|error| wrong(error.into())),
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(Kept::Never),
            Err(other) => Err(wrong(other)),
        }
    }

    pub(super) fn wrong(&self, source: io::Error) -> PlaceError {
        PlaceError { path: self.path.clone(), source }
    }

    /// The place of a sink that is new. On the disk, as the records are that come after it.
    pub(super) fn begin(&self, place: Place) -> Result<(), PlaceError> {
        let written = self.write(place, &Acked::default()).and_then(|()| {
            fs::File::open(&self.path)?.sync_all()?;
            self.path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
        });
        written.map_err(|source| PlaceError { path: self.path.clone(), source })
    }

    /// All of it or what was there before.
    pub(super) fn write(&self, place: Place, acked: &Acked) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let next = self.path.with_extension("json.next");
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&next)?;
        let record = PlaceRecord { place, acked: acked.clone() };
        file.write_all(&serde_json::to_vec(&record)?)?;
        fs::rename(&next, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = KeptPlace::of(&dir.path().join("cursors"), "siem");
        assert!(matches!(kept.read(), Ok(Kept::Never)));
        let (place, acked) = (Place { segment: 3, offset: 77 }, Acked { chain: "aa".into(), seq: 9 });
        kept.write(place, &acked).expect("written");
        let Ok(Kept::At(record)) = kept.read() else { panic!("it is kept") };
        assert_eq!((record.place, record.acked), (place, acked));
        fs::write(&kept.path, "{\"segment\":").expect("written");
        assert!(kept.read().is_err());
        fs::write(&kept.path, "").expect("written");
        assert!(matches!(kept.read(), Ok(Kept::Lost)));
    }
}
