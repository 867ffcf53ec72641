//! Convolution on the GPU: `shaders/conv2d.wgsl`, an implicit matrix product.

use super::{Conv2d, Role};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::ops::fused::Fused;
use crate::ops::matmul::gpu::Gemm;
use crate::{Op, Shape, Spec};

pub(super) fn plan(op: &Conv2d, inputs: &[Spec], caps: &Caps) -> Option<Plan> {
    let s = &op.sizes;
    let kernel = s.kernel[0] * s.kernel[1];
    // The gradient of the input is one product for each phase of the steps, since each pixel meets every so
    // many-th tap only. Steps between taps mix the phases.
    let phases = [0, 1].map(|axis| if s.dilation[axis] == 1 { s.stride[axis] } else { 1 });
    let pixels = [0, 1].map(|axis| s.image[axis].div_ceil(phases[axis]));
    let taps = [0, 1].map(|axis| s.kernel[axis].div_ceil(phases[axis]));
    let (m, n, k) = match op.of {
        Role::Input => (s.channels, s.batch * pixels[0] * pixels[1], s.filters * taps[0] * taps[1]),
        Role::Weight => (s.filters, s.taps(), s.batch * s.positions()),
        Role::Output => (s.filters, s.batch * s.positions(), s.taps()),
    };
    // Widths of what B is seen at and of what it is read from, and whether neighbours are neighbours there.
    let (places, width, a_vectors, dense, stored) = match op.of {
        Role::Input => (
            pixels[1],
            s.output[1],
            s.channels.is_multiple_of(4),
            phases == s.stride,
            if phases == [1, 1] { s.pixels() } else { 1 },
        ),
        Role::Weight => {
            (s.output[1], s.image[1], s.positions().is_multiple_of(4), s.stride[1] == 1, s.taps())
        }
        Role::Output => {
            (s.output[1], s.image[1], s.taps().is_multiple_of(4), s.stride[1] == 1, s.positions())
        }
    };
    let rows = places.is_multiple_of(4);
    // Where four neighbours may lie in two rows, four taps are less to compute than four pixels; but on a GPU
    // neighbouring invocations should read neighbouring pixels.
    let along_k = [op.of != Role::Input, op.of == Role::Weight || (caps.software && !rows)];
    let vectors = [a_vectors, rows && width.is_multiple_of(4) && dense, stored.is_multiple_of(4)];
    let elements = s.shape(op.of).ok()?.elements();
    let word = |value: usize| format!("{value}u").into();
    let mut constants = vec![
        ("OF", word(op.of as usize)),
        ("KERNEL_Y", word(s.kernel[0])),
        ("KERNEL_X", word(s.kernel[1])),
        ("STRIDE_Y", word(s.stride[0])),
        ("STRIDE_X", word(s.stride[1])),
        ("B_ROWS", rows.to_string().into()),
    ];
    let batch = match op.of {
        Role::Input => {
            constants.extend([("PHASES_Y", word(phases[0])), ("PHASES_X", word(phases[1]))]);
            s.groups * phases[0] * phases[1]
        }
        _ => s.groups,
    };
    let params = [
        s.groups,
        s.channels,
        s.filters,
        s.image[0],
        s.image[1],
        s.output[0],
        s.output[1],
        s.padding[0],
        s.padding[1],
        s.dilation[0],
        s.dilation[1],
        elements,
    ];
    let shader = Shader::file("conv2d", include_str!("../../../shaders/conv2d.wgsl"));
    // SAFETY: rows, columns and places along k that the core asks for are inside the matrices; what is outside
    // an image is not read; the loops go up to sizes, and no size is 0.
    let shader = unsafe { shader.unchecked() };
    let gemm = Gemm { m, n, k, batch, along_k, vectors };
    let params = params.map(|size| size as u32).to_vec();
    let mut plan = gemm.plan(shader, inputs, constants, params, elements, caps);
    if op.of == Role::Input && s.channels > 1 && kernel > 1 && elements > 0 {
        channels_last(&mut plan, op, &inputs[0], caps)?;
    }
    Some(plan)
}

/// Puts a copy of the weight with its channels last before the rest of the plan, in place of the weight: what
/// invocations beside each other read is then beside each other too.
fn channels_last(plan: &mut Plan, op: &Conv2d, weight: &Spec, caps: &Caps) -> Option<()> {
    let s = &op.sizes;
    let taps = Shape::new(&[s.groups * s.filters, s.channels, s.kernel[0] * s.kernel[1]]).ok()?;
    let mut turned = Spec::new(weight.dtype, taps);
    turned.layout = turned.layout.permute(&[0, 2, 1]);
    let dense = Spec::new(weight.dtype, turned.layout.shape);
    let copy = Fused::copy(&turned).gpu(&[turned], &dense, caps)?;
    let scratch = plan.scratch.len();
    plan.scratch.push(dense.bytes());
    let rebind = |kernel: &mut Kernel, from: Binding, to: Binding| {
        kernel.bindings.iter_mut().filter(|binding| **binding == from).for_each(|binding| *binding = to);
    };
    plan.kernels.iter_mut().for_each(|kernel| rebind(kernel, Binding::Input(0), Binding::Written(scratch)));
    let mut kernels = copy.kernels;
    kernels.iter_mut().for_each(|kernel| rebind(kernel, Binding::Output, Binding::Scratch(scratch)));
    kernels.append(&mut plan.kernels);
    plan.kernels = kernels;
    Some(())
}
