//! Elements picked by index along a dimension, and added back by index.
//!
//! Both ops see data and index as views: an index that is broadcast over rows (an embedding's)
//! costs one word a row.

use super::scatter::{sortable, sorted};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::expr::Loops;
use crate::layout::axis;
use crate::parallel;
use crate::{DType, Error, Identity, Layout, MAX_RANK, Op, Output, Result, Shape, Spec, Tensor, View, Word};
use std::iter::zip;

/// Elements a thread should have at least.
const SHARE: usize = 4 * 1024;

/// `out[i][j] = data[index[i][j]][j]` for axis 0, and so on. Inputs: data, index; of one shape but
/// along the axis.
#[derive(Debug, Hash)]
struct Gather {
    axis: usize,
}

/// `out[index[i][j]][j] += source[i][j]` for axis 0, and so on, starting from zero. Inputs: index,
/// source; of one shape.
#[derive(Debug, Hash)]
pub(super) struct Scatter {
    pub axis: usize,
    /// The output's size along the axis.
    pub size: usize,
    /// Whether an element replaces what was there before it, instead of being added.
    pub replace: bool,
}

/// A tensor with one element along the axis: the start of each of its lines.
fn starts(layout: &Layout, axis: usize) -> Layout {
    layout.slice(axis, 0, 1, 1)
}

/// The place of element `at` of loops over `dims`.
fn place(mut at: usize, dims: &[usize], strides: &[isize]) -> isize {
    let mut place = 0;
    for (&size, &stride) in zip(dims, strides).rev() {
        place += (at % size) as isize * stride;
        at /= size;
    }
    place
}

/// The sizes and then the strides of each operand, as eight words each: two `vec4`s in WGSL, where
/// negative strides wrap around.
fn push_loops(params: &mut Vec<u32>, loops: &Loops) {
    let mut eight = |words: &mut dyn Iterator<Item = u32>| {
        params.extend(words.chain(std::iter::repeat(0)).take(MAX_RANK));
    };
    eight(&mut loops.dims.iter().map(|&size| size as u32));
    for strides in &loops.strides {
        eight(&mut strides.iter().map(|&stride| stride as u32));
    }
}

