//! Matrix products and convolutions against plain loops, and their gradients against differences.

use kiln::ops::Conv2dOptions;
use kiln::{DType, Engine, Result, Tensor};

/// Numbers of mixed sign without a pattern that a wrong index could fall in with.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The CPU, and a GPU where there is one.
fn engines() -> Vec<Engine> {
    let mut engines = vec![Engine::cpu()];
    if cfg!(feature = "gpu") {
        engines.extend(Engine::new("gpu"));
    }
    engines
}

/// The values, after making sure that a kernel of the wanted device computed them.
fn read(tensor: &Tensor) -> Result<Vec<f32>> {
    let values = tensor.to_vec()?;
    if !values.is_empty() {
        assert_eq!(tensor.device_kind(), Some(tensor.engine().kind()), "{tensor:?}");
    }
    Ok(values)
}

fn tensor(dims: &[usize], seed: u32, engine: &Engine) -> Result<Tensor> {
    Tensor::from_slice(&values(dims.iter().product(), seed), dims, engine)
}

/// Rounding grows with the terms of a sum, of which the largest element is a measure.
fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 1e-6 + 1e-5 * largest, "{what}: element {at} is {found}, not {expected}");
    }
}

/// `[batch, m, k] x [batch, k, n]`, both row-major.
fn matmul(a: &[f32], b: &[f32], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut result = Vec::new();
    for (a, b) in a.chunks(m * k).zip(b.chunks(k * n)) {
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            result.push((0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum());
        }
    }
    result
}

#[test]
fn products_of_matrices_vectors_and_batches() -> Result<()> {
    for engine in engines() {
        check_products(&engine)?;
    }
    Ok(())
}

fn check_products(engine: &Engine) -> Result<()> {
    for (a, b, expected) in [
        (&[5usize][..], &[5usize][..], &[][..]),
        (&[5], &[5, 3], &[3]),
        (&[4, 5], &[5], &[4]),
        (&[1, 1], &[1, 1], &[1, 1]),
        (&[33, 65], &[65, 17], &[33, 17]),
        (&[2, 3, 5], &[5], &[2, 3]),
        (&[5], &[2, 5, 3], &[2, 3]),
        (&[2, 4, 5], &[5, 3], &[2, 4, 3]),
        (&[4, 5], &[2, 5, 3], &[2, 4, 3]),
        (&[7, 4, 5], &[7, 5, 3], &[7, 4, 3]),
        (&[3, 1, 4, 5], &[2, 5, 6], &[3, 2, 4, 6]),
        (&[2, 4, 5], &[1, 1, 5, 6], &[1, 2, 4, 6]),
        (&[1, 2, 1, 2, 1, 2, 4, 5], &[2, 1, 2, 1, 2, 1, 5, 3], &[2, 2, 2, 2, 2, 2, 4, 3]),
        (&[130, 40], &[40, 140], &[130, 140]),
        (&[300, 2, 70, 9], &[300, 2, 9, 66], &[300, 2, 70, 66]),
        (&[20, 1100], &[1100, 70], &[20, 70]),
        (&[2, 3, 1500], &[2, 1500, 2], &[2, 3, 2]),
        (&[0, 4, 5], &[5, 3], &[0, 4, 3]),
        (&[2, 4, 0], &[2, 0, 3], &[2, 4, 3]),
        (&[0], &[0], &[]),
        (&[4, 0], &[0, 3], &[4, 3]),
    ] {
        let what = format!("{a:?} x {b:?}");
        let (x, y) = (tensor(a, 1, engine)?, tensor(b, 2, engine)?);
        let product = x.matmul(&y)?;
        assert_eq!(product.dims(), expected, "{what}");
        // The reference of the broadcast operands, as batches of matrices.
        let k = *a.last().unwrap();
        let m = if a.len() > 1 { a[a.len() - 2] } else { 1 };
        let n = if b.len() > 1 { b[b.len() - 1] } else { 1 };
        let lead = &expected[..expected.len() - usize::from(a.len() > 1) - usize::from(b.len() > 1)];
        let whole = |t: &Tensor, rows: usize, columns: usize| {
            let own = t.dims()[..t.rank().saturating_sub(2)].to_vec();
            let matrix = t.reshape([own, vec![rows, columns]].concat())?;
            matrix.broadcast_to([lead, &[rows, columns]].concat())?.to_vec::<f32>()
        };
        let expected = matmul(&whole(&x, m, k)?, &whole(&y, k, n)?, [m, k.max(1), n]);
        let expected = if k == 0 { vec![0.0; product.elements()] } else { expected };
        assert_close(&read(&product)?, &expected, &what);
    }
    Ok(())
}

