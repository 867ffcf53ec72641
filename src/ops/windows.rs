//! Sliding windows along a dimension: a view that shows elements as often as windows hold them, and
//! the sum of overlapping windows, which is its gradient.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::parallel;
use crate::{DType, Error, Identity, Layout, Op, Output, Result, Shape, Spec, Tensor, View};

/// Elements a thread should have at least.
const SHARE: usize = 4 * 1024;

/// How windows lie along a dimension of `length` elements: `count` of them, each of `size` elements.
#[derive(Clone, Copy, Debug, Hash)]
struct Windows {
    axis: usize,
    length: usize,
    size: usize,
    /// From an element of a window to its next.
    dilation: usize,
    /// From a window to the next.
    stride: usize,
    count: usize,
}

impl Windows {
    fn new(op: &'static str, axis: usize, length: usize, sizes: [usize; 3]) -> Result<Windows> {
        let [size, dilation, stride] = sizes;
        let reach = dilation.saturating_mul(size.saturating_sub(1)).saturating_add(1);
        if size == 0 || dilation == 0 || stride == 0 || reach > length {
            let message = format!(
                "a window of {size} by {dilation} in steps of {stride} does not fit {length} elements"
            );
            return Err(Error::op(op, message));
        }
        let count = (length - reach) / stride + 1;
        // Steps that are never taken say nothing; what is left of them is small.
        let (dilation, stride) = (if size == 1 { 1 } else { dilation }, if count == 1 { 1 } else { stride });
        Ok(Windows { axis, length, size, dilation, stride, count })
    }
}

/// Dimension `length` becomes two: `size` and `count`. No data moves.
#[derive(Debug)]
struct Unfold(Windows);

/// Dimensions `size` and `count` become one, of `length`: each element is the sum of the window
/// elements that lie on it.
#[derive(Debug, Hash)]
struct OverlapAdd(Windows);

impl Op for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let shape = inputs[0].shape();
        let dims = [&shape[..self.0.axis], &[self.0.size, self.0.count], &shape[self.0.axis + 1..]].concat();
        Ok(Spec::new(inputs[0].dtype, Shape::new(&dims)?))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        let Windows { axis, size, dilation, stride, count, .. } = self.0;
        input.windows(axis, (size, dilation), (count, stride))
    }

    fn half(&self) -> bool {
        true
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Tensor::apply(OverlapAdd(self.0), &[upstream])?)])
    }
}

impl Op for OverlapAdd {
    fn name(&self) -> &'static str {
        "overlap_add"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if inputs[0].dtype != DType::F32 {
            return Err(Error::op("fold", format!("is not defined for {}", inputs[0].dtype)));
        }
        let shape = inputs[0].shape();
        let dims = [&shape[..self.0.axis], &[self.0.length], &shape[self.0.axis + 2..]].concat();
        Ok(Spec::new(DType::F32, Shape::new(&dims)?))
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        inputs[0].elements() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let Windows { axis, length, size, dilation, stride, count } = self.0;
        let inner: usize = output.spec.shape()[axis + 1..].iter().product();
        let windows = size * count * inner;
        let input = inputs[0].slice::<f32>();
        parallel::chunks(output.slice::<f32>(), length * inner, SHARE.div_ceil(windows), |outer, out| {
            out.fill(0.0);
            let input = &input[outer * windows..][..windows];
            for (element, rows) in input.chunks_exact(count * inner).enumerate() {
                let out = &mut out[element * dilation * inner..];
                if inner == 1 {
                    let places = out.iter_mut().step_by(stride);
                    places.zip(rows).for_each(|(sum, &value)| *sum += value);
                    continue;
                }
                let places = out.chunks_mut(stride * inner);
                for (sums, values) in places.zip(rows.chunks_exact(inner)) {
                    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
                }
            }
        });
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, _: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let Windows { axis, length, size, dilation, stride, count } = self.0;
        let inner = output.shape()[axis + 1..].iter().product();
        let sizes = [output.elements(), length, inner, size, dilation, stride, count];
        Some(Plan::one(Kernel {
            shader: Shader::file("windows", include_str!("../../shaders/windows.wgsl")),
            constants: Vec::new(),
            bindings: vec![Binding::Input(0), Binding::Output],
            params: sizes.map(|size| size as u32).to_vec(),
            groups: Kernel::fold(output.elements().div_ceil(256), caps),
        }))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Tensor::apply(Unfold(self.0), &[upstream])?)])
    }
}

/// Geometry of [`Tensor::unfold`] and [`Tensor::fold`], height and width: the options of a
/// convolution with such a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfoldOptions {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// From a window to the next.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: [usize; 2],
    /// From an element of a window to its next.
    pub dilation: [usize; 2],
}

