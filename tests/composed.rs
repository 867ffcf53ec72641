//! Ops that are made of others, against their definitions in `f64`, at the edges that PyTorch's cases
//! leave out.

use kiln::ops::{
    AttentionOptions, Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions,
    Pool1dOptions, Pool2dOptions,
};
use kiln::{Engine, IntoShape, Result, Tensor};
use std::sync::LazyLock;

/// Tensors of different engines do not meet.
fn engine() -> Engine {
    static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::cpu);
    ENGINE.clone()
}

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97_531) >> 8) as f32;
    (0..n as u32).map(|i| value(i * i + i + 1) / (1 << 23) as f32 - 1.0).collect()
}

fn tensor(shape: impl IntoShape, seed: u32) -> Tensor {
    let shape = shape.into_shape().unwrap();
    Tensor::from_slice(&noise(shape.elements(), seed), shape, &engine()).unwrap()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &[f64]) {
    let got: Vec<f32> = got.to_vec().unwrap();
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(got) - want).abs() <= 2e-5 * want.abs().max(1.0), "element {i}: {got} not {want}");
    }
}

#[track_caller]
fn assert_refused(result: Result<Tensor>, expected: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in expected {
        assert!(message.contains(part), "{message}");
    }
}

/// The sum over all indices by the definition: `labels` of each operand and of the result.
fn einsum(operands: &[(&str, &Tensor)], result: &str) -> Vec<f64> {
    let mut letters: Vec<char> = operands.iter().flat_map(|(labels, _)| labels.chars()).collect();
    letters.sort_unstable();
    letters.dedup();
    let size = |letter: char| {
        let place = |(labels, x): &(&str, &Tensor)| {
            labels.chars().zip(x.dims()).filter(|(l, _)| *l == letter).map(|(_, &d)| d).max()
        };
        operands.iter().filter_map(place).max().unwrap()
    };
    let values: Vec<Vec<f32>> = operands.iter().map(|(_, x)| x.to_vec().unwrap()).collect();
    let mut sums = vec![0.0; result.chars().map(size).product()];
    for mut at in 0..letters.iter().map(|&l| size(l)).product::<usize>() {
        let index: Vec<usize> = letters
            .iter()
            .map(|&letter| {
                let i = at % size(letter);
                at /= size(letter);
                i
            })
            .collect();
        let of = |letter: char| index[letters.iter().position(|&l| l == letter).unwrap()];
        let flat = |labels: &str, dims: &[usize]| {
            labels.chars().zip(dims).fold(0, |flat, (l, &d)| flat * d + if d == 1 { 0 } else { of(l) })
        };
        let product: f64 =
            operands.iter().zip(&values).map(|((l, x), v)| f64::from(v[flat(l, x.dims())])).product();
        let dims: Vec<usize> = result.chars().map(size).collect();
        sums[flat(result, &dims)] += product;
    }
    sums
}

#[test]
fn einsum_by_its_definition() -> Result<()> {
    let (a, b, c) = (tensor([3, 4], 1), tensor([4, 3], 2), tensor([3, 3, 3], 3));
    let one = tensor([1, 4], 4);
    for (equation, operands, result) in [
        ("ij,jk->ki", vec![("ij", &a), ("jk", &b)], "ki"),
        ("ij,ji", vec![("ij", &a), ("ji", &b)], ""),
        ("ij,kj -> ik", vec![("ij", &a), ("kj", &a)], "ik"),
        // Without an arrow, letters that occur once in their alphabetical order.
        ("kj,ji", vec![("kj", &a), ("ji", &b)], "ik"),
        ("iii->i", vec![("iii", &c)], "i"),
        ("iji->j", vec![("iji", &c)], "j"),
        ("iij,jk->ik", vec![("iij", &c), ("jk", &a)], "ik"),
        ("ij,jk,kl->il", vec![("ij", &a), ("jk", &b), ("kl", &a)], "il"),
        ("ij,jk,ik->", vec![("ij", &a), ("jk", &b), ("ik", &c.select(0, 1)?)], ""),
        // Sizes of one stretch, where they are summed over too.
        ("ij,ij->ij", vec![("ij", &a), ("ij", &one)], "ij"),
        ("ij,ij->i", vec![("ij", &one), ("ij", &a)], "i"),
        ("ij,kj->ijk", vec![("ij", &a), ("kj", &one)], "ijk"),
    ] {
        let tensors: Vec<&Tensor> = operands.iter().map(|(_, x)| *x).collect();
        assert_close(&Tensor::einsum(equation, &tensors)?, &einsum(&operands, result));
    }
    let ellipsis = Tensor::einsum("...j,jk->k...", &[&c, &a.narrow(0, 0, 3)?])?;
    assert_eq!(ellipsis.dims(), [4, 3, 3]);
    assert_close(&ellipsis, &einsum(&[("xyj", &c), ("jk", &a)], "kxy"));
    assert_close(&Tensor::einsum("i...->...", &[&c])?, &einsum(&[("ixy", &c)], "xy"));
    assert_eq!(
        Tensor::einsum("ij,jk->ik", &[&tensor([2, 0], 0), &tensor([0, 3], 0)])?.to_vec::<f32>()?,
        [0.0; 6]
    );
    Ok(())
}

