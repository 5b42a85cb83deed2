//! The key in a session: found, doubted, used.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use tracing::warn;
use zeroize::Zeroizing;

use super::fault::{Fault, Refused};
use crate::config::Pkcs11Config;

const IV_LEN: usize = 16;
const TAG_LEN: usize = 16;
const TAG_BITS: Ulong = Ulong::new(128);
/// AES-256.
const KEY_LEN: u64 = 32;

/// The attributes by which the configuration names the key.
pub(super) fn named(config: &Pkcs11Config) -> Vec<Attribute> {
    let mut named = vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES)];
    named.extend(config.key_label.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    named.extend(config.key_id().map(Attribute::Id));
    named
}

/// The one key that `config` names, if it is what a KEK must be.
pub(super) fn find(session: &Session, config: &Pkcs11Config) -> Result<ObjectHandle, Fault> {
    match session.find_objects(&named(config))?[..] {
        [key] => doubt(session, key).map(|()| key),
        // It may be on its way from another token.
        [] => {
            Err(Fault::Lost("the token has no AES key of that name; `codec keys generate --pkcs11` makes one".into()))
        }
        [_, _, ..] => Err(Fault::Never("the token has several AES keys of that name; name one by key_id too".into())),
    }
}

/// Refuses a key that could leave the token, and one that cannot do what it is for.
fn doubt(session: &Session, key: ObjectHandle) -> Result<(), Fault> {
    let asked = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
        AttributeType::ValueLen,
    ];
    let (mut sensitive, mut extractable, mut encrypts, mut decrypts) = (false, true, false, false);
    let mut length = None;
    for attribute in session.get_attributes(key, &asked)? {
        match attribute {
            Attribute::Sensitive(is) => sensitive = is,
            Attribute::Extractable(is) => extractable = is,
            Attribute::Encrypt(may) => encrypts = may,
            Attribute::Decrypt(may) => decrypts = may,
            Attribute::ValueLen(bytes) => length = Some(u64::from(bytes)),
            _ => {}
        }
    }
    let refuse = |why: &str| Err(Fault::Never(format!("the key is not fit for a KEK: {why}")));
    if extractable {
        return refuse("it is extractable (CKA_EXTRACTABLE must be false)");
    }
    if !sensitive {
        return refuse("it is not sensitive (CKA_SENSITIVE must be true)");
    }
    if !(encrypts && decrypts) {
        return refuse("it must be allowed to encrypt and to decrypt (CKA_ENCRYPT, CKA_DECRYPT)");
    }
    match length {
        Some(KEY_LEN) => Ok(()),
        _ => refuse("it is not 32 bytes long (CKA_VALUE_LEN)"),
    }
}

/// Tells of a key that was outside of a token once: whoever had it then may have it still.
pub(super) fn warn_of_its_past(session: &Session, key: ObjectHandle) {
    let past = session.get_attributes(key, &[AttributeType::NeverExtractable]);
    if past.is_ok_and(|found| found.contains(&Attribute::NeverExtractable(false))) {
        warn!("the KEK was made outside of the token, or could be extracted once: whoever had it may have it still");
    }
}

/// `iv ‖ ciphertext ‖ tag`, opened again before it is believed: a DEK that was wrapped wrongly is lost with all it seals.
pub(super) fn wrap(session: &Session, key: ObjectHandle, plaintext: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut iv = [0; IV_LEN];
    getrandom::fill(&mut iv).map_err(|_| Fault::NotNow("the operating system's randomness is unavailable".into()))?;
    let gcm = GcmParams::new(&mut iv, b"", TAG_BITS)?;
    let sealed = session.encrypt(&Mechanism::AesGcm(gcm), key, plaintext)?;
    // Read after the call: a token that insists on an IV of its own has put it there.
    let wrapped = [&iv[..], &sealed].concat();
    let opens = match unwrap(session, key, &wrapped) {
        Ok(opened) => *opened == plaintext,
        Err(Refused::Doubtful(_)) => false,
        Err(Refused::Fault(fault)) => return Err(fault),
    };
    if opens && wrapped.len() == IV_LEN + plaintext.len() + TAG_LEN {
        return Ok(wrapped);
    }
    Err(Fault::NotNow("it does not open what it wrapped just now".into()))
}

/// What is in `wrapped`.
pub(super) fn unwrap(session: &Session, key: ObjectHandle, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let too_short = || Refused::Doubtful("shorter than an IV and a tag".into());
    let (iv, sealed) = wrapped.split_first_chunk::<IV_LEN>().ok_or_else(too_short)?;
    if sealed.len() < TAG_LEN {
        return Err(too_short());
    }
    let mut iv = *iv;
    let gcm = GcmParams::new(&mut iv, b"", TAG_BITS)?;
    Ok(Zeroizing::new(session.decrypt(&Mechanism::AesGcm(gcm), key, sealed)?))
}
