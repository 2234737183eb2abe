//! Matrix units played by plain code, so that kernels for fragments and subgroups that this machine does not have run here:
//! fragments of 16 x 16, subgroups of 16 to 64 lanes. The kernel's final text keeps everything but its cooperative operations,
//! which become functions of ordinary WGSL, and its subgroups, which are so many neighbouring invocations.
//!
//! Sums lie in registers as on a GPU, so many fours to a lane. An operand is read where its fragment was loaded from when it is
//! multiplied, not before: the order of loads and barriers is not what this tests (tests/order.rs does, with fragments of the
//! device's own). What a driver may assume of a load or store and never checks is checked: that it lies in its
//! array as a whole, and on 16 bytes, as its line does. It cannot be seen whether the lanes of a subgroup agree on where.

use std::fmt::Write;

use super::order::{changed, words};
use super::{bytes, half, upload, words as read};
use kiln_device::kernels::{Stage, Stages};
use kiln_device::{AdapterKind, Buffer, Caps, CoopShape, Device, Launch};

/// A device, or what it plays.
pub(crate) struct Machine {
    pub(crate) device: Device,
    /// What launchers are told.
    pub(crate) caps: Caps,
    /// Lanes of a subgroup; `None` for a device that is what it is.
    lanes: Option<u32>,
}

/// Why a load or store of a fragment is refused: the bits of the first word of `faults_`.
const FAULTS: [&str; 2] = ["a fragment does not lie in its array", "a fragment does not lie on 16 bytes"];

impl Machine {
    /// The device as it is.
    pub(crate) fn own() -> Machine {
        let device = super::device();
        Machine { caps: device.caps().clone(), device, lanes: None }
    }

    /// A GPU with fragments of `size`: it says that its subgroups have as many lanes as `subgroup`, least and most, and gives them
    /// `lanes`.
    pub(crate) fn played(size: u32, subgroup: (u32, u32), lanes: u32) -> Machine {
        let device = super::device();
        let coop = vec![CoopShape { size, f16_operands: true, f16_accumulator: false }];
        let kind = AdapterKind::Discrete;
        let caps = Caps { kind, subgroup: Some(subgroup), f16: true, coop, ..device.caps().clone() };
        Machine { device, caps, lanes: Some(lanes) }
    }

    /// Beside NVIDIA's fragments of 16 and subgroups of 32 lanes: AMD's in both modes, of which it says only that there are both; narrow
    /// ones; Apple's fragments of 8.
    pub(crate) fn others() -> Vec<Machine> {
        let all = [(16, (32, 64), 64), (16, (32, 64), 32), (16, (8, 32), 16), (8, (32, 32), 32)];
        all.map(|(size, subgroup, lanes)| Machine::played(size, subgroup, lanes)).into()
    }

    /// The bytes of operands in half precision, rounded to what it holds; a device without it plays it with f32.
    pub(crate) fn half(&self, values: &mut [f32]) -> Vec<u8> {
        let halves = half(values);
        if self.device.caps().f16 { halves } else { bytes(values) }
    }

