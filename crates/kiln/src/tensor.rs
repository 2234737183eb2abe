//! What can be asked of a tensor at once, and how its elements come back to the host.

use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::node::{Op, Stored};
use crate::plan::{self, Fault};
use crate::{DType, Device, Shape, Tensor};
use kiln_device::{Pending, Slice};
use std::sync::Arc;

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}

impl Tensor {
    /// The extent of each axis.
    ///
    /// # Errors
    /// The error that the tensor carries.
    pub fn shape(&self) -> Result<Shape> {
        match self.error() {
            Some(error) => Err((**error).clone()),
            None => Ok(self.0.shape),
        }
    }

    /// The extents of a tensor of `N` axes.
    ///
    /// # Errors
    /// The error that the tensor carries, or [`Error::Shape`] if it has another rank.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> Result<[usize; N]> {
        let shape = self.shape()?;
        let invalid = match <[usize; N]>::try_from(&shape[..]) {
            Ok(dims) => return Ok(dims),
            Err(_) => Tensor::bad_shape("dims", &[self], "another number of axes was expected"),
        };
        Err(invalid.error().map_or_else(|| unreachable!("it was just made invalid"), |e| (**e).clone()))
    }

    /// What `body` makes of the extents of a tensor of `N` axes, such as reshapes by them; the error that the tensor carries,
    /// or one that its rank is another, otherwise. For functions that give a tensor and know no `?`.
    ///
    /// ```
    /// # use kiln::prelude::*; let device = Device::open()?;
    /// fn heads_outside(x: &Tensor, heads: usize) -> Tensor {
    ///     x.with_dims(|[batch, time, width]| x.reshape([batch, time, heads, width / heads]).transpose(1, 2))
    /// }
    /// assert_eq!(heads_outside(&Tensor::ones(&device, [2, 5, 12]), 3).shape()?, [2, 3, 5, 4]);
    /// assert!(heads_outside(&Tensor::ones(&device, [2, 5]), 3).eval().is_err());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn with_dims<const N: usize>(&self, body: impl FnOnce([usize; N]) -> Tensor) -> Tensor {
        match <[usize; N]>::try_from(&self.0.shape[..]) {
            Ok(dims) if self.error().is_none() => body(dims),
            _ => Tensor::bad_shape("with_dims", &[self], "another number of axes was expected"),
        }
    }

    /// The shape, or that of a single number if the tensor carries an error.
    pub(crate) fn shape_or_scalar(&self) -> Shape {
        self.0.shape
    }

    /// The number of axes; 0 if the tensor carries an error.
    pub fn rank(&self) -> usize {
        self.0.shape.rank()
    }

    /// The number of elements; 1 if the tensor carries an error.
    pub fn numel(&self) -> usize {
        self.0.shape.numel()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Whether something trainable is among its ancestors.
    pub fn requires_grad(&self) -> bool {
        self.current().0.grad
    }

    /// Computes the elements and keeps them on the device. The expression stays, so gradients can follow.
    ///
    /// # Errors
    /// The error that the tensor carries, or what the device says.
    pub fn eval(&self) -> Result<()> {
        Self::eval_all(&[self])
    }

    /// Computes several tensors in one plan.
    ///
    /// # Errors
    /// The first error that one of them carries, or what the device says.
    pub fn eval_all<T: AsRef<Tensor>>(tensors: &[T]) -> Result<()> {
        let tensors: Vec<&Tensor> = tensors.iter().map(AsRef::as_ref).collect();
        plan::evaluate(&tensors)
    }

    /// The only element, as `f32`.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`]; [`Error::Shape`] if there is more than one element or none.
    #[track_caller]
    pub fn item(&self) -> Result<f32> {
        self.item_as()
    }

    /// The only element, as any type.
    ///
    /// # Errors
    /// As [`Tensor::item`].
    #[track_caller]
    pub fn item_as<E: Element>(&self) -> Result<E> {
        let shape = self.shape()?;
        if shape.numel() != 1 {
            let invalid = Tensor::bad_shape("item", &[self], "exactly one element");
            return Err(invalid.error().map_or_else(|| unreachable!("it was just made invalid"), |e| (**e).clone()));
        }
        Ok(self.to_vec::<E>()?[0])
    }

    /// The elements in row-major order, computed if need be, converted to `E`.
    ///
    /// # Errors
    /// The error that the tensor carries; [`Error::Index`] or [`Error::NotFinite`] if the run that made it met one;
    /// [`Error::Device`] if the device failed.
    pub fn to_vec<E: Element>(&self) -> Result<Vec<E>> {
        let bytes = Self::read_all(&[self])?.swap_remove(0);
        Ok(decode(self.dtype(), &bytes))
    }

    /// The device bytes of several tensors in row-major order, computed in one plan and read together.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    pub fn read_all(tensors: &[&Tensor]) -> Result<Vec<Vec<u8>>> {
        let Some(first) = tensors.first() else { return Ok(Vec::new()) };
        let (parts, faults) = locate(tensors)?;
        let gpu = first.0.device.gpu();
        let bytes = if parts.is_empty() { Vec::new() } else { gpu.read(&parts)? };
        deliver(tensors.len(), bytes, &faults, &parts_of(tensors)?)
    }

    /// Starts reading a tensor without waiting: the loop that trains asks for the number some steps later.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`], as far as it can be known now.
    pub fn read_later(&self) -> Result<Reading> {
        let (parts, faults) = locate(&[self])?;
        let pending = if parts.is_empty() { None } else { Some(self.0.device.gpu().read_async(&parts)?) };
        Ok(Reading { pending, faults, whole: !self.is_empty_tensor(), dtype: self.dtype() })
    }

    fn is_empty_tensor(&self) -> bool {
        self.numel() == 0
    }

    /// A tensor of `shape` and `dtype` from the bytes that [`Tensor::read_all`] gives.
    ///
    /// # Errors
    /// On evaluation, [`Error::Argument`] if the number of bytes does not fit.
    #[track_caller]
    pub fn from_raw(device: &Device, dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
        match Shape::new(shape) {
            Some(shape) if shape.numel() * dtype.bytes() == bytes.len() => {
                Self::from_bytes(device, shape, dtype, bytes)
            }
            _ => Self::zero_of(device, dtype).bad_argument(
                "from_raw",
                "bytes",
                bytes.len(),
                "as many as shape and type need",
            ),
        }
    }
}

