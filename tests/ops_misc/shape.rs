//! Norms, scans, sorting, arrangement, windows, resizing and scatter: second gradients, edge cases and
//! errors. Their values are in the case table.

use crate::{check_gradients, cpu, scattered, tensor};
use kiln::ops::{Interpolation, PadMode, UnfoldOptions};
use kiln::{DType, INFER, Result, Tensor};

#[test]
fn second_gradients() -> Result<()> {
    // Positive, and away from 0.
    let shifted = |x: &Tensor| x.mul(0.2)?.add(1.5);
    check_gradients(&[2, 5], |x| shifted(x)?.prod(1, false))?;
    check_gradients(&[2, 5], |x| shifted(x)?.cumprod(1))?;
    check_gradients(&[2, 5], |x| x.cumsum(1)?.square())?;
    check_gradients(&[2, 5], |x| shifted(x)?.norm(3.0, 1, false))?;
    check_gradients(&[2, 5], |x| shifted(x)?.norm(2.0, .., false))?;
    check_gradients(&[2, 5], |x| shifted(x)?.norm(-1.5, 0, true))?;
    check_gradients(&[2, 5], |x| x.std(1, 1, false))?;
    check_gradients(&[2, 5], |x| x.logsumexp([0, 1], true))?;
    check_gradients(&[2, 5], |x| x.sort(1, true)?.0.square())?;
    check_gradients(&[2, 5], |x| x.min_dim(1, false)?.0.square())?;
    check_gradients(&[1, 2, 3, 4], |x| x.unfold(UnfoldOptions::new([2, 2]))?.square())?;
    check_gradients(&[4, 6], |x| x.fold([3, 4], UnfoldOptions::new([2, 2]))?.square())?;
    check_gradients(&[1, 1, 3, 4], |x| {
        x.interpolate(&[5, 3], Interpolation::Cubic { align_corners: false })?.square()
    })?;
    check_gradients(&[3, 4], |x| x.pad_with(&[(2, 1), (-1, 3)], PadMode::Circular)?.square())
}

