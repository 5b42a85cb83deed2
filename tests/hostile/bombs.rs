//! Guests that are made rather than written: too large, too many, too deep, or no component at all.

use super::{Guest, Must, World, assemble, skeleton};

const COMPILE: &str = "a compile bomb";
const LOAD: &str = "wrong world, missing export, core module, truncated, 0 bytes, 1 GB, random bytes, a compile bomb";

/// All of them.
pub(crate) fn all() -> Vec<Guest> {
    let mut guests = garbage();
    guests.extend(bombs());
    guests
}

fn garbage() -> Vec<Guest> {
    let honest = super::honest_policy();
    let malformed = &["admission malformed"];
    let mut guests = vec![
        guest("empty", "0 bytes", LOAD, &["admission empty"], Vec::new()),
        guest("zeros", "a MiB of zeros", LOAD, malformed, vec![0; 1 << 20]),
        guest("random", "64 KiB of random bytes", LOAD, malformed, random(1, 64 << 10)),
        guest("random-after-magic", "the first 8 bytes of a component, then random ones", LOAD, malformed, {
            let mut bytes = honest[..8].to_vec();
            bytes.extend(random(2, 64 << 10));
            bytes
        }),
        guest("text", "the text of a component", LOAD, malformed, b"(component)\n".to_vec()),
        guest("script", "a shell script", LOAD, malformed, b"#!/bin/sh\nrm -rf /\n".to_vec()),
        guest("trailing", "an honest component with random bytes after it", LOAD, malformed, {
            let mut bytes = honest.clone();
            bytes.extend(random(3, 100));
            bytes
        }),
        guest("oversized", "a byte more than is loaded", LOAD, &["admission too-large"], vec![0; (32 << 20) + 1]),
    ];
    for tenths in 1..10 {
        let cut = honest.len() * tenths / 10;
        let name = format!("truncated-{tenths}");
        guests.push(guest(
            &name,
            "cut off",
            LOAD,
            &["admission malformed|compile|wrong-world"],
            honest[..cut].to_vec(),
        ));
    }
    for seed in 0..40 {
        let mut bytes = honest.clone();
        for flip in random(100 + seed, 12).chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([flip[0], flip[1]])) % bytes.len();
            bytes[at] ^= 1 << (flip[2] % 8);
        }
        // A flip in a text or a name may leave it honest, or make any kind of fault of it.
        let outcomes = ["admission", "evaluate allow|deny no|abstain|trap|timeout|out-of-memory|bad-answer|host-limit"];
        guests.push(guest(&format!("flipped-{seed:02}"), "bits flipped", LOAD, &outcomes, bytes));
    }
    guests
}

fn bombs() -> Vec<Guest> {
    let heavy = &["admission too-heavy"][..];
    // Whatever becomes of them, it does so in time.
    let any = &["admission", "evaluate allow|abstain|trap|timeout"][..];
    let of = |name: &str, attack: &str, must: &[&str], module: Vec<u8>| {
        // A component's sections may stand in any order: section 1 holds a core module.
        guest(name, attack, COMPILE, must, [super::honest_policy(), section(1, &module)].concat())
    };
    let function = |name: &str, attack: &str, must: &[&str], body: Vec<u8>| of(name, attack, must, functions(&[body]));
    let mut guests = vec![
        function(
            "bomb-function-2-mib",
            "2 MiB in one function",
            &["admission function-too-large"],
            body(0, &[0x01].repeat(2 << 20)),
        ),
        function("bomb-arithmetic", "700 KB of arithmetic in one function", any, arithmetic(40_000)),
        function("bomb-branches", "50,000 branches on 1,000 locals", heavy, branches(50_000, 1_000)),
        function("bomb-locals", "50,000 locals", heavy, body(50_000, &[])),
        function("bomb-locals-branches", "20,000 branches on 49,000 locals", heavy, branches(20_000, 49_000)),
        function("bomb-nesting", "100,000 blocks within each other", heavy, nested(100_000)),
        function("bomb-loops", "10,000 loops within each other", heavy, loops(10_000, 100)),
        function("bomb-br-table", "a branch with 900,000 targets", heavy, br_tables(1, 900_000)),
        function("bomb-br-tables", "1,000 branches with 900 targets each", heavy, br_tables(1_000, 900)),
        of("bomb-functions", "a million functions", heavy, functions(&vec![body(0, &[]); 999_000])),
        of("bomb-types", "100,000 types of a module", heavy, types(100_000)),
        of("bomb-globals", "900,000 globals", heavy, globals(900_000)),
        of("bomb-exports", "99,000 exports of a module", any, exports_of_one(99_000)),
        // As much as is compiled, and not more.
        function("cap-branches", "39,000 branches on 25 locals", any, branches(39_000, 25)),
        function("cap-locals", "390 branches on 4,990 locals", any, branches(390, 4_990)),
        function("cap-states", "2,000 branches on 990 locals", any, branches(2_000, 990)),
        function("cap-nesting", "1,900 blocks within each other", any, nested(1_900)),
        function("cap-loops", "95 loops within each other", any, loops(95, 100)),
        function("cap-br-table", "100 branches with 990 targets each", any, br_tables(100, 990)),
        of("cap-functions", "59,000 functions", any, functions(&vec![body(0, &[]); 59_000])),
        of("cap-types", "4,900 types of a module", any, types(4_900)),
        of("cap-globals", "1,900 globals", any, globals(1_900)),
        of(
            "cap-all-states",
            "16 functions of 2,000 branches on 900 locals",
            any,
            functions(&vec![branches(2_000, 900); 16]),
        ),
        of("cap-all-loops", "200 functions of 95 loops within each other", any, functions(&vec![loops(95, 100); 200])),
    ];
    guests.extend(bombs_of_components(any, heavy));
    guests
}

