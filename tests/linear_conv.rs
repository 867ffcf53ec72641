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

fn tensor(dims: &[usize], seed: u32, engine: &Engine) -> Result<Tensor> {
    Tensor::from_slice(&values(dims.iter().product(), seed), dims, engine)
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 1e-5 + 2e-5 * expected.abs(), "{what}: element {at} is {found}, not {expected}");
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
    let engine = Engine::cpu();
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
        (&[0, 4, 5], &[5, 3], &[0, 4, 3]),
        (&[2, 4, 0], &[2, 0, 3], &[2, 4, 3]),
        (&[0], &[0], &[]),
        (&[4, 0], &[0, 3], &[4, 3]),
    ] {
        let what = format!("{a:?} x {b:?}");
        let (x, y) = (tensor(a, 1, &engine)?, tensor(b, 2, &engine)?);
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
        assert_close(&product.to_vec()?, &expected, &what);
    }
    Ok(())
}

#[test]
fn products_read_views_without_a_copy() -> Result<()> {
    let engine = Engine::cpu();
    let (x, y) = (tensor(&[3, 6, 8], 1, &engine)?, tensor(&[3, 8, 10], 2, &engine)?);
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
        assert_close(&a.matmul(&b)?.to_vec()?, &expected, &format!("{:?} x {:?}", a.layout(), b.layout()));
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
    let engine = Engine::cpu();
    for case in cases() {
        let what = format!("{:?} {:?} {:?}", case.input, case.weight, case.options);
        let x = tensor(&case.input, 1, &engine)?.variable()?;
        let w = tensor(&case.weight, 2, &engine)?.variable()?;
        let y = x.conv2d(&w, None, case.options)?;
        let upstream = tensor(y.dims(), 3, &engine)?;
        let gradients = y.mul(&upstream)?.sum(.., false)?.grad(&[&x, &w])?;
        let [xs, ws, us] = [&x, &w, &upstream].map(|t| t.to_vec::<f32>().unwrap());
        let [mut dx, mut dw, mut ys] = [&xs, &ws, &us].map(|values| vec![0.0; values.len()]);
        each_tap(&case, y.dims(), |i, k, o| {
            let [x, w, u] = [xs[i], ws[k], us[o]].map(f64::from);
            ys[o] += x * w;
            dx[i] += u * w;
            dw[k] += u * x;
        });
        assert_close(&y.to_vec()?, &ys, &what);
        assert_close(&gradients[0].to_vec()?, &dx, &format!("{what}, gradient of the input"));
        assert_close(&gradients[1].to_vec()?, &dw, &format!("{what}, gradient of the weight"));
    }
    Ok(())
}
