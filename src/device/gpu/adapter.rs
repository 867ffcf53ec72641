//! Listing, choosing and opening adapters.

use super::context::Context;
use super::rehearsal::Rehearsal;
use super::tuner::Tuner;
use super::{GpuDevice, cooperative};
use crate::device::DeviceKind;
use crate::{Error, Result};
use std::fmt;

/// One GPU as one driver offers it; a GPU with two drivers is listed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Place in the list of [`adapters`].
    pub index: usize,
    /// The name its driver gives it, and the backend.
    pub name: String,
    /// A GPU or a software one.
    pub kind: DeviceKind,
    /// The interface it is driven through: `Vulkan`, `Metal`, `Dx12` or `Gl`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// How large buffers, bindings and workgroups may be.
    pub limits: wgpu::Limits,
    /// What it offers beyond WebGPU's least.
    pub features: wgpu::Features,
}

/// Which GPU to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The best real GPU: discrete before integrated before virtual, never a software one.
    Best,
    /// The best GPU, a software one where there is no other.
    Any,
    /// The GPU of this index in the list of [`adapters`], or the first one whose name contains
    /// this text in any case.
    Named(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Best => f.write_str("the best GPU"),
            Selector::Any => f.write_str("any GPU"),
            Selector::Named(name) => f.write_str(name),
        }
    }
}

/// Every adapter that can run compute shaders, the best first.
pub fn adapters() -> Vec<AdapterInfo> {
    apart(|| describe_all(&enumerate(|_| false)))
}

/// The name that tells one adapter from another of the same GPU.
pub(super) fn full_name(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?})", info.name, info.backend)
}

pub(super) fn kind(info: &wgpu::AdapterInfo) -> DeviceKind {
    match info.device_type {
        wgpu::DeviceType::Cpu => DeviceKind::SoftwareGpu,
        _ => DeviceKind::Gpu,
    }
}

/// The largest subgroup of a device whose reductions go over subgroups. Software has them too, and is no faster by
/// them: it is asked to where `KILN_SUBGROUPS=1`. `KILN_SUBGROUPS=0` asks nobody.
pub(super) fn subgroups(device: &wgpu::Device) -> Option<u32> {
    let info = device.adapter_info();
    let faster = match std::env::var("KILN_SUBGROUPS").as_deref() {
        Ok("0") => false,
        Ok("1") => true,
        _ => kind(&info) == DeviceKind::Gpu,
    };
    (faster && device.features().contains(wgpu::Features::SUBGROUP)).then_some(info.subgroup_max_size)
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    AdapterInfo {
        index,
        name: full_name(&info),
        kind: kind(&info),
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        limits: adapter.limits(),
        features: adapter.features(),
    }
}

fn describe_all(listed: &[wgpu::Adapter]) -> Vec<AdapterInfo> {
    listed.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

/// The adapters, the best first. OpenGL is left alone where one of another interface is `enough`.
fn enumerate(enough: impl Fn(&wgpu::Adapter) -> bool) -> Vec<wgpu::Adapter> {
    let mut listed: Vec<wgpu::Adapter> = Vec::new();
    // An instance for each: what a device keeps alive of its instance is then its own interface alone.
    for backends in [wgpu::Backends::PRIMARY, wgpu::Backends::SECONDARY] {
        // From the environment, so that WGPU_BACKEND and the like work as in any program on wgpu.
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        descriptor.backends &= backends & wgpu::Instance::enabled_backend_features();
        if descriptor.backends.is_empty() || listed.iter().any(&enough) {
            continue;
        }
        listed.extend(pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(backends)));
    }
    let compute = wgpu::DownlevelFlags::COMPUTE_SHADERS;
    listed.retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(compute));
    // Stable, so that equals stay in the driver's order.
    listed.sort_by_key(|adapter| rank(&adapter.get_info()));
    listed
}

