//! Gather, scatter, concat and padding.

use crate::{check_gradients, close, cpu, scattered, tensor};
use kiln::{DType, Result, Tensor};

#[test]
fn gather_and_scatter_along_each_dimension() -> Result<()> {
    let engine = cpu();
    let shape = [4usize, 3, 5];
    let values = scattered(60);
    let x = tensor(&values, &shape, &engine)?;
    for dim in 0..3 {
        // Smaller than the data in the other dimensions, longer along this one.
        let mut dims = [2usize, 2, 3];
        dims[dim] = 7;
        let picks: Vec<i32> =
            (0..dims.iter().product()).map(|i| (i * 5 + i / 3) as i32 % shape[dim] as i32).collect();
        let index = Tensor::from_slice(&picks, dims, &engine)?;
        let places: Vec<usize> = (0..picks.len())
            .map(|i| {
                let mut at = [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
                at[dim] = picks[i] as usize;
                (at[0] * shape[1] + at[1]) * shape[2] + at[2]
            })
            .collect();
        let expected: Vec<f32> = places.iter().map(|&place| values[place]).collect();
        assert_eq!(x.gather(dim as isize, &index)?.to_vec::<f32>()?, expected);
        // A transposed view of the data, and an index that is a view.
        let view = x.transpose(0, 2)?.contiguous()?.transpose(0, 2)?;
        let turned = index.flip(2)?.contiguous()?.flip(2)?;
        assert_eq!(view.gather(dim as isize - 3, &turned)?.to_vec::<f32>()?, expected);

        let source = tensor(&scattered(8 * 9 * 10), &[8, 9, 10], &engine)?;
        let added = source.to_vec::<f32>()?;
        let mut sums: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        for (i, &place) in places.iter().enumerate() {
            let (a, b, c) = (i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]);
            sums[place] += f64::from(added[(a * 9 + b) * 10 + c]);
        }
        close(&x.scatter_add(dim as isize, &index, &source)?.to_vec::<f32>()?, &sums, 1e-6);
        let whole = x.cast(DType::I32)?.scatter_add(dim as isize, &index, &source.cast(DType::I32)?)?;
        assert_eq!(whole.dims(), shape);
        check_gradients(&shape, |x| x.gather(dim as isize, &index)?.square())?;
        check_gradients(&dims, |source| x.scatter_add(dim as isize, &index, source)?.square())?;
    }
    let mask = x.gt(0.0)?.gather(1, &Tensor::from_slice(&[2, 0], [1, 2, 1], &engine)?)?;
    assert_eq!(mask.to_vec::<bool>()?, [values[10] > 0.0, values[0] > 0.0]);
    Ok(())
}

#[test]
fn rows_are_selected_by_a_vector() -> Result<()> {
    let engine = cpu();
    let table = Tensor::rand([50, 33], 3, &engine)?;
    let picks: Vec<i32> = (0..400).map(|i| i * 17 % 50).collect();
    let index = Tensor::from_slice(&picks, 400, &engine)?;
    let (rows, all) = (table.index_select(0, &index)?.to_vec::<f32>()?, table.to_vec::<f32>()?);
    for (row, &pick) in rows.chunks(33).zip(&picks) {
        assert_eq!(row, &all[pick as usize * 33..][..33]);
    }
    assert_eq!(table.t()?.index_select(1, &index)?.t()?.to_vec::<f32>()?, rows);
    let x = table.variable()?;
    let gradient = x.index_select(0, &index)?.sum(.., false)?.grad(&[&x])?.remove(0);
    assert_eq!(gradient.to_vec::<f32>()?, [8.0; 50 * 33]);
    let none = Tensor::from_slice::<i32>(&[], 0, &engine)?;
    assert_eq!(table.index_select(1, &none)?.dims(), [50, 0]);
    assert_eq!(
        table.scatter_add(0, &none.reshape([0, 1])?, &Tensor::zeros([0, 1], &engine)?)?.to_vec::<f32>()?,
        all
    );
    check_gradients(&[3, 2], |x| x.index_select(0, &Tensor::from_slice(&[2, 0, 2], 3, &engine)?)?.square())
}

