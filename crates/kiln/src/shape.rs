//! Shapes: up to eight axes, kept inline, so that a node of the graph owns no heap memory for them.

use std::fmt;
use std::ops::Deref;

/// The most axes a tensor can have.
pub const MAX_RANK: usize = 8;

/// The extent of each axis of a tensor, outermost first. Rank 0 is a single number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// The shape of a single number: no axes, one element.
    pub const SCALAR: Shape = Shape { dims: [0; MAX_RANK], rank: 0 };

    /// A shape from its extents, or `None` past [`MAX_RANK`] axes or 2⁶³ elements.
    pub fn new(dims: &[usize]) -> Option<Self> {
        let mut shape = Self { dims: [0; MAX_RANK], rank: dims.len() as u8 };
        shape.dims.get_mut(..dims.len())?.copy_from_slice(dims);
        let nonzero = dims.iter().filter(|&&d| d > 0);
        nonzero.copied().try_fold(1usize, usize::checked_mul).filter(|&n| n <= isize::MAX as usize)?;
        Some(shape)
    }

    /// A shape whose rank is known to fit. Extents past the rank limit are a bug of the caller.
    pub(crate) fn of(dims: &[usize]) -> Self {
        assert!(dims.len() <= MAX_RANK, "shapes of more than {MAX_RANK} axes are refused before");
        let mut shape = Self { dims: [0; MAX_RANK], rank: dims.len() as u8 };
        shape.dims[..dims.len()].copy_from_slice(dims);
        shape
    }

    /// How many axes there are.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// How many elements there are; one for rank 0.
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// Row-major strides, in elements.
    pub(crate) fn strides(&self) -> Vec<isize> {
        let mut strides = vec![0; self.rank()];
        let mut step = 1isize;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.dims[axis].max(1) as isize;
        }
        strides
    }

    /// The axis that `axis` means: negative ones count from the end. A rank-0 shape accepts 0 and -1.
    pub(crate) fn axis(&self, axis: i64) -> Option<usize> {
        let rank = self.rank() as i64;
        let at = if axis < 0 { axis + rank.max(1) } else { axis };
        (0..rank.max(1)).contains(&at).then_some(at as usize)
    }

    /// The shape that both broadcast to (NumPy's rule), or `None` where two extents differ and neither is 1.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        if self == other || other.rank == 0 {
            return Some(*self);
        }
        let rank = self.rank().max(other.rank());
        let mut dims = [0; MAX_RANK];
        for back in 1..=rank {
            let (a, b) = (self.extent_from_end(back), other.extent_from_end(back));
            dims[rank - back] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(Shape::of(&dims[..rank]))
    }

    /// The extent `back` axes from the end (1 is the last); 1 where there is no such axis.
    pub(crate) fn extent_from_end(&self, back: usize) -> usize {
        if back <= self.rank() { self.dims[self.rank() - back] } else { 1 }
    }

    /// This shape with `axis` set to `extent`.
    pub(crate) fn with(&self, axis: usize, extent: usize) -> Shape {
        let mut shape = *self;
        shape.dims[axis] = extent;
        shape
    }

    /// This shape without `axis`.
    pub(crate) fn without(&self, axis: usize) -> Shape {
        let dims: Vec<usize> = self.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, &d)| d).collect();
        Shape::of(&dims)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self[..] == other[..]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self[..], f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self[..], f)
    }
}