#[test]
fn products_read_views_without_a_copy() -> Result<()> {
    for engine in engines() {
        check_views(&engine)?;
    }
    Ok(())
}

fn check_views(engine: &Engine) -> Result<()> {
    let (x, y) = (tensor(&[3, 6, 8], 1, engine)?, tensor(&[3, 8, 10], 2, engine)?);
    for (a, b) in [
        (x.transpose(0, 1)?, y.slice(0, 0, 1, 1)?),
        (x.slice(1, 1, 6, 2)?, y.slice(2, 9, 10, 1)?),
        (x.flip(2)?, y.flip(1)?),
        (x.narrow(2, 3, 1)?.broadcast_to([3, 6, 8])?, y.clone()),
        (x.t()?.narrow(2, 1, 4)?, x.narrow(1, 2, 4)?),
        (x.narrow(0, 1, 1)?.broadcast_to([3, 6, 8])?, y.narrow(0, 2, 1)?.broadcast_to([3, 8, 10])?),
    ] {
        let (m, k, n) = (a.size(-2)?, a.size(-1)?, b.size(-1)?);
        let b_whole = b.broadcast_to([a.dims()[0], k, n])?;
        let expected = matmul(&a.to_vec()?, &b_whole.to_vec()?, [m, k, n]);
        assert_close(&read(&a.matmul(&b)?)?, &expected, &format!("{:?} x {:?}", a.layout(), b.layout()));
    }
    let half = x.cast(DType::F16)?.matmul(&y.cast(DType::F16)?)?;
    assert_eq!(half.dtype(), DType::F16);
    Ok(())
}

#[test]
fn products_that_do_not_fit_name_the_shapes() -> Result<()> {
    let engine = Engine::cpu();
    let zeros = |dims: &[usize]| Tensor::zeros(dims, &engine);
    let message = |a: &Tensor, b: &Tensor| a.matmul(b).unwrap_err().to_string();
    assert_eq!(
        message(&zeros(&[2, 3])?, &zeros(&[4, 5])?),
        "matmul: shapes [2, 3] and [4, 5] do not multiply: 3 columns against 4 rows"
    );
    assert_eq!(
        message(&zeros(&[3])?, &zeros(&[4])?),
        "matmul: shapes [3] and [4] do not multiply: 3 columns against 4 rows"
    );
    assert!(message(&zeros(&[2, 1, 3])?, &zeros(&[4, 3, 1])?).contains("[2, 1, 3] and [4, 3, 1]"));
    assert!(message(&zeros(&[])?, &zeros(&[2, 2])?).contains("scalar"));
    let integers = zeros(&[2, 2])?.cast(DType::I32)?;
    assert_eq!(message(&integers, &integers), "matmul: is not defined for i32 and i32");
    Ok(())
}

struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    options: Conv2dOptions,
}

