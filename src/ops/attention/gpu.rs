//! Attention on the GPU: plans for `shaders/attention.wgsl`.

use super::{Backward, Pass, Sizes};
use crate::Spec;
use crate::device::{Binding, Caps, Kernel, Plan, Shader};

/// Own rows and other rows of a tile that a workgroup shares, and its invocations.
const TILE: usize = 32;
const THREADS: usize = 64;
/// Vectors of 4 rows and of 4 columns of an invocation where each has a tile of its own, and how many are a workgroup.
const OWN_TILE: [usize; 2] = [2, 2];
const OWN_THREADS: usize = 16;

/// Where a kernel writes: the first element, and the steps of an entry, a head and a row.
type Place = [usize; 4];

/// What a kernel makes of own rows.
struct Walk<'a> {
    pass: &'a Pass,
    inputs: &'a [Spec],
    /// The gradient of the output, what was kept of it, the products of both, and the mask.
    others: [Option<usize>; 4],
    /// Whether own rows are keys.
    keys: bool,
    of_y: Place,
    of_w: Place,
}

impl Walk<'_> {
    fn kernel(&self, caps: &Caps) -> Kernel {
        let sizes = Sizes::of_specs(self.inputs);
        let Sizes { batch, heads, shared, queries, keys, size, values } = sizes;
        let [upstream, packed, products, mask] = self.others;
        let forward = upstream.is_none();
        let (rows, own_heads) = if self.keys { (keys, shared) } else { (queries, heads) };
        let (tile, threads) = if caps.software { (4 * OWN_TILE[0], OWN_THREADS) } else { (TILE, THREADS) };
        let tiles = rows.div_ceil(tile);
        let count = tiles * batch * own_heads;

        let offset = |input: Option<usize>| input.map_or(0, |input| self.inputs[input].layout.offset);
        // The layout of an input; steps of the batch and of heads that are not taken are of no account.
        let place = |input: Option<usize>, width: usize| -> [u32; 4] {
            let Some(input) = input else { return [0; 4] };
            let layout = &self.inputs[input].layout;
            let step = |axis: usize| (layout.strides()[axis] / width as isize) as u32;
            [(layout.offset / width) as u32, step(0), step(1), step(2)]
        };
        let column = mask.map_or(0, |mask| self.inputs[mask].layout.strides()[3]);
        let logs = offset(packed) + sizes.outputs();
        let row = if forward && !self.pass.saves { 0 } else { sizes.row() };
        let counts = [heads, heads / shared, queries, keys, tiles, batch, size / 4, values / 4];
        let mut params: Vec<u32> = counts.map(|count| count as u32).to_vec();
        for (input, width) in [(Some(0), 4), (Some(1), 4), (Some(2), 4), (upstream, 4), (mask, 1)] {
            params.extend(place(input, width));
        }
        params.extend([self.of_y, self.of_w].as_flattened().iter().map(|&step| (step / 4) as u32));
        params.extend([column as u32, self.pass.is_causal.into(), (logs / 4) as u32, (row / 4) as u32]);
        params.extend([self.pass.scale.to_bits(), (offset(products) / 4) as u32]);

        let parts = |elements: usize| format!("{}u", elements.div_ceil(32)).into();
        let flag = |flag: bool| if flag { "true" } else { "false" }.into();
        let mut constants = vec![
            ("FORWARD", flag(forward)),
            ("KEYS", flag(self.keys)),
            ("MASKED", flag(mask.is_some())),
            ("WORKGROUP_MEMORY", flag(!caps.software)),
        ];
        if caps.software {
            let [m4, n4] = OWN_TILE;
            let words = [("M4", m4), ("N4", n4), ("THREADS", threads), ("TILE", tile), ("OTHERS", 4 * n4)];
            constants.extend(words.map(|(name, word)| (name, format!("{word}u").into())));
        } else {
            constants.extend([("Y_PARTS", parts(size)), ("W_PARTS", parts(values))]);
        }
        let shader = Shader::file("attention", include_str!("../../../shaders/attention.wgsl"));
        // SAFETY: rows past the end are the last ones, elements go up to sizes, and so do the loops.
        let shader = unsafe { shader.unchecked() };
        // What a kernel does not read has a binding all the same.
        let input = |input: Option<usize>| Binding::Input(input.unwrap_or(0));
        let bindings = [input(Some(0)), input(Some(1)), input(Some(2)), Binding::Output];
        let bindings = bindings.into_iter().chain(self.others.map(input)).collect();
        let groups = if caps.software { count.div_ceil(threads) } else { count };
        Kernel { shader, constants, bindings, params, groups: Kernel::fold(groups, caps) }
    }
}

pub(super) fn forward(pass: &Pass, inputs: &[Spec], caps: &Caps) -> Plan {
    let Sizes { heads, queries, values, .. } = Sizes::of_specs(inputs);
    let others = [None, None, None, (inputs.len() > 3).then_some(3)];
    let of_w = [0, queries * heads * values, values, heads * values];
    Plan::one(Walk { pass, inputs, others, keys: false, of_y: [0; 4], of_w }.kernel(caps))
}

pub(super) fn backward(op: &Backward, inputs: &[Spec], caps: &Caps) -> Plan {
    let sizes = Sizes::of_specs(inputs);
    let others = [Some(4), Some(3), Some(5), (inputs.len() > 6).then_some(6)];
    let places = op.places(&sizes).0;
    let [of_query, of_key, of_value] =
        [(0, sizes.size), (1, sizes.size), (2, sizes.values)].map(|(part, head)| {
            let (offset, entry, row): (usize, usize, usize) = places[part];
            [offset, entry, head, row]
        });
    let walk = |keys: bool, of_y: Place| {
        Walk { pass: &op.pass, inputs, others, keys, of_y, of_w: of_value }.kernel(caps)
    };
    Plan { kernels: vec![walk(true, of_key), walk(false, of_query)], ..Plan::default() }
}
