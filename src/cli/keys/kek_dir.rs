//! `codec keys add`, `promote` and `retire`: KEKs of the folder `keys.kek_dir`. What serves follows the folder.

use std::process::ExitCode;

use anyhow::Context;
use origan_codec_host::crypto::Kek;

use super::{Add, Named, Setting};
use crate::app::{self, KekDir, KekUse};
use crate::config::ConfigError;

pub(super) fn add(command: &Add, setting: &Setting) -> anyhow::Result<ExitCode> {
    let dir = folder(setting)?;
    let kek = match &command.from {
        None => Kek::generate()?,
        Some(path) => app::kek_in(path).with_context(|| format!("no KEK in {}", path.display()))?,
    };
    let taken = dir.add(&command.name, &kek)?;
    println!("{}  {}  {}", kek.id(), taken.name(), command.name);
    if taken == KekUse::Retained {
        println!("it unwraps only; `codec keys promote {}` once every replica lists it", command.name);
    }
    eprintln!("keep it apart from the database and its backups");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn promote(command: &Named, setting: &Setting) -> anyhow::Result<ExitCode> {
    let (name, id) = folder(setting)?.promote(&command.kek)?;
    println!("{id}  primary  {name}");
    println!("what is new is under it from now on; `codec rewrap` brings the rest");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn retire(command: &Named, setting: &Setting) -> anyhow::Result<ExitCode> {
    let dir = folder(setting)?;
    let (name, id, _) = dir.find(&command.kek)?;
    let store = app::open_store_to_read(&setting.config).await?;
    let rows = store.rows_by_kek().await?.into_iter().find(|(kek_id, _)| *kek_id == id.to_string());
    if let Some((_, rows)) = rows {
        anyhow::bail!("{rows} DEKs are under KEK {id} ({name}): `codec rewrap` first; nothing was changed");
    }
    dir.retire(&name)?;
    println!("{id}  retired  {name}");
    println!("nothing is under it; keep its file for as long as the journal that it signed is to be verified");
    Ok(ExitCode::SUCCESS)
}

fn folder(setting: &Setting) -> anyhow::Result<KekDir> {
    let missing = || ConfigError::value("keys.kek_dir", "is not set: it names the folder of KEKs");
    Ok(KekDir::at(setting.config.keys.kek_dir.as_deref().ok_or_else(missing)?))
}