    /// Runs a launch.
    pub(crate) fn run(&self, launch: &Launch, bindings: &[(&'static str, &Buffer)]) {
        let stage = Stage { launch: launch.clone(), scratch: Vec::new(), loads: false, stores: false };
        self.run_all(&Stages { stages: vec![stage], scratch: Vec::new() }, bindings);
    }

    /// Runs launches that belong together.
    pub(crate) fn run_all(&self, stages: &Stages, bindings: &[(&'static str, &Buffer)]) {
        let faults = self.faults(stages, bindings);
        assert!(faults.is_empty(), "{}: {}", stages.stages[0].launch.source.name(), faults.join(", "));
    }

    /// Runs them, and says what is wrong with where fragments were.
    pub(crate) fn faults(&self, stages: &Stages, bindings: &[(&'static str, &Buffer)]) -> Vec<&'static str> {
        let device = &self.device;
        let Some(lanes) = self.lanes else {
            device.run(stages.steps(device, bindings).unwrap()).unwrap();
            return Vec::new();
        };
        let mut stages = stages.clone();
        for stage in &mut stages.stages {
            let launch = &mut stage.launch;
            if launch.source.finish().unwrap().contains("coop_mat") {
                *launch = changed(launch, |text| played(text, lanes, device.caps().f16));
            }
        }
        // how many rows a fragment has is known when it runs: no compiler unrolls what is played
        let faults = upload(device, &[0u32, self.caps.coop[0].size]);
        let bindings = [bindings, &[("faults_", &faults)]].concat();
        device.run(stages.steps(device, &bindings).unwrap()).unwrap();
        let seen = read(device, &faults)[0];
        (0..FAULTS.len()).filter(|bit| seen >> bit & 1 == 1).map(|bit| FAULTS[bit]).collect()
    }
}

/// The text with fragments in place of cooperative matrices, and with `lanes` invocations in a subgroup.
fn played(text: &str, lanes: u32, has_f16: bool) -> String {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap().trim_end()).collect();
    let own = |line: &&&str| !line.starts_with("alias Frag") && !line.starts_with("enable wgpu_coop");
    let mut code = code.iter().filter(own).copied().collect::<Vec<_>>().join("\n");
    let mut memories: Vec<String> = Vec::new();
    for operation in [
        "coopLoadT<FragC>",
        "coopStoreT",
        "coopStore",
        "coopLoadT<FragA>",
        "coopLoad<FragA>",
        "coopLoadT<FragB>",
        "coopLoad<FragB>",
    ] {
        while let Some(at) = code.find(&format!("{operation}(")) {
            let (before, call) = (&code[..at], &code[at + operation.len() + 1..]);
            let (first, rest) = call.split_once('&').unwrap();
            let (memory, rest) = rest.split_once('[').unwrap();
            let (index, rest) = rest.split_once("], ").unwrap();
            if !memories.iter().any(|known| known == memory) {
                memories.push(memory.to_string());
            }
            let number = memories.iter().position(|known| known == memory).unwrap();
            let to = match operation {
                "coopStoreT" if halves(&code, memory) => format!("played_lay_{memory}(false, "),
                "coopStoreT" => format!("played_put_{memory}("),
                "coopStore" => format!("played_lay_{memory}(true, "),
                "coopLoadT<FragC>" => format!("played_take_{memory}("),
                "coopLoadT<FragA>" | "coopLoadT<FragB>" => format!("played_operand_(false, {number}u, "),
                _ => format!("played_operand_(true, {number}u, "),
            };
            code = format!("{before}{to}{first}{index}, {rest}");
        }
    }
    code = code.replace("coopMultiplyAdd(", "played_multiply_(");
    assert!(!code.contains("coop_mat") && !words(&code).any(|word| word.starts_with("coop")), "{code}");
    code = beginning(&code, lanes) + &functions(&code, &memories, lanes);
    if has_f16 { code } else { without_halves(&code) }
}

/// Whether an array in workgroup memory is of operands.
fn halves(code: &str, memory: &str) -> bool {
    code.contains(&format!("var<workgroup> {memory}: array<f16, "))
}

/// What the entry point is told of its subgroup.
fn beginning(code: &str, lanes: u32) -> String {
    let (before, rest) = code.split_once("fn main(").unwrap();
    let (arguments, body) = rest.split_once(") {").unwrap();
    let (mut kept, mut lets) = (Vec::new(), String::new());
    for argument in arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
        let name = argument.split_once(") ").unwrap().1.split(':').next().unwrap();
        let value = match argument.strip_prefix("@builtin(subgroup_").and_then(|word| word.split(')').next()) {
            Some("id") => format!("index / {lanes}u"),
            Some("invocation_id") => format!("index % {lanes}u"),
            Some("size") => format!("{lanes}u"),
            Some(other) => panic!("what is subgroup_{other}?"),
            None => {
                kept.push(argument);
                continue;
            }
        };
        writeln!(lets, "    let {name} = {value};").unwrap();
    }
    let kept = kept.join(", ");
    assert!(kept.contains("@builtin(local_invocation_index) index: u32"), "{kept}");
    format!(
        "{before}fn main({kept}) {{\n    played_lane_ = index % {lanes}u;\n    played_rows_ = atomicLoad(&faults_[1]);\n{lets}{body}"
    )
}

/// The library of played fragments, for arrays that they are loaded from and stored to.
fn functions(code: &str, memories: &[String], lanes: u32) -> String {
    // elements of an array in workgroup memory or storage
    let length = |memory: &String| match code.split_once(&format!("var<workgroup> {memory}: array<")) {
        Some((_, rest)) => rest.split_once(", ").unwrap().1.split(">;").next().unwrap().to_string(),
        None => format!("arrayLength(&{memory})"),
    };
    let mut all = format!(
        "
const PLAYED_LANES: u32 = {lanes}u;
const PLAYED_FOURS: u32 = (SIZE * SIZE / 4u + PLAYED_LANES - 1u) / PLAYED_LANES;    // of a sum, in a lane
struct Played_ {{ memory: u32, at: u32, row: u32, col: u32 }}
alias FragA = Played_;
alias FragB = Played_;
alias FragC = array<vec4<f32>, PLAYED_FOURS>;
@group(0) @binding(15) var<storage, read_write> faults_: array<atomic<u32>, 2>;
var<private> played_lane_: u32;
var<private> played_rows_: u32;

fn played_check_(at: u32, line: u32, length: u32, aligned: u32) -> bool {{
    let within = at + (SIZE - 1u) * line + SIZE <= length;
    if !within {{ atomicOr(&faults_[0], 1u); }}
    if at % aligned != 0u || line % aligned != 0u {{ atomicOr(&faults_[0], 2u); }}
    return within;
}}

fn played_multiply_(a: FragA, b: FragB, c: FragC) -> FragC {{
    var sums = c;
    for (var i = 0u; i * PLAYED_LANES * 4u < played_rows_ * played_rows_; i++) {{
        let first = (played_lane_ + i * PLAYED_LANES) * 4u;
        if first >= SIZE * SIZE {{ break; }}      // more lanes than fours
        let row = a.at + first / SIZE * a.row;
        let col = b.at + first % SIZE * b.col;
        var sum = sums[i];
        for (var k = 0u; k < played_rows_; k++) {{
            let at = col + k * b.row;
            let y = vec4(played_at_(b.memory, at), played_at_(b.memory, at + b.col), played_at_(b.memory, at + 2u * b.col), played_at_(b.memory, at + 3u * b.col));
            sum += played_at_(a.memory, row + k * a.col) * y;
        }}
        sums[i] = sum;
    }}
    return sums;
}}
"
    );
    let (mut at, mut operand) = (String::new(), String::new());
    for (number, memory) in memories.iter().enumerate() {
        let length = length(memory);
        writeln!(at, "        case {number}u: {{ return f32({memory}[at]); }}").unwrap();
        writeln!(operand, "        case {number}u: {{ length = {length}; }}").unwrap();
        // those that sums go through
        let each_four = format!(
            "if !played_check_(at, line, {length}, 4u) {{ return sums; }}
    for (var i = 0u; i * PLAYED_LANES * 4u < played_rows_ * played_rows_; i++) {{
        let first = (played_lane_ + i * PLAYED_LANES) * 4u;
        let to = at + first / SIZE * line + first % SIZE;
        for (var j = 0u; j < 4u && first < SIZE * SIZE; j++)"
        );
        if code.contains(&format!("played_take_{memory}(")) {
            write!(
                all,
                "
fn played_take_{memory}(at: u32, line: u32) -> FragC {{
    var sums: FragC;
    {each_four} {{ sums[i][j] = f32({memory}[to + j]); }}
    }}
    return sums;
}}
"
            )
            .unwrap();
        }
        if code.contains(&format!("played_put_{memory}(")) {
            let each_four = each_four.replace("return sums;", "return;");
            write!(
                all,
                "
fn played_put_{memory}(c: FragC, at: u32, line: u32) {{
    var sums = c;
    {each_four} {{ {memory}[to + j] = sums[i][j]; }}
    }}
}}
"
            )
            .unwrap();
        }
        if code.contains(&format!("played_lay_{memory}(")) {
            write!(
                all,
                "
fn played_lay_{memory}(turned: bool, x: Played_, at: u32, line: u32) {{
    if !played_check_(at, line, {length}, 8u) {{ return; }}
    for (var i = played_lane_; i < played_rows_ * played_rows_; i += PLAYED_LANES) {{
        let row = i / SIZE;
        let col = i % SIZE;
        let to = at + select(row * line + col, col * line + row, turned);
        {memory}[to] = f16(played_at_(x.memory, x.at + row * x.row + col * x.col));
    }}
}}
"
            )
            .unwrap();
        }
    }
    write!(
        all,
        "
fn played_at_(memory: u32, at: u32) -> f32 {{
    switch memory {{
{at}        default: {{ return 0.0; }}
    }}
}}

fn played_operand_(turned: bool, memory: u32, at: u32, line: u32) -> Played_ {{
    var length = 0u;
    switch memory {{
{operand}        default: {{ }}
    }}
    if !played_check_(at, line, length, 8u) {{ return Played_(memory, 0u, 0u, 0u); }}
    return Played_(memory, at, select(line, 1u, turned), select(1u, line, turned));
}}
"
    )
    .unwrap();
    all
}

/// f32 wherever the text has f16.
fn without_halves(code: &str) -> String {
    code.replace("enable f16;", "").replace("0.0h", "0.0").replace("f16", "f32")
}
