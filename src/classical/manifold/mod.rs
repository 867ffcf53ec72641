//! Maps of high-dimensional data in few dimensions.

mod isomap;
mod start;
mod tree;
mod tsne;
mod umap;

pub use isomap::{Isomap, IsomapParams};
pub use start::Start;
pub use tsne::{Tsne, TsneMethod, TsneParams};
pub use umap::{Umap, UmapParams};

use super::estimator::Transformer;
use super::registry::{DynTransformer, Entry, transformer};

pub(super) const TRANSFORMERS: &[Entry<dyn DynTransformer, dyn Transformer>] =
    &[transformer::<IsomapParams>(), transformer::<UmapParams>()];
