//! Shapes, strides and views.

use crate::{Error, Result};
use std::fmt;
use std::ops::Deref;

/// The highest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// Stands for the one dimension of [`reshape`](crate::Tensor::reshape) that follows from the others.
pub const INFER: usize = usize::MAX;

/// The sizes of a tensor's dimensions; derefs to a slice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape of these sizes. An error above [`MAX_RANK`] dimensions, or where the number of
    /// elements does not fit 31 bits (device kernels index with 32).
    pub fn new(dims: &[usize]) -> Result<Shape> {
        if dims.len() > MAX_RANK {
            return Err(Error::op("shape", format!("rank {} is above {MAX_RANK}: {dims:?}", dims.len())));
        }
        // A zero anywhere makes the tensor empty, but the other sizes must still index safely.
        let elements = dims.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements.is_none_or(|n| n > i32::MAX as usize) {
            return Err(Error::op("shape", format!("{dims:?} has more than 2^31 - 1 elements")));
        }
        let mut shape = Shape { dims: [0; MAX_RANK], rank: dims.len() as u8 };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The sizes as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> [isize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.dims[axis].max(1) as isize;
        }
        strides
    }

    /// The shape that `self` and `other` broadcast to, by NumPy's rule; `None` if they do not.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut dims = [0; MAX_RANK];
        let size = |shape: &Shape, axis: usize| {
            (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape.dims[axis])
        };
        for (axis, dim) in dims[..rank].iter_mut().enumerate() {
            *dim = match (size(self, axis), size(other, axis)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Shape::new(&dims[..rank]).ok()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        self.dims()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// What can be given where a shape is asked for: `[2, 3]`, `&[2, 3]`, `vec![2, 3]`, `4`, `()`.
pub trait IntoShape {
    /// The shape, checked.
    fn into_shape(self) -> Result<Shape>;
}

impl IntoShape for Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(self)
    }
}
impl IntoShape for &Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(*self)
    }
}
impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}
impl<const N: usize> IntoShape for &[usize; N] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}
impl IntoShape for &[usize] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}
impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}
impl IntoShape for usize {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&[self])
    }
}
impl IntoShape for () {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&[])
    }
}

/// What can be given where axes are asked for: `1`, `-1`, `[0, 2]`, `&[0, 2]`, and `..` for all.
pub trait IntoAxes {
    /// The axes as numbers below `rank`, sorted; `op` is named in the error.
    fn into_axes(self, op: &'static str, rank: usize) -> Result<Vec<usize>>;
}

/// One axis, counted from the end when negative, checked against `rank`.
pub(crate) fn axis(op: &'static str, axis: isize, rank: usize) -> Result<usize> {
    let resolved = if axis < 0 { axis + rank as isize } else { axis };
    match usize::try_from(resolved) {
        Ok(resolved) if resolved < rank => Ok(resolved),
        _ => Err(Error::op(op, format!("axis {axis} is out of range for rank {rank}"))),
    }
}

impl IntoAxes for &[isize] {
    fn into_axes(self, op: &'static str, rank: usize) -> Result<Vec<usize>> {
        let mut axes = self.iter().map(|&a| axis(op, a, rank)).collect::<Result<Vec<_>>>()?;
        axes.sort_unstable();
        if axes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::op(op, format!("an axis is repeated in {self:?}")));
        }
        Ok(axes)
    }
}
impl<const N: usize> IntoAxes for [isize; N] {
    fn into_axes(self, op: &'static str, rank: usize) -> Result<Vec<usize>> {
        self.as_slice().into_axes(op, rank)
    }
}
impl IntoAxes for isize {
    fn into_axes(self, op: &'static str, rank: usize) -> Result<Vec<usize>> {
        [self].into_axes(op, rank)
    }
}
impl IntoAxes for std::ops::RangeFull {
    fn into_axes(self, _: &'static str, rank: usize) -> Result<Vec<usize>> {
        Ok((0..rank).collect())
    }
}

