//! Lines of a journal and receipts: no panic, and a receipt has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origan_codec::audit::Receipt;
use origan_codec::audit::chain::Line;

fuzz_target!(|bytes: &[u8]| {
    let _ = Line::parse(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(receipt) = text.parse::<Receipt>()
    {
        assert_eq!(receipt.to_string(), text);
    }
});
