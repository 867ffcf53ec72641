//! Tensors joined along a dimension.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::layout::axis;
use crate::parallel;
use crate::{Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};

/// Elements a thread should have at least.
const SHARE: usize = 16 * 1024;

/// The inputs one after the other along this axis.
#[derive(Debug, Hash)]
struct Concat(usize);

impl Concat {
    /// Elements of `shape` that lie together in the output.
    fn run(&self, shape: &Shape) -> usize {
        shape[self.0..].iter().product()
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let first = &inputs[0];
        let fits = |input: &Spec| {
            let (shape, wanted) = (input.shape(), first.shape());
            shape.rank() == wanted.rank()
                && (0..wanted.rank()).all(|d| d == self.0 || shape[d] == wanted[d])
                && input.dtype == first.dtype
        };
        if !inputs.iter().all(fits) {
            let specs: Vec<_> = inputs.iter().map(|i| format!("{} {}", i.dtype, i.shape())).collect();
            let message = format!("{} do not fit together along dimension {}", specs.join(", "), self.0);
            return Err(Error::op("concat", message));
        }
        let mut dims = first.shape().to_vec();
        dims[self.0] = inputs.iter().fold(0, |sum: usize, input| sum.saturating_add(input.shape()[self.0]));
        Ok(Spec::new(first.dtype, Shape::new(&dims)?))
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let inputs: Vec<(&[u32], usize)> =
            inputs.iter().map(|view| (view.slice(), self.run(view.spec.shape()))).collect();
        let run = self.run(output.spec.shape());
        parallel::chunks(output.slice::<u32>(), run, SHARE.div_ceil(run), |outer, mut block| {
            for &(input, run) in &inputs {
                let (to, rest) = block.split_at_mut(run);
                to.copy_from_slice(&input[outer * run..][..run]);
                block = rest;
            }
        });
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let total = self.run(output.shape());
        let mut offset = 0;
        // A dispatch for each input, however many there are.
        let kernels = inputs.iter().enumerate().map(|(i, input)| {
            let (count, run) = (input.elements(), self.run(input.shape()));
            let vectors = [run, total, offset].iter().all(|size| size.is_multiple_of(4));
            let (word, width) = if vectors { ("vec4<u32>", 4) } else { ("u32", 1) };
            let params = [count, run, total, offset].map(|size| (size / width) as u32).to_vec();
            offset += run;
            Kernel {
                shader: Shader::file("concat", include_str!("../../shaders/concat.wgsl")),
                constants: vec![("Word", word.into())],
                bindings: vec![Binding::Input(i), Binding::Output],
                params,
                groups: Kernel::fold((count / width).div_ceil(256), caps),
            }
        });
        Some(Plan { kernels: kernels.collect(), ..Plan::default() })
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let mut start = 0;
        let part = |input: &Tensor| {
            let length = input.dims()[self.0];
            let part = upstream.narrow(self.0 as isize, start, length)?;
            start += length;
            Ok(Some(part))
        };
        inputs.iter().map(part).collect()
    }
}

impl Tensor {
    /// The tensors one after the other along an existing dimension (PyTorch's `cat`). Their shapes must
    /// agree in all other dimensions, and their dtypes; an error lists them otherwise, and where
    /// there are none.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 4.0, 1.0, &Engine::cpu())?.reshape([2, 2])?;
    /// assert_eq!(Tensor::concat(&[&x, &x], 1)?.to_vec::<f32>()?, [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn concat(tensors: &[&Tensor], dim: isize) -> Result<Tensor> {
        let [first, ..] = tensors else { return Err(Error::op("concat", "no tensors were given")) };
        Tensor::apply(Concat(axis("concat", dim, first.rank())?), tensors)
    }

    /// Tensors of one shape along a new dimension, which is put in at `dim` (-1: last). Errors as
    /// [`concat`](Tensor::concat).
    pub fn stack(tensors: &[&Tensor], dim: isize) -> Result<Tensor> {
        let [first, ..] = tensors else { return Err(Error::op("stack", "no tensors were given")) };
        let dim = axis("stack", dim, first.rank() + 1)? as isize;
        if tensors.iter().any(|tensor| tensor.shape() != first.shape()) {
            let shapes: Vec<_> = tensors.iter().map(|tensor| tensor.shape().to_string()).collect();
            return Err(Error::op("stack", format!("shapes {} differ", shapes.join(", "))));
        }
        let rows = tensors.iter().map(|tensor| tensor.unsqueeze(dim)).collect::<Result<Vec<_>>>()?;
        Tensor::concat(&rows.iter().collect::<Vec<_>>(), dim)
    }
}