/// Where a tensor's elements lie in its buffer: element `i, j, ...` is at
/// `offset + i * strides[0] + j * strides[1] + ...`. A view is another layout over the same buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Sizes.
    pub shape: Shape,
    strides: [isize; MAX_RANK],
    /// First element's place in the buffer, in elements.
    pub offset: usize,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} strides {:?} offset {}", self.shape, self.strides(), self.offset)
    }
}

impl Layout {
    /// Row-major and without gaps, from the buffer's start.
    pub fn contiguous(shape: Shape) -> Layout {
        Layout { shape, strides: shape.strides(), offset: 0 }
    }

    /// Strides in elements, one a dimension; may be zero (broadcast) or negative (reversed).
    pub fn strides(&self) -> &[isize] {
        &self.strides[..self.shape.rank()]
    }

    /// Whether the elements lie row-major without gaps (from `offset`).
    pub fn is_contiguous(&self) -> bool {
        if self.shape.elements() == 0 {
            return true;
        }
        let row_major = self.shape.strides();
        (0..self.shape.rank()).all(|a| self.shape[a] == 1 || self.strides[a] == row_major[a])
    }

    /// Dimensions in another order: dimension `i` of the result is `order[i]` of this.
    pub fn permute(&self, order: &[usize]) -> Layout {
        let mut dims = [0; MAX_RANK];
        let mut strides = [0; MAX_RANK];
        for (to, &from) in order.iter().enumerate() {
            dims[to] = self.shape[from];
            strides[to] = self.strides[from];
        }
        let shape = Shape { dims, rank: order.len() as u8 };
        Layout { shape, strides, offset: self.offset }
    }

    /// Size-1 dimensions stretched (stride 0) and new ones added in front, to `shape`, which must
    /// be one this layout's shape broadcasts to.
    pub fn broadcast(&self, shape: Shape) -> Layout {
        let added = shape.rank() - self.shape.rank();
        let mut strides = [0; MAX_RANK];
        for axis in added..shape.rank() {
            if self.shape[axis - added] == shape[axis] {
                strides[axis] = self.strides[axis - added];
            }
        }
        Layout { shape, strides, offset: self.offset }
    }

    /// Every `step`-th of `count` elements along `axis` from `start`; a negative step walks back.
    pub fn slice(&self, axis: usize, start: usize, count: usize, step: isize) -> Layout {
        let mut sliced = *self;
        sliced.shape.dims[axis] = count;
        sliced.strides[axis] = self.strides[axis] * step;
        if sliced.shape.elements() > 0 {
            sliced.offset = (self.offset as isize + start as isize * self.strides[axis]) as usize;
        }
        sliced
    }

    /// Dimension `axis` as two: `size` elements of a window that lie `dilation` apart, and `count`
    /// windows that start `stride` apart, all within the dimension. Elements show up in every window
    /// that holds them. `None` above [`MAX_RANK`] dimensions or the number of elements of a [`Shape`].
    pub fn windows(
        &self,
        axis: usize,
        (size, dilation): (usize, usize),
        (count, stride): (usize, usize),
    ) -> Option<Layout> {
        let dims = [&self.shape[..axis], &[size, count], &self.shape[axis + 1..]].concat();
        let shape = Shape::new(&dims).ok()?;
        let mut strides = [0; MAX_RANK];
        let step = self.strides[axis];
        let own = [step * dilation as isize, step * stride as isize];
        let all = [&self.strides()[..axis], &own, &self.strides()[axis + 1..]].concat();
        strides[..all.len()].copy_from_slice(&all);
        Some(Layout { shape, strides, offset: self.offset })
    }

