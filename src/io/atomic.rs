//! Files that are whole at any moment.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file so that `path` holds either what it held before or all of the new content, whenever
/// the process or the machine stops: a temporary file beside it, brought to disk, takes its place.
pub(crate) fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::io(path, io::Error::new(ErrorKind::InvalidInput, "not the name of a file")));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.tmp", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(temporary);

    let file = File::create_new(&temporary).map_err(|source| Error::io(path, source))?;
    let mut buffered = BufWriter::new(file);
    let written = write(&mut buffered)
        .and_then(|()| buffered.flush())
        .and_then(|()| buffered.get_ref().sync_all())
        .and_then(|()| {
            drop(buffered); // Windows does not rename a file that is open.
            fs::rename(&temporary, path)
        });
    written.map_err(|source| {
        // The first error is the one to tell, whether or not the remains can be removed.
        let _ = fs::remove_file(&temporary);
        Error::io(path, source)
    })
}
