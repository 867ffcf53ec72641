//! Elements in another arrangement, made of views and joins: rolled, repeated, split, shuffled.

use crate::layout::axis;
use crate::{DType, Error, Result, Shape, Tensor};

impl Tensor {
    /// Elements moved by `shifts[i]` places along dimension `dims[i]`; those pushed out at the end come
    /// back at the start. Without dimensions, one shift rolls the flattened elements. An error where
    /// there is not one shift a dimension.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 4.0, 1.0, &Engine::cpu())?;
    /// assert_eq!(x.roll(&[1], &[0])?.to_vec::<f32>()?, [3.0, 0.0, 1.0, 2.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn roll(&self, shifts: &[isize], dims: &[isize]) -> Result<Tensor> {
        if let (&[_], []) = (shifts, dims) {
            return self.reshape(self.elements())?.roll(shifts, &[0])?.reshape(self.shape());
        }
        if shifts.len() != dims.len() {
            let message = format!("{} shifts for {} dimensions", shifts.len(), dims.len());
            return Err(Error::op("roll", message));
        }
        shifts.iter().zip(dims).try_fold(self.clone(), |rolled, (&shift, &dim)| {
            let at = axis("roll", dim, self.rank())?;
            let (dim, length) = (at as isize, self.dims()[at]);
            let shift = if length == 0 { 0 } else { shift.rem_euclid(length as isize) as usize };
            if shift == 0 {
                return Ok(rolled);
            }
            let (end, start) =
                (rolled.narrow(dim, length - shift, shift)?, rolled.narrow(dim, 0, length - shift)?);
            Tensor::concat(&[&end, &start], dim)
        })
    }

    /// The tensor `repeats[i]` times one after the other along dimension `i` (PyTorch's `repeat`).
    /// With more repeats than dimensions, the first ones stand for new dimensions in front. An error
    /// with fewer, or where the shape gets too large.
    pub fn repeat(&self, repeats: &[usize]) -> Result<Tensor> {
        let Some(added) = repeats.len().checked_sub(self.rank()) else {
            let message = format!("{} repeats for shape {}", repeats.len(), self.shape());
            return Err(Error::op("repeat", message));
        };
        let mut dims = [&vec![1; added][..], self.dims()].concat();
        // The whole shape first: an error should not come after half of the work.
        let sizes = dims.iter().zip(repeats).map(|(&size, &times)| size.saturating_mul(times));
        Shape::new(&sizes.collect::<Vec<_>>())?;
        let mut result = self.reshape(&dims)?;
        // From the back: what is copied first is copied most often, and should be small.
        for (at, &times) in repeats.iter().enumerate().rev() {
            if times != 1 {
                let outer: usize = dims[..at].iter().product();
                let inner: usize = dims[at..].iter().product();
                dims[at] *= times;
                let copies = result.reshape([outer, 1, inner])?.broadcast_to([outer, times, inner])?;
                result = copies.reshape(&dims)?;
            }
        }
        Ok(result)
    }

    /// This tensor seen with another shape, as [`broadcast_to`](Tensor::broadcast_to), where -1 keeps the
    /// size of a dimension (PyTorch's `expand`). An error for other negative sizes, or -1 for a new
    /// dimension.
    pub fn expand(&self, size: &[isize]) -> Result<Tensor> {
        let added = size.len().saturating_sub(self.rank());
        let dims = size.iter().enumerate().map(|(at, &size)| match usize::try_from(size) {
            Ok(size) => Ok(size),
            Err(_) if size == -1 && at >= added && at - added < self.rank() => Ok(self.dims()[at - added]),
            Err(_) => Err(Error::op("expand", format!("size {size} at {at} for shape {}", self.shape()))),
        });
        self.broadcast_to(dims.collect::<Result<Vec<_>>>()?)
    }

    /// Parts of a dimension, `size` elements each, the last one of what remains. No data moves. An
    /// error for size 0.
    pub fn split(&self, size: usize, dim: isize) -> Result<Vec<Tensor>> {
        let at = axis("split", dim, self.rank())?;
        if size == 0 {
            return Err(Error::op("split", format!("shape {} in parts of 0 elements", self.shape())));
        }
        let length = self.dims()[at];
        // PyTorch's: no elements are one empty part.
        let parts = length.div_ceil(size).max(1);
        let part = |i: usize| self.narrow(at as isize, i * size, size.min(length - i * size));
        (0..parts).map(part).collect()
    }

    /// Parts of a dimension with these sizes, which must fill it. No data moves.
    pub fn split_with_sizes(&self, sizes: &[usize], dim: isize) -> Result<Vec<Tensor>> {
        let at = axis("split", dim, self.rank())?;
        let sum = sizes.iter().fold(0, |sum: usize, &size| sum.saturating_add(size));
        if sum != self.dims()[at] {
            let message = format!("parts {sizes:?} do not fill dimension {at} of shape {}", self.shape());
            return Err(Error::op("split", message));
        }
        let mut start = 0;
        let mut part = |&size: &usize| {
            let part = self.narrow(at as isize, start, size);
            start += size;
            part
        };
        sizes.iter().map(&mut part).collect()
    }

    /// A dimension in at most `count` equal parts, the last one possibly shorter (PyTorch's `chunk`). No
    /// data moves. An error for 0 parts.
    pub fn chunk(&self, count: usize, dim: isize) -> Result<Vec<Tensor>> {
        let at = axis("chunk", dim, self.rank())?;
        if count == 0 {
            return Err(Error::op("chunk", format!("shape {} in 0 parts", self.shape())));
        }
        self.split(self.dims()[at].div_ceil(count).max(1), dim)
    }

    /// Vectors as the coordinates of a grid: output `i`, of shape `[len(0), len(1), ...]`, holds vector
    /// `i` along dimension `i` (PyTorch's `meshgrid` with indexing `ij`). No data moves. An error
    /// unless every tensor is a vector.
    pub fn meshgrid(vectors: &[&Tensor]) -> Result<Vec<Tensor>> {
        if let Some(other) = vectors.iter().find(|vector| vector.rank() != 1) {
            return Err(Error::op("meshgrid", format!("shape {} is not that of a vector", other.shape())));
        }
        let shape: Vec<usize> = vectors.iter().map(|vector| vector.elements()).collect();
        let spread = |(at, vector): (usize, &&Tensor)| {
            let mut dims = vec![1; shape.len()];
            dims[at] = shape[at];
            vector.reshape(dims)?.broadcast_to(&shape[..])
        };
        vectors.iter().enumerate().map(spread).collect()
    }

    /// Channels as pixels: `[..., C * factor^2, H, W]` to `[..., C, H * factor, W * factor]`
    /// (PyTorch's `pixel_shuffle`). An error where the channels do not divide so, or the rank is below 3.
    pub fn pixel_shuffle(&self, factor: usize) -> Result<Tensor> {
        let square = factor.saturating_mul(factor);
        let (outer, [channels, height, width]) = match *self.dims() {
            [ref outer @ .., c, h, w] if square > 0 && c % square == 0 => (outer, [c / square, h, w]),
            _ => {
                let message = format!("factor {factor} does not fit shape {}", self.shape());
                return Err(Error::op("pixel_shuffle", message));
            }
        };
        let images: usize = outer.iter().product();
        let parts = self.reshape([images * channels, factor, factor, height, width])?;
        let pixels = parts.permute(&[0, 3, 1, 4, 2])?;
        pixels.reshape([outer, &[channels, height * factor, width * factor]].concat())
    }

    /// Pixels as channels, the inverse of [`pixel_shuffle`](Tensor::pixel_shuffle): `[..., C, H * factor,
    /// W * factor]` to `[..., C * factor^2, H, W]`. An error where the sizes do not divide so, or the rank is
    /// below 3.
    pub fn pixel_unshuffle(&self, factor: usize) -> Result<Tensor> {
        let (outer, [channels, height, width]) = match *self.dims() {
            [ref outer @ .., c, h, w] if factor > 0 && h % factor == 0 && w % factor == 0 => {
                (outer, [c, h / factor, w / factor])
            }
            _ => {
                let message = format!("factor {factor} does not fit shape {}", self.shape());
                return Err(Error::op("pixel_unshuffle", message));
            }
        };
        let images: usize = outer.iter().product();
        let parts = self.reshape([images * channels, height, factor, width, factor])?;
        let pixels = parts.permute(&[0, 2, 4, 1, 3])?;
        pixels.reshape([outer, &[channels * factor * factor, height, width]].concat())
    }

    /// The elements of matrices `[..., R, C]` on and below a diagonal, 0 elsewhere: 0 is the main
    /// diagonal, 1 the one above it. An error where the rank is below 2.
    pub fn tril(&self, diagonal: isize) -> Result<Tensor> {
        let (rows, columns) = self.coordinates("tril", diagonal)?;
        columns.le(&rows)?.where_(self, 0.0)
    }

    /// The elements of matrices on and above a diagonal; see [`tril`](Tensor::tril).
    pub fn triu(&self, diagonal: isize) -> Result<Tensor> {
        let (rows, columns) = self.coordinates("triu", diagonal)?;
        columns.ge(&rows)?.where_(self, 0.0)
    }

    /// For matrices the column `[R, 1]` of the diagonal in each row, and the columns `[C]`.
    fn coordinates(&self, op: &'static str, diagonal: isize) -> Result<(Tensor, Tensor)> {
        let &[.., rows, columns] = self.dims() else {
            return Err(Error::op(op, format!("shape {} is not that of matrices", self.shape())));
        };
        // Beyond the matrix every diagonal is the same.
        let diagonal = diagonal.clamp(-(rows as isize) - 1, columns as isize + 1) as i32;
        let on: Vec<i32> = (0..rows as i32).map(|row| row.saturating_add(diagonal)).collect();
        let rows = Tensor::from_slice(&on, [rows, 1], self.engine())?;
        let columns: Vec<i32> = (0..columns as i32).collect();
        Ok((rows, Tensor::from_slice(&columns, columns.len(), self.engine())?))
    }

    /// For each class (`I32`) a row of `classes` numbers (`I32`), 1 at the class and 0 elsewhere: shape
    /// `[..., classes]`. An error names a class that is out of range where the classes came from the
    /// host; one computed on a device gives a row of 0.
    pub fn one_hot(&self, classes: usize) -> Result<Tensor> {
        if self.dtype() != DType::I32 {
            return Err(Error::op("one_hot", format!("the classes are {}, not i32", self.dtype())));
        }
        self.check_indices("one_hot", "class", classes)?;
        // Before anything of that size is made: a shape that there can be counts classes as i32 does.
        Shape::new(&[self.dims(), &[classes]].concat())?;
        let all: Vec<i32> = (0..classes as i32).collect();
        let all = Tensor::from_slice(&all, all.len(), self.engine())?;
        self.unsqueeze(-1)?.eq(&all)?.cast(DType::I32)
    }
}
