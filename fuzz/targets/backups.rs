//! Backups: no panic, whatever the lines are; and what reads to its end says what it has read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origan_codec::store::backup::{BackupReader, Part};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = BackupReader::begin(bytes) else { return };
    let (mut canaries, mut rows) = (0, 0);
    while let Ok(part) = reader.next_part() {
        match part {
            Part::Canary(_) => canaries += 1,
            Part::Row(_) => rows += 1,
            Part::End(end) => {
                assert_eq!((end.digest.canaries, end.digest.rows), (canaries, rows));
                return;
            }
        }
    }
});
