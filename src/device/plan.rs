//! What an operation asks of a GPU: plain data, so that it can be made and checked without one.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// What a GPU offers, as far as a plan may depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Storage buffers a kernel may bind.
    pub storage_buffers: u32,
    /// The largest storage binding, in bytes.
    pub binding_bytes: u64,
    /// Workgroup memory, in bytes.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub workgroup_size: u32,
    /// Workgroups along one dimension of a dispatch.
    pub groups: u32,
    /// Whether the GPU is a processor that plays one: few invocations run at once, workgroup memory is no faster
    /// than the buffers, and barriers are slow.
    pub software: bool,
    /// Invocations of the largest subgroup, where reductions go over subgroups first.
    pub subgroups: Option<u32>,
    /// What matrices of halves the GPU multiplies at once, if that was tried and is right.
    pub cooperative: Option<Cooperative>,
    /// Which of a plan's [`Variants`] is asked for; by rule where none is.
    pub variant: Option<usize>,
}

/// Cooperative matrices (tensor cores): a subgroup holds matrices of halves together, and multiplies them with
/// sums in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows and columns of such a matrix: 8 or 16.
    pub size: u32,
    /// Invocations of a subgroup.
    pub subgroup: u32,
}

impl Default for Caps {
    /// The limits that every WebGPU device has.
    fn default() -> Caps {
        Caps {
            storage_buffers: 8,
            binding_bytes: 128 << 20,
            workgroup_bytes: 16 << 10,
            workgroup_size: 256,
            groups: 65_535,
            software: false,
            subgroups: None,
            cooperative: None,
            variant: None,
        }
    }
}

impl Caps {
    /// Whether a binding can hold so many bytes in whole `vec4`s, the last of which may end past them.
    pub fn reads_vectors(&self, bytes: usize) -> bool {
        bytes.next_multiple_of(16) as u64 <= self.binding_bytes
    }

    /// Whether reductions among so many invocations, a part of a workgroup of 256, go over subgroups: none of these
    /// is larger.
    pub(crate) fn subgroups_within(&self, invocations: usize) -> bool {
        self.subgroups.is_some_and(|largest| (2..=invocations).contains(&(largest as usize)))
    }
}

/// WGSL source under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    /// The file's stem, or for generated code something that identifies its text: errors name it, and shaders
    /// are found by it, quickly where no two share one.
    pub name: Cow<'static, str>,
    /// The text, imports unresolved.
    pub source: Cow<'static, str>,
    /// Whether it stays within its buffers and ends its loops, whatever its params.
    trusted: bool,
}

impl Hash for Shader {
    /// By the name alone, since every kernel that is run is looked up by its shader: the text is compared, not
    /// hashed.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Shader {
    /// A shader file, by `include_str!`.
    pub const fn file(name: &'static str, source: &'static str) -> Shader {
        Shader { name: Cow::Borrowed(name), source: Cow::Borrowed(source), trusted: false }
    }

    /// Generated text.
    pub fn text(name: String, source: String) -> Shader {
        Shader { name: name.into(), source: source.into(), trusted: false }
    }

    /// The shader compiled without bounds checks, bounded loops and guarded divisions.
    ///
    /// # Safety
    /// For the params that it is run with, it must stay within its buffers, end its loops and divide by no zero.
    pub(crate) const unsafe fn unchecked(mut self) -> Shader {
        self.trusted = true;
        self
    }

    /// Another text, which keeps what was promised of this one.
    pub(crate) fn rewritten(&self, name: String, source: String) -> Shader {
        Shader { name: name.into(), source: source.into(), trusted: self.trusted }
    }

    #[cfg(feature = "gpu")]
    pub(super) fn trusted(&self) -> bool {
        self.trusted
    }
}

/// What is bound to one storage variable of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// An input of the operation: `var<storage, read>`.
    Input(usize),
    /// An input that the kernel writes too, in an operation that the scheduler makes: `var<storage, read_write>`.
    Both(usize),
    /// The operation's output: `var<storage, read_write>`.
    Output,
    /// A buffer that lives while the plan runs: `var<storage, read_write>`.
    Scratch(usize),
    /// Such a buffer that the kernel only reads: `var<storage, read>`.
    Written(usize),
}

#[cfg(feature = "gpu")]
impl Binding {
    /// Whether kernels that bind it this way only read it.
    pub(super) fn read_only(self) -> bool {
        matches!(self, Binding::Input(_) | Binding::Written(_))
    }
}