fn checked(op: &'static str, index: i32, size: usize) -> Result<usize> {
    usize::try_from(index).ok().filter(|&index| index < size).ok_or_else(|| {
        Error::op(op, format!("index {index} is out of range, expected 0 to {}", size as i64 - 1))
    })
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(inputs[0].dtype, *inputs[1].shape()))
    }

    fn strided(&self) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let (data, index) = (inputs[0].buffer::<u32>(), inputs[1].buffer::<i32>());
        let (layout, size) = (inputs[0].spec.layout, inputs[0].spec.shape()[self.axis]);
        let step = layout.strides()[self.axis];
        let shape = *output.spec.shape();
        let lines = starts(&layout, self.axis).broadcast(shape);
        let loops = Loops::new(&shape, &[lines, inputs[1].spec.layout]);
        let (outer, width) = loops.dims.split_last().map_or((&[][..], 1), |(&last, outer)| (outer, last));
        let last = |operand: usize| loops.strides[operand].last().copied().unwrap_or(0);
        parallel::try_chunks(output.slice::<u32>(), width, SHARE.div_ceil(width), |row, out| {
            let from = lines.offset as isize + place(row, outer, &loops.strides[0]);
            let at = inputs[1].spec.layout.offset as isize + place(row, outer, &loops.strides[1]);
            if last(0) == 1 && last(1) == 0 {
                let chosen = checked("gather", index[at as usize], size)? as isize;
                out.copy_from_slice(&data[(from + chosen * step) as usize..][..width]);
                return Ok(());
            }
            for (j, out) in (0..).zip(out) {
                let chosen = checked("gather", index[(at + j * last(1)) as usize], size)? as isize;
                *out = data[(from + j * last(0) + chosen * step) as usize];
            }
            Ok(())
        })
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let layout = inputs[0].layout;
        let lines = starts(&layout, self.axis).broadcast(*output.shape());
        let mut loops = Loops::new(output.shape(), &[lines, inputs[1].layout]);
        let (mut step, mut offset, mut count) =
            (layout.strides()[self.axis], lines.offset, output.elements());
        let vectors = match (loops.strides[0].split_last(), loops.strides[1].last(), loops.dims.last()) {
            // An index chooses a whole row.
            (Some((1, outer)), Some(0), Some(&size)) => {
                outer.iter().chain(&[step, offset as isize, size as isize]).all(|place| place % 4 == 0)
            }
            _ => false,
        };
        if vectors {
            let last = loops.dims.len() - 1;
            loops.dims[last] /= 4;
            loops.strides[0][..last].iter_mut().for_each(|stride| *stride /= 4);
            (step, offset, count) = (step / 4, offset / 4, count / 4);
        }
        let missing = if output.dtype == DType::F32 { f32::NAN.to_bits() } else { 0 };
        let mut params = vec![
            count as u32,
            layout.shape[self.axis] as u32,
            step as u32,
            missing,
            offset as u32,
            inputs[1].layout.offset as u32,
            loops.dims.len() as u32,
            0,
        ];
        push_loops(&mut params, &loops);
        Some(Plan::one(Kernel {
            shader: Shader::file("gather", include_str!("../../shaders/gather.wgsl")),
            constants: vec![("Word", if vectors { "vec4<u32>" } else { "u32" }.into())],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output],
            params,
            groups: Kernel::fold(count.div_ceil(256), caps),
        }))
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let op = Scatter { axis: self.axis, size: inputs[0].dims()[self.axis], replace: false };
        Ok(vec![Some(Tensor::apply(op, &[&inputs[1], upstream])?), None])
    }
}

