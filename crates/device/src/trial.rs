//! A problem on which the variants of a kernel family are tried: by the self-test, on a small problem whose answer the
//! host knows, for their answers; by the tuner, against the plain variant, for answers and time.

use std::time::{Duration, Instant};

use crate::buffer::{Buffer, Slice};
use crate::caps::Caps;
use crate::device::Device;
use crate::disk::hash;
use crate::error::{Error, Result};
use crate::kernels::Stages;
use crate::replay::Program;
use crate::source::Source;

/// A kernel family that can be tested and tuned: what [`crate::kernels`] lists. Everything here is about one `family`.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// The shader files that its answers and times depend on; a change makes what was found out before stale.
    pub texts: &'static [&'static str],
    /// A small problem for a class of fast variants, whose answer is known; `None` where the device has no such class.
    pub test: fn(&Caps, class: &str) -> Option<Trial>,
    /// The problems to tune, the most useful first, each named by its size class.
    pub tune: fn(&Caps) -> Vec<Trial>,
}

impl Family {
    /// Tells apart what was found out with these texts from what was with others.
    pub(crate) fn version(&self) -> u64 {
        let shared = [kiln_shaders::LIBRARY, kiln_shaders::SHARED];
        self.texts
            .iter()
            .chain(&shared)
            .fold(hash(env!("CARGO_PKG_VERSION").as_bytes()), |h, text| h.rotate_left(7) ^ hash(text.as_bytes()))
    }
}

/// How an operand of a trial is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// f32, multiples of 1/8 from -1 to 1: sums of some thousand products are exact, in any order.
    F32,
    /// The same as f16.
    F16,
    /// The same as f32 around another number.
    Near(i32),
}

/// An operand of a trial.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// The binding.
    pub name: &'static str,
    /// How many elements.
    pub elements: u64,
    /// What they are.
    pub fill: Fill,
}

/// One of the variants to be tried.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its launches.
    pub stages: Stages,
}

/// What the answers of candidates are held against.
#[derive(Debug, Clone)]
pub enum Want {
    /// What this plain variant says, on the same device: for problems that are too large for the host.
    Plain(Stages),
    /// The answer itself, computed on the host: nothing is compiled for it, and no driver has a hand in it.
    Known(Vec<f32>),
}

/// A problem, what its answer is, and ways to solve it. All stages bind the inputs, and `out` for the result.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The class that the outcome stands for.
    pub class: String,
    /// The operands.
    pub inputs: Vec<Input>,
    /// How many f32 elements `out` has.
    pub out: u64,
    /// A second result, if there is one: its binding, and how many f32 elements it has. In an answer they come last.
    pub second: Option<(&'static str, u64)>,
    /// What they are judged by.
    pub want: Want,
    /// The ways to be tried.
    pub candidates: Vec<Candidate>,
    /// The name of the candidate that is taken where nothing was tuned.
    pub heuristic: String,
    /// The most that |got - want| / (1 + |want|) may be.
    pub tolerance: f64,
}

impl Trial {
    /// Gives a const of the candidates' kernels another value.
    pub(crate) fn with_const(&mut self, name: &str, value: &str) {
        for stage in self.candidates.iter_mut().flat_map(|candidate| &mut candidate.stages.stages) {
            stage.launch.source = stage.launch.source.clone().constant(name, value);
        }
    }

    /// The same trial, judged by the definition: a function of the operands, in f64, that gives every element of `out`,
    /// then those of a second result.
    pub(crate) fn defined(self, definition: impl FnOnce(&[Vec<f64>]) -> Vec<f64>) -> Trial {
        let operand = |(seed, input): (usize, &Input)| input.eighths(seed as u32).map(|n| f64::from(n) / 8.0).collect();
        let operands: Vec<Vec<f64>> = self.inputs.iter().enumerate().map(operand).collect();
        let want = Want::Known(definition(&operands).into_iter().map(|v| v as f32).collect());
        Trial { want, ..self }
    }
}

/// A trial's buffers on a device.
pub(crate) struct Bench<'a> {
    device: &'a Device,
    buffers: Vec<(&'static str, Buffer)>,
    /// How many of them, the last, are results.
    results: usize,
    want: Vec<f32>,
    tolerance: f64,
}