/// One dispatch.
///
/// In the shader, `@group(0) @binding(0)` is `var<uniform> params` (a struct of 4-byte members and
/// `vec4`s filled from [`params`](Kernel::params)), and the bindings follow from 1, all of group 0.
/// The entry point is `main`. An input of a [`strided`](crate::Op::strided) operation is bound from the
/// start of its buffer, so the kernel must add the layout's offset; any other input is bound at
/// its first element.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The WGSL.
    pub shader: Shader,
    /// New values for top-level `const`s and `alias`es of the shader: `("TILE", "16")`.
    pub constants: Vec<(&'static str, Cow<'static, str>)>,
    /// Storage variables from `@binding(1)`.
    pub bindings: Vec<Binding>,
    /// The uniform's words, in order.
    pub params: Vec<u32>,
    /// Workgroups.
    pub groups: [u32; 3],
}

impl Kernel {
    /// Workgroups for `count` of them in a row, folded over two dimensions where one is too
    /// short. The shader writes its workgroup's number as `group.x + group.y * groups.x` and returns where
    /// that is past the end. A shader with this expression may be run by several dispatches, see
    /// [`specialise`](super::specialise); then there may be more rows than a dimension holds.
    pub fn fold(count: usize, caps: &Caps) -> [u32; 3] {
        let limit = caps.groups as usize;
        let rows = count.div_ceil(limit).max(1);
        [count.div_ceil(rows) as u32, rows as u32, 1]
    }
}

/// The dispatches of one operation, in order, each seeing what the ones before it wrote.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The dispatches.
    pub kernels: Vec<Kernel>,
    /// Sizes of the scratch buffers, in bytes.
    pub scratch: Vec<usize>,
    /// Other plans for the same.
    pub variants: Option<Variants>,
    /// Where the operation's [`numbers`](crate::Op::numbers) go.
    pub numbers: Vec<Place>,
    /// Whether many other operations share its kernels, so that steps after it are rather kernels of their own
    /// than new ones for each: where compiling takes longer than running.
    pub shared: bool,
}

/// Where some of an operation's numbers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which kernel of the plan takes them.
    pub kernel: usize,
    /// Which of its params the first of them is.
    pub param: usize,
    /// Which of the numbers they are.
    pub numbers: Range<usize>,
}

/// Plans that differ in their time and in the rounding of their results, and in nothing else: a device may measure
/// them and ask for the fastest, see [`Caps::variant`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    /// What the fastest is remembered for: the same for all operations in which it is likely to be the same.
    pub class: String,
    /// A name for each, which means the same in all of a class that have it. The first is the rule's choice.
    pub names: Vec<String>,
}

impl Plan {
    /// A plan of one dispatch.
    pub fn one(kernel: Kernel) -> Plan {
        Plan { kernels: vec![kernel], ..Plan::default() }
    }

    /// A plan of one dispatch whose first params are the operation's numbers, so many.
    pub fn numbered(kernel: Kernel, numbers: usize) -> Plan {
        Plan { numbers: vec![Place { kernel: 0, param: 0, numbers: 0..numbers }], ..Plan::one(kernel) }
    }

    /// The params of a kernel with the operation's numbers; none where there is no such kernel, where there is no place
    /// for them in the plan or in the params, or where there are too few.
    pub fn params(&self, kernel: usize, numbers: &[u32]) -> Option<Cow<'_, [u32]>> {
        if self.numbers.is_empty() && !numbers.is_empty() {
            return None;
        }
        let mut params = Cow::Borrowed(&self.kernels.get(kernel)?.params[..]);
        let here = |place: &&Place| place.kernel == kernel && !place.numbers.is_empty();
        for place in self.numbers.iter().filter(here) {
            let taken = numbers.get(place.numbers.clone())?;
            params.to_mut().get_mut(place.param..)?.get_mut(..taken.len())?.copy_from_slice(taken);
        }
        Some(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        let shader = Shader::file("none", "");
        Kernel {
            shader,
            constants: Vec::new(),
            bindings: Vec::new(),
            params: vec![1, 2, 3, 4],
            groups: [1; 3],
        }
    }

    #[test]
    fn numbers_go_where_the_plan_says() {
        let plan = Plan { kernels: vec![kernel(), kernel()], ..Plan::default() };
        assert_eq!(plan.params(1, &[]).as_deref(), Some(&[1, 2, 3, 4][..]));
        assert_eq!(plan.params(1, &[7]), None, "a number without a place");
        let place = |kernel, param, numbers| Place { kernel, param, numbers };
        let plan = Plan { numbers: vec![place(0, 0, 0..1), place(1, 2, 1..3), place(1, 0, 0..1)], ..plan };
        assert_eq!(plan.params(0, &[7, 8, 9]).as_deref(), Some(&[7, 2, 3, 4][..]));
        assert_eq!(plan.params(1, &[7, 8, 9]).as_deref(), Some(&[7, 2, 8, 9][..]));
        assert_eq!(plan.params(1, &[7, 8]), None, "too few numbers");
        let short = Plan::numbered(kernel(), 5);
        assert_eq!(short.params(0, &[0; 5]), None, "too few params");
    }
}
