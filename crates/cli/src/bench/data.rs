//! Random inputs as functions of place and seed: the host's twin needs no copy of them, and other programs can make
//! the same numbers.

use half::f16;
use kiln::prelude::*;

use super::models::hash;
use crate::failure::{Failure, Result};

/// Numbers in [-1, 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    /// Tells operands apart.
    pub(crate) seed: u32,
    /// Multiples of 2⁻¹⁰, which half floats hold exactly, so that the twin sees what the device sees.
    pub(crate) coarse: bool,
}

impl Data {
    /// Operand number `seed` of a case with elements of `dtype`.
    pub(crate) fn new(seed: u32, dtype: DType) -> Self {
        Self { seed, coarse: dtype == DType::F16 }
    }

    /// Element `i`.
    pub(crate) fn at(self, i: usize) -> f32 {
        let h = hash(i as u32, self.seed);
        if self.coarse { (h >> 21) as f32 / 1024.0 - 1.0 } else { (h >> 8) as f32 / 8_388_608.0 - 1.0 }
    }

    /// The same for the twin.
    pub(crate) fn wide(self, i: usize) -> f64 {
        f64::from(self.at(i))
    }

    /// A tensor of these numbers, in memory.
    pub(crate) fn tensor(self, device: &Device, shape: &[usize]) -> Result<Tensor> {
        let x = Tensor::from_vec(device, collect(shape, |i| self.at(i))?, shape);
        if !self.coarse {
            return Ok(x);
        }
        let x = x.cast(DType::F16);
        // A step lets go of the f32 numbers behind it.
        kiln::step(&[], Vec::new(), &[&x])?;
        Ok(x)
    }

    /// The bytes of `n` of these numbers, as kernels read them.
    pub(crate) fn bytes(self, n: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let size = if self.coarse { 2 } else { 4 };
        bytes.try_reserve_exact(n * size).map_err(|_| no_memory(n * size))?;
        for v in (0..n).map(|i| self.at(i)) {
            if self.coarse { bytes.extend(f16::from_f32(v).to_le_bytes()) } else { bytes.extend(v.to_le_bytes()) }
        }
        Ok(bytes)
    }
}

/// Index number `i` among `below`.
pub(crate) fn index(seed: u32, i: usize, below: usize) -> usize {
    hash(i as u32, seed) as usize % below
}

/// A tensor of indices below `below`.
pub(crate) fn indices(device: &Device, seed: u32, shape: &[usize], below: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(device, collect(shape, |i| index(seed, i, below) as i32)?, shape))
}

/// As many elements as `shape` has; an error where the host has no memory for them.
pub(crate) fn collect<T>(shape: &[usize], element: impl Fn(usize) -> T) -> Result<Vec<T>> {
    let n = shape.iter().product();
    let mut all = Vec::new();
    all.try_reserve_exact(n).map_err(|_| no_memory(n * size_of::<T>()))?;
    all.extend((0..n).map(element));
    Ok(all)
}

fn no_memory(bytes: usize) -> Failure {
    Failure::Usage(format!("the host has no {bytes} bytes for an operand; give a smaller --size"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn coarse_numbers_are_half_floats() {
        let device = Device::open().unwrap();
        if device.caps().f16 {
            let data = Data { seed: 3, coarse: true };
            let x = data.tensor(&device, &[1000]).unwrap();
            assert_eq!(Tensor::read_all(&[&x]).unwrap()[0], data.bytes(1000).unwrap());
            assert_eq!(x.to_vec::<f32>().unwrap(), (0..1000).map(|i| data.at(i)).collect::<Vec<_>>());
        }
    }
}
