//! Pooling.

use crate::{check_gradients, close, cpu, scattered, tensor};
use kiln::ops::Pool2dOptions;
use kiln::{DType, Result, Tensor};

/// Rows or columns of each window of one dimension, with the padding still in.
fn windows(size: usize, options: &Pool2dOptions, d: usize) -> Vec<Vec<i64>> {
    let (kernel, stride) = (options.kernel[d] as i64, options.stride[d] as i64);
    let (padding, dilation, size) = (options.padding[d] as i64, options.dilation[d] as i64, size as i64);
    let reach = dilation * (kernel - 1);
    (0..)
        .map(|o| o * stride - padding)
        .take_while(|&start| if options.ceil_mode { start < size } else { start + reach < size + padding })
        // In ceil mode the last window is the first that covers the end of the padding.
        .scan(false, |done, start| {
            let before = std::mem::replace(done, start + reach + 1 >= size + padding);
            (!before || !options.ceil_mode).then_some(start)
        })
        .map(|start| (0..kernel).map(|i| start + i * dilation).collect())
        .collect()
}

#[test]
fn pooling_matches_plain_loops() -> Result<()> {
    let engine = cpu();
    let base = Pool2dOptions::new(2);
    let cases = [
        ([2usize, 3, 6, 8], base),
        ([1, 2, 5, 7], base),
        ([1, 2, 5, 7], Pool2dOptions { ceil_mode: true, ..base }),
        ([2, 1, 9, 8], Pool2dOptions { kernel: [3, 3], padding: [1, 1], ..base }),
        (
            [2, 1, 9, 8],
            Pool2dOptions { kernel: [3, 2], stride: [1, 3], padding: [1, 0], ceil_mode: true, ..base },
        ),
        (
            [1, 2, 6, 6],
            Pool2dOptions {
                kernel: [3, 3],
                padding: [1, 1],
                ceil_mode: true,
                count_include_pad: false,
                ..base
            },
        ),
        ([1, 1, 11, 10], Pool2dOptions { kernel: [3, 4], dilation: [2, 3], padding: [1, 2], ..base }),
        ([1, 1, 1, 1], Pool2dOptions::new(1)),
        ([1, 1, 3, 4], Pool2dOptions { kernel: [2, 2], stride: [5, 5], ceil_mode: true, ..base }),
    ];
    for (shape, options) in cases {
        let [n, c, height, width] = shape;
        let values = scattered(n * c * height * width);
        let x = tensor(&values, &shape, &engine)?;
        let (rows, columns) = (windows(height, &options, 0), windows(width, &options, 1));
        let (mut greatest, mut means) = (Vec::new(), Vec::new());
        for plane in values.chunks(height * width) {
            for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                let inside = |places: &[i64], size: usize| {
                    places
                        .iter()
                        .filter(|&&p| (0..size as i64).contains(&p))
                        .map(|&p| p as usize)
                        .collect::<Vec<_>>()
                };
                let (hs, ws) = (inside(row, height), inside(column, width));
                let elements: Vec<f64> =
                    hs.iter().flat_map(|h| ws.iter().map(move |w| f64::from(plane[h * width + w]))).collect();
                // Padding counts up to its own end, not beyond.
                let reached = |places: &[i64], size: usize, d: usize| {
                    places.iter().filter(|&&p| p < (size + options.padding[d]) as i64).count()
                };
                let divisor = if options.count_include_pad {
                    reached(row, height, 0) * reached(column, width, 1)
                } else {
                    elements.len()
                };
                greatest.push(elements.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                means.push(elements.iter().sum::<f64>() / divisor as f64);
            }
        }
        let y = x.max_pool2d(options)?;
        assert_eq!(y.dims(), [n, c, rows.len(), columns.len()], "{options:?}");
        close(&y.to_vec::<f32>()?, &greatest, 0.0);
        check_gradients(&shape, |x| x.max_pool2d(options)?.square())?;
        if options.dilation == [1, 1] {
            close(&x.avg_pool2d(options)?.to_vec::<f32>()?, &means, 1e-5);
            check_gradients(&shape, |x| x.avg_pool2d(options)?.square())?;
        }
    }
    Ok(())
}