impl UnfoldOptions {
    /// Windows of this size at every place of an image without padding.
    pub fn new(kernel: [usize; 2]) -> UnfoldOptions {
        UnfoldOptions { kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    /// The windows along dimension `axis` of an image, of this size before padding.
    fn windows(&self, op: &'static str, axis: usize, way: usize, length: usize) -> Result<Windows> {
        let padded = self.padding[way].saturating_mul(2).saturating_add(length);
        Windows::new(op, axis, padded, [self.kernel[way], self.dilation[way], self.stride[way]])
    }
}

impl Tensor {
    /// Windows, their elements along `axis` and their number along the next one, as the sum of what lies on each
    /// place: one dimension in place of the two, as long as the windows reach.
    pub(super) fn overlap_add(&self, axis: usize, dilation: usize, stride: usize) -> Result<Tensor> {
        let (size, count) = (self.dims()[axis], self.dims()[axis + 1]);
        let steps = |count: usize, step: usize| count.saturating_sub(1).saturating_mul(step);
        let length = steps(size, dilation).saturating_add(steps(count, stride)).saturating_add(1);
        let windows = Windows::new("overlap_add", axis, length, [size, dilation, stride])?;
        Tensor::apply(OverlapAdd(windows), &[self])
    }

    /// The windows of images `[N, C, H, W]` as columns `[N, C * kernel, windows]`, PyTorch's
    /// `nn.functional.unfold` (im2col); an image `[C, H, W]` gives `[C * kernel, windows]`. An error for
    /// another rank, or where no window fits.
    pub fn unfold(&self, options: UnfoldOptions) -> Result<Tensor> {
        if let &[channels, height, width] = self.dims() {
            return self.reshape([1, channels, height, width])?.unfold(options)?.squeeze(0);
        }
        let &[samples, channels, height, width] = self.dims() else {
            let message = format!("expected [N, C, H, W] or [C, H, W], got {}", self.shape());
            return Err(Error::op("unfold", message));
        };
        let rows = options.windows("unfold", 2, 0, height)?;
        let columns = options.windows("unfold", 4, 1, width)?;
        let [top, left] = options.padding;
        let padded = self.pad_axis(2, top, top, 0, 0.0)?.pad_axis(3, left, left, 0, 0.0)?;
        // [N, C, H, W] to [N, C, kernel, rows, W], and W at 4 to [kernel, columns].
        let windows = Tensor::apply(Unfold(columns), &[&Tensor::apply(Unfold(rows), &[&padded])?])?;
        let (kernel, count) = (rows.size * columns.size, rows.count * columns.count);
        windows.permute(&[0, 1, 2, 4, 3, 5])?.reshape([samples, channels * kernel, count])
    }

    /// Images `[N, C, H, W]` of `size` (`[H, W]`) as the sums of windows given as columns
    /// `[N, C * kernel, windows]`, PyTorch's `nn.functional.fold` (col2im); `[C * kernel, windows]` gives
    /// `[C, H, W]`. An error where the columns are not those of [`unfold`](Tensor::unfold) for such
    /// an image.
    pub fn fold(&self, size: [usize; 2], options: UnfoldOptions) -> Result<Tensor> {
        if let &[columns, count] = self.dims() {
            return self.reshape([1, columns, count])?.fold(size, options)?.squeeze(0);
        }
        let rows = options.windows("fold", 2, 0, size[0])?;
        let columns = options.windows("fold", 4, 1, size[1])?;
        // Of an image of any size: only what the tensor holds is known to be small.
        let kernel = rows.size.saturating_mul(columns.size);
        let windows = rows.count.saturating_mul(columns.count);
        let (samples, channels) = match *self.dims() {
            [samples, values, count] if values % kernel == 0 && count == windows => {
                (samples, values / kernel)
            }
            _ => {
                let message = format!(
                    "expected [N, C * {kernel}, {windows}] for images of {size:?}, got {}",
                    self.shape()
                );
                return Err(Error::op("fold", message));
            }
        };
        let parts = [samples, channels, rows.size, columns.size, rows.count, columns.count];
        let ordered = self.reshape(parts)?.permute(&[0, 1, 2, 4, 3, 5])?;
        let wide = Tensor::apply(OverlapAdd(columns), &[&ordered])?;
        let image = Tensor::apply(OverlapAdd(rows), &[&wide])?;
        let [top, left] = options.padding;
        image.narrow(2, top, size[0])?.narrow(3, left, size[1])
    }
}