fn bombs_of_components(any: &[&str], heavy: &[&str]) -> Vec<Guest> {
    let number = "(func $number (result u32) (canon lift (core func $guest \"needs\")))\n";
    let lower = "(memory $guest \"memory\") (realloc (func $guest \"cabi_realloc\"))";
    let exported: String = (0..10_000).map(|i| format!("(export \"e{i}\" (func $number))\n")).collect();
    vec![
        in_component("bomb-instances", "100 instances of a core module", any, &{
            "(core module $m (func (export \"f\")))\n".to_owned() + &"(core instance (instantiate $m))\n".repeat(100)
        }),
        in_component("bomb-memories", "15 instances with a memory each", any, &{
            "(core module $m (memory 1))\n".to_owned() + &"(core instance (instantiate $m))\n".repeat(15)
        }),
        in_component("bomb-modules", "995 core modules", any, &"(core module (func))\n".repeat(995)),
        in_component("bomb-components", "995 components beside each other", any, &"(component)\n".repeat(995)),
        in_component("bomb-component-types", "50,000 types of a component", any, &"(type (list u8))\n".repeat(50_000)),
        in_component("bomb-component-exports", "10,000 exports of a component", any, &(number.to_owned() + &exported)),
        in_component(
            "bomb-lowerings",
            "20,000 imports of one function",
            heavy,
            &many(&format!("(core func $f (canon lower (func $log \"emit\") {lower}))"), 20_000),
        ),
        in_component(
            "bomb-adapters",
            "4,000 functions that are lifted, lowered and used",
            any,
            &(number.to_owned() + &many("(core func $f (canon lower (func $number)))", 4_000)),
        ),
        in_component("bomb-type-depth", "a type of 2^60 fields", any, &doubled(60)),
        guest("bomb-nested-components", "components within each other, 100,000 deep", COMPILE, heavy, deep(100_000)),
        guest(
            "bomb-nested-types",
            "instance types within each other, 100,000 deep",
            COMPILE,
            heavy,
            deep_types(100_000),
        ),
    ]
}

fn guest(name: &str, attack: &str, row: &str, must: &[&str], bytes: Vec<u8>) -> Guest {
    let must: Vec<Must> = must.iter().flat_map(|text| super::parse_must(text)).collect();
    let slow =
        ["cap-all-states", "cap-branches", "cap-functions", "cap-all-loops", "cap-types", "cap-states"].contains(&name);
    let flat = row == LOAD && !name.starts_with("flipped") && !name.starts_with("truncated");
    let (name, attack, row) = (format!("made/{name}"), attack.to_owned(), row.to_owned());
    Guest { name, world: World::Policy, attack, row, must, says: None, flat, wasi: false, slow, bytes }
}

fn in_component(name: &str, attack: &str, must: &[&str], fields: &str) -> Guest {
    let default = "(alias core export $guest \"needs\" (core func $again))\n";
    let wat = skeleton(World::Policy, &[("later".to_owned(), format!("{default}{fields}"))]);
    guest(name, attack, COMPILE, must, assemble(name, &wat))
}

/// Tuples of tuples: each type twice as wide as the one before.
fn doubled(times: usize) -> String {
    let mut text = String::from("(type $t0 (tuple u8 u8))\n");
    for i in 1..=times {
        text.push_str(&format!("(type $t{i} (tuple $t{} $t{}))\n", i - 1, i - 1));
    }
    text
}

/// By hand, and not by the assembler of text: it would take minutes.
fn functions(bodies: &[Vec<u8>]) -> Vec<u8> {
    let count = leb(bodies.len());
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend(section(1, &[1, 0x60, 0, 0]));
    module.extend(section(3, &[count.clone(), vec![0; bodies.len()]].concat()));
    module.extend(section(10, &[count, bodies.concat()].concat()));
    module
}

/// Each takes 17 numbers of two sorts, and no two take the same.
fn types(count: usize) -> Vec<u8> {
    let mut content = leb(count);
    for i in 0..count {
        content.extend([0x60, 17]);
        content.extend((0..17).map(|bit| 0x7e + (i >> bit & 1) as u8));
        content.push(0);
    }
    [b"\0asm\x01\0\0\0".to_vec(), section(1, &content)].concat()
}

