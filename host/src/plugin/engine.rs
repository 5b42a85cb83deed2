//! The engines, never mixed: one for policies, one for sinks and providers, one that only runs `configure` for a snapshot.
//!
//! Policies are instantiated for every decision, so theirs has its instances' memory ready in a pool, mapped copy-on-write. The others
//! take memory on demand. A [`Clock`] ticks all of them; a call that is still at work at its deadline ends there, whatever it does.

mod clock;

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, RegallocAlgorithm,
};

use super::code::{CodeCache, CodeFor, Compiler, NoCache};
use super::limits::CORE_INSTANCES_MAX;
pub(super) use clock::{AtWork, Clock, TICK};

/// Plugins that are compiled at once: as many as there are processors, within these. Each has one for itself then, and the largest, which
/// come first, do not wait for what is quickly done.
const ADMISSIONS: RangeInclusive<usize> = 2..=4;
/// Instances of policies at once, at the least, and for each processor: a decision holds a thread, and there are few of those.
const POLICY_INSTANCES_MIN: u32 = 64;
const POLICY_INSTANCES_PER_PROCESSOR: u32 = 8;
/// Frames of a guest's stack that are looked at after a trap.
const BACKTRACE_FRAMES_MAX: usize = 16;
/// Bytes of an instance's memory that stay in place between decisions. Covers what a guest in Rust touches.
const KEEP_RESIDENT_BYTES: usize = 512 << 10;
/// Largest memory that the pool has places for.
pub(super) const POOLED_MEMORY_BYTES_MAX: usize = 128 << 20;
/// Largest table that the pool has places for.
pub(super) const POOLED_TABLE_ELEMENTS_MAX: usize = 20_000;

/// All engines of a process.
pub struct Engines {
    pub(super) policies: Engine,
    pub(super) sinks: Engine,
    pub(super) snapshots: Engine,
    pub(super) code: Arc<dyn CodeCache>,
    /// None: this process compiles.
    pub(super) compiler: Option<Arc<dyn Compiler>>,
    /// Places for compilers at work.
    pub(super) admissions: Arc<Semaphore>,
    pub(super) clock: Arc<Clock>,
    /// Whether what an admission computes is done on spare time.
    pub(super) gives_way: AtomicBool,
    /// The one place for that. What is left behind keeps it until it ends.
    pub(super) spare_admission: Arc<Semaphore>,
}

/// The machine cannot run plugins.
#[derive(Debug, thiserror::Error)]
#[error("WebAssembly cannot be set up on this machine: {0}")]
pub struct EnginesError(String);

impl Engines {
    /// Sets them up and starts their clock. Every component is compiled, here.
    pub fn new() -> Result<Self, EnginesError> {
        Self::set_up(Arc::new(NoCache), None)
    }

    /// The same, with `code` for what has been compiled before, and `compiler` for what has not.
    pub fn with(code: Arc<dyn CodeCache>, compiler: Arc<dyn Compiler>) -> Result<Self, EnginesError> {
        Self::set_up(code, Some(compiler))
    }

    fn set_up(code: Arc<dyn CodeCache>, compiler: Option<Arc<dyn Compiler>>) -> Result<Self, EnginesError> {
        let make = |config: &Config| Engine::new(config).map_err(|error| EnginesError(format!("{error:#}")));
        let mut pooled = config(CodeFor::Decisions);
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        let policies = make(&pooled)?;
        let (sinks, snapshots) = (make(&config(CodeFor::Calls))?, make(&config(CodeFor::Snapshots))?);
        let clock = Clock::start([policies.weak(), sinks.weak(), snapshots.weak()]);
        let clock = clock.map_err(|error| EnginesError(error.to_string()))?;
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let admissions = Arc::new(Semaphore::new(processors.clamp(*ADMISSIONS.start(), *ADMISSIONS.end())));
        let (gives_way, spare_admission) = (AtomicBool::new(false), Arc::new(Semaphore::new(1)));
        Ok(Self { policies, sinks, snapshots, code, compiler, admissions, clock, gives_way, spare_admission })
    }

    /// From now on there are requests to be answered: what an admission computes is done on spare time, as long as there is some.
    pub fn give_way(&self) {
        self.gives_way.store(true, Ordering::Relaxed);
    }

    pub(super) fn engine(&self, code_for: CodeFor) -> &Engine {
        match code_for {
            CodeFor::Decisions => &self.policies,
            CodeFor::Calls => &self.sinks,
            CodeFor::Snapshots => &self.snapshots,
        }
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        // So that the thread sees that nothing is left to tick for.
        self.clock.wake();
    }
}

/// All of an engine's settings that its code depends on.
pub(super) fn config(code_for: CodeFor) -> Config {
    let mut config = common();
    match code_for {
        CodeFor::Decisions => config.memory_reservation(POOLED_MEMORY_BYTES_MAX as u64),
        CodeFor::Calls => &mut config,
        // What `configure` computes is done in microseconds either way.
        CodeFor::Snapshots => config.cranelift_opt_level(OptLevel::None),
    };
    config
}

/// What every engine has in common: no feature that no guest needs, every one that stops a guest.
fn common() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // Compiled in and switched off: without the types, a guest could abort the process.
    config.wasm_gc(false).wasm_exceptions(false).wasm_function_references(false);
    config.wasm_threads(false).shared_memory(false).wasm_memory64(false).wasm_stack_switching(false);
    config.concurrency_support(false);
    // A plugin is compiled beside requests, which go first.
    config.parallel_compilation(false);
    // The single-pass allocator would compile in half the time, and is not for code that nobody trusts: wasmtime gives no advisories for it.
    config.cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX));
    config.generate_address_map(true);
    config
}

fn pool() -> PoolingAllocationConfig {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32);
    let instances = POLICY_INSTANCES_MIN.max(threads.saturating_mul(POLICY_INSTANCES_PER_PROCESSOR));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances);
    pool.total_core_instances(instances * CORE_INSTANCES_MAX);
    pool.total_memories(instances * 2);
    pool.total_tables(instances * 4);
    pool.total_stacks(instances);
    pool.max_core_instances_per_component(CORE_INSTANCES_MAX);
    pool.max_memories_per_component(2);
    pool.max_tables_per_component(20);
    pool.max_memory_size(POOLED_MEMORY_BYTES_MAX);
    pool.table_elements(POOLED_TABLE_ELEMENTS_MAX);
    pool.linear_memory_keep_resident(KEEP_RESIDENT_BYTES);
    pool.table_keep_resident(64 << 10);
    // Where the kernel can tell which pages were written, only those are put back.
    pool.pagemap_scan(Enabled::Auto);
    pool
}
