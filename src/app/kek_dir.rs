//! A folder of KEKs (`keys.kek_dir`): a file for each, its name the KEK's, and the files `primary` and `retired`, which name some of them.
//!
//! It may be a mounted secret: Kubernetes changes all of it at once, by the link `..data`. Changes by `codec keys` are one rename each.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use origan_codec_host::crypto::{Kek, KekId};
use zeroize::Zeroizing;

use crate::config::ConfigError;
use crate::keys::MemoryKeks;

/// The file that names the KEK that wraps.
const PRIMARY: &str = "primary";
/// The file that names those that neither wrap nor unwrap, one a line.
const RETIRED: &str = "retired";
/// What Kubernetes swaps.
const SWAPPED: &str = "..data";
/// A KEK is 45 bytes with its newline; names are shorter than this.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const NAME_LEN_MAX: usize = 64;

/// Such a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekDir {
    path: PathBuf,
}

/// What is in it. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekDirContent {
    /// Every KEK by its name.
    pub keks: BTreeMap<String, (KekId, KekUse)>,
}

/// What a KEK is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KekUse {
    /// Wraps and unwraps.
    Primary,
    /// Unwraps.
    Retained,
    /// The journal is read by it, nothing else.
    Retired,
}

impl KekUse {
    /// What operators call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Retained => "retained",
            Self::Retired => "retired",
        }
    }
}

