//! Compiled code of plugins between one start and the next: files that only whoever has the KEK could have made.
//!
//! Compiling is nearly all that a start takes: a tenth of a second for a small guest, several for one in JavaScript or Python. A file is
//! `tag(32) ‖ code`, the tag an HMAC over the key and the code, so that neither an altered file nor another component's under this name
//! is ever run; what fails it is compiled again. Others may write to the folder: what they put there is neither waited for nor followed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use origan_codec_host::crypto::MacKey;
use origan_codec_host::plugin::{CodeCache, CodeKey};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::plugins::open_no_link;

/// Bytes that the files may take together; the longest unused go first.
const TOTAL_BYTES_MAX: u64 = 512 << 20;
/// Of one file. Python's interpreter, the largest guest that there is, takes a third of it.
const FILE_BYTES_MAX: u64 = 128 << 20;
const TAG_LEN: usize = 32;
/// How far behind a file's mark of its last use may be.
const MARK_EVERY: Duration = Duration::from_hours(1);

/// A folder of compiled code.
pub(super) struct VouchedCode {
    dir: PathBuf,
    /// None until there is a ring: nothing is found or kept before.
    key: watch::Sender<Option<Arc<MacKey>>>,
}

impl VouchedCode {
    /// In `dir`, which is made if it is missing.
    pub(super) fn new(dir: PathBuf) -> Self {
        if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir) {
            warn!(dir = %dir.display(), %error, "no place for compiled code: plugins are compiled at every start");
        }
        Self { dir, key: watch::Sender::new(None) }
    }

    /// From now on, `key` vouches. Code that was kept under another KEK is no use then.
    pub(super) fn vouch(&self, key: MacKey) {
        self.key.send_replace(Some(Arc::new(key)));
    }

    /// Until there is a key.
    pub(super) async fn is_vouched_for(&self) {
        // The sender lives as long as this does.
        let _ = self.key.subscribe().wait_for(Option::is_some).await;
    }

    fn key(&self) -> Option<Arc<MacKey>> {
        self.key.borrow().clone()
    }

    fn path(&self, key: &CodeKey) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(name).with_extension("code")
    }

    fn write(&self, vouches: &MacKey, path: &Path, key: &CodeKey, code: &[u8]) -> io::Result<()> {
        if (TAG_LEN + code.len()) as u64 > FILE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        // Two processes may write the same at once; each has a file of its own until it is whole. Its name is not known before, and what
        // bears it already, a link too, is not written to.
        let random = getrandom::u64().map_err(io::Error::other)?;
        let unfinished = path.with_extension(format!("{random:016x}.part"));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let written = file.write_all(&vouches.tag(&[key, code])).and_then(|()| file.write_all(code));
        let renamed = written.and_then(|()| fs::rename(&unfinished, path));
        if renamed.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        renamed
    }
}

impl CodeCache for VouchedCode {
    fn find(&self, key: &CodeKey) -> Option<Vec<u8>> {
        let vouches = self.key()?;
        let path = self.path(key);
        let found = match read(&path) {
            // None was kept, or there is no folder.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
            found => found.ok(),
        };
        let is_vouched_for = |bytes: &[u8]| {
            bytes.split_at_checked(TAG_LEN).is_some_and(|(tag, code)| vouches.verifies(&[key, code], tag))
        };
        let Some((file, mut code)) = found.filter(|(_, bytes)| is_vouched_for(bytes)) else {
            warn!(file = %path.display(), "not the compiled code that was kept: it is not run, and made again");
            return None;
        };
        mark_used(&file);
        code.drain(..TAG_LEN);
        Some(code)
    }

    fn keep(&self, key: &CodeKey, code: &[u8]) {
        let Some(vouches) = self.key() else { return };
        let path = self.path(key);
        match self.write(&vouches, &path, key, code) {
            Ok(()) => make_room(&self.dir, TOTAL_BYTES_MAX),
            Err(error) => debug!(file = %path.display(), %error, "compiled code is not kept"),
        }
    }
}