#[test]
fn adaptive_pooling_covers_the_image() -> Result<()> {
    let engine = cpu();
    for (size, output) in [([5usize, 7], [3usize, 2]), ([4, 4], [1, 1]), ([2, 3], [5, 4]), ([6, 6], [6, 3])] {
        let values = scattered(2 * size[0] * size[1]);
        let x = tensor(&values, &[1, 2, size[0], size[1]], &engine)?;
        let mut means = Vec::new();
        for plane in values.chunks(size[0] * size[1]) {
            for (i, j) in (0..output[0]).flat_map(|i| (0..output[1]).map(move |j| (i, j))) {
                let range = |o: usize, d: usize| {
                    let scale = size[d] as f64 / output[d] as f64;
                    (o as f64 * scale).floor() as usize..((o + 1) as f64 * scale).ceil() as usize
                };
                let elements: Vec<f64> = range(i, 0)
                    .flat_map(|h| range(j, 1).map(move |w| f64::from(plane[h * size[1] + w])))
                    .collect();
                means.push(elements.iter().sum::<f64>() / elements.len() as f64);
            }
        }
        let y = x.adaptive_avg_pool2d(output)?;
        assert_eq!(y.dims(), [1, 2, output[0], output[1]]);
        close(&y.to_vec::<f32>()?, &means, 1e-5);
        check_gradients(x.dims(), |x| x.adaptive_avg_pool2d(output)?.square())?;
    }
    Ok(())
}

#[test]
fn pooling_at_the_edges() -> Result<()> {
    let engine = cpu();
    let options = Pool2dOptions::new(2);
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for stride in [2, 4] {
        // The second stride takes the general kernel to the same windows.
        let x = tensor(&[1.0, nan, -inf, -inf, 2.0, 3.0, -inf, -inf], &[1, 1, 2, 4], &engine)?;
        let x = if stride == 4 { x.pad(&[(0, 0), (0, 0), (0, 0), (0, 2)], 0.0)? } else { x };
        let y = x.max_pool2d(Pool2dOptions { stride: [2, stride], ..options })?.to_vec::<f32>()?;
        assert!(y[0].is_nan());
        assert_eq!(y[1], if stride == 2 { -inf } else { 0.0 });
    }
    // The first of equal elements gets the gradient.
    for options in [options, Pool2dOptions { stride: [2, 3], ..options }] {
        let x = Tensor::ones([1, 1, 3, 3], &engine)?.variable()?;
        let gradient = x.max_pool2d(options)?.sum(.., false)?.mul(3.0)?.grad(&[&x])?.remove(0);
        assert_eq!(gradient.to_vec::<f32>()?, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
    // And the first of several NaN, after which nothing is greater.
    for stride in [2, 3] {
        let x = tensor(&[1.0, nan, nan, inf], &[1, 1, 2, 2], &engine)?.variable()?;
        let y = x.max_pool2d(Pool2dOptions { stride: [2, stride], ..options })?;
        let gradient = y.sum(.., false)?.grad(&[&x])?.remove(0);
        assert_eq!(gradient.to_vec::<f32>()?, [0.0, 1.0, 0.0, 0.0]);
    }
    let x = Tensor::zeros([1, 1, 4, 4], &engine)?;
    let error = x.max_pool2d(Pool2dOptions { padding: [2, 0], ..options }).unwrap_err().to_string();
    assert_eq!(error, "max_pool2d: padding [2, 0] is more than half of kernel [2, 2]");
    let error = x.avg_pool2d(Pool2dOptions::new(5)).unwrap_err().to_string();
    assert_eq!(error, "avg_pool2d: kernel [5, 5] does not fit into shape [1, 1, 4, 4]");
    assert!(
        x.max_pool2d(Pool2dOptions { stride: [0, 1], ..options }).unwrap_err().to_string().contains("[0, 1]")
    );
    assert!(x.avg_pool2d(Pool2dOptions { dilation: [2, 1], ..options }).is_err());
    assert!(x.squeeze(0)?.max_pool2d(options).unwrap_err().to_string().contains("[1, 4, 4]"));
    assert!(x.adaptive_avg_pool2d([0, 2]).is_err());
    // Refused at once, not after counting so far.
    assert!(x.adaptive_avg_pool2d([usize::MAX, 2]).is_err());
    assert!(x.adaptive_max_pool2d([2, usize::MAX]).is_err());
    let none = Tensor::zeros([0, 3, 4, 4], &engine)?;
    assert_eq!(none.max_pool2d(options)?.to_vec::<f32>()?.len(), 0);
    assert_eq!(none.adaptive_avg_pool2d([2, 2])?.dims(), [0, 3, 2, 2]);
    assert_eq!(x.cast(DType::F16)?.avg_pool2d(options)?.dtype(), DType::F16);
    Ok(())
}
