//! The proof that every operation is right, to be had on any machine: one table of cases, each an operation with
//! its inputs and a float64 reference.
//!
//! The tests run it on every device, `kiln doctor` on the user's own. In the feature `proof`, which `cli` brings
//! along; a program that embeds Kiln does not pay for it.
//!
//! ```
//! use kiln::{Engine, proof};
//! let engine = Engine::cpu();
//! let case = proof::cases().into_iter().find(|case| case.operation() == "matmul").unwrap();
//! assert!(case.value(&engine)?.passes());
//! assert!(case.first_gradient(&engine)?.passes());
//! # Ok::<(), kiln::Error>(())
//! ```

mod case;
mod check;
mod reference;
mod speed;
mod table;

pub use case::{Array, Case, Cost, Input};
pub use check::{Deviation, compare};
pub use speed::{Workload, workloads};
pub use table::cases;
