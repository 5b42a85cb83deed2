//! How much one plugin may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Most tables and memories that one component may have; toolchains make one or two of each.
const TABLES_MAX: usize = 20;
const MEMORIES_MAX: usize = 8;
/// Most core instances in one component. Python's has 38, a library each; JavaScript's 3.
pub(super) const CORE_INSTANCES_MAX: u32 = 60;

/// How much one plugin may use. Nothing runs without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of the component itself, in bytes.
    pub component_bytes: usize,
    /// Of one function in it, in bytes: compiling takes time that grows faster than the function.
    pub function_bytes: usize,
    /// For compiling.
    pub compile_deadline: Duration,
    /// For `configure`.
    pub configure_deadline: Duration,
    /// For one call: of a policy the time it computes, of a sink or a provider the wall clock.
    pub call_deadline: Duration,
    /// Time that one call of a sink or a provider may compute.
    pub compute_deadline: Duration,
    /// Of an instance, in bytes.
    pub memory_bytes: usize,
    /// Of an instance's tables together.
    pub table_elements: usize,
    /// Core instances in one component.
    pub core_instances: usize,
    /// What one answer, or one call of an import, may hand to the host, in bytes.
    pub transfer_bytes: usize,
}

impl Limits {
    /// What a policy gets unless the operator says otherwise.
    pub fn policy() -> Self {
        Self {
            component_bytes: 32 << 20,
            function_bytes: 1 << 20,
            compile_deadline: Duration::from_secs(60),
            configure_deadline: Duration::from_secs(2),
            call_deadline: Duration::from_millis(20),
            compute_deadline: Duration::from_millis(20),
            memory_bytes: 64 << 20,
            table_elements: 10_000,
            core_instances: CORE_INSTANCES_MAX as usize,
            transfer_bytes: 64 << 10,
        }
    }

    /// What a sink gets unless the operator says otherwise.
    pub fn sink() -> Self {
        Self {
            call_deadline: Duration::from_secs(10),
            compute_deadline: Duration::from_secs(1),
            transfer_bytes: 16 << 20,
            ..Self::policy()
        }
    }

    /// What a secret provider gets unless the operator says otherwise.
    pub fn secret_provider() -> Self {
        Self { call_deadline: Duration::from_secs(5), ..Self::sink() }
    }

    /// What a key provider gets unless the operator says otherwise.
    pub fn key_provider() -> Self {
        Self { transfer_bytes: 1 << 20, ..Self::secret_provider() }
    }
}

/// Holds one store to its limits, and remembers that it had to.
#[derive(Debug)]
pub(super) struct Meter {
    memory_bytes: usize,
    table_elements: usize,
    core_instances: usize,
    memory_used: usize,
    table_used: usize,
    refused: Option<&'static str>,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            core_instances: limits.core_instances,
            memory_used: 0,
            table_used: 0,
            refused: None,
        }
    }

    /// What was refused last, if anything was.
    pub(super) fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    /// Bytes of all memories together.
    pub(super) fn memory_used(&self) -> usize {
        self.memory_used
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.memory_used.saturating_add(desired.saturating_sub(current));
        if used > self.memory_bytes {
            self.refused = Some("memory");
            return Ok(false);
        }
        self.memory_used = used;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some("memory");
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.table_used.saturating_add(desired.saturating_sub(current));
        if used > self.table_elements {
            self.refused = Some("table");
            return Ok(false);
        }
        self.table_used = used;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some("table");
        Ok(())
    }

    fn instances(&self) -> usize {
        self.core_instances
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