impl KekDir {
    /// The folder at `path`.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its KEKs, and what is in it: both from one state of it.
    pub fn read(&self) -> Result<(MemoryKeks, KekDirContent), ConfigError> {
        let folder = self.swapped();
        let mut files = BTreeMap::new();
        let io = |error: std::io::Error| self.wrong(format!("cannot be read: {error}"));
        for entry in fs::read_dir(&folder).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let name =
                name.to_str().ok_or_else(|| self.wrong(format!("{} is not the name of a KEK", name.display())))?;
            // What Kubernetes keeps there, and files on their way.
            if name.starts_with('.') {
                continue;
            }
            files.insert(name.to_owned(), self.text_of(&folder, name)?);
        }
        let primary = files.remove(PRIMARY);
        let retired = files.remove(RETIRED);
        let mut keks = BTreeMap::new();
        for (name, text) in &files {
            refuse_name(name).map_err(|why| self.wrong(why))?;
            let kek = Kek::parse_base64(text).map_err(|error| self.wrong(format!("{name}: {error}")))?;
            if let Some((twin, _)) = keks.iter().find(|(_, other): &(_, &Kek)| other.id() == kek.id()) {
                return Err(self.wrong(format!("{twin} and {name} are the same KEK")));
            }
            keks.insert(name.clone(), kek);
        }
        let primary = self.primary_of(primary.as_deref().map(|text| text.trim()), &keks)?;
        let mut content = BTreeMap::new();
        let retired: Vec<&str> = retired.iter().flat_map(|text| text.lines()).map(str::trim).collect();
        for name in retired.iter().filter(|name| !name.is_empty()) {
            let named = self.named(name, &keks).map_err(|error| self.wrong(format!("{RETIRED}: {error}")))?;
            if named == primary {
                return Err(self.wrong(format!("{named} is primary, and retired: it cannot be both")));
            }
            content.insert(named, KekUse::Retired);
        }
        content.insert(primary.clone(), KekUse::Primary);
        let used = |name: &String| content.get(name).copied().unwrap_or(KekUse::Retained);
        let uses = keks.iter().map(|(name, kek)| (name.clone(), (kek.id(), used(name))));
        let content = KekDirContent { keks: uses.collect() };
        let mut memory = None;
        let (mut retained, mut retired) = (Vec::new(), Vec::new());
        for (name, kek) in keks {
            match content.keks[&name].1 {
                KekUse::Primary => memory = Some(kek),
                KekUse::Retained => retained.push(kek),
                KekUse::Retired => retired.push(kek),
            }
        }
        let primary = memory.ok_or_else(|| self.wrong("holds no KEK".into()))?;
        Ok((MemoryKeks { primary, retained, retired }, content))
    }

    /// Puts `kek` there under `name`, as one that only unwraps; as primary, if it is the first.
    pub fn add(&self, name: &str, kek: &Kek) -> Result<KekUse, ConfigError> {
        refuse_name(name).map_err(|why| self.wrong(why))?;
        if !self.path.exists() {
            make_private(&self.path).map_err(|error| self.wrong(format!("cannot be made: {error}")))?;
        }
        let is_first = self.is_empty();
        if !is_first {
            let (_, content) = self.read()?;
            if let Some((twin, _)) = content.keks.iter().find(|(_, (id, _))| *id == kek.id()) {
                return Err(self.wrong(format!("has this KEK already: {twin}")));
            }
            if content.keks.contains_key(name) {
                return Err(self.wrong(format!("{name} is there already; a KEK is never replaced")));
            }
        }
        if is_first {
            // Named before it is there: nobody who reads in between finds a second one that is unnamed.
            self.write(PRIMARY, &format!("{name}\n"))?;
        } else {
            // The one that wraps is named before there is a choice.
            self.name_the_primary()?;
        }
        self.write(name, &Zeroizing::new(format!("{}\n", &*kek.encode_base64())))?;
        Ok(if is_first { KekUse::Primary } else { KekUse::Retained })
    }

    /// Has the KEK that is `named`, by its name or its id, wrap from now on. The one that did so only unwraps.
    pub fn promote(&self, named: &str) -> Result<(String, KekId), ConfigError> {
        let (name, id, is) = self.find(named)?;
        if is == KekUse::Retired {
            return Err(self.wrong(format!("{name} is retired: take its name out of the file `{RETIRED}` first")));
        }
        self.write(PRIMARY, &format!("{name}\n"))?;
        Ok((name, id))
    }

    /// Has the KEK that is `named` do nothing any more but read the journal. Whether it is needed is the caller's to know.
    pub fn retire(&self, named: &str) -> Result<(), ConfigError> {
        let (name, _, is) = self.find(named)?;
        match is {
            KekUse::Primary => Err(self.wrong(format!("{name} is primary; promote another one first"))),
            KekUse::Retired => Ok(()),
            KekUse::Retained => {
                self.name_the_primary()?;
                let (_, content) = self.read()?;
                let retired = content.keks.iter().filter(|(_, (_, is))| *is == KekUse::Retired);
                let names = retired.map(|(name, _)| name.as_str()).chain([name.as_str()]);
                self.write(RETIRED, &names.map(|name| format!("{name}\n")).collect::<String>())
            }
        }
    }

    /// The KEK that is `named` by its name or its id.
    pub fn find(&self, named: &str) -> Result<(String, KekId, KekUse), ConfigError> {
        let (_, content) = self.read()?;
        let found = content.keks.iter().find(|(name, (id, _))| *name == named || id.to_string() == named);
        let (name, (id, is)) = found.ok_or_else(|| self.wrong(format!("there is no {named:?} in it")))?;
        Ok((name.clone(), *id, *is))
    }

    /// But for files on their way.
    fn is_empty(&self) -> bool {
        let is_hidden = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
        fs::read_dir(&self.path).is_ok_and(|entries| entries.flatten().all(|entry| is_hidden(&entry)))
    }

    fn name_the_primary(&self) -> Result<(), ConfigError> {
        if self.swapped().join(PRIMARY).exists() {
            return Ok(());
        }
        let (_, content) = self.read()?;
        let primary = content.keks.iter().find(|(_, (_, is))| *is == KekUse::Primary);
        primary.map_or(Ok(()), |(name, _)| self.write(PRIMARY, &format!("{name}\n")))
    }

    /// One that is named, if it is there; where nothing is named, the only one.
    fn primary_of(&self, named: Option<&str>, keks: &BTreeMap<String, Kek>) -> Result<String, ConfigError> {
        match (named, keks.len()) {
            (_, 0) => Err(self.wrong("holds no KEK".into())),
            (Some(named), _) => self.named(named, keks).map_err(|error| self.wrong(format!("{PRIMARY}: {error}"))),
            (None, 1) => Ok(keks.keys().next().cloned().unwrap_or_default()),
            (None, _) => Err(self.wrong(format!("holds several KEKs, and no file `{PRIMARY}` that names one of them"))),
        }
    }

    fn named(&self, named: &str, keks: &BTreeMap<String, Kek>) -> Result<String, String> {
        let found = keks.iter().find(|(name, kek)| *name == named || kek.id().to_string() == named);
        // What stands there may be a key that was put into the wrong file: it is not repeated.
        found.map(|(name, _)| name.clone()).ok_or_else(|| "names a KEK that is not there".to_owned())
    }

    /// Where the files are, all of one state.
    fn swapped(&self) -> PathBuf {
        fs::canonicalize(self.path.join(SWAPPED)).unwrap_or_else(|_| self.path.clone())
    }

    fn text_of(&self, folder: &Path, name: &str) -> Result<Zeroizing<String>, ConfigError> {
        let path = folder.join(name);
        let readable = fs::metadata(&path).is_ok_and(|is| is.is_file() && is.len() <= FILE_BYTES_MAX);
        if !readable {
            return Err(self.wrong(format!("{name} is not a file of a KEK")));
        }
        let text = fs::read_to_string(&path).map_err(|error| self.wrong(format!("{name} cannot be read: {error}")))?;
        Ok(Zeroizing::new(text))
    }

    /// Whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), ConfigError> {
        if self.path.join(SWAPPED).exists() {
            return Err(self.wrong("is a mounted secret: change the secret, and what runs takes it over".into()));
        }
        let next = self.path.join(format!(".{name}.next"));
        let put = || {
            let _ = fs::remove_file(&next);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, self.path.join(name))?;
            fs::File::open(&self.path)?.sync_all()
        };
        put().map_err(|error| self.wrong(format!("{name} cannot be written: {error}")))
    }

    fn wrong(&self, message: String) -> ConfigError {
        ConfigError::value(format!("keys.kek_dir {}", self.path.display()), message)
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn refuse_name(name: &str) -> Result<(), String> {
    let fits = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !name.starts_with(['.', '-'])
        && ![PRIMARY, RETIRED].contains(&name);
    if fits {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is not the name of a KEK: 1 to 64 of A-Z a-z 0-9 . _ -, and neither `{PRIMARY}` nor `{RETIRED}`"
        ))
    }
}
