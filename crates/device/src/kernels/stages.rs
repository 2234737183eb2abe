//! Kernels that take several launches, with scratch buffers between them.

use super::{Kind, Scalar, reduce};
use crate::buffer::Buffer;
use crate::caps::Caps;
use crate::device::Device;
use crate::error::Result;
use crate::program::{Launch, Step};

/// One launch of several.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The launch.
    pub launch: Launch,
    /// Bindings that are scratch: their names, and which scratch buffer.
    pub scratch: Vec<(&'static str, usize)>,
    /// The slot `load` of this launch reads the operand; otherwise the kernel has none, or reads scratch.
    pub loads: bool,
    /// The slot `store` of this launch writes the result; otherwise the kernel has none, or writes scratch.
    pub stores: bool,
}

/// Launches to be run in order, and the bytes of each scratch buffer that they share.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    /// The launches.
    pub stages: Vec<Stage>,
    /// Bytes of the scratch buffers.
    pub scratch: Vec<u64>,
}

impl Stages {
    /// A launch that stores so many slices of each sum, and one that adds the slices up, `width` results at once.
    ///
    /// # Errors
    /// Those of the second launch.
    pub(crate) fn sliced(caps: &Caps, launch: Launch, slices: u32, results: u32, width: u32) -> Result<Stages> {
        let mut stages = Stages::default();
        if slices == 1 {
            stages.push(launch, Vec::new(), false, true);
            return Ok(stages);
        }
        let (kind, ty) = (Kind::Sum, Scalar::F32);
        let sum = reduce::Cols { kind, ty, outer: 1, rows: slices, inner: results, width, chunks: 1 };
        let parts = stages.scratch(slices.saturating_mul(results));
        stages.push(launch, vec![("out", parts)], false, false);
        stages.push(reduce::cols(caps, &sum)?, vec![("x", parts)], false, true);
        Ok(stages)
    }

    /// Another scratch buffer of `words` words of four bytes.
    pub(crate) fn scratch(&mut self, words: u32) -> usize {
        self.scratch.push(4 * u64::from(words));
        self.scratch.len() - 1
    }

    /// A launch whose `load` reads the operand where `loads`, and whose `store` writes the result where `stores`.
    pub(crate) fn push(&mut self, launch: Launch, scratch: Vec<(&'static str, usize)>, loads: bool, stores: bool) {
        self.stages.push(Stage { launch, scratch, loads, stores });
    }

    /// Compiles the launches with fresh scratch buffers, for tests and benches.
    ///
    /// # Errors
    /// As [`Device::kernel`] and [`Device::alloc`].
    pub fn steps(&self, device: &Device, bindings: &[(&'static str, &Buffer)]) -> Result<Vec<Step>> {
        let scratch: Vec<Buffer> =
            self.scratch.iter().map(|&bytes| device.alloc(bytes, "scratch")).collect::<Result<_>>()?;
        self.stages
            .iter()
            .map(|stage| {
                let mut all: Vec<(&'static str, &Buffer)> =
                    stage.scratch.iter().map(|&(name, at)| (name, &scratch[at])).collect();
                all.extend(bindings.iter().filter(|(name, _)| !stage.scratch.iter().any(|(own, _)| own == name)));
                Step::new(device, &stage.launch, &all)
            })
            .collect()
    }
}
