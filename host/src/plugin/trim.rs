//! Leaves out code that will not be called, so that nobody waits for its compilation.
//!
//! A policy is compiled twice: once to run `configure`, once, as the snapshot, to decide. Neither needs what only the other calls, and in
//! a guest that reads settings that is half of it. The body of a function that cannot be reached becomes `unreachable`, of the same length:
//! nothing moves, and what is called all the same traps.

use std::collections::HashSet;
use std::ops::Range;

use wasmparser::{BinaryReaderError, ElementItems, ExternalKind, Operator, Parser, Payload, TypeRef};

/// The shortest body that holds `unreachable`: no locals, that, `end`.
const BODY_LEN_MIN: usize = 3;
const NO_LOCALS: u8 = 0x00;
const UNREACHABLE: u8 = 0x00;
const NOP: u8 = 0x01;
const END: u8 = 0x0b;

/// `component` without the code that only the functions of `interface`, one of `origan:codec`, call. What cannot be understood stays as it is.
pub(super) fn without(component: &[u8], interface: &str) -> Vec<u8> {
    let mut trimmed = component.to_vec();
    if let Ok(unreached) = unreached(component, interface) {
        for body in unreached {
            let Some(body) = trimmed.get_mut(body).filter(|body| body.len() >= BODY_LEN_MIN) else { continue };
            body.fill(NOP);
            (body[0], body[1], body[body.len() - 1]) = (NO_LOCALS, UNREACHABLE, END);
        }
    }
    trimmed
}

/// Where the bodies are that nothing calls any more.
fn unreached(component: &[u8], interface: &str) -> Result<Vec<Range<usize>>, BinaryReaderError> {
    let mut unreached = Vec::new();
    // What is being read: components and modules within each other.
    let mut open: Vec<Option<CoreModule>> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match &payload {
            Payload::Version { encoding, .. } => {
                open.push(matches!(encoding, wasmparser::Encoding::Module).then(CoreModule::default));
            }
            Payload::End(_) => {
                if let Some(Some(module)) = open.pop() {
                    unreached.extend(module.unreached());
                }
            }
            _ => {
                if let Some(Some(module)) = open.last_mut() {
                    module.read(&payload, interface)?;
                }
            }
        }
    }
    Ok(unreached)
}

/// A core module, as far as it says who calls whom.
#[derive(Default)]
struct CoreModule {
    imported: u32,
    functions: Vec<Function>,
    /// What can be called from outside, or at the start.
    roots: Vec<u32>,
    /// What a call through a table can reach.
    in_tables: Vec<u32>,
    /// Whether others call through its tables.
    shares_tables: bool,
    leaves_out: bool,
}

struct Function {
    body: Range<usize>,
    calls: Vec<u32>,
    uses_tables: bool,
}

impl CoreModule {
    fn read(&mut self, payload: &Payload<'_>, interface: &str) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported += 1,
                        TypeRef::Table(_) => self.shares_tables = true,
                        _ => {}
                    }
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    match export.kind {
                        ExternalKind::Func if is_of(export.name, interface) => self.leaves_out = true,
                        ExternalKind::Func => self.roots.push(export.index),
                        ExternalKind::Table => self.shares_tables = true,
                        _ => {}
                    }
                }
            }
            Payload::StartSection { func, .. } => self.roots.push(*func),
            Payload::GlobalSection(globals) => {
                for global in globals.clone() {
                    self.read_constant(global?.init_expr.get_operators_reader())?;
                }
            }
            Payload::TableSection(tables) => {
                for table in tables.clone() {
                    if let wasmparser::TableInit::Expr(init) = table?.init {
                        self.read_constant(init.get_operators_reader())?;
                    }
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements.clone() {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.in_tables.push(function?);
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                self.read_constant(expression?.get_operators_reader())?;
                            }
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let mut function = Function { body: body.range(), calls: Vec::new(), uses_tables: false };
                for operator in body.get_operators_reader()? {
                    function.note(&operator?);
                }
                self.functions.push(function);
            }
            _ => {}
        }
        Ok(())
    }

    fn read_constant(&mut self, operators: wasmparser::OperatorsReader<'_>) -> Result<(), BinaryReaderError> {
        for operator in operators {
            if let Operator::RefFunc { function_index } = operator? {
                self.in_tables.push(function_index);
            }
        }
        Ok(())
    }

    fn unreached(self) -> Vec<Range<usize>> {
        if !self.leaves_out {
            return Vec::new();
        }
        let mut reached = HashSet::new();
        let mut waiting = self.roots;
        let mut tables = Some(self.in_tables);
        if self.shares_tables {
            waiting.extend(tables.take().into_iter().flatten());
        }
        while let Some(index) = waiting.pop() {
            if !reached.insert(index) {
                continue;
            }
            // What is imported calls nothing here.
            let defined = index.checked_sub(self.imported).and_then(|defined| self.functions.get(defined as usize));
            let Some(function) = defined else { continue };
            waiting.extend(&function.calls);
            if function.uses_tables {
                waiting.extend(tables.take().into_iter().flatten());
            }
        }
        let indexed = (self.imported..).zip(self.functions);
        indexed.filter(|(index, _)| !reached.contains(index)).map(|(_, function)| function.body).collect()
    }
}

