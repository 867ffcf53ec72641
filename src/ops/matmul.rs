//! Matrix products, batched and broadcast.

mod columns;
mod dots;
pub(crate) mod gpu;
mod tiles;

use crate::device::{Caps, Plan, Shader};
use crate::expr::Loops;
use crate::gemm::{self, Matrix, Parallelism};
use crate::parallel;
use crate::tensor::{product, unwidened};
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};

/// `[.., m, k] x [.., k, n] -> [.., m, n]` for inputs of the same leading dimensions.
#[derive(Debug, Hash)]
pub(crate) struct Matmul;

/// One product of a batch: sizes, and the strides of a row and a column of each operand.
#[derive(Clone, Copy, Debug)]
struct Product {
    m: usize,
    n: usize,
    k: usize,
    a: (isize, isize),
    b: (isize, isize),
}

impl Product {
    fn of(a: &Spec, b: &Spec) -> Product {
        let rank = a.shape().rank();
        let matrix = |spec: &Spec| (spec.layout.strides()[rank - 2], spec.layout.strides()[rank - 1]);
        let (m, k, n) = (a.shape()[rank - 2], a.shape()[rank - 1], b.shape()[rank - 1]);
        Product { m, n, k, a: matrix(a), b: matrix(b) }
    }

    /// Multiply-adds.
    fn work(&self) -> usize {
        self.m * self.n * self.k
    }

    /// Writes the product, row-major, to `output`.
    ///
    /// # Safety
    /// `a` and `b` must be valid for reads from the first to the last place that the strides reach.
    unsafe fn run(&self, a: *const f32, b: *const f32, output: &mut [f32], threads: Parallelism) {
        assert_eq!(output.len(), self.m * self.n);
        if self.k == 0 {
            return output.fill(0.0);
        }
        if self.is_by_columns() {
            let threads = match threads {
                Parallelism::None => 1,
                Parallelism::Rayon(_) => rayon::current_num_threads(),
            };
            // SAFETY: the caller's.
            return unsafe { self.run_by_columns(a, b, output, threads) };
        }
        let (m, n, k) = (self.m, self.n, self.k);
        // SAFETY: `output` holds m rows of n, and the caller vouches for the inputs.
        unsafe {
            let output = (output.as_mut_ptr(), n as isize, 1);
            let operands = [Matrix::new(a, self.a.0, self.a.1), Matrix::new(b, self.b.0, self.b.1)];
            gemm::multiply([m, n, k], output, false, operands, 1.0, threads);
        }
    }
}

/// The dimensions before the last two, merged where both operands allow.
fn batches(a: &Spec, b: &Spec) -> Loops {
    let rank = a.shape().rank() - 2;
    let lead = |spec: &Spec| {
        let mut layout = spec.layout;
        // Matrices fall away as dimensions of one element.
        for axis in rank..rank + 2 {
            layout = layout.slice(axis, 0, 1, 1);
        }
        layout
    };
    let (a, b) = (lead(a), lead(b));
    Loops::new(&a.shape, &[a, b])
}

/// The places of the matrices of product `index`, counted from the operands' offsets.
fn places(batches: &Loops, mut index: usize) -> [isize; 2] {
    let mut places = [0; 2];
    for (axis, &size) in batches.dims.iter().enumerate().rev() {
        for (place, strides) in places.iter_mut().zip(&batches.strides) {
            *place += (index % size) as isize * strides[axis];
        }
        index /= size;
    }
    places
}

