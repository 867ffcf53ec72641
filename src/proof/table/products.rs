//! Matrix products under other names, einsum and attention.

use crate::Tensor;
use crate::ops::AttentionOptions;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;

pub fn products(cases: &mut Vec<Case>) {
    let mut push = |case: Case| cases.push(case.tolerance(2e-6, 1e-5));
    for (name, x) in [
        ("rows", Input::floats(&[5, 7])),
        ("vector", Input::floats(&[7])),
        ("batch", Input::floats(&[2, 3, 7])),
        ("strided", Input::floats(&[7, 4]).permute(&[1, 0])),
        ("empty", Input::floats(&[0, 7])),
    ] {
        push(Case::new(
            format!("linear/{name}"),
            [x, Input::floats(&[3, 7]).reseeded(), Input::floats(&[3])],
            |x| x[0].linear(&x[1], Some(&x[2])),
            |x| {
                let rows = r::reshape(&x[0], &[x[0].len() / 7, 7]);
                let y = r::matmul(&rows, &x[1].clone().reversed_axes()) + &x[2];
                let mut shape = x[0].shape().to_vec();
                *shape.last_mut().expect("not a scalar") = 3;
                r::reshape(&y, &shape)
            },
        ));
    }
    for (name, bias) in [("whole", vec![4, 3]), ("row", vec![3]), ("column", vec![4, 1])] {
        push(Case::new(
            format!("addmm/{name}"),
            [Input::floats(&bias), Input::floats(&[4, 6]), Input::floats(&[6, 3]).reseeded()],
            |x| x[0].addmm(&x[1], &x[2], 0.5, -2.0),
            |x| r::matmul(&x[1], &x[2]) * -2.0 + &x[0] * 0.5,
        ));
    }
    for (name, a, b) in [
        ("odd", Input::floats(&[3, 4, 5]), Input::floats(&[3, 5, 2])),
        ("one", Input::floats(&[1, 1, 1]), Input::floats(&[1, 1, 1])),
        (
            "strided",
            Input::floats(&[3, 5, 4]).permute(&[0, 2, 1]),
            Input::floats(&[5, 3, 2]).permute(&[1, 0, 2]),
        ),
    ] {
        let case = Case::new(
            format!("bmm/{name}"),
            [a, b.reseeded()],
            |x| x[0].bmm(&x[1]),
            |x| r::matmul(&x[0], &x[1]),
        );
        push(case);
    }
    for (name, n, m) in [("odd", 5, 7), ("one", 1, 1), ("empty", 0, 3)] {
        let inputs = [Input::floats(&[n]), Input::floats(&[m]).reseeded().flip(0)];
        let case = Case::new(
            format!("outer/{name}"),
            inputs,
            |x| x[0].outer(&x[1]),
            move |x| r::reshape(&x[0], &[n, 1]) * &x[1],
        );
        push(case);
    }
    for (name, equation, shapes) in [
        ("matmul", "ij,jk->ik", vec![vec![3, 4], vec![4, 5]]),
        ("implicit", "ij,jk", vec![vec![3, 4], vec![4, 5]]),
        ("batch", "bij,bkj->bik", vec![vec![2, 3, 4], vec![2, 5, 4]]),
        ("heads", "bqhd,bkhd->bhqk", vec![vec![2, 3, 2, 4], vec![2, 5, 2, 4]]),
        ("bilinear", "bn,anm,bm->ba", vec![vec![2, 3], vec![4, 3, 5], vec![2, 5]]),
        ("trace", "ii->", vec![vec![4, 4]]),
        ("diagonal", "bii->bi", vec![vec![2, 3, 3]]),
        ("transpose", "abc->cab", vec![vec![2, 3, 4]]),
        ("sum", "ij->j", vec![vec![3, 4]]),
        ("outer", "i,j->ji", vec![vec![3], vec![4]]),
        ("dot", "i,i->", vec![vec![5], vec![5]]),
        ("hadamard", "ij,ij->ij", vec![vec![3, 4], vec![3, 4]]),
        ("spaces", " i j , j k -> i k ", vec![vec![2, 3], vec![3, 2]]),
        ("one", "ij,jk->ik", vec![vec![1, 1], vec![1, 1]]),
        ("empty", "ij,jk->ik", vec![vec![2, 0], vec![0, 3]]),
    ] {
        let inputs: Vec<Input> = shapes.iter().map(|shape| Input::floats(shape)).collect();
        push(Case::new(
            format!("einsum/{name}"),
            inputs,
            move |x| Tensor::einsum(equation, &x.iter().collect::<Vec<_>>()),
            move |x| einsum(equation, x),
        ));
    }
    push(Case::new(
        "einsum/ellipsis",
        [Input::floats(&[2, 1, 3, 4]), Input::floats(&[5, 4, 2])],
        |x| Tensor::einsum("...ij,...jk->...ik", &[&x[0], &x[1]]),
        |x| r::matmul(&x[0], &x[1]),
    ));
}

