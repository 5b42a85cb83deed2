//! Encrypted values and DEKs: what parses is its own spelling; KEKs: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origan_codec_host::crypto::{EncryptedDek, EncryptedValue, Kek};

fuzz_target!(|text: &str| {
    if let Ok(value) = EncryptedValue::parse(text) {
        assert_eq!(value.encode(), text);
    }
    if let Ok(dek) = EncryptedDek::parse(text) {
        assert_eq!(dek.encode(), text);
    }
    if let Ok(kek) = Kek::parse_base64(text) {
        assert_eq!(*kek.encode_base64(), text.trim_end_matches(['\r', '\n']));
    }
});
