//! Convolution on the GPU: `shaders/conv2d.wgsl`, an implicit matrix product.

use super::{Conv2d, Role};
use crate::Spec;
use crate::device::{Caps, Plan, Shader};
use crate::ops::matmul::gpu::Gemm;

pub(super) fn plan(op: &Conv2d, inputs: &[Spec], caps: &Caps) -> Plan {
    let s = &op.sizes;
    let kernel = s.kernel[0] * s.kernel[1];
    let (m, n, k, along_k) = match op.of {
        Role::Input => (s.channels, s.batch * s.pixels(), s.filters * kernel, [true, false]),
        Role::Weight => (s.filters, s.taps(), s.batch * s.positions(), [true, true]),
        Role::Output => (s.filters, s.batch * s.positions(), s.taps(), [true, false]),
    };
    let elements = s.groups * m * n;
    let word = |value: usize| format!("{value}u").into();
    let constants = vec![
        ("OF", word(op.of as usize)),
        ("KERNEL_Y", word(s.kernel[0])),
        ("KERNEL_X", word(s.kernel[1])),
        ("STRIDE_Y", word(s.stride[0])),
        ("STRIDE_X", word(s.stride[1])),
    ];
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
    let gemm = Gemm { m, n, k, batch: s.groups, along_k };
    gemm.plan(shader, inputs, constants, params.map(|size| size as u32).to_vec(), elements, caps)
}
