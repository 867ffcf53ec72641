//! Time, arithmetic and memory rate of each operation, and their share of what the device does at its best:
//! `cargo bench --bench ops [-- FILTER]`, on the device that `KILN_DEVICE` names.

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use kiln::nn::{Init, Params};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::proof::{Cost, workloads};
use kiln::{Ceilings, Engine, Result, Tensor};
use std::cell::OnceCell;
use std::time::{Duration, Instant};

/// Results that are held between two waits for the device: a lazy engine skips what nobody holds.
const HELD: u64 = 16;

struct Bench<'a> {
    engine: Engine,
    ceilings: OnceCell<Ceilings>,
    group: BenchmarkGroup<'a, WallTime>,
}

/// Something to time, made when it is first run: a filter may leave it out.
type Prepared = (Cost, Box<dyn FnMut() -> Result<Tensor>>);

impl Bench<'_> {
    fn run(&mut self, name: &str, prepare: impl Fn(&Engine) -> Result<Prepared>) {
        let (engine, mut prepared, mut best) = (&self.engine, None, f64::INFINITY);
        self.group.bench_function(name, |bencher| {
            let (_, step) = prepared.get_or_insert_with(|| prepare(engine).expect(name));
            bencher.iter_custom(|count| {
                let start = Instant::now();
                for first in (0..count).step_by(HELD as usize) {
                    let mut held = Vec::new();
                    for _ in first..count.min(first + HELD) {
                        let result = step().expect(name);
                        result.eval().expect(name);
                        held.push(result);
                    }
                    engine.synchronize().expect(name);
                }
                let elapsed = start.elapsed();
                best = best.min(elapsed.as_secs_f64() / count as f64);
                elapsed
            });
        });
        let Some((cost, _)) = prepared else { return };
        let ceilings =
            self.ceilings.get_or_init(|| engine.ceilings(Duration::from_millis(200)).expect("ceilings"));
        let rate = |amount: u64, unit: &str, peak: f64| {
            let rate = amount as f64 / best;
            format!("{:.1} {unit}/s, {:.0} % of {:.1}", rate / 1e9, 100.0 * rate / peak, peak / 1e9)
        };
        let flops = rate(cost.flops, "GFLOP", ceilings.flops);
        let bytes = rate(cost.bytes, "GB", ceilings.bandwidth);
        println!("{name}: {:.3} ms at best; {flops}; {bytes}\n", best * 1e3);
    }
}

/// One step of Adam over 4 million parameters.
fn adam(engine: &Engine) -> Result<Prepared> {
    let params = Params::new(engine, 0);
    let weight = params.parameter("weight", [2048, 2048], Init::weight())?;
    let mut optimizer = Adam::new(&params, AdamOptions::default())?;
    let slope = Tensor::randn([2048, 2048], 1, engine)?;
    slope.eval()?;
    let count = slope.elements() as u64;
    // The loss, the means, and the weight; read: slope, weight, both means; written: weight, both means.
    let cost = Cost { flops: 16 * count, bytes: 7 * 4 * count };
    let step = move || {
        let loss = weight.get().mul(&slope)?.sum(.., false)?;
        optimizer.step(loss.backward()?)?;
        Ok(loss)
    };
    Ok((cost, Box::new(step)))
}

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let engine = Engine::from_env()?;
    // Results of different devices are not to be compared as one's before and after.
    let mut group = criterion.benchmark_group(engine.name());
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    let mut bench = Bench { engine, ceilings: OnceCell::new(), group };
    for workload in workloads() {
        let workload = std::rc::Rc::new(workload);
        bench.run(workload.name, |engine| {
            let (inputs, workload) = (workload.tensors(engine)?, workload.clone());
            let cost = workload.cost(&inputs)?;
            Ok((cost, Box::new(move || (workload.op)(&inputs))))
        });
    }
    bench.run("adam", adam);
    bench.group.finish();
    Ok(())
}