impl<'a> Bench<'a> {
    /// Uploads the operands and finds out what the answer is.
    pub(crate) fn new(device: &'a Device, trial: &Trial) -> Result<Bench<'a>> {
        let mut buffers = Vec::new();
        for (seed, input) in trial.inputs.iter().enumerate() {
            buffers.push((input.name, device.upload(&input.bytes(seed as u32), "trial operand")?));
        }
        for (name, elements) in [("out", trial.out)].into_iter().chain(trial.second) {
            buffers.push((name, device.alloc(4 * elements, "trial result")?));
        }
        let results = buffers.len() - trial.inputs.len();
        // together, by several threads; a candidate that does not compile is found out when it is judged
        let plain = if let Want::Plain(stages) = &trial.want { Some(stages) } else { None };
        let stages = plain.into_iter().chain(trial.candidates.iter().map(|c| &c.stages));
        let sources: Vec<Source> = stages.flat_map(|s| &s.stages).map(|stage| stage.launch.source.clone()).collect();
        let _ = device.kernels(&sources);
        let mut bench = Bench { device, buffers, results, want: Vec::new(), tolerance: trial.tolerance };
        bench.want = match &trial.want {
            Want::Plain(stages) => bench.answer(stages)?,
            Want::Known(values) => values.clone(),
        };
        Ok(bench)
    }

    fn program(&self, stages: &Stages, repeats: usize) -> Result<Program> {
        let bindings: Vec<(&'static str, &Buffer)> = self.buffers.iter().map(|(name, b)| (*name, b)).collect();
        let steps = stages.steps(self.device, &bindings)?;
        Program::new(self.device, (0..repeats).flat_map(|_| steps.clone()).collect())
    }

    /// What a variant makes of the operands. NaN stands where it writes nothing.
    fn answer(&self, stages: &Stages) -> Result<Vec<f32>> {
        let results: Vec<&Buffer> = self.buffers.iter().rev().take(self.results).rev().map(|(_, b)| b).collect();
        for out in &results {
            self.device.write(out, 0, &[0xff; 4].repeat(out.bytes() as usize / 4))?;
        }
        self.program(stages, 1)?.run(&[], &[], &[])?;
        let read = self.device.read(&results.into_iter().map(Slice::from).collect::<Vec<_>>())?;
        Ok(read.concat().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// Says what is wrong with a variant's answer, if anything is.
    pub(crate) fn judge(&self, stages: &Stages) -> Result<(), String> {
        let got = self.answer(stages).map_err(|error| error.to_string())?;
        if got.len() != self.want.len() {
            return Err(format!("{} elements instead of {}", got.len(), self.want.len()));
        }
        let wrong = |(got, want): (&f32, &f32)| {
            let (got, want) = (f64::from(*got), f64::from(*want));
            // NaN is wrong too
            ((got - want).abs() / (1.0 + want.abs())).partial_cmp(&self.tolerance) != Some(std::cmp::Ordering::Less)
        };
        match got.iter().zip(&self.want).position(wrong) {
            Some(at) => Err(format!("{} instead of {} at element {at}", got[at], self.want[at])),
            None => Ok(()),
        }
    }

    /// Seconds of one run, the best of several. A variant that is four times slower than `best` is not run again.
    pub(crate) fn time(&self, stages: &Stages, best: f64) -> Result<f64> {
        let run = |program: &mut Program, repeats: usize| -> Result<f64> {
            let start = Instant::now();
            program.run(&[], &[], &[])?;
            self.device.wait()?;
            Ok(start.elapsed().as_secs_f64() / repeats as f64)
        };
        let mut once = self.program(stages, 1)?;
        let mut least = run(&mut once, 1)?.min(run(&mut once, 1)?);
        if least > 4.0 * best {
            return Ok(least);
        }
        // A program long enough that submitting it does not count.
        let repeats = (2e-3 / least.max(1e-6)).clamp(1.0, 200.0) as usize;
        let mut program = self.program(stages, repeats)?;
        let (start, most) = (Instant::now(), Duration::from_millis(60));
        for round in 0..20 {
            least = if round == 0 && repeats > 1 {
                run(&mut program, repeats)?
            } else {
                least.min(run(&mut program, repeats)?)
            };
            if round >= 2 && start.elapsed() > most {
                break;
            }
        }
        Ok(least)
    }
}

impl Input {
    /// Eight times the elements, a fixed sequence.
    fn eighths(&self, seed: u32) -> impl Iterator<Item = i32> {
        let middle = if let Fill::Near(middle) = self.fill { 8 * middle } else { 0 };
        (0..self.elements as u32).map(move |i| {
            let h = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            let h = (h ^ (h >> 15)).wrapping_mul(0xc2b2_ae35);
            ((h >> 16) % 17) as i32 - 8 + middle
        })
    }

    /// The elements as they are stored.
    fn bytes(&self, seed: u32) -> Vec<u8> {
        match self.fill {
            Fill::F32 | Fill::Near(_) => self.eighths(seed).flat_map(|n| (n as f32 / 8.0).to_le_bytes()).collect(),
            Fill::F16 => self.eighths(seed).flat_map(|n| f16_eighth(n).to_le_bytes()).collect(),
        }
    }
}

/// The bits of n / 8 as f16, for n from -8 to 8.
fn f16_eighth(n: i32) -> u16 {
    let size = n.unsigned_abs() as u16;
    if size == 0 {
        return 0;
    }
    let top = size.ilog2() as u16;
    // exponent of n is top - 3; what is below the top bit is the fraction
    (u16::from(n < 0) << 15) | ((top + 12) << 10) | ((size << (10 - top)) & 0x3ff)
}

/// The family of that name.
pub(crate) fn family(name: &str) -> Result<&'static Family> {
    let known = || crate::kernels::FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
    let found = crate::kernels::FAMILIES.iter().find(|family| family.name == name);
    found.ok_or_else(|| Error::Validation(format!("no kernel family is called `{name}`; there are: {}", known())))
}

#[cfg(test)]
mod tests {
    use super::f16_eighth;

    #[test]
    fn eighths_are_halves() {
        let bits: Vec<u16> = [-8, -3, 0, 1, 4, 6, 8].map(f16_eighth).into();
        assert_eq!(bits, [0xbc00, 0xb600, 0, 0x3000, 0x3800, 0x3a00, 0x3c00]);
    }
}
