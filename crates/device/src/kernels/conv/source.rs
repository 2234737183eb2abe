//! The kernel of a variant: its file, what is compiled in, its parameters.

use super::{Algorithm, Direction, Elem, Problem, Variant};
use crate::{Caps, Launch, Params, Source, fold_groups};

/// The launch of a variant that fits, in `groups` workgroups.
pub(super) fn launch(caps: &Caps, p: &Problem, variant: &Variant, groups: u64) -> Launch {
    let weight = p.direction == Direction::Weight;
    let source = elements(window(file(caps, p, variant.algorithm), p), p, variant.algorithm);
    let (source, width) = if weight { for_weight(source, p, variant) } else { for_image(source, p, variant) };
    let [to, from] = if p.direction == Direction::Input { [p.input, p.output] } else { [p.output, p.input] };
    let [rows, chans] = if p.direction == Direction::Input { [1, 0] } else { [0, 1] }.map(|i: usize| p.channels()[i]);
    let params = match variant.algorithm {
        Algorithm::Depthwise => Params::new().u32(p.groups * rows).u32(p.n),
        _ => Params::new().u32(p.groups).u32(rows).u32(chans).u32(p.n),
    };
    let params = to.iter().chain(&from).fold(params, |params, &n| params.u32(n));
    let sliced = weight || variant.algorithm.splits();
    let params = if sliced { params.u32(variant.split) } else { params };
    let [x, y, z] = to;
    let [d, h, w] = p.kernel;
    let launch = Launch::new(source, params, fold_groups(groups)).wide(width);
    launch.costing([2, p.n, p.c_out, p.c_in / p.groups, x, y, z, d, h, w])
}

fn file(caps: &Caps, p: &Problem, algorithm: Algorithm) -> Source {
    use kiln_shaders as s;
    let u = |n: u32| format!("{n}u");
    let of = |image: (&'static str, &'static str), weight: (&'static str, &'static str)| {
        let (name, text) = if p.direction == Direction::Weight { weight } else { image };
        Source::new(name, text)
    };
    match algorithm {
        Algorithm::Direct => of(("conv_direct", s::CONV_DIRECT), ("conv_weight_direct", s::CONV_WEIGHT_DIRECT)),
        Algorithm::Subgroup { rows } => {
            of(("conv_subgroup", s::CONV_SUBGROUP), ("conv_weight_subgroup", s::CONV_WEIGHT_SUBGROUP))
                .constant("PER", u(rows / 8))
        }
        Algorithm::Tile(tile) => of(("conv_tile", s::CONV_TILE), ("conv_weight_tile", s::CONV_WEIGHT_TILE))
            .constant("TILE_M", u(tile.rows))
            .constant("TILE_N", u(tile.columns))
            .constant("RB", u(tile.own[0] / 4))
            .constant("CB", u(tile.own[1] / 4)),
        Algorithm::Coop(coop) => {
            let fragment = |role: &str| format!("coop_mat{0}x{0}<{role}>", coop.size);
            of(("conv_coop", s::CONV_COOP), ("conv_weight_coop", s::CONV_WEIGHT_COOP))
                .alias("FragA", &fragment("f16, A"))
                .alias("FragB", &fragment("f16, B"))
                .alias("FragC", &fragment("f32, C"))
                .constant("SIZE", u(coop.size))
                .constant("FM", u(coop.fragments[0]))
                .constant("FN", u(coop.fragments[1]))
                .constant("WG", u(coop.invocations(caps)))
        }
        Algorithm::Depthwise => {
            let files = of(("conv_depthwise", s::CONV_DEPTHWISE), ("conv_weight_depthwise", s::CONV_WEIGHT_DEPTHWISE))
                .constant("MULT", u(p.channels()[0]));
            match p.direction {
                Direction::Weight => files.constant("LANES", if caps.is_cpu() { "8u" } else { "64u" }),
                Direction::Forward | Direction::Input => files,
            }
        }
    }
}

/// The window, which is part of the kernel's text.
fn window(source: Source, p: &Problem) -> Source {
    let vector = |v: [u32; 3], ty: &str| format!("vec3({}{ty}, {}{ty}, {}{ty})", v[0], v[1], v[2]);
    source
        .constant("KERNEL", vector(p.kernel, "u"))
        .constant("STRIDE", vector(p.stride, ""))
        .constant("PADDING", vector(p.padding, ""))
        .constant("DILATION", vector(p.dilation, ""))
}

/// The element types, and where a kernel takes four elements of its first operand at once.
fn elements(source: Source, p: &Problem, algorithm: Algorithm) -> Source {
    let elem = match p.elem {
        Elem::F32 => "f32",
        Elem::F16 => "f16",
    };
    let four = format!("vec4<{elem}>");
    let source = source.alias("EX", elem);
    match (p.direction, algorithm) {
        (Direction::Weight, Algorithm::Direct | Algorithm::Tile(_)) => {
            source.alias("ED", elem).constant("FLAT", p.flat())
        }
        (Direction::Weight, Algorithm::Depthwise) => source.alias("ED", elem),
        (_, Algorithm::Depthwise) => source.alias("EW", elem),
        (_, Algorithm::Direct | Algorithm::Tile(_)) => source.alias("EW", elem).constant("FLAT", p.flat()),
        (Direction::Weight, _) => {
            let row: u32 = match algorithm {
                Algorithm::Coop(_) => p.output.iter().product(),
                _ => p.output[2],
            };
            let wide = row.is_multiple_of(4);
            let source =
                source.constant("FLAT", p.flat()).alias("D4", &four).alias("D", if wide { &four } else { elem });
            source.constant("D_WIDTH", if wide { "4u" } else { "1u" })
        }
        (direction, _) => {
            let wide = direction == Direction::Forward && p.chain().is_multiple_of(4);
            let source =
                source.constant("FLAT", p.flat()).alias("W4", &four).alias("W", if wide { &four } else { elem });
            source.constant("W_WIDTH", if wide { "4u" } else { "1u" })
        }
    }
}

/// y or dx: the direction, and whether four positions are stored at once.
fn for_image(source: Source, p: &Problem, variant: &Variant) -> (Source, u32) {
    let backward = p.direction == Direction::Input;
    let mut source = source.constant("BACKWARD", backward);
    if backward {
        let load = match variant.algorithm {
            Algorithm::Coop(_) => " return dy[i]; ",
            _ => " return f32(dy[i]); ",
        };
        source = source.slot("load", load).constant("STRIDED", p.stride != [1; 3]);
    }
    let to = if backward { p.input } else { p.output };
    let area: u32 = match variant.algorithm {
        Algorithm::Depthwise => to[2],
        _ => to.iter().product(),
    };
    if !area.is_multiple_of(4) {
        return (source, 1);
    }
    let emit = match variant.algorithm {
        Algorithm::Depthwise => "    store(v, n, c, p);",
        _ => "    if count > 0u { store(v, n, c, p); }",
    };
    (source.alias("F", "vec4<f32>").constant("WIDTH", "4u").slot("emit", emit), 4)
}

/// dw: whether four weights are stored at once.
fn for_weight(source: Source, p: &Problem, variant: &Variant) -> (Source, u32) {
    if variant.algorithm.block().is_none() || !p.chain().is_multiple_of(4) {
        return (source, 1);
    }
    let emit = "    if q < sizes.chans * TAPS { store(v, s, c, q); }";
    (source.alias("F", "vec4<f32>").constant("WIDTH", "4u").slot("emit", emit), 4)
}