/// Multiply-adds that are worth a thread of their own.
const SHARE: usize = 1 << 17;

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let [a, b] = inputs else {
            return Err(Error::op("matmul", format!("takes 2 tensors, not {}", inputs.len())));
        };
        if !a.dtype.is_float() || !b.dtype.is_float() {
            return Err(Error::op("matmul", format!("is not defined for {} and {}", a.dtype, b.dtype)));
        }
        let rank = a.shape().rank();
        if rank < 2 || b.shape().rank() != rank || a.shape()[..rank - 2] != b.shape()[..rank - 2] {
            let message =
                format!("shapes {} and {} are not batches of as many matrices", a.shape(), b.shape());
            return Err(Error::op("matmul", message));
        }
        check_inner(a.shape(), b.shape(), a.shape()[rank - 1], b.shape()[rank - 2])?;
        let mut dims = a.shape().to_vec();
        dims[rank - 1] = b.shape()[rank - 1];
        Ok(Spec::new(DType::F32, Shape::new(&dims)?))
    }

    fn strided(&self) -> bool {
        true
    }

    fn half(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Spec], output: &Spec) -> u64 {
        2 * output.elements() as u64 * Product::of(&inputs[0], &inputs[1]).k as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let [a, b] = [&inputs[0], &inputs[1]];
        let product = Product::of(&a.spec, &b.spec);
        let batches = batches(&a.spec, &b.spec);
        let (a_buffer, b_buffer) = (a.widened(), b.widened());
        let run = |index: usize, output: &mut [f32], threads: Parallelism| {
            let [a_place, b_place] = places(&batches, index);
            let start = |view: &View, buffer: &[f32], place: isize| {
                buffer.as_ptr().wrapping_offset(view.spec.layout.offset as isize + place)
            };
            // SAFETY: the executor's views cover their layouts' extents, and the pointers are those
            // of the matrices' first elements.
            unsafe {
                product.run(start(a, &a_buffer, a_place), start(b, &b_buffer, b_place), output, threads)
            }
        };
        let (finish, output) = (output.finish(), output.slice::<f32>());
        let size = product.m * product.n;
        // Threads share a product only where there are too few products to go round.
        if output.len() / size < rayon::current_num_threads() {
            let products = output.chunks_exact_mut(size).enumerate();
            products.for_each(|(index, output)| {
                run(index, output, Parallelism::Rayon(0));
                finish.run_shared(index * size, output);
            });
        } else {
            let least = SHARE.div_ceil(product.work().max(1));
            parallel::chunks(output, size, least, |index, output| {
                run(index, output, Parallelism::None);
                finish.run(index * size, output);
            });
        }
        Ok(())
    }

    fn finishes(&self) -> bool {
        true
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let product = Product::of(&inputs[0], &inputs[1]);
        let batches = batches(&inputs[0], &inputs[1]);
        let mut params = Vec::new();
        for (operand, (row, column)) in [product.a, product.b].into_iter().enumerate() {
            params.extend([inputs[operand].layout.offset as u32, row as i32 as u32, column as i32 as u32, 0]);
            let strides = batches.strides[operand].iter().map(|&stride| stride as i32 as u32);
            params.extend(strides.chain(std::iter::repeat(0)).take(8));
        }
        params.extend(batches.dims.iter().map(|&size| size as u32).chain(std::iter::repeat(0)).take(8));
        params.push(batches.dims.len() as u32);
        let shader = Shader::file("matmul", include_str!("../../shaders/matmul.wgsl"));
        // SAFETY: rows, columns and places along k that the core asks for are inside the matrices, which the
        // executor's views cover; the loops go up to sizes.
        let shader = unsafe { shader.unchecked() };
        let Product { m, n, k, a, b } = product;
        // The smallest products share a kernel for all strides where compiling one is what takes time.
        let tiny = caps.software && m * n * k < gpu::TINY;
        // One row or column is read along k, whatever its stride.
        let along_k = if tiny { [true, false] } else { [a.1 == 1 || m == 1, b.0 == 1 || n == 1] };
        // Whether the dimension in which an operand's numbers follow each other, and all steps to it, are whole
        // vectors.
        let whole = |operand: usize, along: (usize, isize), other: isize| {
            let steps = batches.strides[operand].iter().chain([&other]);
            along.1 == 1
                && along.0.is_multiple_of(4)
                && inputs[operand].layout.offset.is_multiple_of(4)
                && steps.into_iter().all(|step| step % 4 == 0)
        };
        let of_a = if along_k[0] { whole(0, (k, a.1), a.0) } else { whole(0, (m, a.0), a.1) };
        let of_b = if along_k[1] { whole(1, (k, b.0), b.1) } else { whole(1, (n, b.1), b.0) };
        let vectors = [of_a && !tiny, of_b && !tiny, n.is_multiple_of(4) && !tiny];
        let batch = batches.dims.iter().product();
        let gemm = gpu::Gemm { m, n, k, batch, along_k, vectors };
        let plan = gemm.plan(shader, inputs, Vec::new(), params, output.elements(), caps);
        Some(Plan { shared: tiny, ..plan })
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [a, b] = [&inputs[0], &inputs[1]];
        let upstream = &unwidened(upstream);
        let multiply = |a: &Tensor, b: &Tensor| Tensor::apply(Matmul, &[a, b]);
        // The gradient of a transposed view is transposed in memory too: that of the tensor behind it is not.
        let gradient = |of: &Tensor, a: &Tensor, b: &Tensor| {
            let product = if is_transposed(of) { multiply(&b.t()?, &a.t()?)?.t()? } else { multiply(a, b)? };
            product.cast(of.dtype()).map(Some)
        };
        Ok(vec![gradient(a, upstream, &b.t()?)?, gradient(b, &a.t()?, upstream)?])
    }
}

