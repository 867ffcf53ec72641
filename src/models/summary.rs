//! What a network's layers make, hold and cost.

use super::Classifier;
use crate::graph::recorded;
use crate::nn::Params;
use crate::{Result, Spec, Tensor, no_grad};
use std::collections::HashMap;

/// One layer in a [`summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The path that the layer's parameters have in common: `layer1.0.conv1`.
    pub path: String,
    /// The shape of the layer's output for one image; empty if an evaluation does not reach it.
    pub output: Vec<usize>,
    /// Trained scalars.
    pub parameters: usize,
    /// Floating-point operations for one image, a multiply-add counting as two: those of the layer
    /// and of what follows it without parameters of its own, such as activations and pooling.
    pub flops: u64,
}

/// The layers with parameters below `params`, in the order of construction, with what one image of
/// shape `input`, `[C, H, W]`, makes of them in evaluation mode.
///
/// Nothing is computed: the numbers are read from the graph that a forward pass records.
///
/// ```
/// use kiln::models::{Architecture, summary};
/// use kiln::nn::Params;
/// let params = Params::new(&kiln::Engine::cpu(), 0);
/// let architecture = Architecture { name: "lenet".into(), classes: 10, channels: 1, image_size: 28 };
/// let model = architecture.build(&params)?;
/// let rows = summary(&*model, &params, [1, 28, 28])?;
/// assert_eq!((rows[0].path.as_str(), &rows[0].output[..]), ("conv1", &[1, 6, 28, 28][..]));
/// assert_eq!(rows.iter().map(|row| row.parameters).sum::<usize>(), params.count());
/// # Ok::<(), kiln::Error>(())
/// ```
pub fn summary(model: &dyn Classifier, params: &Params, input: [usize; 3]) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    // The row that a node belongs to.
    let mut owner: HashMap<u64, usize> = HashMap::new();
    for (name, param) in params.named() {
        let path = name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer);
        let row = rows.iter().position(|row| row.path == path).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(Row { path: path.to_string(), output: Vec::new(), parameters: 0, flops: 0 });
        }
        let value = param.get();
        rows[row].parameters += if param.is_trained() { value.elements() } else { 0 };
        owner.insert(value.id(), row);
    }

    let [channels, height, width] = input;
    let image = Tensor::zeros([1, channels, height, width], params.engine())?;
    let training = params.is_training();
    params.eval();
    let output = no_grad(|| model.forward(&image));
    if training {
        params.train();
    }
    // Nodes that depend on the image; all others only prepare parameters. How the parameters themselves come
    // about is not part of the pass.
    let mut seen = HashMap::from([(image.id(), 0)]);
    for (node, inputs) in recorded(&output?, |tensor| owner.contains_key(&tensor.id())) {
        let layer = inputs.iter().filter_map(|input| owner.get(&input.id())).max().copied();
        let before = inputs.iter().filter_map(|input| seen.get(&input.id())).max().copied();
        match (before, layer) {
            (Some(before), layer) => {
                let row = layer.unwrap_or(before);
                seen.insert(node.id(), row);
                let Some(row) = rows.get_mut(row) else { continue };
                if layer.is_some() {
                    row.output = node.dims().to_vec();
                }
                row.flops += flops(&node, &inputs);
            }
            (None, Some(layer)) => {
                owner.insert(node.id(), layer);
                rows[layer].flops += flops(&node, &inputs);
            }
            (None, None) => {}
        }
    }
    Ok(rows)
}

/// The operations that a recorded node costs; none for another view of its input.
fn flops(node: &Tensor, inputs: &[Tensor]) -> u64 {
    let specs: Vec<Spec> = inputs.iter().map(|input| *input.spec()).collect();
    let node = node.inner();
    if node.view { 0 } else { node.op.flops(&specs, &node.spec) }
}
