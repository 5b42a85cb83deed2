//! A new KEK, made in the token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::key;
use super::token::Token;
use crate::config::{ConfigError, Pkcs11Config};

/// AES-256.
const KEY_BYTES: Ulong = Ulong::new(32);
/// Of an id that the configuration does not choose.
const ID_LEN: usize = 8;

/// Makes the key that `config` names, not extractable, and says which. One that is there already is left as it is, and an error.
pub fn generate_key(config: &Pkcs11Config, pin: Option<Zeroizing<String>>) -> Result<String, ConfigError> {
    let token = Token::load(config, pin)?;
    generate(&token, config)
        .map_err(|fault| ConfigError::value("keys.pkcs11", format!("{}: {fault}", token.name())))?;
    Ok(token.name())
}

fn generate(token: &Token, config: &Pkcs11Config) -> Result<(), Fault> {
    let session = token.log_in_to_write()?;
    if !session.find_objects(&key::named(config))?.is_empty() {
        return Err(Fault::Never("a key of that name is there already; a KEK is never replaced".into()));
    }
    let mut id = vec![0; ID_LEN];
    getrandom::fill(&mut id).map_err(|_| Fault::NotNow("the operating system's randomness is unavailable".into()))?;
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(KEY_BYTES),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Id(config.key_id().unwrap_or(id)),
    ];
    template.extend(config.key_label.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    session.generate_key(&Mechanism::AesKeyGen, &template)?;
    // As the service will look at it.
    key::find(&session, config).map(drop)
}