/// A read that is under way.
pub struct Reading {
    pending: Option<Pending>,
    faults: Vec<Arc<Fault>>,
    whole: bool,
    dtype: DType,
}

impl Reading {
    /// The elements if they have arrived.
    pub fn try_get(&mut self) -> Option<Result<Vec<f32>>> {
        match &mut self.pending {
            None => Some(Ok(Vec::new())),
            Some(pending) => pending.try_get().map(|bytes| self.finish(bytes)),
        }
    }

    /// Waits for the elements.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    pub fn wait(mut self) -> Result<Vec<f32>> {
        match self.pending.take() {
            None => Ok(Vec::new()),
            Some(pending) => {
                let bytes = pending.wait();
                self.finish(bytes)
            }
        }
    }

    fn finish(&self, bytes: kiln_device::Result<Vec<Vec<u8>>>) -> Result<Vec<f32>> {
        let out = deliver(1, bytes?, &self.faults, &[self.whole])?;
        Ok(decode(self.dtype, &out[0]))
    }
}

fn decode<E: Element>(dtype: DType, bytes: &[u8]) -> Vec<E> {
    bytes.chunks_exact(dtype.bytes()).map(|b| E::take(dtype, b)).collect()
}

/// Which tensors have elements to be read.
fn parts_of(tensors: &[&Tensor]) -> Result<Vec<bool>> {
    tensors.iter().map(|t| Ok(t.shape()?.numel() > 0)).collect()
}

/// Evaluates and says where everything lies: the elements first, then the records of the runs that made them.
fn locate(tensors: &[&Tensor]) -> Result<(Vec<Slice>, Vec<Arc<Fault>>)> {
    let current: Vec<Tensor> = tensors.iter().map(|t| t.current()).collect();
    plan::evaluate(&current.iter().collect::<Vec<_>>())?;
    let mut parts = Vec::new();
    let mut faults: Vec<Arc<Fault>> = Vec::new();
    for tensor in &current {
        // a cell that was replaced just now holds the value itself
        let stored = tensor.stored().or_else(|| tensor.current().stored());
        let Some(Stored { slice, fault, .. }) = stored else {
            return Err(Error::Stale { op: tensor.0.name, at: tensor.0.at });
        };
        parts.extend(slice);
        if let Some(fault) = fault.filter(|f| !faults.iter().any(|g| Arc::ptr_eq(f, g))) {
            faults.push(fault);
        }
    }
    parts.extend(faults.iter().map(|f| f.slot.clone()));
    Ok((parts, faults))
}

/// Looks at the records, then gives each tensor its bytes.
fn deliver(count: usize, bytes: Vec<Vec<u8>>, faults: &[Arc<Fault>], there: &[bool]) -> Result<Vec<Vec<u8>>> {
    let values = bytes.len() - faults.len().min(bytes.len());
    for (fault, record) in faults.iter().zip(&bytes[values..]) {
        fault.check(record)?;
    }
    let mut arrived = bytes.into_iter();
    Ok((0..count).map(|i| if there[i] { arrived.next().unwrap_or_default() } else { Vec::new() }).collect())
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
