//! What graphs ask of the device.

use super::*;

/// The number of the buffer that holds a tensor's value.
fn block_of(tensor: &Tensor) -> Option<u64> {
    tensor.inner().state().value.as_ref()?.storage::<Block>().map(|block| block.id)
}

#[test]
fn what_a_graph_replaces_is_written_over() {
    let Some(device) = device() else { return };
    let engine = crate::Engine::with_devices(Some(Arc::new(device)), "a test");
    // The last sizes are no whole vectors.
    for elements in [64, 1, 1003] {
        let values: Vec<f32> = (0..elements).map(|i| i as f32).collect();
        let expected: Vec<f32> = values.iter().map(|x| x * 2.0 + 1.0).collect();
        for held in [false, true] {
            let x = Tensor::from_vec(values.clone(), [elements], &engine).unwrap();
            x.eval().unwrap();
            let (before, other) = (block_of(&x), held.then(|| x.clone()));
            assert!(before.is_some());
            let y = x.mul(2.0).unwrap().add(1.0).unwrap();
            drop(x);
            y.eval().unwrap();
            assert_eq!(block_of(&y) == before, !held, "{elements} elements, held: {held}");
            assert_eq!(y.to_vec::<f32>().unwrap(), expected);
            assert!(other.is_none_or(|x| x.to_vec::<f32>().unwrap() == values));
        }
    }
    // Of two, the one that nobody holds.
    let [held, free] = [1.0f32, 2.0].map(|x| Tensor::from_vec(vec![x; 64], [64], &engine).unwrap());
    crate::eval([&held, &free]).unwrap();
    let before = block_of(&free);
    let sum = held.add(&free).unwrap();
    drop(free);
    assert_eq!(sum.to_vec::<f32>().unwrap(), [3.0; 64]);
    assert_eq!(block_of(&sum), before);
    assert_eq!(held.to_vec::<f32>().unwrap(), [1.0; 64]);
}

#[test]
fn a_graph_that_is_run_again_finds_its_bind_groups() {
    let Some(device) = device() else { return };
    let device = Arc::new(device);
    let engine = crate::Engine::with_devices(Some(device.clone()), "a test");
    let mut state = Tensor::from_vec(vec![1.0f32; 256], [16, 16], &engine).unwrap();
    let weight = Tensor::from_vec(vec![0.01f32; 256], [16, 16], &engine).unwrap();
    let mut groups = Vec::new();
    for _ in 0..6 {
        let next = state.matmul(&weight).unwrap().softmax(-1).unwrap().exp().unwrap();
        state = state.mul(0.5).unwrap().add(&next).unwrap();
        state.eval().unwrap();
        groups.push(device.pool.groups());
    }
    assert!(groups[0] > 0 && groups[5] == groups[2], "{groups:?}");
}

#[test]
fn a_kept_plan_runs_with_the_numbers_of_its_run() {
    let Some(device) = device() else { return };
    let device = Arc::new(device);
    let engines = [crate::Engine::with_devices(Some(device.clone()), "a test"), crate::Engine::cpu()];
    let mut kept = Vec::new();
    for number in [1, 2, 3] {
        let [found, expected] = engines.each_ref().map(|engine| {
            let drawn = Tensor::rand([40], number, engine).unwrap();
            let kept = Tensor::bernoulli([40], 0.2 * number as f64, 7, engine).unwrap();
            let scaled = drawn.mul(number as f64).unwrap().add(0.5 * number as f64).unwrap();
            // Steps in front of a reduction and after it, and after a product, in the kernels of these.
            let whole = Tensor::arange(0.0, 24.0, 1.0, engine).unwrap().reshape([4, 6]).unwrap();
            let (more, weight) = (whole.mul(number as f64).unwrap(), whole.reshape([6, 4]).unwrap());
            let sums = more.add(1.0).unwrap().sum(1, false).unwrap().sub(number as f64).unwrap();
            let product = whole.matmul(&weight).unwrap().mul(0.5 * number as f64).unwrap();
            [scaled, kept, sums, product]
                .map(|tensor| tensor.cast(DType::F32).unwrap().to_vec::<f32>().unwrap())
        });
        assert_eq!(found, expected);
        kept.push(device.plans.kept());
    }
    assert_eq!(kept, [kept[0]; 3]);
}

#[test]
fn updates_of_many_parameters_take_few_kernels() {
    let Some(mut device) = device() else { return };
    // On software only what belongs together shares a kernel.
    device.caps.software = false;
    let device = Arc::new(device);
    let engine = crate::Engine::with_devices(Some(device.clone()), "a test");
    let of = |value: f32, n: usize| Tensor::from_vec(vec![value; n], [n], &engine).unwrap();
    let (mut targets, sizes) = (Vec::new(), [5usize, 64, 1003, 1, 300, 12]);
    for n in sizes {
        let [parameter, velocity, gradient] = [1.0, 2.0, 3.0].map(|value| of(value, n));
        let velocity = velocity.mul(0.5).unwrap().add(&gradient).unwrap();
        targets.push(parameter.sub(&velocity.mul(0.25).unwrap()).unwrap());
        targets.push(velocity);
    }
    device.synchronize().unwrap();
    crate::eval(&targets).unwrap();
    let dispatches = lock(&device.stream).dispatches();
    assert!((1..=3).contains(&dispatches), "{dispatches}");
    for (pair, n) in targets.chunks(2).zip(sizes) {
        assert_eq!(pair[0].to_vec::<f32>().unwrap(), vec![0.0; n]);
        assert_eq!(pair[1].to_vec::<f32>().unwrap(), vec![4.0; n]);
    }
}

