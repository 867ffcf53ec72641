//! Elementwise expressions.

/// An elementwise op's row.
#[derive(Clone, Debug)]
pub enum Expr {}