/// The sum over every value of every letter, for equations without an ellipsis.
fn einsum(equation: &str, x: &[Array]) -> Array {
    let equation = equation.replace(' ', "");
    let (inputs, output) = equation.split_once("->").unwrap_or((&equation, ""));
    let operands: Vec<&str> = inputs.split(',').collect();
    let mut sizes = BTreeMap::new();
    for (letters, array) in operands.iter().zip(x) {
        sizes.extend(letters.chars().zip(array.shape().iter().copied()));
    }
    // Without an arrow: the letters that occur once, in order.
    let once = || sizes.keys().filter(|&&letter| inputs.matches(letter).count() == 1).collect();
    let output: String = if equation.contains("->") { output.into() } else { once() };
    let letters: Vec<char> = sizes.keys().copied().collect();
    let mut y = ArrayD::zeros(IxDyn(&output.chars().map(|letter| sizes[&letter]).collect::<Vec<_>>()));
    for values in ndarray::indices(IxDyn(&sizes.values().copied().collect::<Vec<_>>())) {
        let place = |names: &str| {
            let value = |letter| values[letters.binary_search(&letter).expect("a letter of the equation")];
            IxDyn(&names.chars().map(value).collect::<Vec<_>>())
        };
        let product: f64 = operands.iter().zip(x).map(|(names, array)| array[place(names)]).product();
        y[place(&output)] += product;
    }
    y
}

pub fn attention(cases: &mut Vec<Case>) {
    let shapes = [
        ("odd", [2, 3, 5, 4], [2, 3, 7, 4], [2, 3, 7, 6]),
        ("one", [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]),
        ("shared", [2, 4, 3, 2], [2, 2, 5, 2], [2, 2, 5, 3]),
        // More than a tile of queries, keys and elements, none of them full.
        ("tiles", [1, 2, 33, 17], [1, 2, 65, 17], [1, 2, 65, 33]),
        ("tall", [1, 2, 65, 8], [1, 1, 3, 8], [1, 1, 3, 36]),
        // More than a block of the CPU's.
        ("blocks", [1, 1, 131, 3], [1, 1, 259, 3], [1, 1, 259, 1]),
    ];
    for (name, q, k, v) in shapes {
        let qkv = || vec![Input::floats(&q), Input::floats(&k).reseeded(), Input::floats(&v)];
        let enable_gqa = q[1] != k[1];
        let mut with = |variant: &str, inputs: Vec<Input>, is_causal: bool, scale: Option<f64>| {
            let op = move |x: &[Tensor]| {
                let options =
                    AttentionOptions { mask: x.get(3), is_causal, scale, enable_gqa, ..Default::default() };
                x[0].scaled_dot_product_attention(&x[1], &x[2], options)
            };
            let boolean = variant.starts_with("bool");
            let reference = move |x: &[Array]| attended(x, boolean, is_causal, scale);
            let name = format!("scaled_dot_product_attention/{name}_{variant}");
            cases.push(Case::new(name, inputs, op, reference).tolerance(1e-5, 1e-5));
        };
        let masked = |mask: Input| qkv().into_iter().chain([mask]).collect::<Vec<_>>();
        with("plain", qkv(), false, None);
        with("causal", qkv(), true, None);
        if name == "blocks" {
            continue;
        }
        with("scale", qkv(), false, Some(0.3));
        let added = || Input::floats(&[q[2], k[2]]);
        with("float", masked(added()), false, None);
        with("fixed", masked(added().fixed()), false, None);
        // A query that sees nothing is among them.
        let seen = || Input::bools(&[q[0], 1, q[2], k[2]]);
        with("bool", masked(seen()), false, None);
        with("bool_causal", masked(seen()), true, None);
        with("bool_keys", masked(Input::bools(&[q[0], 1, 1, k[2]])), false, None);
        // As a layer makes them: heads of one vector, side by side, and other strides.
        let side_by_side =
            |dims: [usize; 4]| Input::floats(&[dims[0], dims[2], dims[1], dims[3]]).permute(&[0, 2, 1, 3]);
        with("heads", vec![side_by_side(q), side_by_side(k).reseeded(), side_by_side(v)], true, None);
        let back = |dims: [usize; 4]| Input::floats(&dims).flip(2);
        with(
            "strided",
            vec![back(q), back(k), Input::floats(&[1, v[1], v[2], v[3]]).broadcast(&v)],
            false,
            None,
        );
    }
}

/// Attention over `[N, H, L, E]`, heads of queries sharing those of keys and values.
fn attended(x: &[Array], boolean: bool, causal: bool, scale: Option<f64>) -> Array {
    let (q, k, v) = (&x[0], &x[1], &x[2]);
    let share = q.shape()[1] / k.shape()[1];
    let scale = scale.unwrap_or(1.0 / (q.shape()[3] as f64).sqrt());
    let mask = x.get(3).map(|mask| {
        mask.broadcast(IxDyn(&[q.shape()[0], q.shape()[1], q.shape()[2], k.shape()[2]]))
            .expect("it broadcasts")
    });
    let shape = [q.shape()[0], q.shape()[1], q.shape()[2], v.shape()[3]];
    let mut y = ArrayD::zeros(IxDyn(&shape));
    for at in ndarray::indices(IxDyn(&shape[..3])) {
        let (n, h, l) = (at[0], at[1], at[2]);
        let weight = |s: usize| {
            let product: f64 = (0..q.shape()[3]).map(|e| q[[n, h, l, e]] * k[[n, h / share, s, e]]).sum();
            let mask = mask.as_ref().map_or(if boolean { 1.0 } else { 0.0 }, |mask| mask[[n, h, l, s]]);
            let seen = !(causal && s > l || boolean && mask == 0.0);
            if seen { (product * scale + if boolean { 0.0 } else { mask }).exp() } else { 0.0 }
        };
        let weights: Vec<f64> = (0..k.shape()[2]).map(weight).collect();
        let total: f64 = weights.iter().sum();
        for at in 0..if total == 0.0 { 0 } else { shape[3] } {
            let weighed = weights.iter().enumerate().map(|(s, weight)| weight * v[[n, h / share, s, at]]);
            y[[n, h, l, at]] = weighed.sum::<f64>() / total;
        }
    }
    y
}
