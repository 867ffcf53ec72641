//! The operations at sizes of real networks, to be timed: those of the table of cases are odd and small.

use super::case::{Boxed, Cost, Input};
use crate::nn::recurrent::{Cell, Initial, RecurrentOptions, Weights, recurrent};
use crate::ops::{AttentionOptions, Conv2dOptions, Pool2dOptions};
use crate::{Engine, Error, Result, Tensor};

/// An operation and what it is timed on.
pub struct Workload {
    /// The operation, or its gradient as `OPERATION/gradient of WHAT`.
    pub name: &'static str,
    /// What the operation is given.
    pub inputs: Vec<Input>,
    /// The operation.
    pub op: Boxed<[Tensor], Result<Tensor>>,
}

impl Workload {
    /// The inputs, computed.
    pub fn tensors(&self, engine: &Engine) -> Result<Vec<Tensor>> {
        self.inputs.iter().map(|input| input.leaf(engine)).collect()
    }

    /// What the operation costs on these inputs. Records it, and runs nothing.
    pub fn cost(&self, inputs: &[Tensor]) -> Result<Cost> {
        Ok(Cost::of(inputs, &(self.op)(inputs)?))
    }
}

/// The gradient of `sum(f(x) * upstream)` by the variable that `f` makes of `x`.
fn gradient(x: &Tensor, upstream: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let x = x.variable()?;
    let gradients = f(&x)?.mul(upstream)?.sum(.., false)?.backward()?;
    gradients.get(&x).cloned().ok_or_else(|| Error::op("gradient", "the result does not depend on the input"))
}

fn network(cell: Cell, x: &[Tensor]) -> Result<Tensor> {
    let weights = Weights { weight_ih: x[1].clone(), weight_hh: x[2].clone(), biases: None };
    let options = RecurrentOptions { bias: false, batch_first: true, ..RecurrentOptions::default() };
    Ok(recurrent(cell, &x[0], Initial::default(), &[weights], options, None)?.output)
}

/// Every operation that the time of networks goes into.
pub fn workloads() -> Vec<Workload> {
    let mut rows = Vec::new();
    let mut row = |name, shapes: &[&[usize]], op: fn(&[Tensor]) -> Result<Tensor>| {
        let inputs = shapes.iter().map(|shape| Input::floats(shape)).collect();
        rows.push(Workload { name, inputs, op: Box::new(op) });
    };
    const SAME: Conv2dOptions =
        Conv2dOptions { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 };
    const HALVED: Conv2dOptions = Conv2dOptions { stride: [2, 2], ..SAME };
    const DEPTHWISE: Conv2dOptions = Conv2dOptions { groups: 64, ..SAME };
    const IMAGES: &[usize] = &[32, 64, 32, 32];
    const KERNEL: &[usize] = &[64, 64, 3, 3];
    const HEADS: &[usize] = &[8, 4, 128, 64];
    const ROWS: &[usize] = &[4096, 1024];

    row("matmul", &[&[1024, 1024], &[1024, 1024]], |x| x[0].matmul(&x[1]));
    row("bmm", &[&[64, 128, 64], &[64, 64, 128]], |x| x[0].bmm(&x[1]));
    row("linear", &[&[64, 3136], &[128, 3136], &[128]], |x| x[0].linear(&x[1], Some(&x[2])));
    row("conv2d", &[IMAGES, KERNEL], |x| x[0].conv2d(&x[1], None, SAME));
    row("conv2d/stride 2", &[IMAGES, &[128, 64, 3, 3]], |x| x[0].conv2d(&x[1], None, HALVED));
    row("conv2d/gradient of input", &[IMAGES, KERNEL, IMAGES], |x| {
        gradient(&x[0], &x[2], |input| input.conv2d(&x[1], None, SAME))
    });
    row("conv2d/gradient of weight", &[IMAGES, KERNEL, IMAGES], |x| {
        gradient(&x[1], &x[2], |weight| x[0].conv2d(weight, None, SAME))
    });
    row("conv2d/depthwise", &[IMAGES, &[64, 1, 3, 3]], |x| x[0].conv2d(&x[1], None, DEPTHWISE));
    row("max_pool2d", &[IMAGES], |x| x[0].max_pool2d(Pool2dOptions::new(2)));
    row("avg_pool2d", &[IMAGES], |x| x[0].avg_pool2d(Pool2dOptions::new(2)));
    row("batch_norm", &[IMAGES, &[64], &[64]], |x| {
        Ok(x[0].batch_norm_training(Some(&x[1]), Some(&x[2]), 1e-5)?.0)
    });
    row("layer_norm", &[ROWS, &[1024], &[1024]], |x| {
        x[0].layer_norm(&[1024], Some(&x[1]), Some(&x[2]), 1e-5)
    });
    row("softmax", &[ROWS], |x| x[0].softmax(1));
    row("scaled_dot_product_attention", &[HEADS, HEADS, HEADS], |x| {
        x[0].scaled_dot_product_attention(&x[1], &x[2], AttentionOptions::default())
    });
    row("lstm", &[&[32, 64, 256], &[1024, 256], &[1024, 256]], |x| network(Cell::Lstm, x));
    row("gru", &[&[32, 64, 256], &[768, 256], &[768, 256]], |x| network(Cell::Gru, x));
    row("sum/all", &[ROWS], |x| x[0].sum(.., false));
    row("sum/rows", &[ROWS], |x| x[0].sum(1, false));
    row("sum/columns", &[ROWS], |x| x[0].sum(0, false));
    row("argmax", &[ROWS], |x| x[0].argmax(1, false));
    row("cumsum", &[ROWS], |x| x[0].cumsum(1));
    row("add", &[ROWS, ROWS], |x| x[0].add(&x[1]));
    row("add/broadcast", &[ROWS, &[1024]], |x| x[0].add(&x[1]));
    row("relu", &[ROWS], |x| x[0].relu());
    row("exp", &[ROWS], |x| x[0].exp());
    row("gelu", &[ROWS], |x| x[0].gelu());
    row("mul/chain", &[ROWS], |x| x[0].mul(1.5)?.add(-0.25)?.relu()?.add(&x[0].mul(0.5)?));
    row("contiguous/transpose", &[ROWS], |x| x[0].t()?.contiguous());
    row("contiguous/channels last", &[IMAGES], |x| x[0].permute(&[0, 2, 3, 1])?.contiguous());
    row("concat", &[IMAGES, IMAGES], |x| Tensor::concat(&[&x[0], &x[1]], 1));
    row("argsort", &[&[1024, 1024]], |x| x[0].argsort(1, false));

    let table = || Input::floats(&[32_768, 256]);
    let words = || Input::ints(&[4096], 0, 32_768);
    rows.push(Workload {
        name: "embedding",
        inputs: vec![table(), words()],
        op: Box::new(|x| x[0].embedding(&x[1], None)),
    });
    rows.push(Workload {
        name: "embedding/gradient of table",
        inputs: vec![table(), words(), Input::floats(&[4096, 256])],
        op: Box::new(|x| gradient(&x[0], &x[2], |table| table.embedding(&x[1], None))),
    });
    rows
}
