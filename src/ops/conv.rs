//! Convolutions in one and three dimensions, transposed ones, and `same` padding, by way of the
//! two-dimensional one.

use super::{Conv2dOptions, conv2d};
use crate::{Error, Result, Shape, Tensor};

/// How a window moves over a sequence: see [`Tensor::conv1d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dOptions {
    /// Steps between windows.
    pub stride: usize,
    /// Zeros put on either side.
    pub padding: usize,
    /// Steps between the elements of a window.
    pub dilation: usize,
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl Default for Conv1dOptions {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Conv1dOptions {
        Conv1dOptions { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

/// How a window moves over a volume: see [`Tensor::conv3d`]. Triples are (depth, height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv3dOptions {
    /// Steps between windows.
    pub stride: [usize; 3],
    /// Zeros put on either side.
    pub padding: [usize; 3],
    /// Steps between the elements of a window.
    pub dilation: [usize; 3],
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl Default for Conv3dOptions {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Conv3dOptions {
        Conv3dOptions { stride: [1; 3], padding: [0; 3], dilation: [1; 3], groups: 1 }
    }
}

/// The convolution that [`Tensor::conv_transpose1d`] is the transpose of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose1dOptions {
    /// Steps between the places that neighbours of the input are spread around.
    pub stride: usize,
    /// Elements cut off on either side.
    pub padding: usize,
    /// Elements put back at the end, less than the stride or the dilation: a convolution rounds its
    /// output size down, so that several input sizes give one.
    pub output_padding: usize,
    /// Steps between the elements of a window.
    pub dilation: usize,
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl Default for ConvTranspose1dOptions {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> ConvTranspose1dOptions {
        ConvTranspose1dOptions { stride: 1, padding: 0, output_padding: 0, dilation: 1, groups: 1 }
    }
}

/// The convolution that [`Tensor::conv_transpose2d`] is the transpose of; pairs are (vertical,
/// horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dOptions {
    /// Steps between the places that neighbours of the input are spread around.
    pub stride: [usize; 2],
    /// Rows and columns cut off on either side.
    pub padding: [usize; 2],
    /// Rows and columns put back at the end, fewer than the stride or the dilation: a convolution
    /// rounds its output size down, so that several input sizes give one.
    pub output_padding: [usize; 2],
    /// Steps between the elements of a window.
    pub dilation: [usize; 2],
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl Default for ConvTranspose2dOptions {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> ConvTranspose2dOptions {
        ConvTranspose2dOptions {
            stride: [1; 2],
            padding: [0; 2],
            output_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }
}

/// An error unless input and weight have this rank.
pub(super) fn check_rank(op: &'static str, rank: usize, input: &Tensor, weight: &Tensor) -> Result<()> {
    if input.rank() == rank && weight.rank() == rank {
        return Ok(());
    }
    let message =
        format!("input {} and weight {} must have {rank} dimensions", input.shape(), weight.shape());
    Err(Error::op(op, message))
}

/// A bias `[channels]` added to the second of `rank` dimensions.
pub(super) fn add_bias(op: &'static str, x: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else { return Ok(x) };
    let mut dims = vec![1; x.rank()];
    dims[1] = x.dims()[1];
    if bias.dims() != [dims[1]] {
        return Err(Error::op(op, format!("bias {} for {} channels", bias.shape(), dims[1])));
    }
    x.add(&bias.reshape(dims)?)
}

/// The zeros before and after a dimension that keep its size; the odd one comes after.
fn same(kernel: usize, dilation: usize) -> (usize, usize) {
    let total = kernel.saturating_sub(1).saturating_mul(dilation);
    (total / 2, total - total / 2)
}

impl Tensor {
    /// Pads the dimensions from the third on so that a convolution of stride 1 keeps their size.
    fn pad_same(&self, op: &'static str, weight: &Tensor, dilation: &[usize]) -> Result<Tensor> {
        check_rank(op, dilation.len() + 2, self, weight)?;
        dilation.iter().enumerate().try_fold(self.clone(), |padded, (at, &dilation)| {
            let (before, after) = same(weight.dims()[at + 2], dilation);
            padded.pad_axis(at as isize + 2, before, after, 0, 0.0)
        })
    }

    /// Convolves sequences `[N, C, L]` with a weight `[O, C / groups, K]` and adds a bias `[O]`:
    /// `[N, O, L']` with `L' = (L + 2 padding - dilation (K - 1) - 1) / stride + 1`, rounded down.
    /// Errors as [`conv2d`](Tensor::conv2d).
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv1dOptions) -> Result<Tensor> {
        check_rank("conv1d", 3, self, weight)?;
        let Conv1dOptions { stride, padding, dilation, groups } = options;
        let flat =
            Conv2dOptions { stride: [1, stride], padding: [0, padding], dilation: [1, dilation], groups };
        self.unsqueeze(2)?.conv2d(&weight.unsqueeze(2)?, bias, flat)?.squeeze(2)
    }

    /// As [`conv1d`](Tensor::conv1d) with stride 1, zeros put around so that the length stays: for an
    /// odd number of them, one more after.
    pub fn conv1d_same(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        dilation: usize,
        groups: usize,
    ) -> Result<Tensor> {
        let options = Conv1dOptions { dilation, groups, ..Default::default() };
        self.pad_same("conv1d", weight, &[dilation])?.conv1d(weight, bias, options)
    }

    /// As [`conv2d`](Tensor::conv2d) with stride 1, zeros put around so that height and width stay: for
    /// an odd number of them, one more below and on the right.
    pub fn conv2d_same(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        dilation: [usize; 2],
        groups: usize,
    ) -> Result<Tensor> {
        check_rank("conv2d", 4, self, weight)?;
        let options = Conv2dOptions { dilation, groups, ..Default::default() };
        let sides = [0, 1].map(|at| same(weight.dims()[at + 2], dilation[at]));
        if sides.iter().all(|(before, after)| before == after) {
            // The convolution pads without a copy.
            return self.conv2d(
                weight,
                bias,
                Conv2dOptions { padding: sides.map(|(side, _)| side), ..options },
            );
        }
        self.pad_same("conv2d", weight, &dilation)?.conv2d(weight, bias, options)
    }

    /// Convolves volumes `[N, C, D, H, W]` with a weight `[O, C / groups, KD, KH, KW]` and adds a bias
    /// `[O]`: `[N, O, D', H', W']`, each size by the rule of [`conv2d`](Tensor::conv2d); errors as
    /// there.
    ///
    /// The slices that a window is deep become channels of one image, and the windows along the depth
    /// a batch of them: the work is one two-dimensional convolution, for `KD` copies of the input.
    pub fn conv3d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv3dOptions) -> Result<Tensor> {
        const NAME: &str = "conv3d";
        check_rank(NAME, 5, self, weight)?;
        let (Conv3dOptions { stride, padding, dilation, groups }, shape) = (options, weight.dims());
        if stride[0] == 0 || dilation[0] == 0 || shape[2] == 0 {
            let message =
                format!("stride {stride:?}, dilation {dilation:?} and weight {shape:?} must be above 0");
            return Err(Error::op(NAME, message));
        }
        let padded = self.pad_axis(2, padding[0], padding[0], 0, 0.0)?;
        let window = (shape[2] - 1).saturating_mul(dilation[0]).saturating_add(1);
        let Some(room) = padded.dims()[2].checked_sub(window) else {
            let message = format!("weight {shape:?} is deeper than input {} with padding", self.shape());
            return Err(Error::op(NAME, message));
        };
        let depth = room / stride[0] + 1;
        let slices = (0..shape[2]).map(|at| {
            let first = at * dilation[0];
            let slice = padded.slice(2, first, first + (depth - 1) * stride[0] + 1, stride[0])?;
            slice.transpose(1, 2)
        });
        let slices = slices.collect::<Result<Vec<_>>>()?;
        let stacked = Tensor::stack(&slices.iter().collect::<Vec<_>>(), 3)?;
        let (batch, channels) = (self.dims()[0], self.dims()[1]);
        let images = [batch * depth, channels * shape[2], self.dims()[3], self.dims()[4]];
        let flat = Conv2dOptions {
            stride: [stride[1], stride[2]],
            padding: [padding[1], padding[2]],
            dilation: [dilation[1], dilation[2]],
            groups,
        };
        let deep = weight.reshape([shape[0], shape[1] * shape[2], shape[3], shape[4]])?;
        let output = stacked.reshape(images)?.conv2d(&deep, bias, flat)?;
        let [filters, height, width] = [1, 2, 3].map(|axis| output.dims()[axis]);
        output.reshape([batch, depth, filters, height, width])?.transpose(1, 2)
    }

    /// As [`conv3d`](Tensor::conv3d) with stride 1, zeros put around so that the sizes stay: for an odd
    /// number of them, one more at the end.
    pub fn conv3d_same(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        dilation: [usize; 3],
        groups: usize,
    ) -> Result<Tensor> {
        let options = Conv3dOptions { dilation, groups, ..Default::default() };
        self.pad_same("conv3d", weight, &dilation)?.conv3d(weight, bias, options)
    }

    /// The transpose of [`conv1d`](Tensor::conv1d), often called deconvolution: sequences `[N, C, L]`
    /// and a weight `[C, O / groups, K]` give `[N, O, L']`,
    /// `L' = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1`; the bias is `[O]`.
    /// Errors as [`conv_transpose2d`](Tensor::conv_transpose2d).
    pub fn conv_transpose1d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose1dOptions,
    ) -> Result<Tensor> {
        check_rank("conv_transpose1d", 3, self, weight)?;
        let ConvTranspose1dOptions { stride, padding, output_padding, dilation, groups } = options;
        let flat = ConvTranspose2dOptions {
            stride: [1, stride],
            padding: [0, padding],
            output_padding: [0, output_padding],
            dilation: [1, dilation],
            groups,
        };
        self.unsqueeze(2)?.conv_transpose2d(&weight.unsqueeze(2)?, bias, flat)?.squeeze(2)
    }

    /// The transpose of [`conv2d`](Tensor::conv2d), often called deconvolution (Zeiler et al. 2010):
    /// images `[N, C, H, W]` and a weight `[C, O / groups, KH, KW]` give `[N, O, H', W']`,
    /// `H' = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1`; the bias is `[O]`.
    ///
    /// An error where ranks or channels do not fit, a stride, dilation or the number of groups is 0,
    /// the output padding is not below the stride or the dilation, or nothing is left of the output.
    ///
    /// ```
    /// use kiln::{Engine, Tensor, ops::ConvTranspose2dOptions};
    /// let engine = Engine::cpu();
    /// let image = Tensor::from_slice(&[1.0f32, 2.0], [1, 1, 1, 2], &engine)?;
    /// let options = ConvTranspose2dOptions { stride: [2, 2], ..Default::default() };
    /// let doubled = image.conv_transpose2d(&Tensor::ones([1, 1, 1, 2], &engine)?, None, options)?;
    /// assert_eq!(doubled.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose2dOptions,
    ) -> Result<Tensor> {
        const NAME: &str = "conv_transpose2d";
        check_rank(NAME, 4, self, weight)?;
        let ConvTranspose2dOptions { stride, padding, output_padding, dilation, groups } = options;
        let refuse = |message: String| {
            let (input, weight) = (self.shape(), weight.shape());
            Err(Error::op(NAME, format!("input {input} and weight {weight}: {message}")))
        };
        let (input, kernel) = (self.dims(), weight.dims());
        if groups == 0 || input[1] != kernel[0] || input[1] % groups != 0 {
            return refuse(format!("the channels do not fit {groups} groups"));
        }
        let mut dims = [input[0], kernel[1].saturating_mul(groups), 0, 0];
        let (mut cut, mut open) = (padding, [0; 2]);
        for axis in 0..2 {
            let [size, window] = [input[axis + 2], kernel[axis + 2]];
            let (stride, dilation, extra) = (stride[axis], dilation[axis], output_padding[axis]);
            if size == 0 || window == 0 || stride == 0 || dilation == 0 {
                return refuse(format!("{options:?} and all sizes must be above 0"));
            }
            if extra >= stride.max(dilation) {
                return refuse(format!("output padding {output_padding:?} is not below stride or dilation"));
            }
            let spread =
                (size - 1).saturating_mul(stride).saturating_add((window - 1).saturating_mul(dilation));
            let whole = spread.saturating_add(1 + extra);
            if whole > i32::MAX as usize {
                return refuse(format!("{options:?} make it larger than a tensor can be"));
            }
            let Some(left) = whole.checked_sub(padding[axis].saturating_mul(2)).filter(|&left| left > 0)
            else {
                return refuse(format!("padding {padding:?} leaves nothing of the output"));
            };
            dims[axis + 2] = left;
            if extra >= stride {
                // No convolution rounds off so much: nothing is cut at first, then what there should be.
                dims[axis + 2] = spread + 1;
                (cut[axis], open[axis]) = (0, extra);
            }
        }
        let convolution = Conv2dOptions { stride, padding: cut, dilation, groups };
        let mut output = conv2d::transposed(&Shape::new(&dims)?, weight, self, &convolution)?;
        for axis in 0..2 {
            if open[axis] > 0 {
                let at = axis as isize + 2;
                let end = dims[axis + 2] + open[axis] - padding[axis];
                output = output.pad_axis(at, 0, open[axis], 0, 0.0)?.slice(at, padding[axis], end, 1)?;
            }
        }
        add_bias(NAME, output, bias)
    }
}
