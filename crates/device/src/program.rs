//! Programs: dispatches recorded once and run many times.

use std::borrow::Cow;
use std::sync::Arc;

use crate::buffer::{Buffer, Slice};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::source::Source;

/// The run-time parameters of a kernel: the bytes of its `struct Sizes`, field by field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(pub Vec<u8>);

impl Params {
    /// No parameters yet.
    pub fn new() -> Params {
        Params::default()
    }

    /// Appends a `u32` field.
    pub fn u32(mut self, value: u32) -> Params {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends an `i32` field.
    pub fn i32(self, value: i32) -> Params {
        self.u32(value as u32)
    }

    /// Appends an `f32` field.
    pub fn f32(self, value: f32) -> Params {
        self.u32(value.to_bits())
    }
}

/// What a launcher returns: a specialised source, its parameters, its grid. Slots still have their defaults.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The kernel.
    pub source: Source,
    /// Its parameters, in the order of `struct Sizes`.
    pub params: Params,
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
    /// Consecutive elements that the kernel's slots handle at once: 1 or 4.
    pub width: u32,
    /// Additions and multiplications in all, as far as they take longer than what is bound takes to move; 0 where not.
    pub ops: u64,
}

impl Launch {
    /// A launch whose slots handle one element at a time.
    pub fn new(source: Source, params: Params, groups: [u32; 3]) -> Launch {
        Launch { source, params, groups, width: 1, ops: 0 }
    }

    /// The same launch with slots of `width` elements.
    pub fn wide(self, width: u32) -> Launch {
        Launch { width, ..self }
    }

    /// The same launch, known to take about so many operations: the product of `factors`. Long dispatches are cut into
    /// parts by it.
    pub fn costing<const N: usize>(self, factors: [u32; N]) -> Launch {
        Launch { ops: factors.iter().fold(1, |ops: u64, &n| ops.saturating_mul(n.into())), ..self }
    }
}

