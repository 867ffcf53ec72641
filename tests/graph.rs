//! The graph: laziness, gradients, memory.

use kiln::expr::{Expr, Numbers, Row, Rule, Scalar};
use kiln::{DType, Engine, Op, Output, Result, Shape, Spec, Tensor, View, eval, no_grad};

fn cpu() -> Engine {
    Engine::cpu()
}

#[test]
fn broadcast_arithmetic_and_views() -> Result<()> {
    let engine = cpu();
    let x = Tensor::arange(0.0, 6.0, 1.0, &engine)?.reshape([2, 3])?;
    let y = x.t()?.add(10.0)?.mul(&Tensor::from_slice(&[1.0f32, -1.0], [1, 2], &engine)?)?;
    assert_eq!(y.dims(), [3, 2]);
    assert_eq!(y.to_vec::<f32>()?, [10.0, -13.0, 11.0, -14.0, 12.0, -15.0]);
    assert_eq!(x.flip(1)?.slice(1, 0, 3, 2)?.to_vec::<f32>()?, [2.0, 0.0, 5.0, 3.0]);
    assert_eq!(x.t()?.reshape(6)?.to_vec::<f32>()?, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!((&x + &x)?.sum(.., false)?.item()?, 30.0);
    assert_eq!(x.max(0, true)?.to_vec::<f32>()?, [3.0, 4.0, 5.0]);
    assert_eq!(x.gt(2.0)?.where_(&x, -1.0)?.to_vec::<f32>()?, [-1.0, -1.0, -1.0, 3.0, 4.0, 5.0]);
    let half = x.cast(DType::F16)?.mul(0.1)?;
    assert_eq!(half.dtype(), DType::F16);
    assert_eq!(half.cast(DType::F32)?.to_vec::<f32>()?[3], half::f16::from_f32(0.3).to_f32());
    Ok(())
}

#[test]
fn mistakes_are_errors_at_the_call() -> Result<()> {
    let engine = cpu();
    let x = Tensor::zeros([2, 3], &engine)?;
    let y = Tensor::zeros([4, 3], &engine)?;
    assert_eq!(x.add(&y).unwrap_err().to_string(), "add: shapes [2, 3] and [4, 3] do not broadcast together");
    let labels = Tensor::from_slice(&[1i32, 2, 3], 3, &engine)?;
    assert_eq!(x.add(&labels).unwrap_err().to_string(), "add: is not defined for f32 and i32");
    assert!(x.reshape([4, 2]).unwrap_err().to_string().contains("[4, 2]"));
    assert!(x.sum(2, false).unwrap_err().to_string().contains("axis 2"));
    assert!(x.add(&Tensor::zeros([2, 3], &Engine::cpu())?).is_err());
    assert!(x.max(.., false)?.to_vec::<i32>().is_err());
    Ok(())
}

#[test]
fn second_derivatives() -> Result<()> {
    let x = Tensor::from_slice(&[0.5f32, -1.5], 2, &cpu())?.variable()?;
    // d/dx sum(x^3) = 3x^2; d/dx sum((3x^2)^2) = 36 x^3
    let first = x.mul(&x)?.mul(&x)?.sum(.., false)?.grad(&[&x])?.remove(0);
    let second = first.mul(&first)?.sum(.., false)?.backward()?;
    let second = second.get(&x).unwrap().to_vec::<f32>()?;
    assert_eq!(second, [36.0 * 0.125, 36.0 * -3.375]);
    Ok(())
}

#[test]
fn values_survive_being_read_before_backward() -> Result<()> {
    let engine = cpu();
    let x = Tensor::from_slice(&[1.0f32, 2.0], 2, &engine)?.variable()?;
    let hidden = x.mul(3.0)?.exp()?;
    let loss = hidden.sum(.., false)?;
    let value = loss.item()?;
    let gradient = loss.backward()?.get(&x).unwrap().to_vec::<f32>()?;
    assert!((value as f32 * 3.0 - gradient.iter().sum::<f32>()).abs() < 1e-3);
    let gradients = loss.backward()?;
    gradients.finish(&[])?;
    assert!(loss.backward().unwrap_err().to_string().contains("released"));
    assert_eq!(loss.item()?, value);
    Ok(())
}

#[test]
fn nothing_is_recorded_without_grad() -> Result<()> {
    let x = Tensor::ones(3, &cpu())?.variable()?;
    let y = no_grad(|| x.mul(2.0))?;
    assert!(!y.requires_grad() && !x.detach().requires_grad() && x.mul(2.0)?.requires_grad());
    assert!(y.sum(.., false)?.backward().is_err());
    Ok(())
}

#[test]
fn a_chain_of_a_million_nodes() -> Result<()> {
    let engine = cpu();
    let before = engine.memory().live;
    {
        let x = Tensor::zeros((), &engine)?.variable()?;
        let mut y = x.clone();
        for _ in 0..1_000_000 {
            y = y.add(1.0)?;
        }
        let gradients = y.backward()?;
        assert_eq!(y.item()?, 1_000_000.0);
        assert_eq!(gradients.get(&x).unwrap().item()?, 1.0);
        let mut z = no_grad(|| x.add(0.0))?;
        for _ in 0..1_000_000 {
            z = no_grad(|| z.add(1.0))?;
        }
        drop(z);
    }
    assert_eq!(engine.memory().live, before);
    Ok(())
}

#[test]
fn updates_reuse_their_memory() -> Result<()> {
    let engine = cpu();
    let mut x = Tensor::from_slice(&vec![1.0f32; 1 << 20], 1 << 20, &engine)?;
    let live = engine.memory().live;
    for _ in 0..5 {
        x = x.mul(2.0)?.add(1.0)?;
        eval([&x])?;
    }
    assert_eq!(x.to_vec::<f32>()?[7], 63.0);
    assert_eq!((engine.memory().live, engine.memory().peak), (live, live));
    Ok(())
}

#[test]
fn debug_nan_names_the_op_inside_a_fused_kernel() -> Result<()> {
    let gpu = Engine::new("gpu");
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    assert!(gpu.is_ok() || !required, "{gpu:?}");
    for engine in [Ok(Engine::cpu()), gpu].into_iter().flatten() {
        let x = Tensor::from_slice(&[4.0f32, -2.0, 1.0, 0.5, 3.0, 2.0], [2, 3], &engine)?;
        let chain = |x: &Tensor| x.mul(2.0)?.sqrt()?.add(1.0)?.sum(1, false)?.neg();
        let quiet = chain(&x)?.to_vec::<f32>()?;
        assert!(quiet[0].is_nan() && quiet[1].is_finite());
        engine.debug_nan(true);
        let error = chain(&x)?.to_vec::<f32>().unwrap_err().to_string();
        assert_eq!(error, "sqrt: the output [2, 3] has NaN; inputs [2, 3]");
        // Infinities too, in gradients too, and what follows runs.
        let leaf = Tensor::from_slice(&[0.0f32, 1.0], 2, &engine)?.variable()?;
        let root = leaf.sqrt()?.sum(.., false)?;
        let gradient = root.backward()?.get(&leaf).unwrap().to_vec::<f32>();
        assert!(gradient.unwrap_err().to_string().starts_with("div: the output [2] has inf"));
        assert_eq!(chain(&x.abs()?)?.to_vec::<f32>()?.len(), 2);
        engine.debug_nan(false);
        assert!(chain(&x)?.to_vec::<f32>()?[0].is_nan());
    }
    Ok(())
}

/// An op of a user that may overwrite its input, and yet takes a slice of it.
#[derive(Debug)]
struct Overwriting;

impl Op for Overwriting {
    fn name(&self) -> &'static str {
        "overwriting"
    }
    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(inputs[0].dtype, *inputs[0].shape()))
    }
    fn in_place(&self, _: usize) -> bool {
        true
    }
    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        output.slice::<f32>().copy_from_slice(inputs[0].slice());
        Ok(())
    }
    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}