#[test]
fn what_is_read_in_two_ways_is_not_written_over() {
    let Some(device) = device() else { return };
    let engine = crate::Engine::with_devices(Some(Arc::new(device)), "a test");
    let x = Tensor::from_vec((1..9).map(|i| i as f32).collect(), [8], &engine).unwrap();
    // A new kernel, after which the device asks what else is to come.
    x.softmax(0).unwrap().eval().unwrap();
    let y = x.mul(&x.narrow(0, 1, 1).unwrap()).unwrap();
    drop(x);
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]);
}

#[test]
fn what_came_before_an_error_is_there() {
    let Some(device) = device() else { return };
    let device = Arc::new(device);
    let engine = crate::Engine::with_devices(Some(device.clone()), "a test");
    let of = |value: f32, n: usize| Tensor::from_vec(vec![value; n], [n], &engine).unwrap();
    let (small, large) = (of(1.0, 64), of(2.0, 1 << 20));
    crate::eval([&small, &large]).unwrap();
    device.limit_memory(5 << 20);
    let before = small.add(1.0).unwrap();
    let after = large.mul(2.0).unwrap();
    let error = crate::eval([&before, &after]).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert_eq!(before.to_vec::<f32>().unwrap(), [2.0; 64]);
    device.limit_memory(64 << 20);
    assert_eq!(after.to_vec::<f32>().unwrap()[..2], [4.0; 2]);
}

#[test]
fn a_program_of_more_buffers_than_run_together_runs_alone() {
    let Some(device) = device() else { return };
    let merged = device.merges();
    let engine = crate::Engine::with_devices(Some(Arc::new(device)), "a test");
    let parts: Vec<Tensor> =
        (0..merged + 2).map(|i| Tensor::from_vec(vec![i as f32], [1], &engine).unwrap()).collect();
    crate::eval(&parts).unwrap();
    let sum = parts.into_iter().reduce(|sum, part| sum.add(&part).unwrap()).unwrap();
    let expected = (merged + 1) * (merged + 2) / 2;
    assert_eq!(sum.to_vec::<f32>().unwrap(), [expected as f32]);
}

#[test]
fn tiny_products_share_a_kernel_where_compiling_counts() {
    let Some(mut device) = device() else { return };
    device.caps.software = true;
    let device = Arc::new(device);
    let engines = [crate::Engine::with_devices(Some(device.clone()), "a test"), crate::Engine::cpu()];
    let [found, expected] = engines.each_ref().map(|engine| {
        let x = Tensor::arange(-6.0, 6.0, 1.0, engine).unwrap().reshape([3, 4]).unwrap();
        crate::eval([&x]).unwrap();
        let before = lock(&device.pipelines.slots).len();
        let products = [
            x.matmul(&x.t().unwrap()).unwrap().add(&x.narrow(1, 0, 3).unwrap()).unwrap(),
            x.t().unwrap().matmul(&x).unwrap().relu().unwrap(),
            x.t().unwrap().matmul(&x).unwrap().mul(0.5).unwrap(),
        ];
        let values = products.map(|product| product.to_vec::<f32>().unwrap());
        (values, lock(&device.pipelines.slots).len() - before)
    });
    assert_eq!(found.0, expected.0);
    // That of all products, and one for each of the steps.
    assert_eq!(found.1, 4);
}

#[test]
fn products_of_every_size_of_block_are_right() {
    let Some(mut device) = device() else { return };
    device.caps.software = true;
    let engines = [crate::Engine::with_devices(Some(Arc::new(device)), "a test"), crate::Engine::cpu()];
    // Whole numbers, whose sums are exact.
    let matrix = |rows: usize, columns: usize, factor: usize, engine: &crate::Engine| {
        let values = (0..rows * columns).map(|i| (i * factor % 31 % 5) as f32 - 2.0).collect();
        Tensor::from_vec(values, [rows, columns], engine).unwrap()
    };
    // 1 x 1, 2 x 2, 4 x 2, 4 x 4 and 8 x 4; no size is a multiple of a block's.
    for [m, k, n] in [[33, 37, 41], [301, 302, 303], [405, 702, 803], [515, 702, 771], [1027, 515, 1031]] {
        for turned in [false, true] {
            let [found, expected] = engines.each_ref().map(|engine| {
                let product = if turned {
                    matrix(k, m, 7, engine).t().unwrap().matmul(&matrix(n, k, 11, engine).t().unwrap())
                } else {
                    matrix(m, k, 7, engine).matmul(&matrix(k, n, 11, engine))
                };
                product.unwrap().to_vec::<f32>().unwrap()
            });
            assert!(found == expected, "{m} x {k} x {n}, turned: {turned}");
        }
    }
}