fn globals(count: usize) -> Vec<u8> {
    let content = [leb(count), [0x7f, 1, 0x41, 0, 0x0b].repeat(count)].concat();
    [b"\0asm\x01\0\0\0".to_vec(), section(6, &content)].concat()
}

fn exports_of_one(count: usize) -> Vec<u8> {
    let mut content = leb(count);
    for i in 0..count {
        let name = format!("{i:05}");
        content.push(5);
        content.extend(name.as_bytes());
        content.extend([0, 0]);
    }
    let one = functions(&[body(0, &[])]);
    // Exports stand between functions and code.
    let code = one.len() - section(10, &[vec![1], body(0, &[])].concat()).len();
    [&one[..code], &section(7, &content), &one[code..]].concat()
}

/// A function with so many locals of 64 bits.
fn body(locals: usize, code: &[u8]) -> Vec<u8> {
    let locals = if locals == 0 { vec![0] } else { [vec![1], leb(locals), vec![0x7e]].concat() };
    [leb(locals.len() + code.len() + 1), locals, code.to_vec(), vec![0x0b]].concat()
}

fn arithmetic(count: usize) -> Vec<u8> {
    // b = a; a = (a * 3) + (b ^ a)
    let step = [0x20, 0, 0x21, 1, 0x20, 0, 0x42, 3, 0x7e, 0x20, 1, 0x20, 0, 0x85, 0x7c, 0x21, 0];
    body(2, &step.repeat(count))
}

/// Each sets a local where another is zero.
fn branches(count: usize, locals: usize) -> Vec<u8> {
    let mut code = Vec::new();
    for i in 0..count {
        let (a, b) = (leb(i % locals), leb((i * 7 + 3) % locals));
        code.extend([&[0x20], &*a, &[0x50, 0x04, 0x40, 0x20], &a, &[0x20], &b, &[0x7c, 0x21], &b, &[0x0b]].concat());
    }
    body(locals, &code)
}

fn nested(depth: usize) -> Vec<u8> {
    body(0, &[[0x02, 0x40].repeat(depth), [0x0b].repeat(depth)].concat())
}

/// Each sets a local and may begin again.
fn loops(depth: usize, locals: usize) -> Vec<u8> {
    let mut code = Vec::new();
    for i in 0..depth {
        let (a, b) = (leb(i % locals), leb((i + 1) % locals));
        code.extend([&[0x03, 0x40, 0x20], &*a, &[0x42, 1, 0x7c, 0x21], &b].concat());
    }
    code.extend([0x20, 0, 0x50, 0x0d, 0, 0x0b].repeat(depth));
    body(locals, &code)
}

fn br_tables(count: usize, targets: usize) -> Vec<u8> {
    let one = [vec![0x02, 0x40, 0x41, 0, 0x0e], leb(targets), vec![0; targets + 1], vec![0x0b]].concat();
    body(0, &one.repeat(count))
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// By hand: no assembler goes so deep. Section 4 holds a component; each length is five bytes long.
fn deep(depth: usize) -> Vec<u8> {
    let mut bytes = COMPONENT.to_vec();
    for level in (0..depth).rev() {
        bytes.push(4);
        bytes.extend(leb_of_5(8 + 14 * level));
        bytes.extend(COMPONENT);
    }
    bytes.extend(exports());
    bytes
}

/// Section 7 holds one type, 0x42 an instance type with one declaration, 0x01 a type again.
fn deep_types(depth: usize) -> Vec<u8> {
    let mut section = vec![1];
    section.extend([0x42, 0x01, 0x01].repeat(depth));
    section.extend([0x42, 0x00]);
    let mut bytes = COMPONENT.to_vec();
    bytes.push(7);
    bytes.extend(leb_of_5(section.len()));
    bytes.extend(section);
    bytes.extend(exports());
    bytes
}

/// The exports of a policy, so that it is looked at any further at all: instance 0 is empty.
fn exports() -> Vec<u8> {
    let mut bytes = vec![5, 3, 1, 1, 0];
    for name in ["origan:codec/policy@0.1.0", "origan:codec/settings@0.1.0"] {
        let mut export = vec![1, 0, u8::try_from(name.len()).expect("short")];
        export.extend(name.as_bytes());
        export.extend([5, 0, 0]);
        bytes.extend([11, u8::try_from(export.len()).expect("short")]);
        bytes.extend(export);
    }
    bytes
}

/// `define` makes the core function `$f`, each time anew; all of them go into one instance, so that each is compiled.
fn many(define: &str, count: usize) -> String {
    let mut text = String::new();
    let mut instance = String::new();
    for i in 0..count {
        text.push_str(&define.replace("$f", &format!("$f{i}")));
        text.push('\n');
        instance.push_str(&format!("(export \"f{i}\" (func $f{i}))"));
    }
    text + &format!("(core instance {instance})\n")
}

fn leb_of_5(number: usize) -> [u8; 5] {
    std::array::from_fn(|i| (number >> (7 * i)) as u8 & 0x7f | if i < 4 { 0x80 } else { 0 })
}

/// The same bytes each time (xorshift64*).
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}
