//! The shape of the project itself: which module may use which, links that lead somewhere, headers of the kernels,
//! and the list of debug switches. Reads the sources as text; needs no device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules, and the modules above them that they may not use.
type Rules = &'static [(&'static [&'static str], &'static [&'static str])];

/// In crates/kiln/src: the library over tensors; plan over lower over emit over fuse over graph over node.
const KILN: Rules = &[
    (LIBRARY, &["node", "layout", "graph", "fuse", "emit", "lower", "memory", "plan"]),
    (
        &["cell", "device", "tensor", "ops", "grad", "plan", "memory", "lower", "emit", "fuse", "graph", "node", "op"],
        LIBRARY,
    ),
    (&["ops", "grad"], &["graph", "fuse", "emit", "lower", "memory", "plan"]),
    (&["lower", "memory"], &["plan", "grad", "tensor"]),
    (&["emit"], &["lower", "memory", "plan", "grad", "tensor"]),
    (&["fuse"], &["emit", "lower", "memory", "plan", "grad", "tensor"]),
    (&["split"], &["fuse", "emit", "lower", "memory", "plan", "grad", "tensor"]),
    (&["graph"], &["split", "fuse", "emit", "lower", "memory", "plan", "grad", "tensor"]),
    (&["node", "op"], &["graph", "fuse", "emit", "lower", "memory", "grad"]),
    (
        &["error", "shape", "dtype", "layout"],
        &["node", "tensor", "cell", "ops", "grad", "graph", "lower", "plan", "device"],
    ),
];
const LIBRARY: &[&str] =
    &["nn", "loss", "optim", "schedule", "init", "data", "metrics", "train", "store", "distributions"];

/// In crates/device/src: a replay over programs over kernels and buffers; launchers know sources only.
const DEVICE: Rules = &[
    (&["kernels"], &["bind", "pool", "readback", "profile", "replay", "disk"]),
    (&["program"], &["replay", "profile", "kernels"]),
    (&["kernel"], &["program", "replay", "kernels"]),
    (&["buffer", "pool"], &["program", "replay", "kernel", "source", "kernels"]),
    (&["source"], &["kernel", "program", "replay", "kernels", "buffer", "pool", "device"]),
    (&["error"], &["device", "kernel", "program", "replay", "buffer", "pool", "source", "kernels"]),
];

#[test]
fn no_module_uses_one_above_it() {
    let mut wrong = Vec::new();
    for (folder, rules) in [("crates/kiln/src", KILN), ("crates/device/src", DEVICE)] {
        for file in files(folder, "rs") {
            let module = top_module(folder, &file);
            for used in uses(&code(&file), depth(folder, &file)) {
                if rules.iter().any(|(from, to)| from.contains(&module.as_str()) && to.contains(&used.as_str())) {
                    wrong.push(format!("{} uses {used}", shown(&file)));
                }
            }
        }
        for name in rules.iter().flat_map(|(from, to)| from.iter().chain(*to)) {
            let path = root().join(folder).join(name);
            assert!(path.is_dir() || path.with_extension("rs").is_file(), "{folder} has no module {name}");
        }
    }
    assert!(wrong.is_empty(), "upward arrows:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_device_crate_names_wgpu_and_only_plans_run_programs() {
    let mut wrong = Vec::new();
    for folder in ["crates/kiln", "crates/derive", "crates/cli", "examples"] {
        for file in files(folder, "rs") {
            let (code, name) = (code(&file), shown(&file));
            if code.contains("wgpu::") && !name.contains("tests/") && !name.contains("adopt") {
                wrong.push(format!("{name} names wgpu"));
            }
            if name.starts_with("crates/kiln/src") && code.contains("Program::new") && !name.contains("src/plan") {
                wrong.push(format!("{name} runs device programs"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_documents_link_to_is_there() {
    let mut dead = Vec::new();
    for name in
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/results.md", "docs/pytorch.md"]
    {
        let text = read(name);
        for target in links(&text).into_iter().chain(paths_in_code(&text)) {
            if !root().join(target.split('#').next().unwrap_or_default()).exists() {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn the_readme_shows_an_example_that_compiles() {
    let (readme, example) = (read("README.md"), read("examples/digits_mlp.rs"));
    let shown = readme.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(example.ends_with(shown), "README.md and examples/digits_mlp.rs differ");
}

/// `cargo run --example NAME`, wherever it is written, finds the example from the project's root.
#[test]
fn the_commands_of_examples_name_one_that_cargo_finds() {
    assert!(
        read("Cargo.toml").lines().any(|line| line.starts_with("default-members") && line.contains("\"crates/kiln\""))
    );
    let listed = read("crates/kiln/Cargo.toml");
    let mut texts: Vec<(String, String)> =
        ["README.md", "docs/results.md"].map(|name| (name.into(), read(name))).into();
    texts.extend(files("examples", "rs").iter().map(|file| (shown(file), fs::read_to_string(file).unwrap())));
    let mut commands = 0;
    for (place, text) in texts {
        for command in text.split("cargo run ").skip(1) {
            let Some(name) = command.lines().next().and_then(|line| line.split("--example ").nth(1)) else { continue };
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = name == "NAME" || listed.contains(&format!("[[example]]\nname = \"{name}\"\n"));
            assert!(known, "{place}: no example {name}");
            commands += 1;
        }
    }
    assert!(commands > 10, "{commands}");
}

#[test]
fn what_pytorchs_names_are_here_is_here() {
    let page = read("docs/pytorch.md");
    let ops: String = files("crates/kiln/src/ops", "rs").iter().map(|file| code(file)).collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for word in page.split('`').skip(1).step_by(2) {
        let Some((home, name)) = word.split_once("::") else { continue };
        let has = |text: &str, forms: &[String]| forms.iter().any(|form| text.contains(form.as_str()));
        let there = match home {
            // a method, or a row of one of the tables that make them
            "Tensor" => has(&ops, &["pub fn {}(", "    {} {", "    {}: "].map(|form| form.replace("{}", name))),
            "Init" => read("crates/kiln/src/init.rs").contains(&format!("pub fn {name}(")),
            "Linear" => read("crates/kiln/src/nn/linear.rs").contains(&format!("pub fn {name}(")),
            "init" => read("crates/kiln/src/init.rs").contains(&format!("pub enum {name} ")),
            _ => {
                let names = read(&format!("crates/kiln/src/{home}/mod.rs"));
                let mut words = names.split(|c: char| !c.is_alphanumeric() && c != '_');
                words.any(|word| word == name)
            }
        };
        checked += 1;
        if !there {
            wrong.push(word.to_string());
        }
    }
    assert!(wrong.is_empty() && checked > 250, "of {checked} names: {}", wrong.join(", "));
}

#[test]
fn every_kernel_says_what_it_computes() {
    let mut wrong = Vec::new();
    for file in files("shaders", "wgsl") {
        let (text, name) = (fs::read_to_string(&file).unwrap(), shown(&file));
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//")).collect();
        let field = |key: &str| header.iter().find_map(|line| line.strip_prefix(&format!("// {key}:"))).map(str::trim);
        if header.is_empty() {
            wrong.push(format!("{name}: no header"));
        }
        if name.starts_with("shaders/lib/") {
            continue;
        }
        let stem = file.file_stem().unwrap().to_string_lossy();
        if !header.first().is_some_and(|line| line.starts_with(&format!("// {stem}"))) {
            wrong.push(format!("{name}: the first line does not start with `{stem}` and its formula"));
        }
        for key in ["dispatch", "cost", "twin"] {
            if field(key).is_none_or(str::is_empty) {
                wrong.push(format!("{name}: no `{key}:`"));
            }
        }
        let twin = field("twin").and_then(|twin| twin.split([' ', ',', ';']).next()).unwrap_or_default();
        if !twin.is_empty() && !root().join(twin).is_file() {
            wrong.push(format!("{name}: its twin {twin} is not there"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_lists_the_debug_switches_that_are_read_and_no_others() {
    let readme = read("README.md");
    let listed: BTreeSet<String> =
        readme.lines().filter(|line| line.starts_with("| `KILN_")).flat_map(switches).collect();
    let mut read = BTreeSet::new();
    for folder in ["crates/device/src", "crates/kiln/src", "crates/cli/src"] {
        for file in files(folder, "rs") {
            read.extend(code(&file).lines().filter(|line| line.contains("\"KILN_")).flat_map(switches));
        }
    }
    assert_eq!(listed, read, "left: listed in README.md; right: read by the code");
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The path below the project's root.
fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

/// Every file of that extension under `folder`; there must be some.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == extension) => found.push(path),
                false => {}
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} in {folder}");
    found.sort();
    found
}

/// The text without line comments, so that a word in a comment is not an arrow.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// `crates/kiln/src/nn/linear.rs` is part of `nn`, `crates/kiln/src/fuse.rs` is `fuse`.
fn top_module(folder: &str, file: &Path) -> String {
    let below = file.strip_prefix(root().join(folder)).unwrap();
    below.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// How many `super::` lead from the file to the crate's root.
fn depth(folder: &str, file: &Path) -> usize {
    let levels = file.strip_prefix(root().join(folder)).unwrap().components().count();
    if file.ends_with("mod.rs") { levels - 1 } else { levels }
}

/// The first names after `crate::`, or after as many `super::` as lead there, braces opened.
fn uses(code: &str, depth: usize) -> Vec<String> {
    let supers = "super::".repeat(depth.max(1));
    let starts = ["crate::", &supers]
        .map(|start| code.match_indices(start).map(move |(at, _)| at + start.len()).collect::<Vec<_>>());
    starts.concat().into_iter().flat_map(|at| first_names(&code[at..])).collect()
}

/// `a::b` → a; `{a::{b, c}, d}` → a, d.
fn first_names(tree: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(inner) = tree.strip_prefix('{') else { return vec![name(tree)] };
    let (mut names, mut level, mut start) = (Vec::new(), 0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' | '}' if level == 0 => {
                names.push(name(&inner[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Targets of Markdown links that are files here.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|t| !t.contains("://") && !t.starts_with('#')).map(str::to_owned).collect()
}

/// Paths of this project that a document names in backticks.
fn paths_in_code(text: &str) -> Vec<String> {
    let folders = ["crates/", "shaders/", "examples/", "tests/", "benches/", "scripts/", ".ci/"];
    let quoted =
        text.split('`').skip(1).step_by(2).filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    let words = quoted.filter_map(|text| text.split([' ', ':']).next());
    words.filter(|word| !word.contains(['*', '…', '<', '{'])).map(str::to_owned).collect()
}

fn switches(line: &str) -> Vec<String> {
    let ends = |text: &str| text.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(text.len());
    line.match_indices("KILN_").map(|(at, _)| line[at..at + ends(&line[at..])].to_owned()).collect()
}

#[test]
fn the_reader_of_use_lines_reads_them() {
    let code =
        "use crate::{node::{Node, Op}, plan, Tensor as T};\nlet x = crate::fuse::group();\nuse super::lower::emit;";
    assert_eq!(uses(code, 1), ["node", "plan", "Tensor", "fuse", "lower"]);
    assert_eq!(uses("use super::super::plan;", 2), ["plan"]);
    assert_eq!(links("[a](b.md#c) [d](https://e)"), ["b.md#c"]);
    assert_eq!(paths_in_code("`crates/x.rs:3` and `tests/*.rs`, `cargo`"), ["crates/x.rs"]);
    assert_eq!(switches("| `KILN_FUSE=0`, `KILN_CACHE_DIR` |"), ["KILN_FUSE", "KILN_CACHE_DIR"]);
}
