//! A DEK handle: what `/decrypt-dek` answers in place of the DEK under `dek_release = "sealed"`.
//!
//! `"dh1." ‖ base64url(seal(handle key, expiry u64 ms ‖ version u32 ‖ length(project) u8 ‖ project ‖ caller))`, numbers big-endian.
//! '.' is outside the base64 alphabet, so a handle is never taken for a DEK.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use origan_codec_host::crypto::{KeyRing, RandomnessUnavailable};
use subtle::ConstantTimeEq;

use crate::clock::unix_ms;
use crate::names::{KeyVersion, ProjectId};

const PREFIX: &str = "dh1.";

/// Names a DEK to the caller it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DekHandle {
    /// Whose DEK.
    pub project_id: ProjectId,
    /// Which version.
    pub version: KeyVersion,
}

/// Expired, another caller's, altered: which is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DEK handle is not valid")]
pub struct HandleInvalid;

impl DekHandle {
    /// Whether `text` means to be a handle.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Seals it for `caller`, for `ttl_s` seconds from now.
    pub fn seal(&self, ring: &KeyRing, caller: &str, ttl_s: u64) -> Result<String, RandomnessUnavailable> {
        let expires_ms = unix_ms().saturating_add_unsigned(ttl_s.saturating_mul(1_000));
        let project = self.project_id.as_str().as_bytes();
        let mut fields = Vec::with_capacity(13 + project.len() + caller.len());
        fields.extend_from_slice(&expires_ms.to_be_bytes());
        fields.extend_from_slice(&self.version.number().to_be_bytes());
        // A project id is at most 128 bytes long.
        fields.push(project.len() as u8);
        fields.extend_from_slice(project);
        fields.extend_from_slice(caller.as_bytes());
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(ring.seal_handle(&fields)?)))
    }

    /// Opens what `caller` presents.
    pub fn open(text: &str, ring: &KeyRing, caller: &str) -> Result<Self, HandleInvalid> {
        let sealed = text.strip_prefix(PREFIX).and_then(|sealed| URL_SAFE_NO_PAD.decode(sealed).ok());
        let fields = ring.open_handle(&sealed.ok_or(HandleInvalid)?).map_err(|_| HandleInvalid)?;
        let (expires_ms, rest) = fields.split_first_chunk().ok_or(HandleInvalid)?;
        let (version, rest) = rest.split_first_chunk().ok_or(HandleInvalid)?;
        let (project_len, rest) = rest.split_first().ok_or(HandleInvalid)?;
        let (project, made_for) = rest.split_at_checked(usize::from(*project_len)).ok_or(HandleInvalid)?;
        if !bool::from(made_for.ct_eq(caller.as_bytes())) || i64::from_be_bytes(*expires_ms) <= unix_ms() {
            return Err(HandleInvalid);
        }
        let project = std::str::from_utf8(project).map_err(|_| HandleInvalid)?;
        Ok(Self {
            project_id: project.parse().map_err(|_| HandleInvalid)?,
            version: u64::from(u32::from_be_bytes(*version)).try_into().map_err(|_| HandleInvalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use origan_codec_host::crypto::Kek;

    fn ring() -> KeyRing {
        KeyRing::new(&Kek::generate().expect("random"), &[]).expect("one KEK")
    }

    #[test]
    fn a_handle_opens_for_its_caller_within_its_time_and_not_otherwise() {
        let (ring, other) = (ring(), ring());
        let handle = DekHandle { project_id: "shop".parse().expect("an id"), version: KeyVersion::FIRST };
        let text = handle.seal(&ring, "runner", 60).expect("random");
        assert_eq!(DekHandle::open(&text, &ring, "runner"), Ok(handle.clone()));
        assert_eq!(DekHandle::open(&text, &ring, "other"), Err(HandleInvalid));
        assert_eq!(DekHandle::open(&text, &ring, ""), Err(HandleInvalid));
        assert_eq!(DekHandle::open(&text, &other, "runner"), Err(HandleInvalid));
        let expired = handle.seal(&ring, "runner", 0).expect("random");
        assert_eq!(DekHandle::open(&expired, &ring, "runner"), Err(HandleInvalid));
    }

    #[test]
    fn a_handle_with_any_character_changed_is_refused() {
        let ring = ring();
        let handle = DekHandle { project_id: "shop".parse().expect("an id"), version: KeyVersion::FIRST };
        let text = handle.seal(&ring, "runner", 60).expect("random");
        for index in PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(DekHandle::open(&changed, &ring, "runner"), Err(HandleInvalid), "character {index}");
        }
        assert_eq!(DekHandle::open("dh1.", &ring, "runner"), Err(HandleInvalid));
    }
}
