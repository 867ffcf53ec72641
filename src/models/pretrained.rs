//! Weights from somewhere else.

use super::Classifier;
use crate::io::{HostTensor, StateDict};
use crate::nn::{Params, to_host};
use crate::{DType, Engine, Error, Result, Tensor};
use std::borrow::Cow;
use std::path::Path;

/// What became of the head in [`load_pretrained`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Its weights were loaded like all others.
    Loaded,
    /// It stayed as it was built: the file's is for another number of classes.
    Kept {
        /// The classes of the file's head.
        file_classes: usize,
    },
}

/// Sets the model's weights, which lie below `params`, from a state dict, but those of a head for
/// another number of classes, which stay as they are. `path` is the file to name in an error.
///
/// Weights for colours fit a network for grey images: those of the three colours are added up. Old
/// checkpoints do not count the batches of their batch norms (`num_batches_tracked`); such
/// counters stay as they are too. Names that torchvision has changed since are understood (`norm.1` for
/// `norm1` in DenseNet). [`Error::Keys`] lists all else that is missing, unexpected or of
/// another shape. After an error nothing has changed.
pub fn load_pretrained(
    params: &Params,
    model: &dyn Classifier,
    state: &StateDict,
    path: impl AsRef<Path>,
) -> Result<Head> {
    let mut state = Cow::Borrowed(state);
    if state.tensors.keys().any(|name| modern(name) != *name) {
        let tensors = state.tensors.iter().map(|(name, tensor)| (modern(name), tensor.clone())).collect();
        state = Cow::Owned(StateDict { tensors, ..StateDict::default() });
    }
    let built = params.named();
    for (name, param) in &built {
        if let (&[filters, 1, ref window @ ..], Some(tensor)) = (param.get().dims(), state.tensors.get(name))
            && tensor.shape == [&[filters, 3], window].concat()
        {
            let grey = sum_of_colours(tensor)?;
            state.to_mut().tensors.insert(name.clone(), grey);
        }
    }
    let weight = format!("{}.weight", model.head());
    let classes = |shape: &[usize]| shape.first().copied().unwrap_or(0);
    let built = built.into_iter().find(|(name, _)| *name == weight);
    let Some((_, built)) = built else {
        return Err(Error::op("load_pretrained", format!("the model has no parameter {weight:?}")));
    };
    let file_classes = state.tensors.get(&weight).map(|tensor| classes(&tensor.shape));
    let kept = file_classes.filter(|&file| file != classes(built.get().dims()));
    let head = format!("{}.", model.head());
    params.load_where(&state, path.as_ref(), |name| {
        !(kept.is_some() && name.starts_with(&head)
            || name.ends_with(".num_batches_tracked") && !state.tensors.contains_key(name))
    })?;
    Ok(kept.map_or(Head::Loaded, |file_classes| Head::Kept { file_classes }))
}

/// The weight `[filters, 1, ...]` that does to a grey image what a weight `[filters, 3, ...]` does to one
/// whose three colours are all that grey.
fn sum_of_colours(weight: &HostTensor) -> Result<HostTensor> {
    let colours = Tensor::from_bytes(&weight.bytes, weight.dtype, weight.shape.clone(), &Engine::cpu())?;
    to_host(&colours.cast(DType::F32)?.sum(1, true)?)
}

/// The name that torchvision gives today to a tensor of a checkpoint from when layers had dots in their
/// names.
fn modern(name: &str) -> String {
    match name.split_once(".denselayer") {
        Some((block, layer)) => {
            let layer = layer.replace(".norm.", ".norm").replace(".conv.", ".conv");
            format!("{block}.denselayer{layer}")
        }
        None => name.to_string(),
    }
}
