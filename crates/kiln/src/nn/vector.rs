//! All parameters of a model as one vector.

use crate::error::At;
use crate::{Error, Param, Result, Tensor};

/// The elements of all parameters, one after another: `[n]`. Its gradient reaches them.
///
/// ```
/// # use kiln::prelude::*; use kiln::nn::{parameters_to_vector, vector_to_parameters};
/// # let device = Device::open()?;
/// let model = Linear::new(3, 2, &mut Init::new(&device, 0));
/// let all = parameters_to_vector(&model.parameters());
/// assert_eq!(all.shape()?.to_vec(), [8]);
/// vector_to_parameters(&(all * 2.0), &model.parameters())?;
/// # Ok::<(), Error>(())
/// ```
///
/// Source: `torch.nn.utils.parameters_to_vector`.
#[track_caller]
pub fn parameters_to_vector(parameters: &[Param]) -> Tensor {
    let flat: Vec<Tensor> = parameters.iter().map(|p| p.value().reshape([-1i64])).collect();
    Tensor::cat(&flat, 0)
}

/// Sets parameters from the elements of a vector, one after another; they stay parameters of their own.
///
/// # Errors
/// [`Error::Shape`] if `vector` is none, [`Error::Argument`] if it has more or fewer elements than the parameters, and then
/// nothing is set; the error it carries.
///
/// Source: `torch.nn.utils.vector_to_parameters`.
#[track_caller]
pub fn vector_to_parameters(vector: &Tensor, parameters: &[Param]) -> Result<()> {
    let shapes = parameters.iter().map(|p| p.shape()).collect::<Result<Vec<_>>>()?;
    let ends = shapes.iter().scan(0, |end, shape| {
        *end += shape.numel();
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let all = ends.last().copied().unwrap_or(0);
    let [given] = vector.dims::<1>()?;
    if given != all {
        let (op, name, value) = ("vector_to_parameters", "vector", format!("{given} elements for {all}"));
        return Err(Error::Argument { op, name, value, why: "an element for each of the parameters", at: At::here() });
    }
    vector.eval()?;
    for ((parameter, shape), end) in parameters.iter().zip(&shapes).zip(ends) {
        let part = vector.narrow(0, (end - shape.numel()) as i64, shape.numel()).reshape(*shape);
        parameter.set(&part.detach().cast(parameter.dtype()))?;
    }
    Ok(())
}
