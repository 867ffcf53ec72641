//! The user's cache directory.

use std::env;
use std::path::PathBuf;

/// The value of an environment variable that is set and not empty, as a path.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where Kiln may keep files of its own: `kiln` in `XDG_CACHE_HOME`, or in `~/.cache`.
pub(crate) fn directory() -> Option<PathBuf> {
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Some(caches?.join("kiln"))
}