#[test]
fn einsum_refuses_what_does_not_fit() {
    let a = tensor([3, 4], 1);
    for (equation, tensors, expected) in [
        ("ij,jk->ik", vec![&a], "2 operands"),
        ("ijk->i", vec![&a], "does not name the dimensions of [3, 4]"),
        ("i->i", vec![&a], "does not name"),
        ("i1->i", vec![&a], "'1' is not a letter"),
        ("......->", vec![&a], "not a letter"),
        ("ij->ik", vec![&a], "no operand has"),
        ("ij->ii", vec![&a], "repeats"),
        ("ii->i", vec![&a], "diagonal"),
        ("ij,ij->ij", vec![&a, &tensor([4, 3], 2)], "[3, 4], [4, 3]"),
        ("", vec![], "1 operands"),
        ("ij->j->i", vec![&a], "not a letter"),
    ] {
        assert_refused(Tensor::einsum(equation, &tensors), &["einsum", expected]);
    }
}

/// Every input element times the weight, added where the window stands.
fn transposed(x: &Tensor, weight: &Tensor, options: ConvTranspose2dOptions) -> (Vec<usize>, Vec<f64>) {
    let [n, c, h, w] = [0, 1, 2, 3].map(|d| x.dims()[d]);
    let [o, kh, kw] = [1, 2, 3].map(|d| weight.dims()[d]);
    let ConvTranspose2dOptions { stride, padding, output_padding, dilation, groups } = options;
    let size = |d: usize, size: usize, kernel: usize| {
        (size - 1) * stride[d] + dilation[d] * (kernel - 1) + output_padding[d] + 1 - 2 * padding[d]
    };
    let (oh, ow) = (size(0, h, kh), size(1, w, kw));
    let (xs, ws): (Vec<f32>, Vec<f32>) = (x.to_vec().unwrap(), weight.to_vec().unwrap());
    let mut out = vec![0.0; n * groups * o * oh * ow];
    for at in 0..n * c * h * w * o * kh * kw {
        let (i, k) = (at / (o * kh * kw), at % (o * kh * kw));
        let (sample, channel) = (i / (c * h * w), i / (h * w) % c);
        let filter = channel / (c / groups) * o + k / (kh * kw);
        let y = (i / w % h * stride[0] + k / kw % kh * dilation[0]).wrapping_sub(padding[0]);
        let z = (i % w * stride[1] + k % kw * dilation[1]).wrapping_sub(padding[1]);
        if y < oh && z < ow {
            out[((sample * groups * o + filter) * oh + y) * ow + z] +=
                f64::from(xs[i]) * f64::from(ws[channel * o * kh * kw + k]);
        }
    }
    (vec![n, groups * o, oh, ow], out)
}

#[test]
fn transposed_convolutions_by_their_definition() -> Result<()> {
    let plain = ConvTranspose2dOptions::default();
    for (input, kernel, options) in [
        ([2, 3, 4, 5], [3, 2, 3, 2], plain),
        (
            [1, 2, 3, 4],
            [2, 3, 1, 1],
            ConvTranspose2dOptions { stride: [3, 2], output_padding: [2, 1], ..plain },
        ),
        (
            [1, 4, 3, 3],
            [4, 2, 3, 3],
            ConvTranspose2dOptions { groups: 2, padding: [1, 2], stride: [2, 3], ..plain },
        ),
        // More output padding than a convolution would round off.
        (
            [2, 2, 3, 3],
            [2, 2, 2, 3],
            ConvTranspose2dOptions { dilation: [3, 2], output_padding: [2, 1], padding: [1, 1], ..plain },
        ),
        ([1, 2, 1, 1], [2, 1, 4, 4], ConvTranspose2dOptions { stride: [4, 4], padding: [1, 0], ..plain }),
    ] {
        let (x, weight) = (tensor(input, 1), tensor(kernel, 2));
        let got = x.conv_transpose2d(&weight, None, options)?;
        let (shape, want) = transposed(&x, &weight, options);
        assert_eq!(got.dims(), shape, "{options:?}");
        assert_close(&got, &want);
    }
    Ok(())
}