/// Runs `work` on a thread that has ended when this returns. What OpenGL's loader keeps for a thread that
/// called it is freed as the thread ends, and again by a process that exits at that moment.
fn apart<T: Send>(work: impl Fn() -> T + Sync) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("kiln-gpu-open".into()).spawn_scoped(scope, &work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(done) => done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // The system grants no thread.
            Err(_) => work(),
        }
    })
}

fn rank(info: &wgpu::AdapterInfo) -> (u8, u8) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    let backend = match info.backend {
        wgpu::Backend::Vulkan | wgpu::Backend::Metal => 0,
        wgpu::Backend::Dx12 => 1,
        _ => 2,
    };
    (kind, backend)
}

/// The place of the chosen adapter in the list.
fn choose(selector: &Selector, listed: &[AdapterInfo]) -> Result<usize> {
    let place = match selector {
        Selector::Best => listed.iter().position(|info| info.kind == DeviceKind::Gpu),
        Selector::Any => (!listed.is_empty()).then_some(0),
        Selector::Named(name) => match name.parse::<usize>() {
            Ok(index) => (index < listed.len()).then_some(index),
            Err(_) => {
                let name = name.to_lowercase();
                listed.iter().position(|info| info.name.to_lowercase().contains(&name))
            }
        },
    };
    place.ok_or_else(|| {
        let found: Vec<_> = listed.iter().map(|info| format!("{}: {}", info.index, info.name)).collect();
        let found = if found.is_empty() { "no GPU at all".into() } else { found.join(", ") };
        Error::NoDevice { asked: selector.to_string(), message: format!("found {found}") }
    })
}

impl GpuDevice {
    /// Opens a GPU with all that its adapter offers, or with what the environment variable
    /// `KILN_GPU_LIMITS` says:
    ///
    /// | value | limits |
    /// |---|---|
    /// | `adapter` | the adapter's own, as where it is not set |
    /// | `default` | those that every WebGPU device has |
    /// | `small` | for tests: 2 workgroups along a dimension, bindings of 16 KiB, buffers of 64 KiB |
    pub fn open(selector: &Selector) -> Result<GpuDevice> {
        let limits = limits_of(&std::env::var("KILN_GPU_LIMITS").unwrap_or_default())?;
        apart(|| open(selector, limits.as_ref()))
    }

    /// Opens a GPU with these limits only, an error where its adapter offers less.
    pub fn open_with_limits(selector: &Selector, limits: wgpu::Limits) -> Result<GpuDevice> {
        apart(|| open(selector, Some(&limits)))
    }
}

/// What a value of `KILN_GPU_LIMITS` asks for; `None` for the adapter's own limits.
fn limits_of(name: &str) -> Result<Option<wgpu::Limits>> {
    match name {
        "" | "adapter" => Ok(None),
        "default" => Ok(Some(wgpu::Limits::default())),
        "small" => Ok(Some(wgpu::Limits {
            max_compute_workgroups_per_dimension: 2,
            max_storage_buffer_binding_size: 16 << 10,
            max_buffer_size: 64 << 10,
            ..Default::default()
        })),
        _ => Err(Error::NoDevice {
            asked: format!("KILN_GPU_LIMITS={name}"),
            message: "expected adapter, default or small".into(),
        }),
    }
}

