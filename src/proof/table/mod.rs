//! The table: one line, or one short loop, an op.

mod arrange;
mod edges;
mod elementwise;
mod functions;
mod linear;
mod losses;
mod norms;
mod pooling;
mod products;
mod random;
mod recurrent;
mod reduce;
mod shape;
mod views;
mod volumes;
mod windows;

use crate::proof::case::Case;
use crate::{Result, Tensor};

/// An op on one tensor, and what it does to a number.
pub type Unary = fn(&Tensor) -> Result<Tensor>;
pub type Map = fn(f64) -> f64;
/// An op on two tensors, and what it does to two numbers.
pub type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;
pub type Zip = fn(f64, f64) -> f64;
pub type Test = fn(f64, f64) -> bool;
/// What a reduction does to a row.
pub type Fold = fn(&[f64]) -> f64;

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    elementwise::unary(&mut cases);
    elementwise::binary(&mut cases);
    functions::functions(&mut cases);
    edges::edges(&mut cases);
    edges::casts(&mut cases);
    views::views(&mut cases);
    reduce::reductions(&mut cases);
    linear::products(&mut cases);
    linear::indexing(&mut cases);
    windows::convolutions(&mut cases);
    volumes::convolutions(&mut cases);
    pooling::pooling(&mut cases);
    norms::norms(&mut cases);
    products::products(&mut cases);
    products::attention(&mut cases);
    losses::losses(&mut cases);
    arrange::arrange(&mut cases);
    random::random(&mut cases);
    recurrent::networks(&mut cases);
    cases.extend(shape::cases());
    cases
}
