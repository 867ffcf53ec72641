//! One engine and its tensors used by many threads at once: the same bits as one after the other.

use kiln::nn::{Linear, Module, Params, loss};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::{Engine, Error, Op, Output, Result, Spec, Tensor, View};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

const THREADS: usize = 8;

/// The CPU, and the GPU if there is one.
fn engines() -> Vec<Engine> {
    let required = std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1");
    match Engine::new("gpu") {
        Ok(gpu) => vec![Engine::cpu(), gpu],
        Err(Error::NoDevice { .. }) if !required => vec![Engine::cpu()],
        Err(error) => panic!("{error}"),
    }
}

/// What `work` makes of the numbers of the threads, all at once.
fn at_once<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || work(i))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect()
    })
}

fn one_by_one<T>(work: impl Fn(usize) -> Result<T>) -> Result<Vec<T>> {
    (0..THREADS).map(work).collect()
}

/// Losses of ten steps of a small net, and its weights after them.
fn train(seed: u64, engine: &Engine) -> Result<Vec<f32>> {
    let params = Params::new(engine, seed);
    let (first, second) = (Linear::new(&params / "first", 20, 40)?, Linear::new(&params / "second", 40, 5)?);
    let mut optimizer = Adam::new(&params, AdamOptions::default())?;
    let x = Tensor::randn([33, 20], seed, engine)?;
    let labels = x.narrow(1, 0, 5)?.argmax(1, false)?;
    let mut results = Vec::new();
    for step in 0..10 {
        let hidden = first.forward(&x)?.relu()?.dropout(0.1, seed + step)?;
        let loss = loss::cross_entropy(&second.forward(&hidden)?, &labels)?;
        optimizer.step(loss.backward()?)?;
        results.extend(loss.to_vec::<f32>()?);
    }
    for (_, param) in params.named() {
        results.extend(param.get().to_vec::<f32>()?);
    }
    Ok(results)
}

#[test]
fn threads_train_nets_of_their_own() -> Result<()> {
    for engine in engines() {
        let net = |i: usize| train(i as u64, &engine);
        assert_eq!(at_once(net)?, one_by_one(net)?, "{}", engine.name());
    }
    Ok(())
}

/// A pending graph over `x` and `w`: the value of its loss, and gradients.
fn gradients(hidden: &Tensor, w: &Tensor, i: usize) -> Result<Vec<f32>> {
    let loss = hidden.mul(i as f64 + 0.5)?.matmul(w)?.tanh()?.square()?.mean(.., false)?;
    let gradients = loss.backward()?;
    let mut results = loss.to_vec::<f32>()?;
    results.extend(gradients.get(w).expect("w is a leaf of the graph").to_vec::<f32>()?);
    Ok(results)
}

#[test]
fn threads_share_inputs_and_what_is_still_to_be_computed() -> Result<()> {
    for engine in engines() {
        let w = Tensor::randn([48, 48], 3, &engine)?.variable()?;
        let shared = || Tensor::randn([64, 48], 4, &engine)?.matmul(&w)?.exp()?.softmax(1);
        for _ in 0..5 {
            // All threads find the same pending tensor, and whoever comes first computes it.
            let (together, alone) = (shared()?, shared()?);
            let results = at_once(|i| gradients(&together, &w, i))?;
            assert_eq!(results, one_by_one(|i| gradients(&alone, &w, i))?, "{}", engine.name());
        }
    }
    Ok(())
}

#[test]
fn threads_walk_back_from_the_same_loss() -> Result<()> {
    for engine in engines() {
        let w = Tensor::randn([31, 31], 5, &engine)?.variable()?;
        let loss = w.matmul(&w)?.sigmoid()?.sum(.., false)?;
        let walk = |_| loss.backward()?.get(&w).expect("w is a leaf of the graph").to_vec::<f32>();
        let results = at_once(walk)?;
        assert_eq!(results, one_by_one(walk)?, "{}", engine.name());
    }
    Ok(())
}

#[test]
fn tensors_go_from_thread_to_thread() -> Result<()> {
    for engine in engines() {
        let (to_second, second) = mpsc::channel::<Tensor>();
        let (to_third, third) = mpsc::channel::<(Tensor, Tensor)>();
        let sums = std::thread::scope(|scope| {
            scope.spawn(move || {
                for x in second {
                    // Recorded in the first thread, used here, read and dropped in the third.
                    let y = x.mul(&x).and_then(|y| y.add(1.0)).expect("the shapes fit");
                    to_third.send((x, y)).expect("the third thread lives");
                }
            });
            let reader = scope.spawn(move || {
                third
                    .into_iter()
                    .map(|(x, y)| y.sub(&x)?.sum(.., false)?.item())
                    .collect::<Result<Vec<f64>>>()
            });
            for i in 0..50 {
                let x = Tensor::full([17, 3], f64::from(i), kiln::DType::F32, &engine)?.add(0.5)?;
                to_second.send(x).expect("the second thread lives");
            }
            drop(to_second);
            reader.join().expect("the third thread panicked")
        })?;
        let expected: Vec<f64> =
            (0..50).map(|i| f64::from(i) + 0.5).map(|x| 51.0 * (x * x + 1.0 - x)).collect();
        assert_eq!(sums, expected, "{}", engine.name());
    }
    Ok(())
}

