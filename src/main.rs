//! `codec`: parse, build, run.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: buffers of the HTTP and JSON libraries hold secrets too, and cannot be asked to.
#[global_allocator]
static WIPING: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

fn main() -> ExitCode {
    origan_codec::cli::main()
}