fn case(input: [usize; 4], weight: [usize; 4], edit: impl FnOnce(&mut Conv2dOptions)) -> Case {
    let mut options = Conv2dOptions::default();
    edit(&mut options);
    Case { input, weight, options }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 3, 7, 9], [4, 3, 3, 3], |o| o.padding = [1, 1]),
        case([1, 1, 1, 1], [1, 1, 1, 1], |_| ()),
        case([3, 5, 6, 5], [7, 5, 1, 1], |_| ()),
        case([2, 4, 8, 7], [6, 4, 1, 1], |o| o.stride = [2, 3]),
        case([2, 2, 9, 8], [3, 2, 3, 2], |o| (o.stride, o.padding) = ([2, 1], [0, 1])),
        case([2, 2, 11, 12], [3, 2, 3, 3], |o| {
            (o.stride, o.padding, o.dilation) = ([2, 3], [2, 1], [2, 3]);
        }),
        case([2, 6, 7, 7], [6, 1, 3, 3], |o| (o.groups, o.padding) = (6, [1, 1])),
        case([2, 4, 9, 7], [8, 1, 3, 5], |o| (o.groups, o.stride, o.padding) = (4, [2, 2], [1, 2])),
        case([1, 4, 5, 6], [6, 2, 2, 3], |o| (o.groups, o.dilation) = (2, [1, 2])),
        case([1, 2, 5, 5], [3, 2, 5, 5], |_| ()),
        case([1, 2, 2, 2], [3, 2, 3, 3], |o| o.padding = [3, 2]),
        case([2, 2, 7, 5], [2, 2, 2, 2], |o| o.stride = [3, 3]),
        case([1, 1, 6, 6], [2, 1, 2, 2], |o| o.stride = [4, 5]),
        case([5, 3, 4, 4], [33, 3, 3, 3], |o| o.padding = [1, 1]),
        case([1, 40, 20, 22], [35, 40, 3, 3], |o| o.padding = [1, 1]),
        case([3, 20, 15, 15], [24, 20, 3, 3], |o| (o.stride, o.padding) = ([2, 2], [1, 1])),
        case([1, 3, 30, 31], [16, 3, 7, 7], |o| (o.stride, o.padding) = ([2, 2], [3, 3])),
        case([0, 2, 5, 5], [3, 2, 3, 3], |_| ()),
        case([8, 5, 14, 14], [70, 5, 3, 3], |o| o.padding = [1, 1]),
        case([1, 2, 5, 5], [3, 2, 2, 1], |o| (o.stride, o.dilation) = ([usize::MAX, 9], [1, usize::MAX])),
        // Winograd's method: channels that fill their lanes and do not, every padding, images that
        // are whole tiles and are not.
        case([2, 16, 16, 16], [16, 16, 3, 3], |o| o.padding = [1, 1]),
        case([9, 17, 9, 10], [33, 17, 3, 3], |_| ()),
        case([40, 20, 3, 2], [18, 20, 3, 3], |o| o.padding = [2, 1]),
        case([3, 32, 14, 15], [16, 32, 3, 3], |o| o.padding = [0, 2]),
        case([5, 16, 120, 117], [16, 16, 3, 3], |o| o.padding = [2, 2]),
        // The same for the weight gradient: sums for each part of the tiles, and sums of all.
        case([3, 65, 13, 16], [70, 65, 3, 3], |o| o.padding = [1, 1]),
        case([2, 64, 20, 6], [64, 64, 3, 3], |o| o.padding = [0, 2]),
        case([2, 130, 110, 5], [131, 130, 3, 3], |o| o.padding = [2, 1]),
        case([1, 2, 40, 3], [2, 2, 1, 3], |o| o.padding = [0, 1]),
    ]
}

/// Calls `each` with the places in input, weight and output of every multiply-add of a convolution.
fn each_tap(case: &Case, output: &[usize], mut each: impl FnMut(usize, usize, usize)) {
    let ([n, c, h, w], [o, cg, kh, kw]) = (case.input, case.weight);
    let Conv2dOptions { stride, padding, dilation, groups } = case.options;
    let [oh, ow] = [output[2], output[3]];
    for (image, filter) in (0..n).flat_map(|i| (0..o).map(move |f| (i, f))) {
        for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            let to = ((image * o + filter) * oh + oy) * ow + ox;
            for channel in 0..cg {
                let plane = image * c + filter / (o / groups) * cg + channel;
                for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                    let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding[0]);
                    let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding[1]);
                    if y < h && x < w {
                        each((plane * h + y) * w + x, ((filter * cg + channel) * kh + ky) * kw + kx, to);
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_and_their_gradients_match_plain_loops() -> Result<()> {
    for engine in engines() {
        check_convolutions(&engine)?;
    }
    Ok(())
}

fn check_convolutions(engine: &Engine) -> Result<()> {
    for case in cases() {
        let what = format!("{:?} {:?} {:?}", case.input, case.weight, case.options);
        let x = tensor(&case.input, 1, engine)?.variable()?;
        let w = tensor(&case.weight, 2, engine)?.variable()?;
        let y = x.conv2d(&w, None, case.options)?;
        let upstream = tensor(y.dims(), 3, engine)?;
        let gradients = y.mul(&upstream)?.sum(.., false)?.grad(&[&x, &w])?;
        let [xs, ws, us] = [&x, &w, &upstream].map(|t| t.to_vec::<f32>().unwrap());
        let [mut dx, mut dw, mut ys] = [&xs, &ws, &us].map(|values| vec![0.0; values.len()]);
        each_tap(&case, y.dims(), |i, k, o| {
            let [x, w, u] = [xs[i], ws[k], us[o]].map(f64::from);
            ys[o] += x * w;
            dx[i] += u * w;
            dw[k] += u * x;
        });
        assert_close(&read(&y)?, &ys, &what);
        assert_close(&read(&gradients[0])?, &dx, &format!("{what}, gradient of the input"));
        assert_close(&read(&gradients[1])?, &dw, &format!("{what}, gradient of the weight"));
    }
    Ok(())
}

/// The derivative of `loss` along every element of `x`, by central differences.
fn differences(x: &Tensor, loss: impl Fn(&Tensor) -> Result<f64>) -> Result<Vec<f64>> {
    const STEP: f32 = 1.0 / 64.0;
    let values = x.to_vec::<f32>()?;
    let moved = |at: usize, step: f32| {
        let mut values = values.clone();
        values[at] += step;
        loss(&Tensor::from_slice(&values, x.shape(), x.engine())?.variable()?)
    };
    (0..values.len()).map(|at| Ok((moved(at, STEP)? - moved(at, -STEP)?) / f64::from(2.0 * STEP))).collect()
}

/// The sum of the products, in double precision.
fn weighted(y: &Tensor, upstream: &[f32]) -> Result<f64> {
    let values = y.to_vec::<f32>()?;
    Ok(values.iter().zip(upstream).map(|(&y, &u)| f64::from(y) * f64::from(u)).sum())
}

fn assert_gradient(found: &Tensor, expected: &[f64], what: &str) -> Result<()> {
    let found = found.to_vec::<f32>()?;
    assert_eq!(found.len(), expected.len());
    for (&found, &expected) in found.iter().zip(expected) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 2e-3 + 1e-3 * expected.abs(), "{what}: {found}, not {expected}");
    }
    Ok(())
}

