//! The lines of a backup, as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use origan_codec_host::crypto::EncryptedDek;
use serde::{Deserialize, Serialize};

use super::{BackupDigest, BackupEnd, BackupHeader, FORMAT_VERSION};
use crate::names::KeyVersion;
use crate::store::schema::NEWEST;
use crate::store::{Canary, DekOrigin, DekRow, DekState, ENCRYPTIONS_MAX, KeptCanary, KeptRow};

/// What the first line says it is the first line of.
pub(super) const FORMAT: &str = "codec-backup";

/// What every version of the format begins with.
#[derive(Deserialize)]
pub(super) struct AnyHeader {
    pub(super) format: String,
    pub(super) version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HeaderLine {
    format: String,
    version: u32,
    created_at: String,
    codec_version: String,
    pub(super) schema: i64,
    kek_id: String,
}

/// Every line after it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Line {
    Canary(CanaryLine),
    Dek(Box<DekLine>),
    End(EndLine),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CanaryLine {
    kek_id: String,
    sealed: String,
    place: Option<i64>,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DekLine {
    project_id: String,
    version: u64,
    kek_id: String,
    encrypted_dek: String,
    fingerprint: String,
    row_mac: String,
    state: String,
    origin: String,
    encryptions: u64,
    created_at: i64,
    former_sha256: Vec<String>,
    generation: u64,
    last_used_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndLine {
    canaries: u64,
    deks: u64,
    sha256: String,
    mac: String,
}

/// The field that is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongField(pub(super) &'static str);

impl HeaderLine {
    pub(super) fn of(header: &BackupHeader) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            created_at: header.created_at.clone(),
            codec_version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: NEWEST,
            kek_id: header.kek_id.to_string(),
        }
    }

    pub(super) fn parse(self) -> Result<BackupHeader, WrongField> {
        let kek_id = self.kek_id.parse().map_err(|_| WrongField("kekId"))?;
        // It goes to terminals and into a record.
        let is_time = self.created_at.len() <= 40 && self.created_at.bytes().all(|b| b.is_ascii_graphic());
        if !is_time { Err(WrongField("createdAt")) } else { Ok(BackupHeader { created_at: self.created_at, kek_id }) }
    }
}

impl CanaryLine {
    pub(super) fn of(kept: &KeptCanary) -> Self {
        Self {
            kek_id: kept.canary.kek_id.to_string(),
            sealed: STANDARD.encode(&kept.canary.sealed),
            place: kept.place,
            created_at: kept.created_at_ms,
        }
    }

    pub(super) fn parse(self) -> Result<KeptCanary, WrongField> {
        let kek_id = self.kek_id.parse().map_err(|_| WrongField("kekId"))?;
        let sealed = STANDARD.decode(&self.sealed).map_err(|_| WrongField("sealed"))?;
        if self.place.is_some_and(|place| place < 1) {
            return Err(WrongField("place"));
        }
        Ok(KeptCanary { canary: Canary { kek_id, sealed }, place: self.place, created_at_ms: self.created_at })
    }
}

impl DekLine {
    pub(super) fn of(kept: &KeptRow) -> Self {
        let row = &kept.row;
        Self {
            project_id: row.project_id.as_str().to_owned(),
            version: row.version.number().into(),
            kek_id: row.kek_id.to_string(),
            encrypted_dek: row.encrypted_dek.encode(),
            fingerprint: STANDARD.encode(row.fingerprint),
            row_mac: STANDARD.encode(row.row_mac),
            state: row.state.name().to_owned(),
            origin: row.origin.name().to_owned(),
            encryptions: kept.encryptions,
            created_at: row.created_at_ms,
            former_sha256: row.former_digests.iter().map(|digest| STANDARD.encode(digest)).collect(),
            generation: row.generation,
            last_used_at: row.last_used_at_ms,
        }
    }

    pub(super) fn parse(self) -> Result<KeptRow, WrongField> {
        let in_number = |number: u64, field| i64::try_from(number).map(|_| number).map_err(|_| WrongField(field));
        let former = self.former_sha256.iter().map(|digest| bytes(digest, "formerSha256"));
        let row = DekRow {
            project_id: self.project_id.parse().map_err(|_| WrongField("projectId"))?,
            version: KeyVersion::try_from(self.version).map_err(|_| WrongField("version"))?,
            kek_id: self.kek_id.parse().map_err(|_| WrongField("kekId"))?,
            encrypted_dek: EncryptedDek::parse(&self.encrypted_dek).map_err(|_| WrongField("encryptedDek"))?,
            fingerprint: bytes(&self.fingerprint, "fingerprint")?,
            row_mac: bytes(&self.row_mac, "rowMac")?,
            state: DekState::parse(&self.state).map_err(|_| WrongField("state"))?,
            origin: DekOrigin::parse(&self.origin).map_err(|_| WrongField("origin"))?,
            created_at_ms: self.created_at,
            former_digests: former.collect::<Result<_, _>>()?,
            generation: in_number(self.generation, "generation")?,
            last_used_at_ms: self.last_used_at,
        };
        if self.encryptions > ENCRYPTIONS_MAX {
            return Err(WrongField("encryptions"));
        }
        Ok(KeptRow { row, encryptions: self.encryptions })
    }
}

impl EndLine {
    pub(super) fn of(end: &BackupEnd) -> Self {
        let BackupDigest { sha256, canaries, rows } = end.digest;
        Self { canaries, deks: rows, sha256: hex(&sha256), mac: hex(&end.mac) }
    }

    pub(super) fn parse(self) -> Result<BackupEnd, WrongField> {
        let sha256 = unhex(&self.sha256).ok_or(WrongField("sha256"))?;
        let digest = BackupDigest { sha256, canaries: self.canaries, rows: self.deks };
        Ok(BackupEnd { digest, mac: unhex(&self.mac).ok_or(WrongField("mac"))? })
    }
}

pub(super) fn hex(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// 64 digits, lower case.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes?.try_into().ok() } else { None }
}

fn bytes(text: &str, field: &'static str) -> Result<[u8; 32], WrongField> {
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(WrongField(field))
}
