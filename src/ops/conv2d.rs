//! Two-dimensional convolution and its gradients.
//!
//! A convolution with its upstream gradient is linear in three tensors: input, weight and output.
//! Each of the three operations here computes the gradient of that product with respect to one of
//! them from the other two (the gradient with respect to the upstream is the convolution itself), so
//! their gradients are the same three operations again, to any order.

mod columns;
mod cpu;
mod depthwise;
mod depthwise_gpu;
mod gpu;
mod winograd;
mod winograd_gpu;

use crate::device::{Caps, Plan};
use crate::tensor::{product, unwidened};
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};

/// How a window moves over an image: see [`Tensor::conv2d`]. The pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Zeros put around the image, on either side.
    pub padding: [usize; 2],
    /// Steps between the elements of a window.
    pub dilation: [usize; 2],
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Conv2dOptions {
        Conv2dOptions { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// One of the three tensors that a convolution ties together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// `[batch, groups * channels, height, width]`
    Input,
    /// `[groups * filters, channels, kernel height, kernel width]`
    Weight,
    /// `[batch, groups * filters, output height, output width]`
    Output,
}

/// All sizes of a convolution; `channels` and `filters` are those of one group.
#[derive(Clone, Copy, Debug, Hash)]
struct Sizes {
    batch: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Sizes {
    fn new(input: &Shape, weight: &Shape, options: &Conv2dOptions) -> Result<Sizes> {
        let Conv2dOptions { stride, padding, dilation, groups } = *options;
        let refuse = |message: String| {
            Err(Error::op("conv2d", format!("input {input} and weight {weight}: {message}")))
        };
        let (&[batch, channels, height, width], &[filters, weight_channels, rows, columns]) =
            (&input[..], &weight[..])
        else {
            return refuse("both need 4 dimensions, [N, C, H, W] and [O, C / groups, KH, KW]".into());
        };
        if groups == 0 || stride.contains(&0) || dilation.contains(&0) {
            return refuse(format!(
                "{groups} groups, stride {stride:?} and dilation {dilation:?} must be above 0"
            ));
        }
        if channels % groups != 0 || filters % groups != 0 {
            return refuse(format!("{channels} and {filters} channels do not divide into {groups} groups"));
        }
        if channels / groups != weight_channels {
            return refuse(format!(
                "the weight takes {weight_channels} channels, each of {groups} groups has {}",
                channels / groups
            ));
        }
        let (image, kernel) = ([height, width], [rows, columns]);
        if kernel.contains(&0) {
            return refuse("the kernel is empty".into());
        }
        let (mut stride, mut dilation) = (stride, dilation);
        let mut output = [0; 2];
        for axis in 0..2 {
            // Kernels count in 31 bits.
            let padded = padding[axis].checked_mul(2).and_then(|p| p.checked_add(image[axis]));
            let Some(padded) = padded.filter(|&padded| padded <= i32::MAX as usize) else {
                return refuse(format!("padding {padding:?} is too large"));
            };
            let window = (kernel[axis] - 1).saturating_mul(dilation[axis]).saturating_add(1);
            let Some(room) = padded.checked_sub(window) else {
                return refuse(format!(
                    "the kernel with dilation {dilation:?} is larger than the image with padding {padding:?}"
                ));
            };
            output[axis] = room / stride[axis] + 1;
            // Steps that are never taken say nothing; what is left of them is small.
            if output[axis] == 1 {
                stride[axis] = 1;
            }
            if kernel[axis] == 1 {
                dilation[axis] = 1;
            }
        }
        let (channels, filters) = (channels / groups, filters / groups);
        let sizes =
            Sizes { batch, groups, channels, filters, image, kernel, output, stride, padding, dilation };
        // Refused here if the output is too large to be one.
        sizes.shape(Role::Output)?;
        Ok(sizes)
    }

    fn shape(&self, role: Role) -> Result<Shape> {
        let channels = self.groups * self.channels;
        let filters = self.groups * self.filters;
        Shape::new(&match role {
            Role::Input => [self.batch, channels, self.image[0], self.image[1]],
            Role::Weight => [filters, self.channels, self.kernel[0], self.kernel[1]],
            Role::Output => [self.batch, filters, self.output[0], self.output[1]],
        })
    }

    /// Elements of one channel of the input.
    fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Elements of one channel of the output.
    fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Whether every window is one pixel and every pixel a window: a plain product of matrices.
    fn pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Elements of one filter: what one output element sums over.
    fn taps(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }
}

/// Computes the tensor in the role `of` from the other two, given in the order of [`Role`].
#[derive(Clone, Copy, Debug, Hash)]
struct Conv2d {
    of: Role,
    sizes: Sizes,
}

impl Conv2d {
    /// The roles of the inputs.
    fn roles(&self) -> [Role; 2] {
        match self.of {
            Role::Input => [Role::Weight, Role::Output],
            Role::Weight => [Role::Input, Role::Output],
            Role::Output => [Role::Input, Role::Weight],
        }
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        match self.of {
            Role::Input => "conv2d_input_gradient",
            Role::Weight => "conv2d_weight_gradient",
            Role::Output => "conv2d",
        }
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if inputs.len() != 2 || inputs.iter().any(|input| !input.dtype.is_float()) {
            let given: Vec<String> = inputs.iter().map(|input| input.dtype.to_string()).collect();
            return Err(Error::op(self.name(), format!("is not defined for {}", given.join(" and "))));
        }
        for (input, role) in inputs.iter().zip(self.roles()) {
            let expected = self.sizes.shape(role)?;
            if *input.shape() != expected {
                let message = format!("shape {} where {expected} is expected", input.shape());
                return Err(Error::op(self.name(), message));
            }
        }
        Ok(Spec::new(DType::F32, self.sizes.shape(self.of)?))
    }

    fn flops(&self, _: &[Spec], _: &Spec) -> u64 {
        let s = &self.sizes;
        2 * (s.batch * s.groups * s.filters * s.positions()) as u64 * s.taps() as u64
    }

    fn half(&self) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let [first, second] = [&inputs[0], &inputs[1]].map(View::widened);
        let dense = |input: &View| input.spec.layout.offset..input.spec.layout.offset + input.spec.elements();
        let (first, second) = (&first[dense(&inputs[0])], &second[dense(&inputs[1])]);
        let (finish, output) = (output.finish(), output.slice());
        match self.of {
            Role::Input => cpu::input_gradient(&self.sizes, first, second, output, finish),
            Role::Weight => cpu::weight_gradient(&self.sizes, first, second, output),
            Role::Output => cpu::forward(&self.sizes, first, second, output, finish),
        }
        Ok(())
    }

    fn finishes(&self) -> bool {
        // What follows the gradient of a weight is its update, which is written over the weight.
        self.of != Role::Weight
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        depthwise_gpu::plan(self, inputs, caps).or_else(|| winograd_gpu::plan(self, inputs, caps))
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let upstream = &unwidened(upstream);
        // The upstream stands in for the output; an input gives its place to its gradient.
        let of = |role: Role| {
            let op = Conv2d { of: role, sizes: self.sizes };
            let operand = |wanted: Role| match self.roles().iter().position(|&role| role == wanted) {
                Some(at) => &inputs[at],
                None => upstream,
            };
            Tensor::apply(op, &op.roles().map(operand))
        };
        let pairs = self.roles().into_iter().zip(inputs);
        pairs.map(|(role, input)| Ok(Some(of(role)?.cast(input.dtype())?))).collect()
    }
}

/// The transpose of the convolution of images of shape `input`, applied to `output`: the gradient with
/// respect to those images where `output` is the upstream one.
pub(super) fn transposed(
    input: &Shape,
    weight: &Tensor,
    output: &Tensor,
    options: &Conv2dOptions,
) -> Result<Tensor> {
    let sizes = Sizes::new(input, weight.shape(), options)?;
    product(Conv2d { of: Role::Input, sizes }, [weight, output])
}

impl Tensor {
    /// Convolves images `[N, C, H, W]` with a weight `[O, C / groups, KH, KW]` (in the sense of deep
    /// learning: the window is not flipped) and adds a bias `[O]`: `[N, O, OH, OW]` with
    /// `OH = (H + 2 padding - dilation (KH - 1) - 1) / stride + 1`, rounded down.
    ///
    /// An error where ranks or channels do not fit, groups do not divide the channels, the kernel
    /// is larger than the padded image, or a stride, dilation or the number of groups is 0.
    ///
    /// ```
    /// use kiln::{Engine, Tensor, ops::Conv2dOptions};
    /// let engine = Engine::cpu();
    /// let image = Tensor::ones([1, 1, 3, 3], &engine)?;
    /// let kernel = Tensor::ones([1, 1, 3, 3], &engine)?;
    /// let same = Conv2dOptions { padding: [1, 1], ..Default::default() };
    /// let counts = image.conv2d(&kernel, None, same)?;
    /// assert_eq!(counts.to_vec::<f32>()?, [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv2dOptions) -> Result<Tensor> {
        let sizes = Sizes::new(self.shape(), weight.shape(), &options)?;
        let filters = weight.dims()[0];
        if let Some(bias) = bias.filter(|bias| bias.dims() != [filters]) {
            let message =
                format!("bias {} for weight {}: expected [{filters}]", bias.shape(), weight.shape());
            return Err(Error::op("conv2d", message));
        }
        let result = product(Conv2d { of: Role::Output, sizes }, [self, weight])?;
        match bias {
            Some(bias) => result.add(&bias.cast(result.dtype())?.reshape([filters, 1, 1])?),
            None => Ok(result),
        }
    }
}