#[test]
fn gradients_of_products_match_differences() -> Result<()> {
    let engine = Engine::cpu();
    for (a, b) in [
        (&[3usize][..], &[3usize][..]),
        (&[3], &[2, 3, 2]),
        (&[2, 3], &[3]),
        (&[3, 4], &[4, 2]),
        (&[2, 3, 4], &[4, 2]),
        (&[3, 4], &[2, 4, 2]),
        (&[2, 1, 2, 3], &[3, 3, 2]),
    ] {
        let (x, y) = (tensor(a, 1, &engine)?.variable()?, tensor(b, 2, &engine)?.variable()?);
        let product = x.matmul(&y)?;
        let upstream = tensor(product.dims(), 3, &engine)?;
        let gradients = product.mul(&upstream)?.sum(.., false)?.grad(&[&x, &y])?;
        let upstream = upstream.to_vec::<f32>()?;
        let what = format!("{a:?} x {b:?}");
        let by_x = differences(&x, |x| weighted(&x.matmul(&y)?, &upstream))?;
        assert_gradient(&gradients[0], &by_x, &what)?;
        let by_y = differences(&y, |y| weighted(&x.matmul(y)?, &upstream))?;
        assert_gradient(&gradients[1], &by_y, &what)?;
    }
    Ok(())
}

#[test]
fn second_derivatives_of_convolutions_match_differences() -> Result<()> {
    let engine = Engine::cpu();
    for case in [
        case([2, 2, 4, 5], [2, 2, 3, 2], |o| o.padding = [1, 1]),
        case([1, 4, 6, 5], [4, 2, 2, 2], |o| {
            (o.stride, o.padding, o.dilation, o.groups) = ([2, 1], [1, 0], [2, 1], 2);
        }),
    ] {
        let what = format!("{:?} {:?} {:?}", case.input, case.weight, case.options);
        let x = tensor(&case.input, 1, &engine)?.variable()?;
        let w = tensor(&case.weight, 2, &engine)?.variable()?;
        // The squared gradients of a loss that is not linear in anything.
        let penalty = |x: &Tensor, w: &Tensor| -> Result<Tensor> {
            let y = x.conv2d(w, None, case.options)?;
            let gradients = y.mul(&y)?.sum(.., false)?.grad(&[x, w])?;
            let [by_x, by_w] = [&gradients[0], &gradients[1]];
            (by_x.mul(by_x)?.sum(.., false)?.mul(0.01)?).add(&by_w.mul(by_w)?.sum(.., false)?.mul(0.01)?)
        };
        let second = penalty(&x, &w)?.grad(&[&x, &w])?;
        let by_x = differences(&x, |x| penalty(x, &w)?.item())?;
        assert_gradient(&second[0], &by_x, &what)?;
        let by_w = differences(&w, |w| penalty(&x, w)?.item())?;
        assert_gradient(&second[1], &by_w, &what)?;
    }
    Ok(())
}

