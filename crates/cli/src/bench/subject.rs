//! What is measured: something that can be run again and again, and that knows whether its answer is right.

use kiln::gpu::{Buffer, Program, Slice, Step};
use kiln::prelude::*;

use super::twin::Twin;
use crate::failure::Result;

type Run = Box<dyn FnMut() -> Result<()>>;
type Verify = Box<dyn FnMut() -> Result<f64>>;

/// One case, ready to run.
pub(crate) struct Subject {
    /// Enqueues the work once, without waiting.
    pub(crate) run: Run,
    /// The greatest error against the twin.
    pub(crate) verify: Verify,
    /// The error up to which the answer counts as right.
    pub(crate) tolerance: f64,
    /// Which algorithm it is.
    pub(crate) variant: String,
}

impl Subject {
    /// A tensor expression, evaluated as a program would: graph, key, plan, result.
    pub(crate) fn tensor(expression: impl Fn() -> Tensor + Clone + 'static, twin: Twin, tolerance: f64) -> Self {
        let again = expression.clone();
        Self {
            run: Box::new(move || Ok(again().eval()?)),
            verify: Box::new(move || Ok(twin.error(&expression().to_vec::<f32>()?))),
            tolerance,
            variant: "auto".into(),
        }
    }

    /// Kernels alone. `answer` turns the buffer's numbers into the result that the twin knows.
    pub(crate) fn kernels(
        device: &Device,
        steps: Vec<Step>,
        out: &Buffer,
        answer: impl Fn(Vec<f32>) -> Vec<f32> + 'static,
        judged: (Twin, f64),
    ) -> Result<Self> {
        let once = steps.clone();
        let mut program = Program::new(device, steps)?;
        let (gpu, out, (twin, tolerance)) = (device.gpu().clone(), out.clone(), judged);
        let verify = move || {
            gpu.run(once.clone())?;
            let bytes = gpu.read(&[Slice::from(&out)])?.swap_remove(0);
            let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            Ok(twin.error(&answer(numbers)))
        };
        Ok(Self {
            run: Box::new(move || Ok(program.run(&[], &[], &[])?)),
            verify: Box::new(verify),
            tolerance,
            variant: "auto".into(),
        })
    }

    /// The same, of that variant.
    pub(crate) fn named(self, variant: impl Into<String>) -> Self {
        Self { variant: variant.into(), ..self }
    }
}
