//! The user's cache directory.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The value of an environment variable that is set and not empty, as a path.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where Kiln may keep files of its own: `kiln` in `XDG_CACHE_HOME`, or in `~/.cache`.
pub(crate) fn directory() -> Option<PathBuf> {
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Some(caches?.join("kiln"))
}

/// What a file holds in JSON; nothing where it cannot be read or is damaged.
pub(crate) fn read<T: DeserializeOwned + Default>(file: Option<&Path>) -> T {
    let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Writes a file in JSON as a whole: another process that reads it meanwhile finds the old one or the new one. What
/// cannot be written is only measured once more.
pub(crate) fn write(file: &Path, content: &impl Serialize) {
    let Ok(text) = serde_json::to_string_pretty(content) else { return };
    let written = file.with_extension(format!("{}.tmp", std::process::id()));
    let _ = file.parent().map(fs::create_dir_all);
    if fs::write(&written, text).is_ok() && fs::rename(&written, file).is_err() {
        let _ = fs::remove_file(&written);
    }
}
