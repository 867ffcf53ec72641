//! Vectors for numbered things, such as the words of a vocabulary.

use super::{Init, Module, Param, Params};
use crate::{Result, Tensor};
use std::borrow::Borrow;

/// A row of a table for each index: `I32` `[...]` to `[..., size]`.
///
/// ```
/// use kiln::nn::{Embedding, Module, Params};
/// use kiln::{Engine, Tensor};
/// let params = Params::new(&Engine::cpu(), 0);
/// let words = Embedding::new(&params / "embed", 40, 32)?;
/// let tokens = Tensor::from_slice(&[3, 1, 39, 0], [2, 2], params.engine())?;
/// assert_eq!(words.forward(&tokens)?.dims(), [2, 2, 32]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[count, size]`.
    pub weight: Param,
    /// The row that is not trained, as that of a word which only fills up a line; none unless set.
    pub padding: Option<usize>,
}

impl Embedding {
    /// A table of `count` vectors of `size` elements, normally distributed at first as in PyTorch. An
    /// error where the path is taken.
    pub fn new(params: impl Borrow<Params>, count: usize, size: usize) -> Result<Embedding> {
        let init = Init::Normal { mean: 0.0, std: 1.0 };
        Ok(Embedding { weight: params.borrow().parameter("weight", [count, size], init)?, padding: None })
    }
}

impl Module for Embedding {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.get().embedding(x, self.padding)
    }
}