#[test]
fn convolutions_refuse_what_does_not_fit() {
    let (x, w) = (tensor([1, 2, 3, 3], 1), tensor([2, 1, 2, 2], 2));
    let refused = |options, expected| {
        assert_refused(x.conv_transpose2d(&w, None, options), &["conv_transpose2d", expected])
    };
    let plain = ConvTranspose2dOptions::default();
    refused(ConvTranspose2dOptions { stride: [0, 1], ..plain }, "above 0");
    refused(ConvTranspose2dOptions { groups: 0, ..plain }, "0 groups");
    refused(ConvTranspose2dOptions { groups: 3, ..plain }, "3 groups");
    refused(ConvTranspose2dOptions { output_padding: [1, 0], ..plain }, "output padding");
    refused(ConvTranspose2dOptions { output_padding: [usize::MAX, 0], ..plain }, "output padding");
    let distant = ConvTranspose2dOptions { dilation: [usize::MAX, 1], output_padding: [1 << 40, 0], ..plain };
    refused(distant, "larger than a tensor");
    refused(ConvTranspose2dOptions { padding: [2, 0], ..plain }, "leaves nothing");
    refused(ConvTranspose2dOptions { padding: [usize::MAX, 0], ..plain }, "leaves nothing");
    assert!(
        x.conv_transpose2d(&w, None, ConvTranspose2dOptions { stride: [usize::MAX; 2], ..plain }).is_err()
    );
    assert_refused(x.conv_transpose2d(&w, Some(&tensor(2, 1)), plain), &["bias [2] for 1 channels"]);
    assert_refused(
        x.conv_transpose1d(&w, None, ConvTranspose1dOptions::default()),
        &["conv_transpose1d", "3 dim"],
    );
    assert_refused(x.conv1d(&w, None, Conv1dOptions::default()), &["conv1d", "[1, 2, 3, 3]"]);
    assert_refused(x.conv3d(&w, None, Conv3dOptions::default()), &["conv3d", "[1, 2, 3, 3]"]);
    let (volume, deep) = (tensor([1, 1, 2, 3, 3], 1), tensor([1, 1, 3, 2, 2], 2));
    assert_refused(volume.conv3d(&deep, None, Conv3dOptions::default()), &["conv3d", "deeper"]);
    let still = Conv3dOptions { stride: [0, 1, 1], ..Default::default() };
    assert_refused(volume.conv3d(&deep, None, still), &["conv3d", "above 0"]);
    let huge = Conv3dOptions { padding: [usize::MAX; 3], ..Default::default() };
    assert!(volume.conv3d(&deep, None, huge).is_err());
}

#[test]
fn same_padding_keeps_sizes() -> Result<()> {
    let (x, image, volume) = (tensor([2, 3, 9], 1), tensor([2, 3, 7, 6], 2), tensor([1, 2, 4, 5, 6], 3));
    assert_eq!(x.conv1d_same(&tensor([4, 3, 4], 4), None, 3, 1)?.dims(), [2, 4, 9]);
    for kernel in [[4, 3, 3, 3], [4, 3, 2, 5], [4, 3, 1, 4]] {
        assert_eq!(image.conv2d_same(&tensor(kernel, 5), None, [2, 1], 1)?.dims(), [2, 4, 7, 6]);
    }
    assert_eq!(volume.conv3d_same(&tensor([2, 2, 2, 3, 4], 6), None, [1, 1, 2], 1)?.dims(), [1, 2, 4, 5, 6]);
    // The odd zero comes after: the last output sees it, the first none.
    let ones = Tensor::ones([1, 1, 3], &engine())?;
    assert_eq!(
        ones.conv1d_same(&Tensor::ones([1, 1, 2], &engine())?, None, 1, 1)?.to_vec::<f32>()?,
        [2.0, 2.0, 1.0]
    );
    Ok(())
}

#[test]
fn windows_of_sequences_and_planes() -> Result<()> {
    let engine = engine();
    let values = [3.0f32, 3.0, f32::NAN, 1.0, -2.0, 5.0];
    let x = Tensor::from_slice(&values, [1, 1, 6], &engine)?;
    let (best, at) = x.max_pool1d_with_indices(Pool1dOptions::new(2))?;
    assert_eq!(at.to_vec::<i32>()?, [0, 2, 5]);
    assert!(best.to_vec::<f32>()?[1].is_nan());
    let plane = Tensor::from_slice(&values, [1, 1, 2, 3], &engine)?;
    let (_, at) = plane.max_pool2d_with_indices(Pool2dOptions { kernel: [2, 1], ..Pool2dOptions::new(1) })?;
    assert_eq!(at.to_vec::<i32>()?, [0, 1, 2]);

    let ties = Tensor::from_slice(&[1.0f32, 1.0, 1.0, 0.0], [1, 1, 4], &engine)?.variable()?;
    let loss = ties.adaptive_max_pool1d(3)?.sum(.., false)?;
    // Windows 0..2, 1..3 and 2..4.
    assert_eq!(loss.backward()?.get(&ties).unwrap().to_vec::<f32>()?, [1.0, 1.0, 1.0, 0.0]);
    assert_refused(ties.adaptive_max_pool1d(0), &["windows"]);

    let ones = Tensor::ones([1, 1, 4, 4], &engine)?;
    let sums = Pool2dOptions { divisor: Some(1), padding: [1, 1], ..Pool2dOptions::new(2) };
    assert_eq!(ones.avg_pool2d(sums)?.to_vec::<f32>()?, [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]);
    assert_refused(ones.avg_pool2d(Pool2dOptions { divisor: Some(0), ..sums }), &["avg_pool2d", "divisor"]);
    assert_eq!(ones.lp_pool2d(2.0, Pool2dOptions::new(2))?.to_vec::<f32>()?, [2.0; 4]);
    assert_refused(ones.lp_pool2d(0.0, Pool2dOptions::new(2)), &["lp_pool2d"]);
    Ok(())
}

