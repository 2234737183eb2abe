//! Gradients held against slopes: for whoever writes an operation.

use crate::error::{At, List};
use crate::{DType, Error, Result, Tensor};

/// The element at which a gradient and the slope of its function differ most; see [`check_gradients`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientCheck {
    /// |gradient − slope| / (1 + |slope|) there. NaN or infinity if one of the two is.
    pub error: f64,
    /// Which input the element belongs to.
    pub input: usize,
    /// Its place in that input, in row-major order.
    pub element: usize,
    /// What the gradient says.
    pub gradient: f64,
    /// What the values say.
    pub slope: f64,
}

/// Holds the gradients of `f` against the slopes of its values, in every element of every input.
///
/// The inputs are f32 of any shape, and so is what `f` makes of them; the elements of its result are added up with
/// fixed weights between 0.5 and 1.5, so that a wrong one cannot hide behind another. A slope is the central difference
/// of fourth order, (8 (f(x + h) − f(x − h)) − (f(x + 2h) − f(x − 2h))) / 12h, with h = max(1, |x|) / 64, added up in
/// f64. Values are f32: for a smooth `f` with inputs, values and derivatives around 1 expect an error below 1e-3; a wrong
/// factor or sign is far above. At a kink (relu at 0) there is no slope to agree with.
///
/// It evaluates `f` four times for each element: for small tensors.
///
/// # Errors
/// [`Error::Argument`] without inputs, [`Error::DType`] if one is not f32, and what evaluating `f` gives.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let x = Tensor::new(&device, [[0.3, -1.2], [0.7, 0.1]]);
/// let check = kiln::check_gradients(&[&x], |inputs| inputs[0].matmul(&inputs[0]).tanh())?;
/// assert!(check.error < 1e-3, "{check:?}");
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Abramowitz & Stegun 1964, *Handbook of Mathematical Functions*, 25.3.6.
#[track_caller]
pub fn check_gradients(inputs: &[&Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Result<GradientCheck> {
    let (op, at) = ("check_gradients", At::here());
    if inputs.is_empty() {
        return Err(Error::Argument { op, name: "inputs", value: "[]".into(), why: "at least one", at });
    }
    if inputs.iter().any(|x| x.dtype() != DType::F32) {
        let dtypes = List(inputs.iter().map(|x| x.dtype()).collect());
        return Err(Error::DType { op, dtypes, why: "inputs are f32", at });
    }
    // leaves of their own: what the inputs were made from takes no part
    let mut values = Vec::with_capacity(inputs.len());
    let mut leaves = Vec::with_capacity(inputs.len());
    for x in inputs {
        let numbers = x.to_vec::<f32>()?;
        leaves.push(Tensor::from_slice(x.device(), &numbers, &x.shape()?));
        values.push(numbers);
    }
    let y = f(&leaves);
    let weights: Vec<f32> = (0..y.numel()).map(weight).collect();
    let weighed = (&y * Tensor::from_slice(y.device(), &weights, &y.shape()?)).sum();
    let gradients = weighed.grad(&leaves)?;

    let mut worst = GradientCheck { error: 0.0, input: 0, element: 0, gradient: 0.0, slope: 0.0 };
    for (input, numbers) in values.iter().enumerate() {
        let (shape, gradient) = (leaves[input].shape()?, gradients[input].to_vec::<f32>()?);
        for (element, &x) in numbers.iter().enumerate() {
            let h = x.abs().max(1.0) / 64.0;
            let value = |step: f32| -> Result<f64> {
                let (mut moved, mut all) = (numbers.clone(), leaves.clone());
                moved[element] = x + step * h;
                all[input] = Tensor::from_vec(leaves[input].device(), moved, &shape);
                let y = f(&all).to_vec::<f32>()?;
                Ok(y.iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum())
            };
            let near = value(1.0)? - value(-1.0)?;
            let far = value(2.0)? - value(-2.0)?;
            let (slope, gradient) = ((8.0 * near - far) / (12.0 * f64::from(h)), f64::from(gradient[element]));
            let error = (gradient - slope).abs() / (1.0 + slope.abs());
            if error > worst.error || error.is_nan() {
                worst = GradientCheck { error, input, element, gradient, slope };
            }
            if error.is_nan() {
                return Ok(worst);
            }
        }
    }
    Ok(worst)
}

/// The weight of an element of the result: 0.5 to 1.5, by multiples of the golden ratio.
fn weight(element: usize) -> f32 {
    (0.5 + (element as f64 * 0.618_033_988_749_895).fract()) as f32
}