impl Scatter {
    fn add<T: Word>(
        &self,
        inputs: &[View],
        output: &mut Output,
        add: impl Fn(T, T) -> T + Sync,
    ) -> Result<()> {
        let (index, source) = (inputs[0].buffer::<i32>(), inputs[1].buffer::<T>());
        let layouts = [inputs[0].spec.layout, inputs[1].spec.layout];
        let count = layouts[0].shape[self.axis];
        let steps = layouts.map(|layout| layout.strides()[self.axis]);
        let lines = layouts.map(|layout| starts(&layout, self.axis));
        let loops = Loops::new(&lines[0].shape, &lines);
        let places =
            |at: usize| [0, 1].map(|i| lines[i].offset as isize + place(at, &loops.dims, &loops.strides[i]));
        let inner: usize = layouts[0].shape[self.axis + 1..].iter().product();
        // Whether a row has one index and its source lies together.
        let mut tail = lines;
        for line in &mut tail {
            for axis in 0..=self.axis {
                *line = line.slice(axis, 0, 1, 1);
            }
        }
        let whole_rows =
            tail[1].is_contiguous() && tail[0].collapsed().iter().all(|&(_, stride)| stride == 0);
        let block = self.size * inner;
        let output = output.slice::<T>();
        let share = SHARE.div_ceil(block.max(count * inner));
        parallel::try_chunks(output, block, share, |outer, block| {
            block.fill(T::zeroed());
            if !whole_rows {
                let places: Vec<_> = (0..inner).map(|i| places(outer * inner + i)).collect();
                for k in 0..count as isize {
                    for (i, [at, from]) in places.iter().enumerate() {
                        let chosen = checked("scatter_add", index[(at + k * steps[0]) as usize], self.size)?;
                        let out = &mut block[chosen * inner + i];
                        *out = add(*out, source[(from + k * steps[1]) as usize]);
                    }
                }
                return Ok(());
            }
            // Every piece walks all indices and adds the rows that are its own, in order.
            let [at, from] = places(outer * inner);
            let rows = self.size.div_ceil(rayon::current_num_threads()).max(SHARE.div_ceil(inner));
            parallel::try_chunks(block, rows * inner, 1, |piece, block| {
                for k in 0..count as isize {
                    let chosen = checked("scatter_add", index[(at + k * steps[0]) as usize], self.size)?;
                    if chosen / rows == piece {
                        let row = &source[(from + k * steps[1]) as usize..][..inner];
                        let out = &mut block[chosen % rows * inner..][..inner];
                        zip(out, row).for_each(|(out, &value)| *out = add(*out, value));
                    }
                }
                Ok(())
            })
        })
    }
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let mut dims = inputs[0].shape().to_vec();
        dims[self.axis] = self.size;
        // Places are replaced, see `scatter`; values never.
        let fits = match inputs[1].dtype {
            DType::F32 => !self.replace,
            dtype => dtype == DType::I32,
        };
        if !fits {
            return Err(Error::op("scatter_add", format!("is not defined for {}", inputs[1].dtype)));
        }
        Ok(Spec::new(inputs[1].dtype, Shape::new(&dims)?))
    }

    fn strided(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Spec], output: &Spec) -> u64 {
        // The GPU kernels': each output element looks at every index of its line, or for its place in
        // their order.
        let (count, length) = (output.elements() as u64, inputs[0].shape()[self.axis] as u64);
        match sortable(&inputs[0].layout, self.axis) {
            true => length * length + count * u64::from(length.ilog2() + 1),
            false => count * length,
        }
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        match output.spec.dtype {
            DType::I32 if self.replace => self.add::<i32>(inputs, output, |_, last| last),
            DType::I32 => self.add::<i32>(inputs, output, i32::wrapping_add),
            _ => self.add::<f32>(inputs, output, |a, b| a + b),
        }
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let layouts = [inputs[0].layout, inputs[1].layout];
        let lines = layouts.map(|layout| starts(&layout, self.axis));
        let loops = Loops::new(&lines[0].shape, &lines);
        let shape = layouts[0].shape;
        let mut params = vec![
            output.elements() as u32,
            self.size as u32,
            shape[self.axis + 1..].iter().product::<usize>() as u32,
            shape[self.axis] as u32,
            layouts[0].strides()[self.axis] as u32,
            layouts[1].strides()[self.axis] as u32,
            lines[0].offset as u32,
            lines[1].offset as u32,
            loops.dims.len() as u32,
        ];
        params.resize(12, 0);
        push_loops(&mut params, &loops);
        let element = if output.dtype == DType::F32 { "f32" } else { "i32" };
        if sortable(&layouts[0], self.axis) {
            return Some(sorted(self, &layouts[0], &params, element, caps));
        }
        Some(Plan::one(Kernel {
            shader: Shader::file("scatter_add", include_str!("../../shaders/scatter_add.wgsl")),
            constants: vec![("T", element.into()), ("REPLACE", self.replace.to_string().into())],
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Output],
            params,
            groups: Kernel::fold(output.elements().div_ceil(256), caps),
        }))
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None, Some(Tensor::apply(Gather { axis: self.axis }, &[upstream, &inputs[0]])?)])
    }
}

/// An error unless `index` is of `data`'s rank, and no larger than it but along `axis` (along no
/// dimension where that is `None`).
pub(super) fn check_fit(
    op: &'static str,
    index: &Tensor,
    data: &Tensor,
    what: &str,
    axis: Option<usize>,
) -> Result<()> {
    if index.dtype() != DType::I32 {
        return Err(Error::op(op, format!("the index is {}, not i32", index.dtype())));
    }
    let fits = |d: usize| Some(d) == axis || index.dims()[d] <= data.dims()[d];
    if index.rank() == data.rank() && (0..data.rank()).all(fits) {
        return Ok(());
    }
    let but = axis.map_or(String::new(), |axis| format!(" other than dimension {axis}"));
    let (index, data) = (index.shape(), data.shape());
    Err(Error::op(op, format!("index shape {index} does not lie within {what} shape {data}{but}")))
}

