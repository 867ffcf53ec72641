//! What was decided and why, for `KILN_EXPLAIN=1`.

use super::{Assignment, CPU, GPU, Graph};
use crate::Engine;
use crate::graph::collect::Item;
use crate::graph::fuse::Task;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The graphs explained so far, where explanations are asked for.
static SEEN: LazyLock<Option<Mutex<HashSet<u64>>>> =
    LazyLock::new(|| std::env::var_os("KILN_EXPLAIN").is_some_and(|value| value == "1").then(Mutex::default));

/// Whether explanations are asked for.
pub(super) fn wanted() -> bool {
    SEEN.is_some()
}

/// Prints a graph's table to standard error, once for all graphs of the same tasks on the same devices.
/// `graph` has the estimates, if there are any.
pub(super) fn print<'r>(
    engine: &Engine,
    items: &[Item],
    tasks: &[Task],
    graph: Option<&Graph>,
    on: &[usize],
    reason: impl Fn(usize) -> &'r str,
) {
    let Some(seen) = &*SEEN else { return };
    let mut hasher = DefaultHasher::new();
    on.hash(&mut hasher);
    for task in tasks {
        task.op.name().hash(&mut hasher);
        task.inputs.hash(&mut hasher);
        items[task.output].node.spec.hash(&mut hasher);
    }
    if tasks.is_empty() || !seen.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish()) {
        return;
    }
    let device = |at: usize| if at == CPU { engine.cpu_device() } else { engine.main() };
    let mut text = format!("graph of {} tasks on {}", tasks.len(), engine.name());
    if let Some(graph) = graph {
        let ms = |assignment: Assignment| format!("{:.3} ms", assignment.seconds() * 1e3);
        let chosen = ms(Assignment::new(graph, on.to_vec()));
        let [cpu, gpu] = [CPU, GPU].map(|device| ms(graph.alone_on(device)));
        let _ = write!(text, ": {chosen} with transfers, {cpu} on the CPU alone, {gpu} on the GPU");
    }
    let _ = writeln!(
        text,
        "\n  {:20} {:22} {:>11} {:>11}  {:24} device",
        "op", "output", "CPU us", "GPU us", "reason"
    );
    for (at, task) in tasks.iter().enumerate() {
        let spec = &items[task.output].node.spec;
        let estimate = |device: usize| match graph.map(|graph| graph.nodes[at].seconds[device]) {
            Some(seconds) if seconds.is_finite() => format!("{:.1}", seconds * 1e6),
            _ => "-".to_string(),
        };
        let _ = writeln!(
            text,
            "  {:20} {:22} {:>11} {:>11}  {:24} {}",
            task.op.name(),
            format!("{} {}", spec.dtype, spec.shape()),
            estimate(CPU),
            estimate(GPU),
            reason(at),
            device(on[at]).name(),
        );
    }
    // There is nobody to tell that standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
