//! `codec`: parse, build, run.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: buffers of the HTTP and JSON libraries hold secrets too, and cannot be asked to.
#[global_allocator]
static WIPING: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    origan_codec::cli::main()
}
