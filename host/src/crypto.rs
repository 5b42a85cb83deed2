//! The crypto wing: secret → aead → envelope → binding → kek → context → outside → ring_kek → keyring → cipher. Each room imports only from those before it.
//!
//! Whoever uses it sees two verbs on DEKs (`wrap_dek`, `unwrap_dek`) and two on values (`seal_value`, `open_value`). Byte
//! formats are in `docs/FORMAT.md`.

mod aead;
mod binding;
mod cipher;
mod context;
mod envelope;
mod kek;
mod keyring;
mod mac;
mod outside;
mod ring_kek;
mod secret;

pub use aead::{CannotOpen, RandomnessUnavailable};
pub use binding::ValueBinding;
pub use cipher::{DekCipher, OpenValueError};
pub use context::WrapContext;
pub use envelope::{EncryptedDek, EncryptedValue, ParseEnvelopeError, ValueFormat};
pub use kek::{KekError, KekId};
pub use keyring::{KeyRing, RingError, RowMac, WrappedDek};
pub use mac::{MacKey, Tag};
pub use outside::{KekUnavailable, OutsideKek, OutsideUnwrapError, ServiceKey, WrapError};
pub use ring_kek::{DekFingerprint, RingKek, UnwrapError};
pub use secret::{Dek, DekLengthError, Kek, Plaintext, PlaintextNotUtf8, ServiceToken, WipedBytes};