#[test]
fn wrong_indices_are_named() -> Result<()> {
    let engine = cpu();
    let x = Tensor::zeros([2, 3], &engine)?;
    let index = |values: &[i32], shape: [usize; 2]| Tensor::from_slice(values, shape, &engine);
    let bad = index(&[0, 3], [2, 1])?;
    assert_eq!(
        x.gather(1, &bad).unwrap_err().to_string(),
        "gather: index 3 is out of range, expected 0 to 2"
    );
    // Computed indices are seen by the kernel.
    let error = x.gather(1, &bad.add(1)?)?.eval().unwrap_err().to_string();
    assert_eq!(error, "gather: index 4 is out of range, expected 0 to 2");
    let error = x.scatter_add(1, &bad.sub(1)?, &x)?.eval().unwrap_err().to_string();
    assert_eq!(error, "scatter_add: index -1 is out of range, expected 0 to 2");
    let error = x.gather(1, &index(&[0, 0, 0], [3, 1])?).unwrap_err().to_string();
    assert_eq!(
        error,
        "gather: index shape [3, 1] does not lie within data shape [2, 3] other than dimension 1"
    );
    let error = x.scatter_add(0, &index(&[0; 3], [3, 1])?, &x).unwrap_err().to_string();
    assert_eq!(error, "scatter_add: index shape [3, 1] does not lie within source shape [2, 3]");
    assert!(x.gather(1, &x).unwrap_err().to_string().contains("f32, not i32"));
    assert!(x.index_select(0, &bad).unwrap_err().to_string().contains("[2, 1]"));
    Ok(())
}

#[test]
fn concat_and_stack() -> Result<()> {
    let engine = cpu();
    let parts: Vec<Tensor> = [2usize, 0, 3, 1]
        .iter()
        .map(|&n| tensor(&scattered(2 * n * 3), &[2, n, 3], &engine))
        .collect::<Result<_>>()?;
    let all = Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1)?;
    assert_eq!(all.dims(), [2, 6, 3]);
    let mut start = 0;
    for part in &parts {
        let length = part.size(1)?;
        assert_eq!(all.narrow(1, start, length)?.to_vec::<f32>()?, part.to_vec::<f32>()?);
        start += length;
    }
    let (a, b) = (&parts[0], parts[2].narrow(1, 1, 2)?);
    let stacked = Tensor::stack(&[a, &b], -1)?;
    assert_eq!(stacked.dims(), [2, 2, 3, 2]);
    assert_eq!(stacked.select(-1, 1)?.to_vec::<f32>()?, b.to_vec::<f32>()?);
    let half = Tensor::concat(&[&a.cast(DType::F16)?, &b.cast(DType::F16)?], 0)?;
    assert_eq!((half.dtype(), half.dims()), (DType::F16, &[4, 2, 3][..]));
    let masks = Tensor::stack(&[&a.gt(0.0)?, &b.gt(0.0)?], 0)?;
    assert_eq!(masks.select(0, 1)?.to_vec::<bool>()?, b.gt(0.0)?.to_vec::<bool>()?);
    let error = Tensor::concat(&[a, &parts[3]], 0).unwrap_err().to_string();
    assert_eq!(error, "concat: f32 [2, 2, 3], f32 [2, 1, 3] do not fit together along dimension 0");
    let error = Tensor::stack(&[a, &parts[3]], 0).unwrap_err().to_string();
    assert_eq!(error, "stack: shapes [2, 2, 3], [2, 1, 3] differ");
    assert!(Tensor::concat(&[], 0).is_err() && Tensor::stack(&[], 0).is_err());
    check_gradients(&[2, 3], |x| Tensor::concat(&[x, &x.square()?], 1)?.square())
}

#[test]
fn padding() -> Result<()> {
    let engine = cpu();
    let x = Tensor::arange(1.0, 5.0, 1.0, &engine)?.reshape([2, 2])?;
    let padded = x.pad(&[(1, 0), (0, 2)], -1.0)?;
    assert_eq!(padded.to_vec::<f32>()?, [-1.0, -1.0, -1.0, -1.0, 1.0, 2.0, -1.0, -1.0, 3.0, 4.0, -1.0, -1.0]);
    assert_eq!(
        x.gt(2.0)?.pad(&[(0, 0), (0, 1)], 1.0)?.to_vec::<bool>()?,
        [false, false, true, true, true, true]
    );
    let empty = Tensor::zeros([0, 2], &engine)?.pad(&[(1, 1), (0, 0)], 2.0)?;
    assert_eq!(empty.to_vec::<f32>()?, [2.0; 4]);
    assert!(x.pad(&[(usize::MAX, 1), (0, 0)], 0.0).is_err());
    assert!(x.pad(&[(1, 1)], 0.0).unwrap_err().to_string().contains("[2, 2]"));
    check_gradients(&[3, 5], |x| x.pad(&[(1, 2), (0, 3)], 1.0)?.square())?;
    // The gradient of a strided slice is a padding with gaps.
    check_gradients(&[3, 7], |x| x.slice(1, 1, 6, 2)?.square())
}
