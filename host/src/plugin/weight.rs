//! What it would cost to compile a component, told before anybody tries.
//!
//! A compiler's time and memory grow faster than what it is given: 150 KB of loops within loops take it minutes and gigabytes. So what
//! makes it slow is counted, in one pass and without recursion, and held against caps that lie three to thirty times beyond what the
//! engines of JavaScript and of Python, the largest guests there are, come to: in brackets below.

use wasmparser::{BinaryReaderError, FunctionBody, Operator};

/// In all core modules together: functions (20,000), types (170), and globals, of which a snapshot takes the square of the time (310).
const FUNCTIONS_MAX: u64 = 60_000;
const TYPES_MAX: u64 = 5_000;
const GLOBALS_MAX: u64 = 2_000;
/// In one function: locals (480), branches (7,800), blocks within each other (780), targets of `br_table` (15,800).
const LOCALS_MAX: u64 = 5_000;
const BRANCHES_MAX: u64 = 40_000;
const NESTING_MAX: u64 = 2_000;
const TARGETS_MAX: u64 = 100_000;
/// Loops within each other: optimising takes the square of the time. (What people write: 10.)
const NESTED_LOOPS_MAX: u64 = 100;
/// Locals times branches, which is what the compiler has to keep apart: in one function (380,000) and in all (5,900,000).
const STATES_MAX: u64 = 2_000_000;
const ALL_STATES_MAX: u64 = 30_000_000;
/// Functions lifted to and lowered from the component's level: each is compiled an adapter. (With all of WASI: 300.)
const ADAPTERS_MAX: u64 = 5_000;
/// Components within each other. (Toolchains make two levels.)
const COMPONENTS_DEEP_MAX: u64 = 50;
/// The parser reads a component's types by recursion; no type nests deeper than the bytes that begin a nested one.
const NESTED_TYPES_MAX: u64 = 1_000;
const BEGINS_A_NESTED_TYPE: [u8; 2] = [0x41, 0x42];

/// Counts what is expensive, and says when it is too much.
#[derive(Debug, Default)]
pub(super) struct Weight {
    functions: u64,
    types: u64,
    globals: u64,
    adapters: u64,
    states: u64,
}

/// More of something than is compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} {what}; {limit} are compiled at the most")]
pub struct TooHeavy {
    /// Of what.
    pub what: &'static str,
    /// How much there is, or how much there was when counting ended.
    pub found: u64,
    /// How much there may be.
    pub limit: u64,
}

/// Why a function is not counted to its end.
pub(super) enum WeighError {
    TooHeavy(TooHeavy),
    Malformed(BinaryReaderError),
}

impl Weight {
    pub(super) fn add_types(&mut self, count: u32) -> Result<(), TooHeavy> {
        add(&mut self.types, count.into(), TYPES_MAX, "types in core modules")
    }

    pub(super) fn add_globals(&mut self, count: u32) -> Result<(), TooHeavy> {
        add(&mut self.globals, count.into(), GLOBALS_MAX, "globals")
    }

    pub(super) fn add_adapters(&mut self, count: u32) -> Result<(), TooHeavy> {
        add(&mut self.adapters, count.into(), ADAPTERS_MAX, "functions lifted or lowered")
    }

    pub(super) fn add_nested_component(depth: usize) -> Result<(), TooHeavy> {
        at_most(depth as u64, COMPONENTS_DEEP_MAX, "components within each other")
    }

    /// The bytes of one section of types, before anything parses them.
    pub(super) fn add_component_types(section: &[u8]) -> Result<(), TooHeavy> {
        let nested = section.iter().filter(|byte| BEGINS_A_NESTED_TYPE.contains(byte)).count() as u64;
        at_most(nested, NESTED_TYPES_MAX, "component types within each other")
    }

    pub(super) fn add_function(&mut self, body: &FunctionBody<'_>) -> Result<(), WeighError> {
        add(&mut self.functions, 1, FUNCTIONS_MAX, "functions")?;
        let mut locals = 0;
        for group in body.get_locals_reader()? {
            add(&mut locals, group?.0.into(), LOCALS_MAX, "locals in one function")?;
        }
        let (mut branches, mut targets, mut loops) = (1, 0, 0);
        // Of each block that is open, whether it is a loop.
        let mut open = Vec::new();
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                    let is_loop = matches!(operator, Operator::Loop { .. });
                    open.push(is_loop);
                    at_most(open.len() as u64, NESTING_MAX, "blocks within each other")?;
                    add(&mut loops, is_loop.into(), NESTED_LOOPS_MAX, "loops within each other")?;
                    add(&mut branches, 1, BRANCHES_MAX, "branches in one function")?;
                }
                Operator::End => loops -= u64::from(open.pop().unwrap_or(false)),
                Operator::BrIf { .. } => add(&mut branches, 1, BRANCHES_MAX, "branches in one function")?,
                Operator::BrTable { targets: more } => {
                    add(&mut targets, more.len().into(), TARGETS_MAX, "targets of `br_table` in one function")?;
                }
                _ => {}
            }
        }
        let states = branches.saturating_mul(locals);
        at_most(states, STATES_MAX, "locals times branches in one function")?;
        add(&mut self.states, states, ALL_STATES_MAX, "locals times branches in all functions")?;
        Ok(())
    }
}

fn add(sum: &mut u64, more: u64, limit: u64, what: &'static str) -> Result<(), TooHeavy> {
    *sum = sum.saturating_add(more);
    at_most(*sum, limit, what)
}

fn at_most(found: u64, limit: u64, what: &'static str) -> Result<(), TooHeavy> {
    if found > limit { Err(TooHeavy { what, found, limit }) } else { Ok(()) }
}

impl From<TooHeavy> for WeighError {
    fn from(error: TooHeavy) -> Self {
        Self::TooHeavy(error)
    }
}

impl From<BinaryReaderError> for WeighError {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}