/// The corner of `tensor` that has the sizes of `index`, but along `keep`.
pub(super) fn corner(tensor: &Tensor, index: &Tensor, keep: Option<usize>) -> Result<Tensor> {
    (0..tensor.rank()).filter(|&d| Some(d) != keep).try_fold(tensor.clone(), |part, d| {
        let length = index.dims()[d];
        if length == part.dims()[d] { Ok(part) } else { part.narrow(d as isize, 0, length) }
    })
}

impl Tensor {
    /// The elements at `index` along a dimension: for dimension 0 of a matrix
    /// `out[i][j] = self[index[i][j]][j]`. The result has the shape of `index`, an `I32` tensor of the
    /// same rank that is no larger than this one in the other dimensions.
    ///
    /// An error names an index that is out of range: here if the indices came from the host, else
    /// when the CPU computes the result. A GPU gives NaN (0 for integers) at such a place.
    pub fn gather(&self, dim: isize, index: &Tensor) -> Result<Tensor> {
        let axis = axis("gather", dim, self.rank())?;
        check_fit("gather", index, self, "data", Some(axis))?;
        index.check_indices("gather", "index", self.dims()[axis])?;
        Tensor::apply(Gather { axis }, &[&corner(self, index, Some(axis))?, index])
    }

    /// This tensor with elements of `source` added at `index` along a dimension: for dimension 0 of a
    /// matrix `out[index[i][j]][j] += source[i][j]`. `index` is `I32` and lies within the shape of
    /// `source`, and within this one's in the other dimensions; the dtypes of both must be equal.
    /// Elements that meet at one place are added in the order of `index`.
    ///
    /// An error names an index that is out of range, as with [`gather`](Tensor::gather); a GPU
    /// skips those that it finds.
    pub fn scatter_add(&self, dim: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        let axis = axis("scatter_add", dim, self.rank())?;
        check_fit("scatter_add", index, self, "data", Some(axis))?;
        check_fit("scatter_add", index, source, "source", None)?;
        if self.dtype() != source.dtype() {
            let message = format!("the data is {}, the source {}", self.dtype(), source.dtype());
            return Err(Error::op("scatter_add", message));
        }
        let size = self.dims()[axis];
        index.check_indices("scatter_add", "index", size)?;
        let sums =
            Tensor::apply(Scatter { axis, size, replace: false }, &[index, &corner(source, index, None)?])?;
        self.add(&sums.grown_to(self.shape())?)
    }

    /// Zeros added after each dimension, up to `shape`.
    pub(super) fn grown_to(&self, shape: &Shape) -> Result<Tensor> {
        (0..self.rank()).try_fold(self.clone(), |grown, d| {
            grown.pad_axis(d as isize, 0, shape[d] - self.dims()[d], 0, 0.0)
        })
    }

    /// The rows (columns, ...) of a dimension that an `I32` vector names, in its order, an index
    /// possibly more than once. Errors as [`gather`](Tensor::gather).
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let engine = Engine::cpu();
    /// let x = Tensor::arange(0.0, 6.0, 1.0, &engine)?.reshape([3, 2])?;
    /// let rows = x.index_select(0, &Tensor::from_slice(&[2, 0], 2, &engine)?)?;
    /// assert_eq!(rows.to_vec::<f32>()?, [4.0, 5.0, 0.0, 1.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Result<Tensor> {
        let axis = axis("index_select", dim, self.rank())?;
        if index.rank() != 1 {
            let message = format!("index shape {} is not that of a vector", index.shape());
            return Err(Error::op("index_select", message));
        }
        let mut dims = vec![1; self.rank()];
        dims[axis] = index.elements();
        let index = index.reshape(&dims)?;
        dims.copy_from_slice(self.dims());
        dims[axis] = index.elements();
        self.gather(dim, &index.broadcast_to(dims)?)
    }
}
