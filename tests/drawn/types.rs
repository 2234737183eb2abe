//! Which type a result has: scripts/picked_types.py.

use super::call::{Call, Text};
use super::operation;
use kiln::prelude::*;

const TYPES: [DType; 5] = [DType::Bool, DType::U32, DType::I32, DType::F16, DType::F32];

/// The type, as its number, of what `c` gives; an error where that is one. `None` if `c` is not about types.
pub fn run(device: &Device, c: &Call) -> Option<Vec<Tensor>> {
    let named = |key: &str| TYPES.into_iter().find(|t| t.to_string() == c.text(key)).unwrap();
    let ones = |kind: DType, rank: usize| Tensor::from_vec(device, vec![1.0f32; 1 << rank], &vec![2; rank]).cast(kind);
    let call =
        |more: &str| Call::parse(&format!("{};axis=0;axes=;keep=0;down=0;n=1;p=2.0;{more}in=", c.text("f")), &[]);
    let out = match c.name() {
        "type_of_two" => {
            let (a, b) = (ones(named("a"), c.size("ra")), ones(named("b"), c.size("rb")));
            match c.text("f") {
                "where" => Tensor::where_(&Tensor::new(device, true), &a, &b),
                _ => operation(device, &call(""), &[a, b]).swap_remove(0),
            }
        }
        "type_beside_number" => {
            let number = format!("number;f={};n={};swap=0;in=", c.text("f"), c.text("n"));
            operation(device, &Call::parse(&number, &[]), &[ones(named("a"), c.size("ra"))]).swap_remove(0)
        }
        "type_of_one" => {
            let axes = if c.text("f") == "logsumexp" { "axes=0;" } else { "" };
            operation(device, &call(axes), &[ones(named("a"), 1)]).swap_remove(0)
        }
        _ => return None,
    };
    let code = TYPES.into_iter().position(|t| t == out.dtype()).unwrap() as i32;
    Some(vec![if out.shape().is_err() { out } else { Tensor::new(device, code) }])
}

/// Whether `c` needs a type that `device` does not have.
pub fn lacks(device: &Device, c: &Call) -> bool {
    !device.caps().f16 && [c.text("a"), c.text("b")].contains(&"f16")
}
