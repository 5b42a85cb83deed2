//! Bodies of the calls: no panic, and nothing accepted that is not JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origan_codec::http::fuzz;

fuzz_target!(|body: &[u8]| {
    let accepted = fuzz::decrypt_all(body) | fuzz::decrypt_value(body) | fuzz::encrypt_all(body);
    if accepted {
        assert!(std::str::from_utf8(body).is_ok());
    }
});
