//! Waiting for bytes without holding up an async executor.

use super::context::{Context, lock};
use super::pool::Block;
use crate::{Error, Result};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;

/// What a pending map tells its future: done, or failed, with the reason where there is one.
#[derive(Default)]
struct State {
    mapped: Option<Result<(), Option<Error>>>,
    waker: Option<Waker>,
}

impl State {
    fn finish(state: &Mutex<State>, result: Result<(), Option<Error>>) {
        let mut state = lock(state);
        state.mapped.get_or_insert(result);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Job {
    index: Option<wgpu::SubmissionIndex>,
    state: Arc<Mutex<State>>,
}

/// A thread that waits for submits in the place of futures, started by the first one that has to.
pub(super) struct Waiter {
    context: Arc<Context>,
    thread: OnceLock<Option<Thread>>,
}

struct Thread {
    jobs: mpsc::Sender<Job>,
    handle: JoinHandle<()>,
}

impl Waiter {
    pub fn new(context: Arc<Context>) -> Waiter {
        Waiter { context, thread: OnceLock::new() }
    }

    fn wait(&self, job: Job) {
        let start = || {
            let (jobs, receiver) = mpsc::channel::<Job>();
            let context = Arc::clone(&self.context);
            let work = move || receiver.into_iter().for_each(|job| run(&context, &job));
            let handle = std::thread::Builder::new().name("kiln-gpu-wait".into()).spawn(work).ok()?;
            Some(Thread { jobs, handle })
        };
        // Where the system grants no thread, the caller's own has to wait.
        let refused = match self.thread.get_or_init(start) {
            Some(thread) => thread.jobs.send(job).err().map(|error| error.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            run(&self.context, &job);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(Some(Thread { jobs, handle })) = self.thread.take() else { return };
        drop(jobs);
        // A driver may crash when a thread still holds its device while the process exits. The
        // thread itself gets here when a task that it woke held the last handle to the device.
        if handle.thread().id() != std::thread::current().id() {
            // It fails only if the thread panicked, which then was reported.
            let _ = handle.join();
        }
    }
}

/// Waits for the job's submit, in which wgpu calls the map's callback.
fn run(context: &Context, job: &Job) {
    if let Err(error) = context.wait(job.index.clone()) {
        // After a failure wgpu may never call back.
        State::finish(&job.state, Err(Some(error)));
    }
}

struct Mapped<'a> {
    waiter: &'a Waiter,
    job: Option<Job>,
    state: Arc<Mutex<State>>,
}

impl Future for Mapped<'_> {
    type Output = Result<(), Option<Error>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<Result<(), Option<Error>>> {
        let mut state = lock(&self.state);
        if let Some(result) = state.mapped.take() {
            return Poll::Ready(result);
        }
        state.waker = Some(task.waker().clone());
        drop(state);
        if let Some(job) = self.job.take() {
            self.waiter.wait(job);
        }
        Poll::Pending
    }
}

/// The bytes of `range` of `staging` once submit `index`, which fills it, has run.
pub(super) fn read(
    waiter: &Waiter,
    mut staging: Block,
    range: Range<usize>,
    index: Option<wgpu::SubmissionIndex>,
) -> impl Future<Output = Result<Vec<u8>>> + Send {
    let mapped = 0..range.end.next_multiple_of(4) as u64;
    let state = Arc::<Mutex<State>>::default();
    let reports = Arc::clone(&state);
    // Whoever drops the future early leaves a map pending, and the buffer must not be reused.
    staging.set_reusable(false);
    staging.buffer.map_async(wgpu::MapMode::Read, mapped.clone(), move |result| {
        State::finish(&reports, result.map_err(|_| None));
    });
    let future = Mapped { waiter, job: Some(Job { index, state: Arc::clone(&state) }), state };
    async move {
        let failed = || waiter.context.failure("a buffer could not be mapped".into());
        future.await.map_err(|error| error.unwrap_or_else(failed))?;
        let view = staging.buffer.get_mapped_range(mapped);
        let view = view.map_err(|error| waiter.context.error(error.to_string()))?;
        let bytes = view[range].to_vec();
        drop(view);
        staging.buffer.unmap();
        staging.set_reusable(true);
        Ok(bytes)
    }
}