#[test]
fn products_of_zeros_are_exact_to_second_order() -> Result<()> {
    let engine = cpu();
    let x = tensor(&[2.0, 0.0, 3.0, 0.0], &[4], &engine)?.variable()?;
    let first = x.prod(.., false)?.grad(&[&x])?.remove(0);
    assert_eq!(first.to_vec::<f32>()?, [0.0; 4]);
    // The only pair that leaves both zeros out.
    let second = first.select(0, 1)?.grad(&[&x])?.remove(0);
    assert_eq!(second.to_vec::<f32>()?, [0.0, 0.0, 0.0, 6.0]);
    let first = x.cumprod(0)?.sum(.., false)?.grad(&[&x])?.remove(0);
    assert_eq!(first.to_vec::<f32>()?, [1.0, 8.0, 0.0, 0.0]);
    let second = first.select(0, 2)?.grad(&[&x])?.remove(0);
    assert_eq!(second.to_vec::<f32>()?, [0.0, 2.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn gradients_at_zero_are_finite() -> Result<()> {
    let x = Tensor::zeros([2, 3], &cpu())?.variable()?;
    for order in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, f64::INFINITY, f64::NEG_INFINITY] {
        let norms = x.norm(order, 1, false)?;
        assert_eq!(norms.to_vec::<f32>()?, [0.0; 2], "order {order}");
        if norms.requires_grad() {
            let gradient = norms.sum(.., false)?.grad(&[&x])?.remove(0);
            assert_eq!(gradient.to_vec::<f32>()?, [0.0; 6], "order {order}");
        }
    }
    let deviation = x.std(1, 1, false)?.sum(.., false)?;
    assert_eq!(deviation.grad(&[&x])?[0].to_vec::<f32>()?, [0.0; 6]);
    let low = x.add(f64::NEG_INFINITY)?.logsumexp(1, false)?;
    assert_eq!(low.to_vec::<f32>()?, [f32::NEG_INFINITY; 2]);
    assert_eq!(low.sum(.., false)?.grad(&[&x])?[0].to_vec::<f32>()?, [0.0; 6]);
    Ok(())
}

#[test]
fn no_elements_and_scalars() -> Result<()> {
    let engine = cpu();
    let none = Tensor::zeros([2, 0], &engine)?;
    assert_eq!(none.prod(1, false)?.to_vec::<f32>()?, [1.0; 2]);
    assert_eq!(none.any(1, false)?.to_vec::<bool>()?, [false; 2]);
    assert_eq!(none.all(1, false)?.to_vec::<bool>()?, [true; 2]);
    assert_eq!(none.logsumexp(1, false)?.to_vec::<f32>()?, [f32::NEG_INFINITY; 2]);
    assert_eq!(none.norm(2.0, 1, false)?.to_vec::<f32>()?, [0.0; 2]);
    assert!(none.std(1, 1, false)?.to_vec::<f32>()?.iter().all(|value| value.is_nan()));
    assert_eq!(none.cumsum(1)?.dims(), [2, 0]);
    assert_eq!(none.cumprod(0)?.dims(), [2, 0]);
    assert_eq!(none.sort(1, false)?.1.dims(), [2, 0]);
    assert_eq!(none.topk(0, 0, true)?.0.dims(), [0, 0]);
    assert_eq!(none.roll(&[3], &[1])?.dims(), [2, 0]);
    assert_eq!(none.split(2, 1)?.len(), 1);
    assert_eq!(none.tril(0)?.dims(), [2, 0]);
    let scalar = tensor(&[3.0], &[], &engine)?;
    assert_eq!(scalar.cumsum(0)?.item()?, 3.0);
    assert_eq!(scalar.sort(-1, true)?.1.item()?, 0.0);
    assert_eq!(scalar.argmax(.., false)?.item()?, 0.0);
    assert_eq!(scalar.repeat(&[2])?.to_vec::<f32>()?, [3.0; 2]);
    Ok(())
}

#[test]
fn other_dtypes() -> Result<()> {
    let engine = cpu();
    let x = Tensor::from_slice(&[3i32, -1, 2, 2], 4, &engine)?;
    assert_eq!(x.sort(0, true)?.0.to_vec::<i32>()?, [3, 2, 2, -1]);
    assert_eq!(x.cumprod(0)?.to_vec::<i32>()?, [3, -3, -6, -12]);
    assert_eq!(x.max_dim(0, true)?.1.to_vec::<i32>()?, [0]);
    assert_eq!(x.reshape([2, 2])?.triu(0)?.to_vec::<i32>()?, [3, -1, 0, 2]);
    let mask = x.gt(1.0)?;
    assert_eq!(mask.argsort(0, false)?.to_vec::<i32>()?, [1, 0, 2, 3]);
    assert_eq!(mask.roll(&[1], &[])?.to_vec::<bool>()?, [true, true, false, true]);
    let half = x.cast(DType::F16)?;
    let twice = half.reshape([1, 1, 4])?.interpolate(&[8], Interpolation::Nearest)?;
    assert_eq!((twice.dtype(), half.cumsum(0)?.dtype()), (DType::F16, DType::F16));
    assert_eq!(half.topk(1, 0, false)?.0.to_vec::<half::f16>()?, [half::f16::from_f32(-1.0)]);
    assert_eq!(half.norm(1.0, .., false)?.dtype(), DType::F16);
    let classes = Tensor::from_slice(&[2i32, 0], 2, &engine)?.one_hot(3)?;
    assert_eq!(classes.to_vec::<i32>()?, [0, 0, 1, 1, 0, 0]);
    Ok(())
}

#[test]
fn arrangements() -> Result<()> {
    let engine = cpu();
    let x = tensor(&scattered(12), &[3, 4], &engine)?;
    assert_eq!(x.expand(&[2, -1, 4])?.dims(), [2, 3, 4]);
    assert_eq!(x.repeat(&[2, 1, 3])?.dims(), [2, 3, 12]);
    // A step longer than any dimension.
    let first = x.variable()?.slice(0, 1, 3, usize::MAX)?;
    assert_eq!(first.to_vec::<f32>()?, x.narrow(0, 1, 1)?.to_vec::<f32>()?);
    // A step from the only window, or element of one, to a next.
    let far = UnfoldOptions { stride: [usize::MAX; 2], ..UnfoldOptions::new([2, 2]) };
    let row = x.narrow(0, 0, 1)?;
    assert_eq!(row.reshape([4, 1])?.fold([2, 2], far)?.to_vec::<f32>()?, row.to_vec::<f32>()?);
    let apart = UnfoldOptions { dilation: [usize::MAX; 2], ..UnfoldOptions::new([1, 1]) };
    assert_eq!(row.fold([2, 2], apart)?.to_vec::<f32>()?, row.to_vec::<f32>()?);
    let lengths = |parts: Vec<Tensor>| parts.iter().map(|part| part.dims()[1]).collect::<Vec<_>>();
    assert_eq!(lengths(x.split(3, 1)?), [3, 1]);
    assert_eq!(lengths(x.chunk(3, -1)?), [2, 2]);
    assert_eq!(lengths(x.split_with_sizes(&[1, 0, 3], 1)?), [1, 0, 3]);
    let (a, b) = (Tensor::arange(0.0, 2.0, 1.0, &engine)?, Tensor::arange(0.0, 3.0, 1.0, &engine)?);
    let grid = Tensor::meshgrid(&[&a, &b])?;
    assert_eq!(grid[0].to_vec::<f32>()?, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(grid[1].to_vec::<f32>()?, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    // Long rows, more than one thread's share.
    let long = Tensor::rand([2, 100_000], 5, &engine)?;
    let (values, positions) = long.sort(1, false)?;
    let sorted = values.to_vec::<f32>()?;
    assert!(sorted[..100_000].is_sorted() && sorted[100_000..].is_sorted());
    assert_eq!(long.gather(1, &positions)?.to_vec::<f32>()?, sorted);
    assert_eq!(long.topk(7, 1, false)?.0.to_vec::<f32>()?, values.narrow(1, 0, 7)?.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn scatter_and_embedding() -> Result<()> {
    let engine = cpu();
    let x = Tensor::zeros([4], &engine)?.variable()?;
    let source = tensor(&[1.0, 2.0, 3.0], &[3], &engine)?.variable()?;
    let index = Tensor::from_slice(&[2, 0, 2], 3, &engine)?;
    let y = x.scatter(0, &index, &source)?;
    assert_eq!(y.to_vec::<f32>()?, [2.0, 0.0, 3.0, 0.0]);
    let gradients =
        y.mul(&tensor(&[1.0, 2.0, 3.0, 4.0], &[4], &engine)?)?.sum(.., false)?.grad(&[&x, &source])?;
    assert_eq!(gradients[0].to_vec::<f32>()?, [0.0, 2.0, 0.0, 4.0]);
    assert_eq!(gradients[1].to_vec::<f32>()?, [0.0, 1.0, 3.0]);
    assert_eq!(x.scatter_value(0, &index, 7.0)?.to_vec::<f32>()?, [7.0, 0.0, 7.0, 0.0]);
    let empty = Tensor::from_slice::<i32>(&[], 0, &engine)?;
    assert_eq!(x.scatter(0, &empty, &source)?.to_vec::<f32>()?, [0.0; 4]);
    let table = tensor(&scattered(6), &[3, 2], &engine)?.variable()?;
    let words = Tensor::from_slice(&[1i32, 0, 1, 2], [2, 2], &engine)?;
    let found = table.embedding(&words, Some(1))?;
    assert_eq!(found.dims(), [2, 2, 2]);
    let gradient = found.sum(.., false)?.grad(&[&table])?.remove(0);
    assert_eq!(gradient.to_vec::<f32>()?, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let engine = cpu();
    let x = Tensor::zeros([2, 3], &engine)?;
    let cube = Tensor::zeros([1, 2, 3], &engine)?;
    let says = |result: Result<Tensor>, text: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(text), "{message:?} lacks {text:?}");
    };
    says(x.topk(4, 1, true).map(|pair| pair.0), "topk: 4 elements of dimension 1 of shape [2, 3]");
    says(x.cumsum(2), "cumsum: axis 2");
    says(x.gt(0.0)?.cumprod(0), "cumprod: is not defined for bool");
    says(cube.argmax([0, 2], false), "argmax: axes [0, 2] of shape [1, 2, 3] are not neighbours");
    says(x.max_dim(4, false).map(|pair| pair.0), "max_dim: axis 4");
    says(x.norm(f64::NAN, .., false), "norm: has no value of order NaN");
    says(x.narrow(1, 0, 0)?.norm(f64::INFINITY, 1, false), "norm: has no value of order inf");
    says(x.roll(&[1, 2], &[0]), "roll: 2 shifts for 1 dimensions");
    says(x.repeat(&[2]), "repeat: 1 repeats for shape [2, 3]");
    says(x.repeat(&[1 << 20, 1 << 20]), "2^31");
    says(x.expand(&[-1, 2, 3]), "expand: size -1 at 0 for shape [2, 3]");
    says(x.split(0, 0).map(|mut parts| parts.remove(0)), "split: shape [2, 3] in parts of 0");
    says(x.split_with_sizes(&[1, 1], 1).map(|mut parts| parts.remove(0)), "split: parts [1, 1]");
    says(x.select(0, 0)?.tril(0), "tril: shape [3]");
    says(x.one_hot(3), "one_hot: the classes are f32");
    let class = Tensor::from_slice(&[3i32], 1, &engine)?;
    says(class.one_hot(3), "one_hot: class 3 is out of range");
    says(class.one_hot(1 << 40), "2^31");
    says(x.reshape([1 << 33, 1 << 33, INFER]), "2^31");
    says(cube.pixel_shuffle(2), "pixel_shuffle: factor 2 does not fit shape [1, 2, 3]");
    says(x.unfold(UnfoldOptions::new([1, 1])), "unfold: expected [N, C, H, W]");
    says(cube.unfold(UnfoldOptions::new([3, 1])), "unfold: a window of 3 by 1 in steps of 1 does not fit 2");
    says(x.fold([2, 2], UnfoldOptions::new([2, 2])), "fold: expected [N, C * 4, 1]");
    let huge = usize::MAX / 2;
    says(x.fold([huge; 2], UnfoldOptions::new([huge; 2])), "fold: expected [N, C * ");
    says(x.fold([huge; 2], UnfoldOptions::new([1, 1])), "fold: expected [N, C * 1, ");
    says(x.pad_with(&[(0, 0), (3, 0)], PadMode::Reflect), "pad: 3 and 0 by Reflect do not fit dimension 1");
    says(x.pad_with(&[(0, 0), (-2, -2)], PadMode::Constant(0.0)), "do not fit dimension 1 of shape [2, 3]");
    says(
        cube.interpolate(&[0], Interpolation::Area),
        "interpolate: shape [1, 2, 3] does not go to sizes [0]",
    );
    says(cube.interpolate_by(&[-1.0], Interpolation::Area), "interpolate: factor -1");
    says(cube.interpolate_by(&[1e30], Interpolation::Nearest), "shape");
    let index = Tensor::from_slice(&[5i32], [1, 1], &engine)?;
    says(x.scatter(1, &index, &x), "scatter: index 5 is out of range");
    says(x.scatter(0, &Tensor::from_slice(&[0; 4], [1, 4], &engine)?, &x), "scatter: index shape [1, 4]");
    // A strided index is checked before it is copied.
    let strided = Tensor::from_slice(&[0, 1, 0, 2], [2, 2], &cpu())?.t()?;
    says(x.embedding(&strided, None), "embedding: index 2 is out of range");
    says(x.embedding(&index, Some(2)), "embedding: padding row 2 is not in the table [2, 3]");
    Ok(())
}
