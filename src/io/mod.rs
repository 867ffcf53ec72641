//! Reading and writing files.

mod atomic;
mod pickle;
mod pytorch;
mod safetensors;
mod zip;

pub use self::safetensors::{HostTensor, StateDict};
pub(crate) use atomic::write_atomic;

use crate::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// Reads a model's weights from a safetensors file, as [`StateDict::load`], or from a PyTorch
/// checkpoint (`.pt`, `.pth`), as [`StateDict::read_pytorch`]; the content tells which, not the name.
///
/// ```no_run
/// let state = kiln::io::load_weights("resnet18-f37072fd.pth")?;
/// assert_eq!(state.tensors["fc.weight"].shape, [1000, 512]);
/// # Ok::<(), kiln::Error>(())
/// ```
pub fn load_weights(path: impl AsRef<Path>) -> Result<StateDict> {
    let path = path.as_ref();
    let io = |source| Error::io(path, source);
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    (&file).take(16).read_to_end(&mut bytes).map_err(io)?;
    if pytorch::is_pytorch(&bytes) {
        file.read_to_end(&mut bytes).map_err(io)?;
        return StateDict::read_pytorch(&bytes, path);
    }
    file.rewind().map_err(io)?;
    StateDict::read(file, size, path)
}
