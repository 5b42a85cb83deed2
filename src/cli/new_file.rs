//! A file that is there whole, under its name, or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A new file, under another name until it is kept. Dropped before, it is removed.
pub(super) struct NewFile {
    file: File,
    /// Where it is until then.
    partial: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file that only its owner reads. One that is there already is never replaced.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".partial-{:08x}", getrandom::u32().map_err(io::Error::other)?));
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        Ok(Self { file, partial: Some(partial), path: path.to_owned() })
    }

    /// Makes it durable, and gives it its name.
    pub(super) fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let Some(partial) = &self.partial else { return Ok(()) };
        match renameat_with(CWD, partial, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Not every file system can: a link does not replace either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::hard_link(partial, &self.path)?,
            renamed => {
                renamed?;
                self.partial = None;
            }
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Whoever looks for the file sees that it is not there.
            let _ = std::fs::remove_file(partial);
        }
    }
}