impl Function {
    /// Whatever is not a plain call, and can end in one, counts as a call of all that tables hold.
    fn note(&mut self, operator: &Operator<'_>) {
        match operator {
            Operator::Call { function_index }
            | Operator::ReturnCall { function_index }
            | Operator::RefFunc { function_index } => self.calls.push(*function_index),
            Operator::CallIndirect { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::TableGet { .. } => self.uses_tables = true,
            _ => {}
        }
    }
}

/// Whether a core export is a function of `interface`, or what cleans up after one, as toolchains call them.
fn is_of(export: &str, interface: &str) -> bool {
    let name = export.strip_prefix("cabi_post_").unwrap_or(export);
    let rest = name.strip_prefix("origan:codec/").and_then(|name| name.strip_prefix(interface));
    rest.is_some_and(|rest| rest.starts_with('@') && rest.contains('#'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Engine, Instance, Module, Store};

    /// A module alone is read as one in a component is.
    const MODULE: &str = r#"(module
        (import "host" "log" (func $log))
        (type $t (func (result i32)))
        (table 2 funcref)
        (elem (i32.const 0) func $in_table $in_table_only_for_settings)
        (func $shared (result i32) i32.const 1 call $log)
        (func $in_table (result i32) i32.const 20)
        (func $in_table_only_for_settings (result i32) call $only_settings)
        (func $only_settings (result i32) (local i64) i32.const 300 i32.const 7 i32.add)
        (func $only_policy (result i32) i32.const 4000 i32.const 1 i32.mul)
        (func (export "origan:codec/settings@0.1.0#configure") (result i32) call $shared call $only_settings i32.add)
        (func (export "cabi_post_origan:codec/settings@0.1.0#configure") (result i32) i32.const 5 i32.const 6 i32.add)
        (func (export "origan:codec/policy@0.1.3#evaluate") (result i32) call $shared call $only_policy i32.add)
        (func (export "origan:codec/policy@0.1.3#through_a_table") (result i32) i32.const 0 INDIRECT)
        (func (export "cabi_realloc") (result i32) call $shared))"#;

    fn answers(module: &[u8]) -> Vec<(&'static str, Option<i32>)> {
        let engine = Engine::new(&Config::new()).expect("an engine");
        let module = Module::new(&engine, module).expect("valid");
        let mut store = Store::new(&engine, ());
        let log = wasmtime::Func::wrap(&mut store, || {});
        let instance = Instance::new(&mut store, &module, &[log.into()]).expect("an instance");
        let names = [
            "origan:codec/settings@0.1.0#configure",
            "cabi_post_origan:codec/settings@0.1.0#configure",
            "origan:codec/policy@0.1.3#evaluate",
            "origan:codec/policy@0.1.3#through_a_table",
            "cabi_realloc",
        ];
        let call = |name| {
            let function = instance.get_typed_func::<(), i32>(&mut store, name).expect("still there");
            (name, function.call(&mut store, ()).ok())
        };
        names.map(call).to_vec()
    }

    fn module(indirect: &str) -> Vec<u8> {
        wat::parse_str(MODULE.replace("INDIRECT", indirect)).expect("WAT")
    }

    #[test]
    fn what_is_left_answers_as_before_and_what_is_left_out_traps() {
        let whole = module("call_indirect (type $t)");
        let before: Vec<_> = answers(&whole).into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(before, [Some(308), Some(11), Some(4001), Some(20), Some(1)]);
        let settings = without(&whole, "policy");
        assert_eq!(settings.len(), whole.len());
        let answered: Vec<_> = answers(&settings).into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(answered, [Some(308), Some(11), None, None, Some(1)]);
        let policy = without(&whole, "settings");
        let answered: Vec<_> = answers(&policy).into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(answered, [None, None, Some(4001), Some(20), Some(1)]);
    }

    #[test]
    fn what_tables_hold_is_code_only_for_those_who_call_through_one() {
        let count = |module: &[u8]| unreached(module, "settings").expect("read").len();
        // Kept through the table: its two functions, and what the second of them calls.
        assert_eq!(count(&module("call_indirect (type $t)")), 2);
        assert_eq!(count(&module("drop i32.const 20")), 5);
    }

    #[test]
    fn a_table_that_others_share_keeps_what_it_holds() {
        let shared = MODULE.replace("INDIRECT", "drop i32.const 20").replace("(table 2", "(table (export \"t\") 2");
        let shared = wat::parse_str(shared).expect("WAT");
        assert_eq!(unreached(&shared, "settings").expect("read").len(), 2);
    }

    #[test]
    fn what_is_not_called_as_toolchains_call_it_stays_whole() {
        let whole = wat::parse_str(MODULE.replace("INDIRECT", "").replace("origan:codec/", "other:")).expect("WAT");
        assert_eq!(without(&whole, "settings"), whole);
        assert_eq!(without(b"\0asm garbage", "settings"), b"\0asm garbage");
        assert!(!is_of("origan:codec/settings-of-mine@0.1.0#configure", "settings"));
    }
}
