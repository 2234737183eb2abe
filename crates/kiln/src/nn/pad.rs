//! Padding: what stands around an image.

use super::{Forward, Module};
use crate::{Extents, PadMode, Tensor, composed};

/// What stands outside of an image: PyTorch's `padding_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its edge, which is not repeated.
    Reflect,
    /// The edge, repeated.
    Replicate,
    /// The image again.
    Circular,
}

impl Module for PaddingMode {
    fn visit(&self, _visitor: &mut super::Visitor<'_>) {}
}

/// `sides` put around the last axes of `x`.
#[track_caller]
pub(super) fn around(x: &Tensor, sides: &[(i64, i64)], mode: PaddingMode) -> Tensor {
    match mode {
        PaddingMode::Zeros => x.pad(sides, PadMode::Constant(0.0)),
        PaddingMode::Reflect => x.pad(sides, PadMode::Reflect),
        PaddingMode::Replicate => x.pad(sides, PadMode::Replicate),
        PaddingMode::Circular => x.pad(sides, PadMode::Circular),
    }
}

/// Sides in PyTorch's order (last axis first: left, right, top, bottom, ..), or one number for all, as pairs in
/// the order of the axes.
fn pairs(list: &[i64], axes: usize) -> Option<Vec<(i64, i64)>> {
    match list {
        [all] => Some(vec![(*all, *all); axes]),
        _ if list.len() == 2 * axes => Some(list.chunks(2).rev().map(|side| (side[0], side[1])).collect()),
        _ => None,
    }
}

macro_rules! paddings {
    ($($(#[$doc:meta])* $name:ident, $axes:literal, |$x:ident, $sides:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone)]
        pub struct $name(
            /// How much, in PyTorch's order: left, right, top, bottom, front, back; or one number for all.
            #[module(skip)]
            pub Vec<i64>,
        );

        impl $name {
            /// Puts `sides` around.
            pub fn new(sides: impl Extents) -> Self {
                Self(sides.list())
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                composed("pad", || {
                    let Some($sides) = pairs(&self.0, $axes) else {
                        return $x.bad_argument("pad", "sides", format!("{:?}", self.0), "one number, or two for each axis");
                    };
                    if $x.shape().is_ok() && !($axes + 1..=$axes + 2).contains(&$x.rank()) {
                        return Tensor::bad_shape("pad", &[$x], "[batch, channels, ..] or [channels, ..]");
                    }
                    $body
                })
            }
        }
    )*};
}

paddings! {
    /// Zeros around the last axis.
    ZeroPad1d, 1, |x, sides| around(x, &sides, PaddingMode::Zeros);
    /// Zeros around the last two axes.
    ZeroPad2d, 2, |x, sides| around(x, &sides, PaddingMode::Zeros);
    /// Zeros around the last three axes.
    ZeroPad3d, 3, |x, sides| around(x, &sides, PaddingMode::Zeros);
    /// The last axis mirrored at its ends.
    ReflectionPad1d, 1, |x, sides| around(x, &sides, PaddingMode::Reflect);
    /// The last two axes mirrored at their ends.
    ReflectionPad2d, 2, |x, sides| around(x, &sides, PaddingMode::Reflect);
    /// The last three axes mirrored at their ends.
    ReflectionPad3d, 3, |x, sides| around(x, &sides, PaddingMode::Reflect);
    /// The ends of the last axis repeated.
    ReplicationPad1d, 1, |x, sides| around(x, &sides, PaddingMode::Replicate);
    /// The ends of the last two axes repeated.
    ReplicationPad2d, 2, |x, sides| around(x, &sides, PaddingMode::Replicate);
    /// The ends of the last three axes repeated.
    ReplicationPad3d, 3, |x, sides| around(x, &sides, PaddingMode::Replicate);
    /// The last axis going round.
    CircularPad1d, 1, |x, sides| around(x, &sides, PaddingMode::Circular);
    /// The last two axes going round.
    CircularPad2d, 2, |x, sides| around(x, &sides, PaddingMode::Circular);
    /// The last three axes going round.
    CircularPad3d, 3, |x, sides| around(x, &sides, PaddingMode::Circular);
}

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident, $axes:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug, Clone)]
        pub struct $name {
            /// How much, in PyTorch's order: left, right, top, bottom, front, back; or one number for all.
            #[module(skip)]
            pub sides: Vec<i64>,
            /// What stands there.
            pub value: f32,
        }

        impl $name {
            /// Puts `value` around; negative sides cut.
            pub fn new(sides: impl Extents, value: f32) -> Self {
                Self { sides: sides.list(), value }
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                composed("pad", || match pairs(&self.sides, $axes) {
                    Some(sides) => x.pad(&sides, PadMode::Constant(self.value)),
                    None => x.bad_argument("pad", "sides", format!("{:?}", self.sides), "one number, or two for each axis"),
                })
            }
        }
    )*};
}

constants! {
    /// A number around the last axis.
    ConstantPad1d, 1;
    /// A number around the last two axes.
    ConstantPad2d, 2;
    /// A number around the last three axes.
    ConstantPad3d, 3;
}
