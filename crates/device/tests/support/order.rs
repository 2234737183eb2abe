//! The same kernel with its invocations in another order, or with garbage in its workgroup memory.
//!
//! A software adapter runs the subgroups of a workgroup one after another, in ascending order, from barrier to barrier, and
//! the lanes of a subgroup in step. A missing barrier where a lower invocation writes and a higher one reads is invisible
//! there, and wrong on every GPU; so is a read of workgroup memory that nobody has written, which the adapter happens to
//! have cleared. Here the entry point of a kernel's final text is told that its invocations are others.
//!
//! Mesa 22.3 also waits at the barriers of branches not taken and of loops that have ended, and hides more than the newest
//! one does: `scripts/test` runs these tests on both.

use kiln_device::{Launch, Source};

/// Who does whose work in a workgroup of n invocations. Of kernels with subgroup operations, whole subgroups change places
/// where the order is a reversed one, and lanes never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Everybody their own.
    Given,
    /// Invocation i that of n - 1 - i.
    Reversed,
    /// Neighbours lie in different subgroups, in ascending order: what was in step no longer is.
    Apart,
    /// The same in descending order.
    ApartReversed,
}

/// What is in workgroup memory at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// What the kernel before it left there, on some adapters zeros.
    AsItIs,
    /// NaN, or its bits.
    Nan,
    /// The largest number, and its negative. A kernel cannot depend on what was there and agree with both.
    Huge,
}

/// The launch with its invocations in that order, and that in workgroup memory.
pub(crate) fn disordered(launch: &Launch, order: Order, memory: Memory) -> Launch {
    changed(launch, |text| rewritten(text, order, memory))
}

/// The launch with `from`, which its text has once, replaced: a kernel that is wrong on purpose.
pub(crate) fn edited(launch: &Launch, from: &str, to: &str) -> Launch {
    changed(launch, |text| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` in\n{text}");
        text.replace(from, to)
    })
}

/// The launch with another text. It is no longer dispatched in parts: its first group is a field of `Sizes` like others.
pub(crate) fn changed(launch: &Launch, change: impl Fn(&str) -> String) -> Launch {
    let text = launch.source.finish().unwrap();
    let params = launch.params.clone();
    let params = if text.contains("first_group_()") { params.u32(0) } else { params };
    let text = change(&text.replace("first_group_", "begin_group_"));
    Launch { source: Source::new(launch.source.name().to_string(), text), params, ..launch.clone() }
}

/// The words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn rewritten(text: &str, order: Order, memory: Memory) -> String {
    let between = |text: &str, open: &str, close: &str| -> (usize, usize) {
        let start = text.find(open).unwrap_or_else(|| panic!("no `{open}` in\n{text}")) + open.len();
        (start, start + text[start..].find(close).unwrap())
    };
    let entry = text.find("@compute").unwrap();
    let (start, end) = between(&text[entry..], "@workgroup_size(", ")\n");
    let n = &text[entry..][start..end];
    assert!(!n.contains(','), "workgroups have one axis: {n}");
    let (start, end) = between(&text[entry..], "fn main(", ") {");
    let given = &text[entry..][start..end];
    let body = entry + end + ") {".len();

    let code = text.lines().map(|line| line.split("//").next().unwrap());
    let by_subgroup = code.flat_map(words).any(|word| word.starts_with("subgroup") || word.starts_with("coop"));
    let mut arguments = vec!["@builtin(local_invocation_index) given_index_: u32".to_string()];
    let mut lets = String::new();
    if by_subgroup {
        arguments.push("@builtin(subgroup_size) given_size_: u32".to_string());
    }
    for argument in given.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
        let (builtin, name) = argument.strip_prefix("@builtin(").unwrap().split_once(") ").unwrap();
        let name = name.split(':').next().unwrap();
        match builtin {
            "local_invocation_index" => lets += &format!("    let {name} = {};\n", index(order, by_subgroup)),
            "subgroup_id" => lets += &format!("    let {name} = {} / given_size_;\n", index(order, true)),
            "subgroup_size" => lets += &format!("    let {name} = given_size_;\n"),
            "workgroup_id" | "subgroup_invocation_id" => arguments.push(argument.to_string()),
            other => panic!("who does whose work with {other}?"),
        }
    }
    let mut helpers = format!("const given_count_: u32 = {n};\n");
    let mut fills = String::new();
    let bits = match memory {
        Memory::AsItIs => None,
        Memory::Nan => Some("0x7fc00000u"),
        Memory::Huge => Some("select(0xff7fffffu, 0x7f7fffffu, i % 2u == 0u)"),
    };
    if let Some(bits) = bits {
        helpers += &format!("fn garbage_(i: u32) -> u32 {{ return {bits}; }}\n");
        text.match_indices("var<workgroup> ").for_each(|(at, var)| fills += &fill(text, &text[at + var.len()..]));
        fills += "    workgroupBarrier();\n";
    }
    let arguments = arguments.join(", ");
    let (before, after) = (&text[..entry], &text[body..]);
    format!("{before}{helpers}@compute @workgroup_size({n})\nfn main({arguments}) {{\n{fills}{lets}{after}")
}

/// The number of the invocation whose work is done.
fn index(order: Order, by_subgroup: bool) -> String {
    let subgroups = "select((given_count_ / given_size_ - 1u - given_index_ / given_size_) * given_size_ + \
                     given_index_ % given_size_, given_index_, given_count_ <= given_size_)";
    // by eight, of which nearly every workgroup is a multiple
    let apart = "select(given_index_ % 8u * (given_count_ / 8u) + given_index_ / 8u, given_index_, \
                 given_count_ % 8u != 0u)";
    match (order, by_subgroup) {
        (Order::Given, _) | (Order::Apart, true) => "given_index_".to_string(),
        (Order::Reversed | Order::ApartReversed, true) => subgroups.to_string(),
        (Order::Reversed, false) => "(given_count_ - 1u - given_index_)".to_string(),
        (Order::Apart, false) => apart.to_string(),
        (Order::ApartReversed, false) => format!("(given_count_ - 1u - {apart})"),
    }
}

/// Statements that fill a workgroup variable, declared `NAME: TYPE;`, with garbage.
fn fill(text: &str, declared: &str) -> String {
    let (name, ty) = declared.split(';').next().unwrap().split_once(": ").unwrap();
    if ty == "atomic<u32>" {
        return format!("    atomicStore(&{name}, garbage_(given_index_));\n");
    }
    let array = ty.strip_prefix("array<").unwrap_or_else(|| panic!("garbage for {ty}?"));
    let (elem, count) = array.strip_suffix('>').unwrap().rsplit_once(", ").unwrap();
    // what an alias stands for
    let alias = format!("alias {elem} = ");
    let meant = text.find(&alias).map_or(elem, |at| text[at + alias.len()..].split(';').next().unwrap());
    let of = |scalar: &str| words(meant).any(|word| word == scalar);
    let value = match () {
        () if of("f32") => "bitcast<f32>(garbage_(i))",
        () if of("f16") => "f16(bitcast<f32>(garbage_(i)))",
        () if of("i32") => "i32(garbage_(i))",
        () if of("u32") => "garbage_(i)",
        () => panic!("garbage for {meant}?"),
    };
    format!("    for (var i = given_index_; i < u32({count}); i += given_count_) {{ {name}[i] = {elem}({value}); }}\n")
}
