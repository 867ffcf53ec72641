//! What the driver compiled, kept in a file from run to run where a driver hands it out (Vulkan's do).

use super::context::Context;
use crate::cache;
use crate::io::write_atomic;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A file that would be larger is begun anew: drivers take nothing out, and kernels change with Kiln's versions.
const MOST: u64 = 64 << 20;

/// The driver's cache of compiled pipelines, written to its file when it is dropped with something new in it.
pub(super) struct Compiled {
    pub cache: wgpu::PipelineCache,
    file: PathBuf,
    /// The hash of what was read of the file.
    read: Option<u64>,
}

impl Compiled {
    /// That of a device, in the user's cache directory, unless `KILN_PIPELINE_CACHE=0`.
    pub fn of(context: &Context) -> Option<Compiled> {
        if std::env::var_os("KILN_PIPELINE_CACHE").is_some_and(|value| value == "0") {
            return None;
        }
        let name = wgpu::util::pipeline_cache_key(&context.device.adapter_info())?;
        Compiled::new(context, cache::directory()?.join(name))
    }

    /// That of a file; none where the device has not the feature for it.
    pub fn new(context: &Context, file: PathBuf) -> Option<Compiled> {
        if !context.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let known = read(&file);
        let make = |data: Option<&[u8]>| {
            let label = Some("kiln");
            let desc = wgpu::PipelineCacheDescriptor { label, data, fallback: true };
            // SAFETY: the data is as a driver gave it: the hash beside it says so. wgpu and the driver look whether
            // it is of this device, and driver, and else leave it.
            context.guard(|| unsafe { context.device.create_pipeline_cache(&desc) }).ok()
        };
        let given = known.as_ref().and_then(|(hash, data)| Some((make(Some(data))?, Some(*hash))));
        let (cache, read) = given.or_else(|| Some((make(None)?, None)))?;
        Some(Compiled { cache, file, read })
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let Some(data) = self.cache.get_data() else { return };
        let hash = hash_of(&data);
        if self.read == Some(hash) {
            return;
        }
        if data.len() as u64 > MOST {
            // What cannot be removed is no worse than no file.
            let _ = fs::remove_file(&self.file);
            return;
        }
        // What cannot be written is only compiled once more.
        let _ = self.file.parent().map(fs::create_dir_all);
        let _ = write_atomic(&self.file, |file| {
            file.write_all(&hash.to_le_bytes())?;
            file.write_all(&data)
        });
    }
}

/// What a file holds, and its hash; nothing where that is damaged.
fn read(file: &Path) -> Option<(u64, Vec<u8>)> {
    if fs::metadata(file).ok()?.len() > MOST + 8 {
        return None;
    }
    let mut bytes = fs::read(file).ok()?;
    let data = bytes.split_off(bytes.len().min(8));
    let hash = u64::from_le_bytes(bytes.try_into().ok()?);
    (hash == hash_of(&data)).then_some((hash, data))
}

fn hash_of(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::pipeline::{Pipelines, Trust};
    use crate::device::gpu::tests::{computes, device};
    use std::sync::Arc;

    /// Runs a kernel on a device that keeps what it compiled in `file`; whether something of the file was of use, or
    /// none where the driver hands nothing out.
    fn run(file: &Path) -> Option<bool> {
        let mut gpu = device()?;
        let compiled = Compiled::new(&gpu.context, file.into())?;
        let read = compiled.read.is_some();
        gpu.pipelines = Pipelines::new(Arc::clone(&gpu.context), Trust::Marked, Some(compiled), None);
        assert!(computes(&gpu));
        Some(read)
    }

    #[test]
    fn what_the_driver_compiled_is_kept_and_damage_replaced() {
        let folder = std::env::temp_dir().join(format!("kiln-compiled-{}", std::process::id()));
        let file = folder.join("cache");
        let Some(read_first) = run(&file) else { return };
        assert!(!read_first);
        let whole = fs::read(&file).unwrap();
        let written = fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(run(&file), Some(true));
        if fs::read(&file).unwrap() == whole {
            assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written, "nothing new, not written");
        }

        let hashed = |data: &[u8]| [&hash_of(data).to_le_bytes(), data].concat();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        // Another device's, as far as wgpu can tell: the key of the adapter is in the header.
        let mut foreign = whole[8..].to_vec();
        foreign[17..32].fill(7);
        let garbage = hashed(b"no cache of a driver's, but with its hash");
        for damaged in [&whole[..whole.len() / 2], &whole[..5], &[], &changed, &hashed(&foreign), &garbage] {
            fs::write(&file, damaged).unwrap();
            run(&file).unwrap();
            assert!(read(&file).is_some_and(|(_, data)| hashed(&data) != damaged), "replaced");
        }
        // One that is too large is not even read.
        fs::File::create(&file).unwrap().set_len(MOST + 9).unwrap();
        assert_eq!(run(&file), Some(false));
        assert!(fs::metadata(&file).unwrap().len() < MOST);
        fs::remove_dir_all(&folder).unwrap();
    }
}
