//! Depthwise convolution on the GPU: `shaders/conv2d_depthwise.wgsl`.

use super::{Conv2d, Role, Sizes};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::ops::matmul::gpu::sum_of_splits;
use crate::{DType, Spec};

/// Places along y and x that an invocation computes, as the shader has them.
const BLOCK: [usize; 2] = [4, 4];
/// The most taps, and places of the source along a dimension, that a kernel holds in registers.
const MAX_TAPS: usize = 64;
const MAX_SPAN: usize = 16;
/// Invocations of a workgroup, which for the gradient of a weight share memory; of a processor that plays a GPU.
const LANES: usize = 64;
const LANES_SOFTWARE: usize = 8;
/// Workgroups that keep a GPU busy.
const BUSY: usize = 1024;

/// What a block sees of the source along one dimension: from where on, and how many places.
fn span(s: &Sizes, of: Role, axis: usize) -> Option<(i32, usize)> {
    let (stride, block) = (s.stride[axis], BLOCK[axis]);
    let reach = (s.kernel[axis] - 1).checked_mul(s.dilation[axis]).filter(|&reach| reach < 1 << 16)? as i32;
    let padding = i32::try_from(s.padding[axis]).ok().filter(|&padding| padding < 1 << 16)?;
    let (min, span) = match of {
        // Blocks begin in step with the strides only where these divide them.
        Role::Input if !block.is_multiple_of(stride) => return None,
        Role::Input => {
            let min = (padding - reach).div_euclid(stride as i32);
            (min, (block as i32 - 1 + padding).div_euclid(stride as i32) - min + 1)
        }
        _ => (-padding, i32::try_from((block - 1).checked_mul(stride)?).ok()? + reach + 1),
    };
    Some((min, span as usize)).filter(|&(_, span)| span <= MAX_SPAN)
}

/// The plan where each group is one channel and the windows are small.
pub(super) fn plan(op: &Conv2d, inputs: &[Spec], caps: &Caps) -> Option<Plan> {
    let s = &op.sizes;
    let taps = s.kernel[0] * s.kernel[1];
    if s.channels != 1 || s.groups == 1 || taps > MAX_TAPS {
        return None;
    }
    let [(min_y, span_y), (min_x, span_x)] = [span(s, op.of, 0)?, span(s, op.of, 1)?];
    let [source, other] = if op.of == Role::Input { [1, 0] } else { [0, 1] };
    let (source_size, size) = if op.of == Role::Input { (s.output, s.image) } else { (s.image, s.output) };
    let elements = s.shape(op.of).ok()?.elements();
    if elements == 0 {
        return Some(Plan::default());
    }
    let weight = op.of == Role::Weight;
    let vectors = source_size[1].is_multiple_of(4) && (op.of != Role::Input || s.stride[1] == 1);
    let shift = if vectors { min_x.rem_euclid(4) as usize } else { 0 };
    let window = if vectors { (shift + span_x).next_multiple_of(4) } else { span_x };
    let lanes = if weight && caps.software { LANES_SOFTWARE } else { LANES };
    let blocks = [0, 1].map(|axis| size[axis].div_ceil(BLOCK[axis]));
    let filters = s.groups * s.filters;
    let planes = match op.of {
        Role::Input => s.batch * s.groups,
        Role::Weight => s.batch,
        Role::Output => s.batch * filters,
    };
    // Workgroups, and the partial sums that each result is the sum of.
    let (groups, splits, parts) = if weight {
        let room = caps.binding_bytes as usize / (elements * size_of::<f32>());
        let rounds = (planes * blocks[0] * blocks[1]).div_ceil(4 * lanes);
        if caps.software {
            (filters, 1, lanes)
        } else {
            let splits = (BUSY / filters).min(rounds).min(room).max(1);
            (filters * splits, splits, splits)
        }
    } else {
        ((planes * blocks[0] * blocks[1]).div_ceil(lanes), 1, 1)
    };

    let signed = [
        ("KERNEL_Y", s.kernel[0] as i32),
        ("KERNEL_X", s.kernel[1] as i32),
        ("STRIDE_Y", s.stride[0] as i32),
        ("STRIDE_X", s.stride[1] as i32),
        ("PADDING_Y", s.padding[0] as i32),
        ("PADDING_X", s.padding[1] as i32),
        ("DILATION_Y", s.dilation[0] as i32),
        ("DILATION_X", s.dilation[1] as i32),
        ("MIN_Y", min_y),
        ("MIN_X", min_x),
    ];
    let words = [
        ("OF", op.of as usize),
        ("SPAN_Y", span_y),
        ("SPAN_X", span_x),
        ("SHIFT", shift),
        ("WINDOW", window),
        ("LANES", lanes),
        ("TAPS_X", s.kernel[1]),
        ("TAPS", taps),
    ];
    let half = |input: usize| inputs[input].dtype == DType::F16;
    let flags = [
        ("WEIGHT", weight),
        ("VECTORS", vectors),
        ("SOURCE_HALF", half(source)),
        ("OTHER_HALF", half(other)),
        ("ROW_VECTORS", size[1].is_multiple_of(4)),
        ("WORKGROUP_MEMORY", !caps.software),
    ];
    let signed = signed.into_iter().map(|(name, value)| (name, value.to_string().into()));
    let words = words.into_iter().map(|(name, value)| (name, format!("{value}u").into()));
    let flags = flags.into_iter().map(|(name, value)| (name, value.to_string().into()));
    let sizes = [source_size[0], source_size[1], size[0], size[1], blocks[0], blocks[1]];
    let rest = [planes, s.groups, s.filters, splits];
    let result = if parts > 1 { Binding::Scratch(0) } else { Binding::Output };
    let shader = Shader::file("conv2d_depthwise", include_str!("../../../shaders/conv2d_depthwise.wgsl"));
    let kernel = Kernel {
        // SAFETY: what is outside a plane is not read or written; the loops go up to sizes, and no size is 0.
        shader: unsafe { shader.unchecked() },
        constants: signed.chain(words).chain(flags).collect(),
        // Each by word and by vector.
        bindings: [Binding::Input(source), Binding::Input(other), result]
            .into_iter()
            .flat_map(|b| [b, b])
            .collect(),
        params: sizes.into_iter().chain(rest).map(|size| size as u32).collect(),
        groups: Kernel::fold(groups, caps),
    };
    if parts == 1 {
        return Some(Plan::one(kernel));
    }
    let scratch = vec![parts * elements * size_of::<f32>()];
    Some(Plan { kernels: vec![kernel, sum_of_splits(elements, parts, caps)], scratch, ..Plan::default() })
}
