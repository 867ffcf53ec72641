//! The one error type of the library.

use std::path::{Path, PathBuf};

/// `Result` with Kiln's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, each naming what was at fault and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation refused its inputs: shapes, dtypes or arguments do not fit.
    #[error("{op}: {message}")]
    Op {
        /// The operation that refused.
        op: &'static str,
        /// What was given and what was expected.
        message: String,
    },
    /// A file holds something else than it should.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The keys or shapes of a state dict do not match the model's parameters.
    #[error("{}", keys_message(path, missing, unexpected, mismatched))]
    Keys {
        /// The file the state dict came from.
        path: PathBuf,
        /// Parameters of the model that the file lacks.
        missing: Vec<String>,
        /// Keys of the file that the model lacks.
        unexpected: Vec<String>,
        /// Keys present in both with another shape: `name: file [..], model [..]`.
        mismatched: Vec<String>,
    },
    /// No device fits what was asked for.
    #[error("no device for {asked:?}: {message}")]
    NoDevice {
        /// The name, index or policy asked for.
        asked: String,
        /// What was found instead.
        message: String,
    },
    /// The device cannot hold another buffer.
    #[error(
        "{device}: out of memory asking for {requested} bytes with {in_use} in use; \
         use a smaller batch or drop tensors that are no longer needed"
    )]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// Bytes asked for.
        requested: u64,
        /// Bytes in use by live tensors.
        in_use: u64,
    },
    /// The device disappeared (driver reset, unplugged); make a new one to go on.
    #[error("{device}: the device was lost: {message}")]
    DeviceLost {
        /// The device's name.
        device: String,
        /// The driver's reason.
        message: String,
    },
    /// The device failed in another way (shader rejected, driver error).
    #[error("{device}: {message}")]
    Device {
        /// The device's name.
        device: String,
        /// What failed.
        message: String,
    },
}

impl Error {
    /// An operation's refusal of its inputs.
    pub fn op(op: &'static str, message: impl Into<String>) -> Error {
        Error::Op { op, message: message.into() }
    }

    /// A file whose content is wrong.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// A file that could not be read or written.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Error {
        Error::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// A device's failure.
    pub fn device(device: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Device { device: device.into(), message: message.into() }
    }
}

fn keys_message(path: &Path, missing: &[String], unexpected: &[String], mismatched: &[String]) -> String {
    let mut text = format!("{}: the keys do not match the model", path.display());
    for (what, keys) in [("missing", missing), ("unexpected", unexpected), ("wrong shape", mismatched)] {
        if !keys.is_empty() {
            text += &format!("; {what}: {}", keys.join(", "));
        }
    }
    text
}
