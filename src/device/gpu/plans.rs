//! Plans that are kept for the next run of the same operation on inputs of the same specs.

use super::context::lock;
use super::pipeline::Pipeline;
use crate::device::Plan;
use crate::op::{Key, identify};
use crate::{Op, Spec};
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock};

/// Plans kept at most, so that sizes that never come again do not pile up.
const MAX_PLANS: usize = 1 << 14;
/// Room for most keys.
const KEY_BYTES: usize = 1000;

/// A plan and all that follows from it.
pub(super) struct Ready {
    pub plan: Plan,
    /// Whether the device's limits allow it.
    pub allowed: bool,
    /// An estimate of its time.
    pub nanoseconds: u64,
    /// One for each kernel, once it has run.
    pub pipelines: Vec<OnceLock<Arc<Pipeline>>>,
    /// What runs in its place, once that is settled.
    pub tuned: OnceLock<Option<Arc<Ready>>>,
}

/// The plans of a device, by operation and specs.
#[derive(Default)]
pub(super) struct Plans {
    known: Mutex<FxHashMap<Box<[u8]>, Known>>,
}

/// None for an operation without kernels.
type Known = Option<Arc<Ready>>;

impl Plans {
    /// The plan of `op` for these specs: a kept one, or what `make` gives.
    pub fn get(
        &self,
        op: &dyn Op,
        inputs: &[Spec],
        output: &Spec,
        over: Option<usize>,
        make: impl FnOnce() -> Option<Ready>,
    ) -> Option<Arc<Ready>> {
        let make = || make().map(Arc::new);
        let Some(key) = key(op, inputs, output, over) else { return make() };
        if let Some(ready) = lock(&self.known).get(&key.0[..]) {
            return ready.clone();
        }
        let ready = make();
        let mut known = lock(&self.known);
        if known.len() >= MAX_PLANS {
            known.clear();
        }
        known.insert(key.0.into(), ready.clone());
        ready
    }
}

#[cfg(test)]
impl Plans {
    /// How many are kept.
    pub fn kept(&self) -> usize {
        lock(&self.known).len()
    }
}

/// None where the operation has no identity.
fn key(op: &dyn Op, inputs: &[Spec], output: &Spec, over: Option<usize>) -> Option<Key> {
    let mut key = Key(Vec::with_capacity(KEY_BYTES));
    if !identify(op, &mut key) {
        return None;
    }
    over.hash(&mut key);
    inputs.iter().chain([output]).for_each(|spec| key.spec(spec));
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Identity;
    use crate::{DType, Result, Shape, Tensor};

    #[derive(Debug, Hash)]
    struct Same(u32);
    #[derive(Debug, Hash)]
    struct Other(u32);
    #[derive(Debug)]
    struct Unknown;

    macro_rules! op {
        ($type:ty, $identity:expr) => {
            impl Op for $type {
                fn name(&self) -> &'static str {
                    "same"
                }
                fn output(&self, inputs: &[Spec]) -> Result<Spec> {
                    Ok(inputs[0])
                }
                fn identity(&self) -> Option<&dyn Identity> {
                    let identity: fn(&Self) -> Option<&dyn Identity> = $identity;
                    identity(self)
                }
                fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
                    Ok(vec![None])
                }
            }
        };
    }
    op!(Same, |op| Some(op));
    op!(Other, |op| Some(op));
    op!(Unknown, |_| None);

    #[test]
    fn a_plan_is_made_once_for_what_is_the_same_in_all() {
        let plans = Plans::default();
        // Whether a plan was made.
        let made = |op: &dyn Op, inputs: &[Spec], output: &Spec, over| {
            let mut made = false;
            plans.get(op, inputs, output, over, || {
                made = true;
                None
            });
            made
        };
        let spec = |dims: &[usize]| Spec::new(DType::F32, Shape::new(dims).unwrap());
        let (square, row) = (spec(&[2, 2]), spec(&[4]));
        let mut turned = square;
        turned.layout = turned.layout.permute(&[1, 0]);
        let mut moved = square;
        moved.layout.offset = 1;
        let mut whole = square;
        whole.dtype = DType::I32;
        for first in [true, false] {
            let found = [
                made(&Same(1), &[square], &square, None),
                made(&Same(2), &[square], &square, None),
                made(&Other(1), &[square], &square, None),
                made(&Same(1), &[square], &square, Some(0)),
                made(&Same(1), &[row], &square, None),
                made(&Same(1), &[square], &row, None),
                made(&Same(1), &[turned], &square, None),
                made(&Same(1), &[moved], &square, None),
                made(&Same(1), &[whole], &square, None),
                made(&Same(1), &[square, square], &square, None),
            ];
            assert_eq!(found, [first; 10]);
            assert!(made(&Unknown, &[square], &square, None));
        }
    }
}
