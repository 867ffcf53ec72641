//! The transposed convolution of volumes: that of their slices, and the sum of what overlaps along the depth.

use super::ConvTranspose2dOptions;
use super::conv::{add_bias, check_rank};
use crate::{Error, Result, Tensor};

/// The convolution that [`Tensor::conv_transpose3d`] is the transpose of; triples are (depth, height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose3dOptions {
    /// Steps between the places that neighbours of the input are spread around.
    pub stride: [usize; 3],
    /// Slices, rows and columns cut off on either side.
    pub padding: [usize; 3],
    /// Slices, rows and columns put back at the end, fewer than the stride or the dilation.
    pub output_padding: [usize; 3],
    /// Steps between the elements of a window.
    pub dilation: [usize; 3],
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

impl Default for ConvTranspose3dOptions {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> ConvTranspose3dOptions {
        ConvTranspose3dOptions {
            stride: [1; 3],
            padding: [0; 3],
            output_padding: [0; 3],
            dilation: [1; 3],
            groups: 1,
        }
    }
}

impl Tensor {
    /// The transpose of [`conv3d`](Tensor::conv3d): volumes `[N, C, D, H, W]` and a weight
    /// `[C, O / groups, KD, KH, KW]` give `[N, O, D', H', W']`, each size by the rule of
    /// [`conv_transpose2d`](Tensor::conv_transpose2d); the bias is `[O]`. Errors as there.
    pub fn conv_transpose3d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: ConvTranspose3dOptions,
    ) -> Result<Tensor> {
        const NAME: &str = "conv_transpose3d";
        check_rank(NAME, 5, self, weight)?;
        let ConvTranspose3dOptions { stride, padding, output_padding, dilation, groups } = options;
        let (input, kernel) = (self.dims(), weight.dims());
        let (deep, window, extra) = (input[2], kernel[2], output_padding[0]);
        if deep == 0
            || window == 0
            || stride[0] == 0
            || dilation[0] == 0
            || extra >= stride[0].max(dilation[0])
        {
            let message =
                format!("input {} and weight {} do not fit {options:?}", self.shape(), weight.shape());
            return Err(Error::op(NAME, message));
        }
        let image = |of: [usize; 3]| [of[1], of[2]];
        let flat = ConvTranspose2dOptions {
            stride: image(stride),
            padding: image(padding),
            output_padding: image(output_padding),
            dilation: image(dilation),
            groups,
        };
        let slices = self.transpose(1, 2)?.reshape([input[0] * deep, input[1], input[3], input[4]])?;
        let flat_weight = weight.reshape([kernel[0], kernel[1] * window, kernel[3], kernel[4]])?;
        let spread = slices.conv_transpose2d(&flat_weight, None, flat)?;
        let (height, width) = (spread.dims()[2], spread.dims()[3]);
        let parts = spread.reshape([input[0], deep, kernel[1] * groups, window, height, width])?;
        // [N, O, KD, D, H', W'], of which those that meet at a depth are added.
        let whole = parts.permute(&[0, 2, 3, 1, 4, 5])?.overlap_add(2, dilation[0], stride[0])?;
        let whole = whole.pad_axis(2, 0, extra, 0, 0.0)?;
        let depth = whole.dims()[2];
        let end = depth.checked_sub(padding[0]).filter(|&end| end > padding[0]).ok_or_else(|| {
            Error::op(NAME, format!("padding {padding:?} leaves nothing of the depth {depth}"))
        })?;
        add_bias(NAME, whole.slice(2, padding[0], end, 1)?, bias)
    }
}