/// Whether the columns of its matrices lie in one piece, and the rows do not.
fn is_transposed(tensor: &Tensor) -> bool {
    matches!(tensor.inner().spec.layout.strides(), [.., 1, columns] if *columns > 1)
}

fn check_inner(a: &Shape, b: &Shape, columns: usize, rows: usize) -> Result<()> {
    if columns == rows {
        return Ok(());
    }
    let message = format!("shapes {a} and {b} do not multiply: {columns} columns against {rows} rows");
    Err(Error::op("matmul", message))
}

impl Tensor {
    /// The matrix product, as `torch.matmul`: of the last two dimensions, with the ones before
    /// them broadcast. A 1-D tensor is a row on the left and a column on the right, and that
    /// dimension is not in the result: two of them give their dot product.
    ///
    /// An error for integers and truth values, scalars, and shapes that do not fit.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 6.0, 1.0, &Engine::cpu())?.reshape([2, 3])?;
    /// assert_eq!(x.matmul(&x.t()?)?.to_vec::<f32>()?, [5.0, 14.0, 14.0, 50.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        let refuse = |message: &str| {
            let message = format!("shapes {} and {} {message}", self.shape(), other.shape());
            Err(Error::op("matmul", message))
        };
        if self.rank() == 0 || other.rank() == 0 {
            return refuse("do not multiply: a scalar is no matrix; use mul");
        }
        let a = if self.rank() == 1 { self.unsqueeze(0)? } else { self.clone() };
        let b = if other.rank() == 1 { other.unsqueeze(-1)? } else { other.clone() };
        let (a_lead, b_lead) = (&a.dims()[..a.rank() - 2], &b.dims()[..b.rank() - 2]);
        let (m, k, n) = (a.size(-2)?, a.size(-1)?, b.size(-1)?);
        check_inner(self.shape(), other.shape(), k, b.size(-2)?)?;
        let Some(lead) = Shape::new(a_lead)?.broadcast(&Shape::new(b_lead)?) else {
            return refuse("do not multiply: the dimensions before the matrices do not broadcast");
        };
        let with = |rows: usize, columns: usize| [&lead[..], &[rows, columns]].concat();
        let shared = b_lead.iter().all(|&size| size == 1);
        let product = if shared && lead.rank() > 0 {
            // One matrix on the right for all on the left: their rows make one tall product, and
            // the gradient of the right one is one product too.
            let tall = a.reshape([a_lead.iter().product::<usize>() * m, k])?;
            product(Matmul, [&tall, &b.reshape([k, n])?])?
        } else {
            product(Matmul, [&a.broadcast_to(with(m, k))?, &b.broadcast_to(with(k, n))?])?
        };
        let mut dims = lead.to_vec();
        dims.extend((self.rank() > 1).then_some(m));
        dims.extend((other.rank() > 1).then_some(n));
        product.reshape(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product by its definition; what every kernel must agree with.
    fn reference(a: &[f32], b: &[f32], product: &Product) -> Vec<f32> {
        let Product { m, n, k, .. } = *product;
        let at = |(row, column): (isize, isize), i: usize, j: usize| {
            (i as isize * row + j as isize * column) as usize
        };
        let element = |i: usize, j: usize| {
            (0..k).map(|l| f64::from(a[at(product.a, i, l)]) * f64::from(b[at(product.b, l, j)])).sum::<f64>()
        };
        (0..m * n).map(|index| element(index / n, index % n) as f32).collect()
    }

    #[test]
    fn products_of_any_strides() {
        let values: Vec<f32> = (0..400).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
        for (m, n, k) in [(1, 1, 1), (1, 7, 5), (7, 1, 5), (17, 13, 11), (16, 3, 2), (5, 18, 1), (3, 4, 0)] {
            let [m_stride, n_stride, k_stride] = [m, n, k].map(|size| size as isize);
            for a in [(k_stride, 1), (1, m_stride), (0, 1), (k_stride, 0)] {
                for b in [(n_stride, 1), (1, k_stride), (1, 0), (0, 1)] {
                    let product = Product { m, n, k, a, b };
                    let mut output = vec![f32::NAN; m * n];
                    // SAFETY: every stride stays within the 400 values.
                    unsafe { product.run(values.as_ptr(), values.as_ptr(), &mut output, Parallelism::None) };
                    assert_eq!(output, reference(&values, &values, &product), "{product:?}");
                }
            }
        }
    }
}