#[test]
fn a_model_is_used_while_it_is_trained() -> Result<()> {
    for engine in engines() {
        let params = Params::new(&engine, 9);
        let layer = Linear::without_bias(&params / "layer", 12, 7)?;
        let x = Tensor::randn([5, 12], 10, &engine)?;
        let outputs = || layer.forward(&x.detach())?.to_vec::<f32>();
        let step =
            |optimizer: &mut Adam| optimizer.step(layer.forward(&x)?.square()?.sum(.., false)?.backward()?);
        let initial = params.state_dict()?;
        let mut optimizer = Adam::new(&params, AdamOptions { lr: 0.1, ..Default::default() })?;
        let mut every = vec![outputs()?];
        for _ in 0..20 {
            step(&mut optimizer)?;
            every.push(outputs()?);
        }
        params.load_state_dict(&initial, "initial")?;
        let mut optimizer = Adam::new(&params, AdamOptions { lr: 0.1, ..Default::default() })?;
        std::thread::scope(|scope| -> Result<()> {
            let readers: Vec<_> = (1..THREADS)
                .map(|_| scope.spawn(|| (0..20).map(|_| outputs()).collect::<Result<Vec<_>>>()))
                .collect();
            for _ in 0..20 {
                step(&mut optimizer)?;
            }
            for reader in readers {
                for seen in reader.join().expect("a reader panicked")? {
                    assert!(every.contains(&seen), "{}: an output of no step", engine.name());
                }
            }
            Ok(())
        })?;
        assert_eq!(outputs()?, every[20], "{}: readers changed the training", engine.name());
    }
    Ok(())
}

/// Fails where `work` does not end: threads that wait for each other. One at a time, since kernels here wait
/// for rayon's threads, which those of another test may hold.
fn ends(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(Duration::from_secs(100)).expect("threads wait for each other, or one panicked")
}

#[test]
fn rayon_evaluates_in_parallel() -> Result<()> {
    ends(|| {
        for engine in engines() {
            let w = Tensor::randn([160, 160], 6, &engine)?;
            let work = |i: usize| {
                let x = Tensor::randn([160, 160], i as u64, &engine)?;
                x.matmul(&w)?.exp()?.sum(0, false)?.mul(2.0)?.to_vec::<f32>()
            };
            let results = (0..40).into_par_iter().map(work).collect::<Result<Vec<_>>>()?;
            assert_eq!(results, (0..40).map(work).collect::<Result<Vec<_>>>()?, "{}", engine.name());
        }
        Ok(())
    })
}

/// Runs `inside` in the middle of its CPU kernel, which is too long for one thread.
struct Kernel(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kernel")
    }
}

impl Op for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }
    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }
    fn flops(&self, _: &[Spec], _: &Spec) -> u64 {
        u64::MAX
    }
    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        (self.0)();
        output.slice::<f32>().copy_from_slice(inputs[0].slice());
        Ok(())
    }
    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}

#[test]
fn a_kernel_finds_threads_while_all_of_rayons_wait_for_it() -> Result<()> {
    ends(|| {
        let engine = Engine::cpu();
        let x = Tensor::randn([3], 7, &engine)?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let (counted, others) = (waiting.clone(), rayon::current_num_threads());
        let kernel = Kernel(Box::new(move || {
            while counted.load(Ordering::SeqCst) < others {
                std::thread::yield_now();
            }
            // They are about to wait for the engine; nothing tells when they do.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!((0..100_000u64).into_par_iter().sum::<u64>(), 4_999_950_000);
        }));
        let y = Tensor::apply(kernel, &[&x])?;
        std::thread::scope(|scope| {
            let first = scope.spawn(|| y.to_vec::<f32>());
            std::thread::sleep(Duration::from_millis(50));
            let results = rayon::broadcast(|_| {
                waiting.fetch_add(1, Ordering::SeqCst);
                x.add(1.0)?.to_vec::<f32>()
            });
            assert_eq!(first.join().expect("a thread panicked")?, x.to_vec::<f32>()?);
            results.into_iter().try_for_each(|result| result.map(drop))
        })
    })
}

#[test]
fn a_thread_of_rayon_does_not_wait_for_itself() -> Result<()> {
    ends(|| {
        let engine = Engine::cpu();
        let x = Tensor::randn([3], 8, &engine)?;
        let other = x.add(1.0)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two more threads");
        let (halved, halves) = mpsc::channel();
        let kernel = Kernel(Box::new(move || {
            let begun = AtomicUsize::new(0);
            let both = || {
                begun.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while begun.load(Ordering::SeqCst) < 2 && start.elapsed() < Duration::from_secs(2) {
                    std::thread::yield_now();
                }
            };
            rayon::join(both, || {
                both();
                // The other half is done and its thread waits for this one, when there is more to do.
                std::thread::sleep(Duration::from_millis(50));
                halved.send(()).expect("the test waits for it");
                std::thread::sleep(Duration::from_millis(50));
            });
        }));
        let y = Tensor::apply(kernel, &[&x])?;
        std::thread::scope(|scope| {
            let first = scope.spawn(|| pool.install(|| y.to_vec::<f32>()));
            halves.recv().expect("the kernel runs");
            let (sender, result) = mpsc::channel();
            pool.spawn(move || drop(sender.send(other.to_vec::<f32>())));
            assert_eq!(first.join().expect("a thread panicked")?, x.to_vec::<f32>()?);
            result.recv().expect("the other evaluation panicked").map(drop)
        })
    })
}
