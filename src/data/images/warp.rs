//! All geometric transforms of an image in one pass.

/// Pixels of 8 bits, row-major, the channels of a pixel beside each other.
pub(super) struct Pixels {
    pub width: usize,
    pub height: usize,
    pub bytes: Vec<u8>,
}

/// Where a place of the output comes from in the source: `x' = a x + b y + c`, `y' = d x + e y + f`,
/// in units of the whole image, with the origin in its middle and `y` down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine(pub [f32; 6]);

impl Affine {
    pub const IDENTITY: Affine = Affine([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// First `self`, from the output, then `next`.
    pub fn then(self, next: Affine) -> Affine {
        let [a, b, c, d, e, f] = self.0;
        let [p, q, r, s, t, u] = next.0;
        let x = [p * a + q * d, p * b + q * e, p * c + q * f + r];
        let y = [s * a + t * d, s * b + t * e, s * c + t * f + u];
        Affine([x[0], x[1], x[2], y[0], y[1], y[2]])
    }

    /// Turns the image clockwise.
    pub fn rotation(degrees: f32) -> Affine {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Affine([cos, sin, 0.0, -sin, cos, 0.0])
    }

    /// Moves the image right and down, by these parts of its sides.
    pub fn translation(x: f32, y: f32) -> Affine {
        Affine([1.0, 0.0, -x, 0.0, 1.0, -y])
    }

    /// Magnifies the image.
    pub fn scale(factor: f32) -> Affine {
        Affine([1.0 / factor, 0.0, 0.0, 0.0, 1.0 / factor, 0.0])
    }

    /// Moves rows sideways, `x` of a side from top to bottom, and columns by `y`.
    pub fn shear(x: f32, y: f32) -> Affine {
        Affine([1.0, x, 0.0, y, 1.0, 0.0])
    }

    /// Mirrors left and right, or top and bottom.
    pub fn flip(horizontal: bool, vertical: bool) -> Affine {
        let sign = |flip| if flip { -1.0 } else { 1.0 };
        Affine([sign(horizontal), 0.0, 0.0, 0.0, sign(vertical), 0.0])
    }

    /// Shows `width` by `height` of the image around a centre.
    pub fn crop(width: f32, height: f32, [x, y]: [f32; 2]) -> Affine {
        Affine([width, 0.0, x, 0.0, height, y])
    }
}

/// The widest step through the source, in pixels, that one sample may stand for.
const STEP: f32 = 1.5;

/// Writes planes `[CHANNELS, size, size]` of values in 0..=1, bilinear between the pixels of the
/// source, the pixel at the edge beyond it. Where neighbours in the output lie more than [`STEP`]
/// pixels apart in the source, each is the mean of a grid of samples.
pub(super) fn warp<const CHANNELS: usize>(source: &Pixels, map: Affine, size: usize, planes: &mut [f32]) {
    let (width, height) = (source.width as f32, source.height as f32);
    let [a, b, c, d, e, f] = map.0;
    // In pixels: a step in the output, and where the middle of the output lies.
    let step = |x: f32, y: f32| [x * width / size as f32, y * height / size as f32];
    let (right, down) = (step(a, d), step(b, e));
    let middle = [(c + 0.5) * width - 0.5, (f + 0.5) * height - 0.5];
    let length = |step: [f32; 2]| step[0].hypot(step[1]);
    let taps = (length(right).max(length(down)) / STEP).ceil().clamp(1.0, 8.0) as usize;
    let area = size * size;
    let offset = |tap: usize| (tap as f32 + 0.5) / taps as f32 - 0.5 * size as f32;
    let offsets: Vec<_> = (0..taps * taps).map(|tap| [offset(tap % taps), offset(tap / taps)]).collect();
    let weight = 1.0 / (255.0 * (taps * taps) as f32);
    let (pixels, _) = source.bytes.as_chunks::<CHANNELS>();
    let (last_x, last_y) = (source.width - 1, source.height - 1);
    let (most_x, most_y) = (last_x as f32, last_y as f32);
    for row in 0..size {
        for column in 0..size {
            let mut sum = [0.0; CHANNELS];
            for &[u, v] in &offsets {
                let (u, v) = (column as f32 + u, row as f32 + v);
                let x = (middle[0] + right[0] * u + down[0] * v).clamp(0.0, most_x);
                let y = (middle[1] + right[1] * u + down[1] * v).clamp(0.0, most_y);
                let (left, top) = (x as u32 as usize, y as u32 as usize);
                let (x, y) = (x - left as f32, y - top as f32);
                let (next, below) = ((left + 1).min(last_x), (top + 1).min(last_y));
                let (above, under) = (top * source.width, below * source.width);
                let [a, b] = [pixels[above + left], pixels[above + next]];
                let [c, d] = [pixels[under + left], pixels[under + next]];
                let weights = [(1.0 - x) * (1.0 - y), x * (1.0 - y), (1.0 - x) * y, x * y];
                for channel in 0..CHANNELS {
                    let corners = [a[channel], b[channel], c[channel], d[channel]].map(f32::from);
                    sum[channel] += corners[0] * weights[0]
                        + corners[1] * weights[1]
                        + corners[2] * weights[2]
                        + corners[3] * weights[3];
                }
            }
            for (channel, sum) in sum.into_iter().enumerate() {
                planes[channel * area + row * size + column] = sum * weight;
            }
        }
    }
}
