//! Elements put at an index: what [`Tensor::scatter_add`] does with one index for all lines, and
//! `scatter` and `embedding`, which are made of gathers.

use super::gather::{Scatter, check_fit, corner};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::layout::axis;
use crate::{Error, Layout, Result, Tensor};
use std::borrow::Cow;

/// Lengths of an index that is sorted first. Below, looking at every index is as fast; above, sorting
/// by counting is not.
const SORTED: std::ops::RangeInclusive<usize> = 64..=32 * 1024;

/// Whether one index serves every line, as an embedding's does, and is worth sorting.
pub(super) fn sortable(index: &Layout, axis: usize) -> bool {
    let shape = index.shape;
    let shared = (0..shape.rank()).all(|d| d == axis || shape[d] == 1 || index.strides()[d] == 0);
    shared && SORTED.contains(&shape[axis])
}

/// The index sorted into scratch, and then for each output element the sum over its own run, which is
/// in the order of the index: the same bits as without sorting. `params` are those of
/// `scatter_add.wgsl`.
pub(super) fn sorted(
    op: &Scatter,
    index: &Layout,
    params: &[u32],
    element: &'static str,
    caps: &Caps,
) -> Plan {
    let length = index.shape[op.axis];
    let order = Kernel {
        shader: Shader::file("scatter_order", include_str!("../../shaders/scatter_order.wgsl")),
        constants: Vec::new(),
        bindings: vec![Binding::Input(0), Binding::Scratch(0), Binding::Scratch(1)],
        params: vec![length as u32, index.strides()[op.axis] as u32, index.offset as u32],
        groups: Kernel::fold(length.div_ceil(256), caps),
    };
    let add = Kernel {
        shader: Shader::file("scatter_rows", include_str!("../../shaders/scatter_rows.wgsl")),
        constants: vec![("T", element.into()), ("REPLACE", Cow::from(op.replace.to_string()))],
        bindings: vec![Binding::Scratch(0), Binding::Scratch(1), Binding::Input(1), Binding::Output],
        params: params.to_vec(),
        groups: Kernel::fold((params[0] as usize).div_ceil(256), caps),
    };
    Plan { kernels: vec![order, add], scratch: vec![4 * length; 2], ..Plan::default() }
}

impl Tensor {
    /// This tensor with elements of `source` put at `index` along a dimension: for dimension 0 of a
    /// matrix `out[index[i][j]][j] = source[i][j]`. Where several meet at one place the last one in
    /// the order of `index` stays, and it alone gets a gradient. Shapes, dtypes and errors as
    /// [`scatter_add`](Tensor::scatter_add), but for elements of any dtype.
    pub fn scatter(&self, dim: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        let axis = axis("scatter", dim, self.rank())?;
        check_fit("scatter", index, source, "source", None)?;
        if self.dtype() != source.dtype() {
            let message = format!("the data is {}, the source {}", self.dtype(), source.dtype());
            return Err(Error::op("scatter", message));
        }
        let last = self.last_positions(axis, index)?;
        if index.elements() == 0 {
            return Ok(self.clone());
        }
        let chosen = corner(source, index, None)?.gather(dim, &last.sub(1)?.maximum(0.0)?)?;
        let shape = self.shape();
        last.grown_to(shape)?.gt(0.0)?.where_(&chosen.grown_to(shape)?, self)
    }

    /// As [`scatter`](Tensor::scatter), with one value in all places.
    pub fn scatter_value(&self, dim: isize, index: &Tensor, value: f64) -> Result<Tensor> {
        let axis = axis("scatter", dim, self.rank())?;
        let last = self.last_positions(axis, index)?;
        self.masked_fill(&last.grown_to(self.shape())?.gt(0.0)?, value)
    }

    /// For each place along `axis` one more than the last position in `index` that names it, 0 where
    /// none does; in the other dimensions of the size of `index`.
    fn last_positions(&self, axis: usize, index: &Tensor) -> Result<Tensor> {
        check_fit("scatter", index, self, "data", Some(axis))?;
        let size = self.dims()[axis];
        index.check_indices("scatter", "index", size)?;
        let count = index.dims()[axis];
        let mut dims = vec![1; index.rank()];
        dims[axis] = count;
        let positions: Vec<i32> = (1..=count as i32).collect();
        let positions = Tensor::from_slice(&positions, dims, index.engine())?.broadcast_to(index.shape())?;
        Tensor::apply(Scatter { axis, size, replace: true }, &[index, &positions])
    }

    /// The rows of this table `[N, ...]` that an `I32` tensor of any shape names, PyTorch's
    /// `embedding`: the result has the shape of `index`, then that of a row. The row `padding` gets no
    /// gradient. Errors as [`gather`](Tensor::gather), or where the table is a scalar or has no row
    /// `padding`.
    pub fn embedding(&self, index: &Tensor, padding: Option<usize>) -> Result<Tensor> {
        let rows = axis("embedding", 0, self.rank())?;
        if let Some(row) = padding.filter(|&row| row >= self.dims()[rows]) {
            let message = format!("padding row {row} is not in the table {}", self.shape());
            return Err(Error::op("embedding", message));
        }
        // Here, since a copy of a strided index no longer knows its range.
        index.check_indices("embedding", "index", self.dims()[rows])?;
        let shape = [index.dims(), &self.dims()[1..]].concat();
        let found = self.index_select(0, &index.reshape(index.elements())?)?.reshape(&shape)?;
        let Some(row) = padding else { return Ok(found) };
        let mut dims = index.dims().to_vec();
        dims.resize(shape.len(), 1);
        index.reshape(dims)?.eq(row as f64)?.where_(&found.detach(), &found)
    }
}
