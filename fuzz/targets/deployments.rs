//! `metadata.json`: no panic, and a project id that is safe.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Ok(facts) = origan_codec::deployments::parse(content, std::time::SystemTime::UNIX_EPOCH) {
        assert!(!facts.project_id.as_str().contains(['/', '\\', '\0']));
    }
});