/// One dispatch.
#[derive(Debug, Clone)]
pub struct Step {
    /// Says what it computes, in profiles and messages.
    pub label: Arc<str>,
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// A buffer for every binding of the kernel, by name; other names are ignored.
    pub bindings: Vec<(Cow<'static, str>, Slice)>,
    /// The bytes of `struct Sizes`.
    pub params: Vec<u8>,
    /// Workgroups in each dimension; a dispatch of none is left out.
    pub groups: [u32; 3],
    /// As [`Launch::ops`].
    pub ops: u64,
}

impl Step {
    /// Compiles a launch and binds whole buffers, for tests and benches.
    ///
    /// # Errors
    /// As [`Device::kernel`].
    pub fn new(device: &Device, launch: &Launch, bindings: &[(&'static str, &Buffer)]) -> Result<Step> {
        Ok(Step {
            label: launch.source.shared_name(),
            kernel: device.kernel(&launch.source)?,
            bindings: bindings.iter().map(|&(name, buffer)| (Cow::Borrowed(name), Slice::from(buffer))).collect(),
            params: launch.params.0.clone(),
            groups: launch.groups,
            ops: launch.ops,
        })
    }

    /// The parts to bind, in the kernel's order, each as long as a binding should be.
    pub(crate) fn parts(&self, device: &Device) -> Result<Vec<Slice>> {
        let label = &self.label;
        let mut parts: Vec<Slice> = Vec::with_capacity(self.kernel.bindings().len());
        for info in self.kernel.bindings() {
            let slice = self.bindings.iter().find(|(name, _)| *name == info.name).map(|(_, slice)| slice);
            let slice =
                slice.ok_or_else(|| Error::Validation(format!("{label}: nothing is bound to `{}`", info.name)))?;
            slice.check(label)?;
            let align = u64::from(device.inner.limits.min_storage_buffer_offset_alignment);
            if !slice.offset.is_multiple_of(align) {
                let text =
                    format!("{label}: `{}` begins at byte {}, not a multiple of {align}", info.name, slice.offset);
                return Err(Error::Validation(text));
            }
            let bytes = slice.bytes.max(1).next_multiple_of(16).min(slice.buffer.padded() - slice.offset);
            if bytes == 0 {
                return Err(Error::Validation(format!("{label}: `{}` begins at its buffer's end", info.name)));
            }
            let has = device.caps().max_binding;
            if bytes > has {
                return Err(Error::Limit { kernel: label.to_string(), what: "bytes in a binding", needs: bytes, has });
            }
            parts.push(Slice { bytes, ..slice.clone() });
        }
        check_aliases(label, &self.kernel, &parts)?;
        Ok(parts)
    }

    /// An error unless parameters and grid are what the kernel and the device take.
    pub(crate) fn check(&self, device: &Device) -> Result<()> {
        let (has, given) = (self.kernel.params_bytes(), self.params.len());
        if has != given {
            let text = format!("{}: {given} bytes of parameters for a kernel that takes {has}", self.label);
            return Err(Error::Validation(text));
        }
        let most = device.caps().max_groups;
        match self.groups.iter().find(|&&n| n > most) {
            Some(&n) => Err(Error::Limit {
                kernel: self.label.to_string(),
                what: "workgroups in one dimension",
                needs: n.into(),
                has: most.into(),
            }),
            None => Ok(()),
        }
    }
}

/// One buffer may be bound twice if every use reads, or every use writes; not as both.
pub(crate) fn check_aliases(label: &str, kernel: &Kernel, parts: &[Slice]) -> Result<()> {
    let bound: Vec<_> = kernel.bindings().iter().zip(parts).collect();
    for (i, (a, part)) in bound.iter().enumerate() {
        for (b, other) in &bound[i + 1..] {
            if part.buffer.id() == other.buffer.id() && a.writes != b.writes {
                let text = format!("{label}: `{}` and `{}` are one buffer, read and written", a.name, b.name);
                return Err(Error::Validation(text));
            }
        }
    }
    Ok(())
}

/// A copy between buffers, before or after the dispatches of a run. All numbers are multiples of 4.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The source.
    pub from: Buffer,
    /// Its first byte.
    pub from_offset: u64,
    /// The destination.
    pub to: Buffer,
    /// Its first byte.
    pub to_offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Copy {
    /// A copy of the whole of `from` to the beginning of `to`.
    pub fn whole(from: &Buffer, to: &Buffer) -> Copy {
        let bytes = from.bytes().next_multiple_of(4);
        Copy { from: from.clone(), from_offset: 0, to: to.clone(), to_offset: 0, bytes }
    }

    /// An error unless both ranges are whole words within their buffers.
    pub(crate) fn check(&self) -> Result<()> {
        let fits = |buffer: &Buffer, offset: u64| {
            (offset | self.bytes).is_multiple_of(4)
                && offset.checked_add(self.bytes).is_some_and(|end| end <= buffer.padded())
        };
        if fits(&self.from, self.from_offset) && fits(&self.to, self.to_offset) {
            return Ok(());
        }
        let Copy { from, from_offset, to, to_offset, bytes } = self;
        Err(Error::Validation(format!("copy of {bytes} bytes from {from:?} at {from_offset} to {to:?} at {to_offset}")))
    }
}

/// A grid of `groups` workgroups, folded into two dimensions past 65,535. A workgroup finds its
/// number as `first_group_() + id.y * 65535u + id.x`, and one past the end does nothing.
pub fn fold_groups(groups: u64) -> [u32; 3] {
    const MOST: u64 = 65_535;
    [groups.min(MOST) as u32, groups.div_ceil(MOST).min(u64::from(u32::MAX)) as u32, 1]
}

impl Device {
    /// Runs steps once. What runs more than once is a [`Program`](crate::Program).
    ///
    /// # Errors
    /// As [`Program::new`](crate::Program::new) and [`Program::run`](crate::Program::run).
    pub fn run(&self, steps: Vec<Step>) -> Result<()> {
        crate::Program::new(self, steps)?.run(&[], &[], &[])
    }
}
