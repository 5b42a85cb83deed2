//! WASI with nothing in it, for guests whose toolchain cannot do without: no files, no environment, no arguments, no sockets, closed
//! streams. A policy's clocks stand still and its randomness is all zeros, so that it stays a pure function of its query.

use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView};

/// Most random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Most handles that a guest may hold.
const HANDLES_MAX: usize = 1_000;

/// What a WASI guest finds.
pub(super) struct EmptyWasi {
    context: WasiCtx,
    table: ResourceTable,
}

impl EmptyWasi {
    /// For a policy.
    pub(super) fn pure() -> Self {
        let mut builder = WasiCtx::builder();
        builder.max_random_size(RANDOM_BYTES_MAX);
        let zeros = || Deterministic::new(vec![0]);
        builder.secure_random(zeros()).insecure_random(zeros()).insecure_random_seed(0);
        builder.wall_clock(Stopped).monotonic_clock(Stopped);
        Self::of(builder.build())
    }

    /// For a sink, which lives in time.
    pub(super) fn timed() -> Self {
        Self::of(WasiCtx::builder().max_random_size(RANDOM_BYTES_MAX).build())
    }

    fn of(context: WasiCtx) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self { context, table }
    }

    pub(super) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> std::time::Duration {
        std::time::Duration::from_secs(1)
    }

    fn now(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}
