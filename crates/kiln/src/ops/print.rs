//! Tensors as text, the way PyTorch prints them: four digits, scientific where the range is wide, long tensors
//! shortened to three elements at each end.

use crate::{DType, Param, State, Tensor};
use std::fmt;

const LINE: usize = 80;
const EDGE: usize = 3;
const LONG: usize = 1000;

/// How the elements of one tensor are written.
struct Format {
    dtype: DType,
    whole: bool,
    scientific: bool,
    width: usize,
}

impl Format {
    fn of(dtype: DType, shown: &[f64]) -> Self {
        let mut format = Self { dtype, whole: true, scientific: false, width: 1 };
        if !dtype.is_float() {
            format.width = shown.iter().map(|&v| format.bare(v).len()).max().unwrap_or(1);
            return format;
        }
        let sized: Vec<f64> = shown.iter().copied().filter(|v| v.is_finite() && *v != 0.0).collect();
        if sized.is_empty() {
            return format;
        }
        let (low, high) = sized.iter().fold((f64::MAX, 0f64), |(l, h), v| (l.min(v.abs()), h.max(v.abs())));
        format.whole = sized.iter().all(|v| v.fract() == 0.0);
        format.scientific = high / low > 1000.0 || high > 1e8 || (!format.whole && low < 1e-4);
        format.width = sized.iter().map(|&v| format.bare(v).len()).max().unwrap_or(1);
        format
    }

    fn bare(&self, v: f64) -> String {
        match self.dtype {
            DType::Bool => if v != 0.0 { "True" } else { "False" }.into(),
            DType::I32 | DType::U32 => format!("{v:.0}"),
            DType::F16 | DType::F32 if v.is_nan() => "nan".into(),
            DType::F16 | DType::F32 if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.into(),
            DType::F16 | DType::F32 if self.scientific => scientific(v),
            DType::F16 | DType::F32 if self.whole => format!("{v:.0}."),
            DType::F16 | DType::F32 => format!("{v:.4}"),
        }
    }

    fn padded(&self, v: f64) -> String {
        format!("{:>width$}", self.bare(v), width = self.width)
    }
}

/// As C prints it: at least two digits of exponent.
fn scientific(v: f64) -> String {
    let text = format!("{v:.4e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |s| ('-', s));
            format!("{digits}e{sign}{size:0>2}")
        }
        None => text,
    }
}

/// Which positions of an axis are shown; `None` stands for those left out.
fn positions(extent: usize, short: bool) -> Vec<Option<usize>> {
    if !short || extent <= 2 * EDGE {
        return (0..extent).map(Some).collect();
    }
    (0..EDGE).map(Some).chain([None]).chain((extent - EDGE..extent).map(Some)).collect()
}

fn collect(data: &[f64], dims: &[usize], short: bool, shown: &mut Vec<f64>) {
    match dims.split_first() {
        None => shown.extend(data.first()),
        Some((&extent, rest)) => {
            let step: usize = rest.iter().product();
            positions(extent, short)
                .into_iter()
                .flatten()
                .for_each(|i| collect(&data[i * step..(i + 1) * step], rest, short, shown));
        }
    }
}

fn write(data: &[f64], dims: &[usize], indent: usize, short: bool, format: &Format) -> String {
    match dims {
        [] => format.padded(data[0]),
        [extent] => {
            let words: Vec<String> = positions(*extent, short)
                .into_iter()
                .map(|p| p.map_or(" ...".into(), |i| format.padded(data[i])))
                .collect();
            let per_line = (LINE.saturating_sub(indent) / (format.width + 2)).max(1);
            let lines: Vec<String> = words.chunks(per_line).map(|line| line.join(", ")).collect();
            format!("[{}]", lines.join(&format!(",\n{}", " ".repeat(indent + 1))))
        }
        [extent, rest @ ..] => {
            let step: usize = rest.iter().product();
            let rows: Vec<String> = positions(*extent, short)
                .into_iter()
                .map(|p| {
                    p.map_or("...".into(), |i| write(&data[i * step..(i + 1) * step], rest, indent + 1, short, format))
                })
                .collect();
            format!("[{}]", rows.join(&format!(",{}{}", "\n".repeat(rest.len()), " ".repeat(indent + 1))))
        }
    }
}

impl fmt::Display for Tensor {
    /// Evaluates the tensor and writes it as PyTorch would; a tensor that carries an error writes the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = match self.to_vec::<f64>() {
            Ok(data) => data,
            Err(error) => return write!(f, "tensor({error})"),
        };
        let dims = self.shape_or_scalar();
        let suffix = match self.dtype() {
            DType::F16 => Some("dtype=f16"),
            DType::U32 => Some("dtype=u32"),
            DType::Bool | DType::I32 | DType::F32 => None,
        };
        let (text, suffix) = if data.is_empty() {
            let list: Vec<String> = dims.iter().map(ToString::to_string).collect();
            let size = (dims.rank() != 1).then(|| format!("size=({})", list.join(", ")));
            ("[]".to_string(), size.or(suffix.map(Into::into)))
        } else {
            let short = data.len() > LONG;
            let mut shown = Vec::new();
            collect(&data, &dims, short, &mut shown);
            let format = Format::of(self.dtype(), &shown);
            (write(&data, &dims, 7, short, &format), suffix.map(Into::into))
        };
        match suffix {
            None => write!(f, "tensor({text})"),
            Some(suffix) => {
                let last = text.rsplit('\n').next().map_or(0, str::len) + if text.contains('\n') { 0 } else { 7 };
                let gap = if last + suffix.len() + 2 > LINE { format!("\n{}", " ".repeat(7)) } else { " ".into() };
                write!(f, "tensor({text},{gap}{suffix})")
            }
        }
    }
}

impl fmt::Debug for State {
    /// Its path, where it has one, and its content as [`Tensor`] writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        contained("State", self, f)
    }
}

impl fmt::Debug for Param {
    /// As a [`State`]; whether it is frozen is said too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        contained(if self.trainable() { "Param" } else { "Frozen param" }, self, f)
    }
}

fn contained(kind: &str, state: &State, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let path = state.path().map(|path| format!(" {path}")).unwrap_or_default();
    write!(f, "{kind}{path} containing:\n{}", state.value())
}

impl fmt::Debug for Tensor {
    /// As `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