    /// The same elements under another shape of as many, without moving them; `None` when the
    /// strides do not allow it.
    pub fn reshape(&self, shape: Shape) -> Option<Layout> {
        if self.is_contiguous() {
            return Some(Layout { shape, strides: shape.strides(), offset: self.offset });
        }
        let old = self.collapsed();
        let mut strides = [0; MAX_RANK];
        // Walk both shapes from the innermost dimension: each collapsed run of the old layout must
        // be used up exactly by dimensions of the new one.
        let mut runs = old.iter().rev();
        let (mut left, mut stride) = (1, 1);
        for axis in (0..shape.rank()).rev() {
            if shape[axis] == 1 {
                continue;
            }
            if left == 1 {
                (left, stride) = *runs.next()?;
            }
            if left % shape[axis] != 0 {
                return None;
            }
            strides[axis] = stride;
            stride *= shape[axis] as isize;
            left /= shape[axis];
        }
        (left == 1).then_some(Layout { shape, strides, offset: self.offset })
    }

    /// The dimensions as `(size, stride)` with size-1 dimensions dropped and neighbours merged
    /// where one step of the outer is a full run of the inner.
    pub fn collapsed(&self) -> Vec<(usize, isize)> {
        let mut runs: Vec<(usize, isize)> = Vec::with_capacity(self.shape.rank());
        for (&size, &stride) in self.shape.iter().zip(self.strides()) {
            match runs.last_mut() {
                _ if size == 1 => {}
                Some(last) if last.1 == stride * size as isize => *last = (last.0 * size, stride),
                _ => runs.push((size, stride)),
            }
        }
        runs
    }

    /// The range of buffer places this layout touches: first and one past the last.
    pub fn extent(&self) -> std::ops::Range<usize> {
        if self.shape.elements() == 0 {
            return self.offset..self.offset;
        }
        let (mut low, mut high) = (self.offset as isize, self.offset as isize);
        for (&size, &stride) in self.shape.iter().zip(self.strides()) {
            let reach = (size as isize - 1) * stride;
            low += reach.min(0);
            high += reach.max(0);
        }
        low as usize..high as usize + 1
    }
}

/// A tensor's element type and layout: all that a kernel needs to know besides its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Element type.
    pub dtype: DType,
    /// Shape, strides and offset.
    pub layout: Layout,
}

use crate::DType;

impl Spec {
    /// A contiguous tensor of this shape.
    pub fn new(dtype: DType, shape: Shape) -> Spec {
        Spec { dtype, layout: Layout::contiguous(shape) }
    }

    /// Sizes.
    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.layout.shape.elements()
    }

    /// Bytes the elements take when contiguous.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    #[test]
    fn reshape_keeps_strided_runs() {
        let layout = Layout::contiguous(shape(&[2, 3, 4])).permute(&[1, 0, 2]);
        assert!(!layout.is_contiguous());
        let split = layout.reshape(shape(&[3, 2, 2, 2])).unwrap();
        assert_eq!(split.strides(), &[4, 12, 2, 1]);
        assert!(layout.reshape(shape(&[6, 4])).is_none());
        assert!(layout.reshape(shape(&[3, 8])).is_none());
    }

    #[test]
    fn broadcast_follows_numpy() {
        assert_eq!(shape(&[3, 1]).broadcast(&shape(&[2, 1, 4])), Some(shape(&[2, 3, 4])));
        assert_eq!(shape(&[0]).broadcast(&shape(&[1])), Some(shape(&[0])));
        assert_eq!(shape(&[3]).broadcast(&shape(&[2])), None);
        let layout = Layout::contiguous(shape(&[3, 1])).broadcast(shape(&[2, 3, 4]));
        assert_eq!(layout.strides(), &[0, 1, 0]);
        assert_eq!(layout.extent(), 0..3);
    }

    #[test]
    fn negative_slices_reach_back() {
        let layout = Layout::contiguous(shape(&[5])).slice(0, 4, 3, -2);
        assert_eq!((layout.offset, layout.strides()), (4, &[-2isize][..]));
        assert_eq!(layout.extent(), 0..5);
    }

    #[test]
    fn oversized_shapes_are_refused() {
        assert!(Shape::new(&[1 << 20, 1 << 20]).is_err());
        assert!(Shape::new(&[0, 1 << 40, 1 << 40]).is_err());
        assert!(Shape::new(&[1; 9]).is_err());
    }
}