#[test]
#[should_panic = "a slice of an input that the output is written over"]
fn no_slice_of_an_input_is_handed_out_where_the_output_lies_over_it() {
    let x = Tensor::arange(0.0, 3.0, 1.0, &cpu()).unwrap();
    let kept = Tensor::apply(Overwriting, &[&x]).unwrap();
    assert_eq!(kept.to_vec::<f32>().unwrap(), [0.0, 1.0, 2.0]);
    // Nobody else holds the sum.
    let overwritten = Tensor::apply(Overwriting, &[&x.add(1.0).unwrap()]).unwrap();
    let _ = overwritten.to_vec::<f32>();
}

/// An elementwise op of a user, which claims to have this output.
#[derive(Debug)]
struct Own(&'static Row, Spec);

impl Op for Own {
    fn name(&self) -> &'static str {
        "own"
    }
    fn output(&self, _: &[Spec]) -> Result<Spec> {
        Ok(self.1)
    }
    fn expr(&self) -> Option<Expr> {
        Some(Expr::Row(self.0))
    }
    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        (self.0.gradient)(inputs, output, upstream)
    }
}

/// As [`Own`], with numbers in place of some arguments.
#[derive(Debug)]
struct Partly(&'static Row, Numbers);

impl Op for Partly {
    fn name(&self) -> &'static str {
        "partly"
    }
    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }
    fn expr(&self) -> Option<Expr> {
        Some(Expr::Partial(self.0, self.1))
    }
    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}

