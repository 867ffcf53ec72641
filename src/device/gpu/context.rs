//! The wgpu device and queue, and what became of their errors.

use crate::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Locks `mutex`; nothing guarded here is left half-changed by a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What everything on a GPU shares.
pub(super) struct Context {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub name: String,
    /// Bytes in use by tensors and by work in flight.
    pub live: AtomicU64,
    faults: Arc<Faults>,
}

/// Errors that came outside any call, kept for the next one.
#[derive(Default)]
struct Faults {
    lost: OnceLock<String>,
    first: Mutex<Option<String>>,
}

impl Context {
    pub fn new(name: String, device: wgpu::Device, queue: wgpu::Queue) -> Context {
        Context { device, queue, name, live: AtomicU64::new(0), faults: Arc::default() }
    }

    /// Takes the device's callbacks, for a device that nobody else uses.
    pub fn watch(&self) {
        let faults = Arc::clone(&self.faults);
        self.device.set_device_lost_callback(move |_, message| faults.lose(message));
        let faults = Arc::clone(&self.faults);
        self.device.on_uncaptured_error(Arc::new(move |error| {
            lock(&faults.first).get_or_insert_with(|| error.to_string());
        }));
    }

    /// Reports what failed since the last call. A lost device is reported for ever.
    pub fn check(&self) -> Result<()> {
        if let Some(message) = self.faults.lost.get() {
            return Err(Error::DeviceLost { device: self.name.clone(), message: message.clone() });
        }
        lock(&self.faults.first).take().map_or(Ok(()), |message| Err(self.error(message)))
    }

    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::device(&self.name, message)
    }

    /// What wgpu raised over something of `bytes` bytes.
    pub fn raised(&self, error: &wgpu::Error, bytes: u64) -> Error {
        match error {
            wgpu::Error::OutOfMemory { .. } => self.out_of_memory(bytes),
            error => self.error(error.to_string()),
        }
    }

    pub fn out_of_memory(&self, requested: u64) -> Error {
        let in_use = self.live.load(Ordering::Relaxed);
        Error::OutOfMemory { device: self.name.clone(), requested, in_use }
    }

    /// Takes the device for lost: for what leaves it in no state to go on.
    pub fn lose(&self, message: impl Into<String>) -> Error {
        self.faults.lose(message.into());
        self.check().err().unwrap_or_else(|| self.error("it was lost"))
    }

    /// Finds out whether the device is lost, which one whose callbacks are another's does not say.
    pub fn probe(&self) -> Result<()> {
        let made = self.guard(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("probe"),
                size: 4,
                usage: wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            })
        });
        // A lost device raises nothing, but what it makes cannot be used.
        if made.is_ok_and(|buffer| buffer.get_mapped_range(..).is_err()) {
            return Err(self.lose("it makes no more buffers"));
        }
        self.check()
    }

    /// Runs `work` and returns the first error that wgpu raised in it on this thread.
    pub fn guard<T>(&self, work: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Validation, Internal, OutOfMemory].map(|kind| self.device.push_error_scope(kind));
        let value = work();
        // Scopes nest: the last one pushed is popped first.
        let errors = scopes.into_iter().rev().map(|scope| pollster::block_on(scope.pop()));
        errors.fold(None, |first, error| first.or(error)).map_or(Ok(value), Err)
    }

    /// Waits until a submission, or all of them, has run.
    pub fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        match self.poll(wgpu::PollType::Wait { submission_index, timeout: None }) {
            Ok(()) => self.check(),
            Err(message) => Err(self.failure(message)),
        }
    }

    /// The error for something that failed, which is the loss of the device if that is behind it.
    pub fn failure(&self, message: String) -> Error {
        // A device that was destroyed says so when it is polled, and what failed is known already.
        let _ = self.poll(wgpu::PollType::Poll);
        self.probe().err().unwrap_or_else(|| self.error(message))
    }

    fn poll(&self, kind: wgpu::PollType) -> Result<(), String> {
        // wgpu panics when the device is lost during a wait, which is no mistake of the caller's.
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(kind))) {
            Ok(polled) => polled.map(drop).map_err(|error| error.to_string()),
            Err(_) => {
                let message = "it failed while work was waited for";
                self.faults.lose(message.into());
                Err(message.into())
            }
        }
    }
}

impl Faults {
    fn lose(&self, message: String) {
        let message = if message.is_empty() { "it was destroyed".into() } else { message };
        // Only the first report counts, so a second one may be refused.
        let _ = self.lost.set(message);
    }
}