/// A file as it was put there, and what it holds: no link, no pipe that nobody writes, nothing that is larger than what is kept.
fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let file = open_no_link(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    // Not what is added meanwhile.
    (&file).take(found.len()).read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

fn mark_used(file: &File) {
    let is_old = |used: SystemTime| used.elapsed().is_ok_and(|ago| ago > MARK_EVERY);
    if file.metadata().and_then(|found| found.modified()).is_ok_and(is_old) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes what was not used for the longest, until the rest is `most` bytes at the most.
fn make_room(dir: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        })
        .collect();
    files.sort_unstable();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= most {
            return;
        }
        let _ = fs::remove_file(path);
        total -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use origan_codec_host::crypto::{Kek, KeyRing};
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::os::unix::fs::symlink;

    fn cache(dir: &Path, kek: &Kek) -> VouchedCode {
        let cache = VouchedCode::new(dir.join("code"));
        cache.vouch(KeyRing::new(kek, &[]).expect("a ring").code_key());
        cache
    }

    fn only_file(dir: &Path) -> PathBuf {
        let mut files = fs::read_dir(dir.join("code")).expect("a folder").map(|entry| entry.expect("an entry").path());
        let file = files.next().expect("a file");
        assert_eq!(files.next(), None);
        file
    }

    #[test]
    fn what_was_kept_is_found_by_whoever_has_the_kek() {
        let (dir, kek) = (tempfile::tempdir().expect("a folder"), Kek::generate().expect("random"));
        cache(dir.path(), &kek).keep(&[7; 32], b"code");
        assert_eq!(cache(dir.path(), &kek).find(&[7; 32]).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache(dir.path(), &kek).find(&[8; 32]), None);
        assert_eq!(cache(dir.path(), &Kek::generate().expect("random")).find(&[7; 32]), None);
    }

    #[test]
    fn without_a_key_nothing_is_kept_or_found() {
        let (dir, kek) = (tempfile::tempdir().expect("a folder"), Kek::generate().expect("random"));
        cache(dir.path(), &kek).keep(&[7; 32], b"code");
        let keyless = VouchedCode::new(dir.path().join("code"));
        keyless.keep(&[8; 32], b"code");
        assert_eq!((keyless.find(&[7; 32]), keyless.find(&[8; 32])), (None, None));
        assert_eq!(cache(dir.path(), &kek).find(&[8; 32]), None);
    }

    #[test]
    fn what_was_altered_cut_or_moved_is_not_found() {
        let (dir, kek) = (tempfile::tempdir().expect("a folder"), Kek::generate().expect("random"));
        let cache = cache(dir.path(), &kek);
        cache.keep(&[7; 32], b"code");
        let file = only_file(dir.path());
        let whole = fs::read(&file).expect("readable");
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(&file, &altered).expect("writable");
            assert_eq!(cache.find(&[7; 32]), None, "byte {at}");
            fs::write(&file, &whole[..at]).expect("writable");
            assert_eq!(cache.find(&[7; 32]), None, "{at} bytes");
        }
        fs::write(cache.path(&[8; 32]), &whole).expect("writable");
        assert_eq!(cache.find(&[8; 32]), None, "another component's");
        fs::write(&file, &whole).expect("writable");
        assert!(cache.find(&[7; 32]).is_some());
    }

    #[test]
    fn what_others_put_in_the_place_of_code_is_neither_waited_for_nor_followed_and_gives_way() {
        let (dir, kek) = (tempfile::tempdir().expect("a folder"), Kek::generate().expect("random"));
        let cache = cache(dir.path(), &kek);
        cache.keep(&[7; 32], b"code");
        let (file, aside) = (only_file(dir.path()), dir.path().join("aside"));
        fs::rename(&file, &aside).expect("moved");
        let whole = fs::read(&aside).expect("readable");
        let link = || symlink(&aside, &file).expect("a link");
        let pipe = || mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).expect("a pipe");
        let sparse = |len| File::create(&file).and_then(|file| file.set_len(len)).expect("sparse");
        let (huge, larger) = (|| sparse(1 << 40), || sparse(FILE_BYTES_MAX + 1));
        let places: [(&str, &dyn Fn()); 4] = [("link", &link), ("pipe", &pipe), ("huge", &huge), ("larger", &larger)];
        for (case, put) in places {
            put();
            assert_eq!(cache.find(&[7; 32]), None, "{case}");
            cache.keep(&[7; 32], b"code");
            assert_eq!(cache.find(&[7; 32]).as_deref(), Some(&b"code"[..]), "{case}");
            assert_eq!(only_file(dir.path()), file, "{case}");
            fs::remove_file(&file).expect("a file");
        }
        assert_eq!(fs::read(&aside).expect("readable"), whole);
    }

    #[test]
    fn what_cannot_get_its_name_leaves_no_part_of_it() {
        let (dir, kek) = (tempfile::tempdir().expect("a folder"), Kek::generate().expect("random"));
        let cache = cache(dir.path(), &kek);
        let in_the_way = cache.path(&[7; 32]);
        fs::create_dir(&in_the_way).expect("a folder");
        cache.keep(&[7; 32], b"code");
        assert_eq!(cache.find(&[7; 32]), None);
        assert_eq!(only_file(dir.path()), in_the_way);
    }

    #[test]
    fn a_file_is_marked_as_used_when_that_was_long_ago() {
        let (dir, kek) = (tempfile::tempdir().expect("a folder"), Kek::generate().expect("random"));
        let cache = cache(dir.path(), &kek);
        cache.keep(&[7; 32], b"code");
        let file = only_file(dir.path());
        let used = || fs::metadata(&file).and_then(|found| found.modified()).expect("a time");
        let long_ago = SystemTime::now() - 2 * MARK_EVERY;
        File::options().append(true).open(&file).and_then(|file| file.set_modified(long_ago)).expect("a time");
        assert!(cache.find(&[7; 32]).is_some());
        assert!(used().elapsed().is_ok_and(|ago| ago < MARK_EVERY));
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, age) in [("new", 1), ("old", 3), ("older", 2)] {
            let file = File::create(dir.path().join(name)).expect("a file");
            file.set_len(100).expect("a length");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("a time");
        }
        make_room(dir.path(), 200);
        let left = |name: &str| dir.path().join(name).exists();
        assert_eq!((left("new"), left("older"), left("old")), (true, true, false));
    }

    #[test]
    fn a_folder_that_cannot_be_made_keeps_nothing_and_fails_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("code"), b"a file").expect("writable");
        let cache = cache(dir.path(), &Kek::generate().expect("random"));
        cache.keep(&[7; 32], b"code");
        assert_eq!(cache.find(&[7; 32]), None);
    }
}