fn open(selector: &Selector, limits: Option<&wgpu::Limits>) -> Result<GpuDevice> {
    let listed = enumerate(|adapter| {
        !matches!(selector, Selector::Named(_)) && kind(&adapter.get_info()) == DeviceKind::Gpu
    });
    let adapter = &listed[choose(selector, &describe_all(&listed))?];
    let info = adapter.get_info();
    let name = full_name(&info);
    let offered = if limits.is_some() { None } else { cooperative::offered(adapter) };
    let experimental_features = match offered {
        // SAFETY: cooperative matrices are experimental, so wrong or missing, where a driver has bugs; they are
        // used after a product by them was right.
        Some(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
        None => wgpu::ExperimentalFeatures::disabled(),
    };
    // Timestamps are for the tuner, subgroups for reductions, what was compiled for the next program.
    let wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP | wgpu::Features::PIPELINE_CACHE;
    let software = kind(&info) == DeviceKind::SoftwareGpu;
    let wanted = if software { wanted | wgpu::Features::SHADER_INT64 } else { wanted };
    let present = if limits.is_some() { wgpu::Features::empty() } else { adapter.features() & wanted };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("kiln"),
        required_features: offered.map_or(wgpu::Features::empty(), |_| cooperative::features()) | present,
        experimental_features,
        required_limits: limits.cloned().unwrap_or_else(|| adapter.limits()),
        ..Default::default()
    };
    let request = adapter.request_device(&descriptor);
    let (device, queue) =
        pollster::block_on(request).map_err(|error| Error::device(&name, error.to_string()))?;
    let context = Context::new(name, device, queue);
    context.watch();
    let lazy = software && info.backend == wgpu::Backend::Vulkan && limits.is_none();
    let rehearsal = if lazy { Rehearsal::new(adapter.clone(), descriptor) } else { None };
    let mut gpu = GpuDevice::new(kind(&info), context, limits.is_some(), rehearsal)?;
    if let Ok(limit) = std::env::var("KILN_GPU_MEMORY") {
        gpu.limit_memory(bytes_of(&limit)?);
    }
    if let Some(offered) = offered {
        gpu.try_cooperative(offered);
    }
    gpu.tuner = Tuner::of(&gpu, limits.is_some());
    Ok(gpu)
}

/// The bytes that a value of `KILN_GPU_MEMORY` stands for, such as `500M` or `2G`.
fn bytes_of(text: &str) -> Result<u64> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(|| {
        Error::NoDevice {
            asked: format!("KILN_GPU_MEMORY={text}"),
            message: "expected a number of bytes, or of K, M or G, as in 500M".into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(index: usize, name: &str, kind: DeviceKind) -> AdapterInfo {
        let (backend, driver) = ("Vulkan".into(), "test".into());
        let (limits, features) = Default::default();
        AdapterInfo { index, name: name.into(), kind, backend, driver, limits, features }
    }

    #[test]
    fn limits_are_known_by_name() {
        assert_eq!(limits_of("default").unwrap(), Some(wgpu::Limits::default()));
        assert_eq!((limits_of("").unwrap(), limits_of("adapter").unwrap()), (None, None));
        let error = limits_of("tiny").unwrap_err().to_string();
        assert!(error.contains("tiny") && error.contains("expected"), "{error}");
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in [("0", 0), ("123", 123), ("7k", 7 << 10), ("500M", 500 << 20), ("2 G", 2 << 30)]
        {
            assert_eq!(bytes_of(text).unwrap(), bytes);
        }
        for text in ["", "G", "1.5G", "-1", "20000000000G", "1T"] {
            let error = bytes_of(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("500M"), "{error}");
        }
    }

    #[test]
    fn selectors_choose_by_kind_name_and_index() {
        let gpu = info(0, "Fast GPU (Vulkan)", DeviceKind::Gpu);
        let software = info(1, "llvmpipe (Vulkan)", DeviceKind::SoftwareGpu);
        let listed = [gpu, software.clone()];
        assert_eq!(choose(&Selector::Best, &listed).unwrap(), 0);
        assert_eq!(choose(&Selector::Named("LLVM".into()), &listed).unwrap(), 1);
        assert_eq!(choose(&Selector::Named("1".into()), &listed).unwrap(), 1);
        assert_eq!(choose(&Selector::Any, std::slice::from_ref(&software)).unwrap(), 0);
        for selector in [Selector::Best, Selector::Named("2".into()), Selector::Named("radeon".into())] {
            let error = choose(&selector, std::slice::from_ref(&software)).unwrap_err();
            assert!(error.to_string().contains("llvmpipe"), "{error}");
        }
        assert!(matches!(choose(&Selector::Any, &[]), Err(Error::NoDevice { .. })));
    }
}