#[test]
fn numbers_of_a_users_row_stand_for_its_arguments() -> Result<()> {
    static TWICE: Row = twice(Rule::Map(1));
    static PAIR: Row = twice(Rule::Map(2));
    static FOUR: Row = twice(Rule::Map(4));
    let x = Tensor::from_slice(&[1.0f32, 2.0], 2, &cpu())?;
    let (whole, number) = (Scalar::new(1.0, DType::I32), Scalar::new(3.0, DType::F32));
    // Those past its arguments are nothing.
    let apply = |row, numbers| Tensor::apply(Partly(row, numbers), &[&x]);
    assert_eq!(apply(&TWICE, [None, Some(number), Some(number)])?.to_vec::<f32>()?, [2.0, 4.0]);
    assert_eq!(apply(&PAIR, [Some(number), None, None])?.to_vec::<f32>()?, [6.0, 6.0]);
    for (row, numbers, expected) in [
        (&PAIR, [None; 3], "takes 2 tensors, not 1"),
        (&PAIR, [None, Some(whole), None], "is not defined for f32 and i32"),
        (&FOUR, [Some(number); 3], "takes 1 to 3 tensors, not 4"),
    ] {
        let error = apply(row, numbers).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    Ok(())
}

/// Twice its argument.
const fn twice(rule: Rule) -> Row {
    unsafe fn float(args: &[*const u32; 3], out: *mut u32, n: usize) {
        for i in 0..n {
            // SAFETY: by the contract of a row's loop both are valid for n words.
            unsafe { *out.cast::<f32>().add(i) = 2.0 * *args[0].cast::<f32>().add(i) };
        }
    }
    let gradient = |_: &[Tensor], _: &Tensor, upstream: &Tensor| Ok(vec![Some(upstream.mul(2.0)?)]);
    Row { name: "twice", rule, wgsl: "2.0 * a", float: Some(float), int: None, bool: None, gradient }
}

#[test]
fn a_users_row_is_fused_or_refused() -> Result<()> {
    static TWICE: Row = twice(Rule::Map(1));
    static NONE: Row = twice(Rule::Map(0));
    static FOUR: Row = twice(Rule::Map(4));
    static PAIR: Row = twice(Rule::Map(2));
    let engine = cpu();
    let x = Tensor::arange(0.0, 3.0, 1.0, &engine)?;
    let spec = |dtype, size: usize| Ok::<_, kiln::Error>(Spec::new(dtype, Shape::new(&[size])?));
    let three = spec(DType::F32, 3)?;
    let twice = Tensor::apply(Own(&TWICE, three), &[&x.add(1.0)?])?.add(0.5)?;
    assert_eq!(twice.to_vec::<f32>()?, [2.5, 4.5, 6.5]);
    let refused = |result: Result<Tensor>, part: &str| {
        let error = result.expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(Tensor::generate(Own(&NONE, three), &engine), "1 to 3 tensors, not 0");
    refused(Tensor::apply(Own(&FOUR, three), &[&x; 4]), "1 to 3 tensors, not 4");
    refused(Tensor::apply(Own(&PAIR, three), &[&x]), "2 tensors, not 1");
    refused(Tensor::apply(Own(&PAIR, three), &[&x, &x.narrow(0, 0, 2)?]), "differ");
    refused(Tensor::apply(Own(&TWICE, three), &[&x.cast(DType::I32)?]), "not defined for i32");
    refused(Tensor::apply(Own(&TWICE, spec(DType::F32, 4)?), &[&x]), "that of its row f32 [3]");
    Ok(())
}