#[test]
fn views_are_convolved_as_what_they_show() -> Result<()> {
    for engine in engines() {
        let x = tensor(&[6, 2, 8, 4], 1, &engine)?.permute(&[1, 3, 0, 2])?.slice(3, 1, 8, 2)?;
        let w = tensor(&[1, 4, 3, 3], 2, &engine)?.flip(3)?.broadcast_to([5, 4, 3, 3])?;
        let bias = tensor(&[10], 3, &engine)?.slice(0, 0, 10, 2)?;
        let options = Conv2dOptions { padding: [1, 1], ..Default::default() };
        let found = x.conv2d(&w, Some(&bias), options)?;
        let whole = |t: &Tensor| Tensor::from_slice(&t.to_vec::<f32>()?, t.shape(), &engine);
        let expected = whole(&x)?.conv2d(&whole(&w)?, None, options)?;
        let expected = expected.add(&whole(&bias)?.reshape([5, 1, 1])?)?;
        assert_eq!(found.to_vec::<f32>()?, expected.to_vec::<f32>()?);
    }
    Ok(())
}

#[test]
fn weight_gradients_are_the_same_whatever_the_number_of_threads() -> Result<()> {
    let run = || -> Result<Vec<f32>> {
        let engine = Engine::cpu();
        let x = tensor(&[19, 3, 12, 12], 1, &engine)?;
        let w = tensor(&[20, 3, 3, 3], 2, &engine)?.variable()?;
        let v = tensor(&[16, 20, 3, 3], 3, &engine)?.variable()?;
        let y = x.conv2d(&w, None, Conv2dOptions::default())?;
        let y = y.conv2d(&v, None, Conv2dOptions::default())?;
        let gradients = y.mul(&y)?.sum(.., false)?.grad(&[&w, &v])?;
        Ok([gradients[0].to_vec()?, gradients[1].to_vec()?].concat())
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    let one = pool(1).install(run)?;
    assert_eq!(one, pool(3).install(run)?);
    assert_eq!(one, pool(7).install(run)?);
    Ok(())
}

#[test]
fn convolutions_that_do_not_fit_name_the_shapes() -> Result<()> {
    let engine = Engine::cpu();
    let fail = |input: &[usize], weight: &[usize], options: Conv2dOptions, bias: Option<usize>| {
        let (x, w) = (Tensor::zeros(input, &engine)?, Tensor::zeros(weight, &engine)?);
        let bias = bias.map(|size| Tensor::zeros(size, &engine)).transpose()?;
        Ok::<_, kiln::Error>(x.conv2d(&w, bias.as_ref(), options).unwrap_err().to_string())
    };
    let plain = Conv2dOptions::default();
    let groups = |groups| Conv2dOptions { groups, ..plain };
    for (input, weight, options, bias, part) in [
        (&[1usize, 3, 8][..], &[4, 3, 3, 3][..], plain, None, "4 dimensions"),
        (&[1, 3, 8, 8], &[4, 3, 3], plain, None, "4 dimensions"),
        (&[1, 3, 8, 8], &[4, 2, 3, 3], plain, None, "takes 2 channels, each of 1 groups has 3"),
        (&[1, 4, 8, 8], &[4, 4, 3, 3], groups(2), None, "takes 4 channels, each of 2 groups has 2"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], groups(2), None, "3 and 4 channels do not divide into 2 groups"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], groups(0), None, "0 groups"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], Conv2dOptions { stride: [1, 0], ..plain }, None, "stride [1, 0]"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], Conv2dOptions { dilation: [0, 1], ..plain }, None, "dilation [0, 1]"),
        (&[1, 3, 4, 8], &[4, 3, 5, 3], plain, None, "larger than the image with padding [0, 0]"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], Conv2dOptions { dilation: [4, 1], ..plain }, None, "dilation [4, 1]"),
        (&[1, 3, 8, 8], &[4, 3, 0, 3], plain, None, "the kernel is empty"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], Conv2dOptions { padding: [usize::MAX, 0], ..plain }, None, "padding"),
        (&[1, 3, 8, 8], &[4, 3, 3, 3], plain, Some(3), "bias [3]"),
    ] {
        let message = fail(input, weight, options, bias)?;
        let named = bias.is_some() || message.contains(&format!("input {input:?} and weight {weight:?}"));
        assert!(message.starts_with("conv2d: ") && named && message.contains(part), "{message}");
    }
    let (x, w) = (Tensor::zeros([1, 1, 4, 4], &engine)?, Tensor::zeros([1, 1, 3, 3], &engine)?);
    let message = x.cast(DType::I32)?.conv2d(&w, None, plain).unwrap_err().to_string();
    assert_eq!(message, "conv2d: is not defined for i32 and f32");
    Ok(())
}