#[test]
fn a_query_that_sees_nothing_gives_zeros() -> Result<()> {
    let engine = engine();
    let [q, k, v] = [1, 2, 3].map(|seed| tensor([1, 2, 4], seed).variable().unwrap());
    let seen = Tensor::from_slice(&[false, false, true, false], [2, 2], &engine)?;
    let added = seen.where_(0.0, &Tensor::full([2, 2], f64::NEG_INFINITY, kiln::DType::F32, &engine)?)?;
    for mask in [&seen, &added] {
        let options = AttentionOptions { mask: Some(mask), ..Default::default() };
        let y = q.scaled_dot_product_attention(&k, &v, options)?;
        let rows: Vec<f32> = y.to_vec()?;
        assert_eq!(rows[..4], [0.0; 4]);
        assert_eq!(rows[4..], v.to_vec::<f32>()?[..4]);
        let gradients = y.square()?.sum(.., false)?.backward()?;
        for x in [&q, &k, &v] {
            assert!(gradients.get(x).unwrap().to_vec::<f32>()?.iter().all(|g| g.is_finite()));
        }
    }
    let mask = Tensor::from_slice(&[1, 1], 2, &engine)?;
    let options = AttentionOptions { mask: Some(&mask), ..Default::default() };
    assert_refused(q.scaled_dot_product_attention(&k, &v, options), &["attention", "i32"]);
    assert_refused(
        q.scaled_dot_product_attention(&tensor([1, 2, 3], 1), &v, Default::default()),
        &["[1, 2, 3]"],
    );
    let empty = tensor([0, 3, 4], 0).scaled_dot_product_attention(
        &tensor([0, 5, 4], 0),
        &tensor([0, 5, 2], 0),
        Default::default(),
    )?;
    assert_eq!((empty.dims(), empty.to_vec::<f32>()?.len()), (&[0, 3, 2][..], 0));
    Ok(())
}

#[test]
fn normalisations_refuse_what_does_not_fit() -> Result<()> {
    let x = tensor([2, 4, 3], 1);
    let w = tensor(3, 2);
    assert_refused(x.layer_norm(&[4], None, None, 0.0), &["layer_norm", "[2, 4, 3]", "[4]"]);
    assert_refused(x.layer_norm(&[4, 3], Some(&w), None, 0.0), &["layer_norm", "weight", "[4, 3]"]);
    assert_refused(x.layer_norm(&[], None, None, 0.0), &["layer_norm"]);
    assert_refused(x.rms_norm(&[2], None, 0.0), &["rms_norm"]);
    assert_refused(x.group_norm(3, None, None, 0.0), &["group_norm", "3 groups"]);
    assert_refused(x.group_norm(0, None, None, 0.0), &["group_norm", "0 groups"]);
    assert_refused(x.instance_norm(Some(&w), None, 0.0), &["instance_norm", "weight", "[4]"]);
    assert_refused(x.batch_norm(&w, &w, None, None, 0.0), &["batch_norm", "mean", "[4]"]);
    assert_refused(x.local_response_norm(0, 1.0, 1.0, 1.0), &["local_response_norm"]);
    assert!(tensor([1, 4], 1).batch_norm_training(None, None, 1e-5).is_err());
    assert_eq!(tensor([0, 4, 3], 1).group_norm(2, None, None, 1e-5)?.dims(), [0, 4, 3]);
    assert_refused(x.addmm(&w, &w, 1.0, 1.0), &["addmm"]);
    assert_refused(x.bmm(&x), &["bmm", "[2, 4, 3]"]);
    assert_refused(x.outer(&w), &["outer"]);
    assert_refused(x.linear(&tensor([5, 4], 1), None), &["linear", "[5, 4]"]);
    assert_refused(x.linear(&tensor([5, 3], 1), Some(&w)), &["linear", "bias [3]"]);
    Ok(())
}
