//! Every kernel file is valid and can be translated for Vulkan, Metal and DX12. Kiln is tested on Vulkan; this is
//! its insurance on the others. Both ways of passing parameters are tried.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashSet;

use kiln_device::{AdapterKind, BackendKind, Caps, CoopShape, Launch, Source, kernels, philox};
use kiln_translate::translate;

#[test]
fn every_kernel_file_translates() {
    let mut failures = Vec::new();
    for &(name, text) in kiln_shaders::ALL {
        match Source::new(name, text).finish() {
            Ok(text) => {
                let uniform = text.replace("var<immediate> sizes", "@group(0) @binding(30) var<uniform> sizes");
                for text in [&text, &uniform] {
                    failures.extend(translate(text).err().map(|error| format!("{name}: {error}")));
                }
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_kernel_keeps_to_eight_storage_bindings() {
    for &(name, text) in kiln_shaders::ALL {
        let text = Source::new(name, text).finish().unwrap();
        let bindings = text.matches("var<storage").count();
        assert!(bindings <= 8, "{name} binds {bindings}");
    }
}

/// Every function of the library, each in a kernel of its own, at both widths.
/// A kernel borrows by name alone.
#[test]
fn library_names_are_unique() {
    let mut seen = std::collections::HashSet::new();
    for line in [kiln_shaders::LIBRARY, kiln_shaders::SHARED].into_iter().flat_map(str::lines) {
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        if matches!(words.next(), Some("fn" | "struct" | "const" | "alias")) {
            let name = words.next().unwrap();
            assert!(seen.insert(name), "{name} is there twice");
        }
    }
}

#[test]
fn every_library_function_stands_alone() {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in kiln_shaders::LIBRARY.lines() {
        let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) else { continue };
        count += 1;
        for width in ["", "vec4"] {
            let of = |scalar: &str| if width.is_empty() { scalar.to_string() } else { format!("{width}<{scalar}>") };
            // To be named in `main` is enough for a function to be appended.
            let text = format!(
                "alias F = {}; alias I = {}; alias U = {}; alias L = {};
                 @compute @workgroup_size(1) fn main() {{ if false {{ let {name} = 1; }} }}",
                of("f32"),
                of("i32"),
                of("u32"),
                of("bool")
            );
            let translated = Source::new("library", text).finish().map_err(|e| e.to_string()).and_then(|text| {
                assert!(text.contains(&format!("fn {name}(")), "{name} was not appended");
                translate(&text)
            });
            failures.extend(translated.err().map(|error| format!("{name}, width {width}: {error}")));
        }
    }
    assert!(count > 0, "the library has functions");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A GPU with everything, a GPU with the least, a CPU adapter with subgroups and one without.
fn machines() -> Vec<Caps> {
    let gpu = Caps {
        name: "gpu".into(),
        driver: String::new(),
        backend: BackendKind::Vulkan,
        kind: AdapterKind::Discrete,
        subgroup: Some((32, 32)),
        f16: true,
        max_storage_buffers: 16,
        max_binding: 1 << 30,
        max_buffer: 1 << 31,
        max_invocations: 1024,
        workgroup_memory: 48 << 10,
        max_immediates: 128,
        max_groups: 65_535,
        timestamps: true,
        coop: [8, 16].map(|size| CoopShape { size, f16_operands: true, f16_accumulator: false }).into(),
        checked: false,
    };
    let least = Caps {
        kind: AdapterKind::Integrated,
        subgroup: None,
        f16: false,
        max_storage_buffers: 8,
        max_invocations: 256,
        workgroup_memory: 16 << 10,
        coop: Vec::new(),
        ..gpu.clone()
    };
    let cpu = Caps { kind: AdapterKind::Cpu, subgroup: Some((8, 8)), ..gpu.clone() };
    let plain_cpu = Caps { subgroup: None, ..cpu.clone() };
    vec![gpu, least, cpu, plain_cpu]
}

const DIRECTIONS: [kernels::conv::Direction; 3] =
    [kernels::conv::Direction::Forward, kernels::conv::Direction::Input, kernels::conv::Direction::Weight];

/// Launches of every family, over the classes that its launcher tells apart.
fn launches(caps: &Caps) -> Vec<Launch> {
    use kernels::{
        Kind, Scalar, attention, conv, guard, linalg, map, matmul, norm, random, recurrence, reduce, scan, segment,
        softmax, sort,
    };
    let mut all = vec![
        guard::launch(caps, 1, false, 0, guard::place(0)).unwrap(),
        guard::launch(caps, 1, true, 0, guard::place(0)).unwrap(),
    ];
    all.extend([true, false].map(|half| guard::mark(caps, 1, half, 0).unwrap()));
    let of = linalg::Square { matrices: 3, n: 5 };
    all.extend([linalg::lu(&of), linalg::cholesky(&of)]);
    for (upper, unit) in [(false, false), (false, true), (true, false), (true, true)] {
        all.push(linalg::triangular(&linalg::Triangular { of, columns: 2, upper, unit }));
    }
    let mut staged = Vec::new();
    let types = [Scalar::F32, Scalar::I32, Scalar::U32];
    let kinds = [Kind::Sum, Kind::Prod, Kind::Max, Kind::Min];
    let stream = philox::Stream::new(1, 2);
    for width in [1, 4] {
        all.push(map::launch(caps, 4096, width).unwrap());
        all.push(map::turned(caps, 4096, 64, width).unwrap());
        for draw in [random::Draw::Words, random::Draw::Uniform, random::Draw::Normal, random::Draw::Bernoulli(0.5)] {
            all.push(random::launch(caps, draw, stream, 4096, width).unwrap());
        }
        for (rows, cols) in [(1, 4), (7, 64), (3, 4096), (1, 30_000)] {
            for center in [true, false] {
                all.push(norm::rows(caps, &norm::Rows { center, rows, cols, width, eps: 1e-5 }).unwrap());
                all.push(norm::grad(caps, &norm::Grad { center, rows, cols, width }).unwrap());
            }
            for log in [true, false] {
                all.push(softmax::rows(caps, &softmax::Rows { log, rows, cols, width }).unwrap());
            }
            all.push(softmax::logsumexp(caps, &softmax::LogSumExp { rows, cols, width }).unwrap());
            for (ty, kind) in types.into_iter().flat_map(|ty| kinds.map(|kind| (ty, kind))) {
                all.push(reduce::rows(caps, &reduce::Rows { kind, ty, rows, cols, width, chunks: 1 }).unwrap());
                for rows in [rows, 100] {
                    let p = reduce::Cols { kind, ty, outer: 2, rows, inner: cols, width, chunks: 1 };
                    all.push(reduce::cols(caps, &p).unwrap());
                }
            }
            for (ty, key) in types.into_iter().flat_map(|ty| [Scalar::I32, Scalar::U32].map(|key| (ty, key))) {
                staged.push(segment::sum(caps, &segment::Sum { n: 100, rows, cols, width, ty, key }).unwrap());
            }
        }
    }
    for (rows, cols) in [(1, 4), (7, 100), (3, 5000), (1, 30_000)] {
        for ty in types {
            for yes in [true, false] {
                all.push(reduce::arg_rows(caps, &reduce::Arg { max: yes, ty, rows, cols }).unwrap());
                staged.push(sort::rows(caps, &sort::Rows { ty, rows, cols, descending: yes, bits: 32 }).unwrap());
            }
            for kind in [Kind::Sum, Kind::Prod] {
                staged.push(scan::rows(caps, &scan::Rows { kind, ty, rows, cols }).unwrap());
            }
        }
    }
    all.extend(staged.into_iter().flat_map(|stages| stages.stages).map(|stage| stage.launch));

    let elems = if caps.f16 { vec![matmul::Elem::F32, matmul::Elem::F16] } else { vec![matmul::Elem::F32] };
    for (m, n, k) in [(1, 64, 64), (5, 7, 3), (8, 512, 512), (100, 100, 100), (512, 512, 512), (4096, 4096, 64)] {
        let (a, b) = (matmul::Strides::contiguous(1, m, k), matmul::Strides::contiguous(1, k, n));
        let flip = |s: matmul::Strides, rows: u32| matmul::Strides { row: 1, col: rows, ..s };
        for (a, b) in [(a, b), (flip(a, m), b), (a, flip(b, k)), (flip(a, m), flip(b, k))] {
            for (a_elem, b_elem) in elems.iter().flat_map(|&a| elems.iter().map(move |&b| (a, b))) {
                let p = matmul::Problem { a_elem, b_elem, ..matmul::Problem::new([1, 2], m, n, k, a, b) };
                for variant in matmul::variants(caps, &p) {
                    all.push(matmul::launch_with(caps, &p, &variant).unwrap());
                }
            }
        }
    }

    let added = Some(attention::MaskKind::Add(matmul::Elem::F32));
    for ([e, ev], keys, causal, dropout, mask) in [
        ([64, 64], 200, true, false, None),
        ([5, 7], 200, false, true, Some(attention::MaskKind::Bool)),
        ([64, 64], 199, false, true, None),
        ([80, 256], 200, false, false, added),
        ([128, 128], 200, true, false, added),
    ] {
        for &elem in &elems {
            let place = |size: u32| attention::Place { offset: 0, batch: 800 * size, head: 200 * size, row: size };
            let mask = mask.map(|kind| attention::Mask { kind, place: place(200), col: 1 });
            let (q, v) = (place(e), place(ev));
            let (heads, kv_heads, scale) = (4, 2, 1.0);
            let [batch, length] = [2, 200];
            let p = attention::Problem {
                batch,
                heads,
                kv_heads,
                length,
                keys,
                e,
                ev,
                causal,
                scale,
                elem,
                q,
                k: q,
                v,
                mask,
                dropout,
            };
            for part in attention::Part::ALL {
                for variant in attention::variants(caps, &p, part) {
                    all.push(attention::launch_with(caps, &p, part, variant).unwrap());
                }
            }
        }
    }

    use kernels::recurrence::Cell::{Gru, Lstm, Relu, Tanh};
    for (cell, batch, masked) in [(Tanh, 1, false), (Relu, 4, true), (Lstm, 64, false), (Lstm, 3, true), (Gru, 9, true)]
    {
        let (reverse, batch_first) = (false, masked);
        let p = recurrence::Problem { cell, steps: 3, batch, hidden: 100, reverse, batch_first, masked };
        for variant in recurrence::variants(caps) {
            all.extend(recurrence::forward_with(&p, variant).unwrap());
            all.extend(recurrence::grad_with(&p, variant).unwrap());
        }
    }

    for (c_in, c_out, groups, kernel, stride) in
        [(1, 16, 1, 3, 1), (16, 32, 1, 3, 1), (16, 32, 4, 5, 2), (64, 64, 1, 1, 1), (32, 32, 32, 3, 1)]
    {
        for d in [2, 3] {
            let at = |axis: usize, v: u32, other: u32| if axis >= 3 - d { v } else { other };
            let dims = |v: u32, other: u32| [at(0, v, other), at(1, v, other), at(2, v, other)];
            let (input, pad) = (14, kernel / 2);
            let output = (input + 2 * pad - kernel) / stride + 1;
            for (elem, direction) in elems.iter().flat_map(|&elem| DIRECTIONS.map(|direction| (elem, direction))) {
                let p = conv::Problem {
                    direction,
                    elem: if elem == matmul::Elem::F16 { conv::Elem::F16 } else { conv::Elem::F32 },
                    n: 8,
                    c_in,
                    c_out,
                    groups,
                    input: dims(input, 1),
                    output: dims(output, 1),
                    kernel: dims(kernel, 1),
                    stride: dims(stride, 1),
                    padding: dims(pad, 0),
                    dilation: [1; 3],
                };
                for variant in conv::variants(caps, &p) {
                    all.push(conv::launch_with(caps, &p, &variant).unwrap());
                }
            }
        }
    }
    all
}

#[test]
fn every_launch_translates() {
    let mut seen = HashSet::new();
    let mut failures = Vec::new();
    for caps in machines() {
        for launch in launches(&caps) {
            // with what a kernel gets whose slots hold generated code
            let mut source = launch.source.clone();
            for (alias, elem) in [("F", "f32"), ("I", "i32"), ("U", "u32"), ("L", "bool")] {
                if !source.has_alias(alias) {
                    source = source.declare(format!("alias {alias} = {elem};"));
                }
            }
            let text = source.finish().unwrap();
            if seen.insert(text.clone()) {
                failures.extend(translate(&text).err().map(|error| format!("{}: {error}", launch.source.name())));
            }
        }
    }
    assert!(seen.len() > 100, "{} texts", seen.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
