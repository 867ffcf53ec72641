//! Winograd's convolution F(2x2, 3x3) on the GPU: kernels and tiles are transformed to 16 points
//! (`shaders/winograd_*.wgsl`), at which what is left are products of matrices, a batch of the tiled kernel's, and
//! these are transformed back. All three roles are as on the CPU (`winograd.rs`).

use super::winograd::WIDE;
use super::{Conv2d, Role, gpu};
use crate::device::{Binding, Caps, Kernel, Plan, Shader, Variants};
use crate::ops::epilogue::rebind;
use crate::ops::matmul::Matmul;
use crate::{DType, Op, Shape, Spec};
use std::borrow::Cow;

/// Points of a transformed tile.
const POINTS: usize = 16;
/// Tiles that an invocation transforms.
const BLOCK: usize = 4;
/// Invocations of a workgroup, as the shaders have them.
const LANES: usize = 64;
/// Bytes of the points that there are at a time, and the most where one image has more.
const PART_BYTES: usize = 64 << 20;
const MOST_BYTES: usize = 128 << 20;

/// Where a plan keeps what it passes on: points of the weight (or its gradient) and of the tensors whose tiles are
/// transformed, and what the product has itself.
const WEIGHT: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const PRODUCT: usize = 3;

/// How a tensor of the output's height and width is cut into blocks of tiles.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    /// Tiles of a block along x: its four are two by two or in a row.
    tiles_x: usize,
    /// Blocks along y and x.
    count: [usize; 2],
}

impl Blocks {
    /// The blocks that cover this size with the fewest.
    fn of(size: [usize; 2]) -> Blocks {
        let cut = |tiles_x: usize| {
            let count = [size[0].div_ceil(2 * BLOCK / tiles_x), size[1].div_ceil(2 * tiles_x)];
            Blocks { tiles_x, count }
        };
        let (square, row) = (cut(2), cut(4));
        if row.of_image() < square.of_image() { row } else { square }
    }

    /// Blocks of an image.
    fn of_image(&self) -> usize {
        self.count[0] * self.count[1]
    }
}

/// A tensor that is cut into tiles.
#[derive(Clone, Copy, Debug)]
struct Planes {
    role: Role,
    channels: usize,
    size: [usize; 2],
}

impl Planes {
    /// Its points of so many blocks.
    fn points(&self, blocks: usize) -> Option<Spec> {
        Some(Spec::new(DType::F32, Shape::new(&[POINTS, self.channels, BLOCK * blocks]).ok()?))
    }

    /// Whether its rows are whole vectors.
    fn vectors(&self) -> bool {
        self.size[1].is_multiple_of(4)
    }
}

/// Whether the method is among the plans, and the first of them.
fn offered(op: &Conv2d, inputs: &[Spec], caps: &Caps) -> Option<bool> {
    let s = &op.sizes;
    let applies = s.kernel == [3, 3]
        && s.stride == [1, 1]
        && s.dilation == [1, 1]
        && s.groups == 1
        && s.padding.iter().all(|&padding| padding <= 2)
        && inputs.iter().all(|input| input.dtype == DType::F32);
    let tiles = s.batch * s.positions().div_ceil(4);
    let channels = s.channels.min(s.filters);
    let wide = op.of != Role::Weight || channels >= WIDE;
    let [least, by_rule] = if caps.software { [[16, 16]; 2] } else { [[32, 64], [256, 256]] };
    let enough =
        |[least_channels, least_tiles]: [usize; 2]| channels >= least_channels && tiles >= least_tiles;
    (applies && wide && enough(least)).then(|| enough(by_rule))
}

/// The plan by the method or by [`gpu::plan`], of which each is among the other's variants.
pub(super) fn plan(op: &Conv2d, inputs: &[Spec], caps: &Caps) -> Option<Plan> {
    let direct = |variant: Option<usize>| gpu::plan(op, inputs, &Caps { variant, ..caps.clone() });
    let by_points = offered(op, inputs, caps).and_then(|by_rule| {
        Some((by_rule, by_points(op, PART_BYTES, &Caps { variant: None, ..caps.clone() })?))
    });
    let Some((by_rule, by_points)) = by_points else { return direct(caps.variant) };
    let by_windows = direct(None)?;
    let mut names = by_windows.variants.map_or_else(|| vec!["windows".into()], |variants| variants.names);
    let at = if by_rule { 0 } else { names.len() };
    names.insert(at, "points".into());
    let chosen = caps.variant.filter(|&variant| variant < names.len()).unwrap_or(0);
    let plan = if chosen == at { by_points } else { direct(Some(chosen - usize::from(chosen > at)))? };
    let s = &op.sizes;
    let [channels, filters, positions] =
        [s.channels, s.filters, s.batch * s.positions()].map(usize::next_power_of_two);
    let class = format!("{} 3x3 f32 {channels} to {filters} at {positions}", op.name());
    Some(Plan { variants: Some(Variants { class, names }), ..plan })
}

/// The plan by the method, with as many images at a time as have so many bytes of points.
fn by_points(op: &Conv2d, part_bytes: usize, caps: &Caps) -> Option<Plan> {
    let s = &op.sizes;
    let weights = s.channels * s.filters;
    if s.shape(op.of).ok()?.elements() == 0 || (op.of == Role::Weight && !weights.is_multiple_of(4)) {
        return None;
    }
    let image = Planes { role: Role::Input, channels: s.channels, size: s.image };
    let output = Planes { role: Role::Output, channels: s.filters, size: s.output };
    // Tiles are those of the second, and the first is what they see.
    let [first, second] = if op.of == Role::Input { [output, image] } else { [image, output] };
    let padding = if op.of == Role::Input { s.padding.map(|padding| 2 - padding) } else { s.padding };
    let blocks = Blocks::of(second.size);
    let bytes = |images: usize| {
        let of = |planes: Planes| Some(planes.points(images * blocks.of_image())?.bytes());
        Some([of(first)?, of(second)?])
    };
    let of_image: usize = bytes(1)?.iter().sum();
    if of_image > MOST_BYTES {
        return None;
    }
    let images = (part_bytes / of_image).clamp(1, s.batch);
    // Parts of one size, as far as there are.
    let images = s.batch.div_ceil(s.batch.div_ceil(images));

    // The weight's points lie as the weight does, each matrix in whole vectors.
    let mut weight = Spec::new(DType::F32, Shape::new(&[POINTS, weights.next_multiple_of(4)]).ok()?);
    let [bytes_first, bytes_second] = bytes(images)?;
    let mut scratch = vec![weight.bytes(), bytes_first, bytes_second];
    weight.layout = weight.layout.slice(1, 0, weights, 1);
    weight.layout = weight.layout.reshape(Shape::new(&[POINTS, s.filters, s.channels]).ok()?)?;
    let transposed = |mut spec: Spec| {
        spec.layout = spec.layout.permute(&[0, 2, 1]);
        spec
    };
    let mut kernels = Vec::new();
    if op.of != Role::Weight {
        kernels.push(weight_forth(op, caps));
    }
    for start in (0..s.batch).step_by(images) {
        let part = Part { op, blocks, images: images.min(s.batch - start), start, caps };
        let count = part.blocks();
        let (points_first, points_second) = (first.points(count)?, second.points(count)?);
        kernels.push(part.forth(&first, padding, 4, FIRST));
        let (operands, places, result, place) = match op.of {
            Role::Input => ([transposed(weight), points_first], [WEIGHT, FIRST], points_second, SECOND),
            Role::Output => ([weight, points_first], [WEIGHT, FIRST], points_second, SECOND),
            Role::Weight => {
                kernels.push(part.forth(&second, [0, 0], 2, SECOND));
                ([points_second, transposed(points_first)], [SECOND, FIRST], weight, WEIGHT)
            }
        };
        let mut product = Matmul.gpu(&operands, &result, caps)?;
        for (at, bytes) in product.scratch.into_iter().enumerate() {
            scratch.resize(scratch.len().max(PRODUCT + at + 1), 0);
            scratch[PRODUCT + at] = scratch[PRODUCT + at].max(bytes);
        }
        rebind(&mut product.kernels, &|bound| match bound {
            Binding::Input(operand) => Binding::Written(places[operand]),
            Binding::Scratch(at) => Binding::Scratch(PRODUCT + at),
            Binding::Written(at) => Binding::Written(PRODUCT + at),
            Binding::Output | Binding::Both(_) => Binding::Scratch(place),
        });
        kernels.append(&mut product.kernels);
        kernels.push(if op.of == Role::Weight { part.weight_back() } else { part.back(&second) });
    }
    let fits = scratch.iter().all(|&bytes| bytes as u64 <= caps.binding_bytes);
    fits.then_some(Plan { kernels, scratch, ..Plan::default() })
}

fn word(value: usize) -> Cow<'static, str> {
    format!("{value}u").into()
}

fn words(values: &[usize]) -> Vec<u32> {
    values.iter().map(|&value| value as u32).collect()
}

/// The kernel that transforms the weight.
fn weight_forth(op: &Conv2d, caps: &Caps) -> Kernel {
    let weights = op.sizes.channels * op.sizes.filters;
    let (turned, input) = if op.of == Role::Input { (true, 0) } else { (false, 1) };
    let shader = Shader::file("winograd_weight", include_str!("../../../shaders/winograd_weight.wgsl"));
    Kernel {
        // SAFETY: places are clamped to the weight's and are inside its points; the loop goes up to their number.
        shader: unsafe { shader.unchecked() },
        constants: vec![("TURNED", turned.to_string().into())],
        bindings: vec![Binding::Input(input), Binding::Scratch(WEIGHT)],
        params: words(&[weights.div_ceil(4), (9 * weights).div_ceil(4)]),
        groups: Kernel::fold(weights.div_ceil(4 * LANES), caps),
    }
}

/// Some images of a batch.
struct Part<'a> {
    op: &'a Conv2d,
    blocks: Blocks,
    images: usize,
    /// The first of them.
    start: usize,
    caps: &'a Caps,
}

impl Part<'_> {
    fn blocks(&self) -> usize {
        self.images * self.blocks.of_image()
    }

    /// The uniform's words that the shaders of tiles begin with.
    fn params(&self, planes: &Planes) -> Vec<usize> {
        let ([height, width], [rows, columns]) = (planes.size, self.blocks.count);
        vec![planes.channels, height, width, rows, columns, self.blocks(), self.start]
    }

    /// Workgroups of one invocation for each block of each channel.
    fn groups(&self, planes: &Planes) -> [u32; 3] {
        Kernel::fold((planes.channels * self.blocks()).div_ceil(LANES), self.caps)
    }

    /// The kernel that transforms `planes`, of which a tile sees so many pixels along a side.
    fn forth(&self, planes: &Planes, padding: [usize; 2], tile: usize, to: usize) -> Kernel {
        let tiles_x = self.blocks.tiles_x;
        let [span_y, span_x] = [BLOCK / tiles_x, tiles_x].map(|tiles| 2 * tiles + tile - 2);
        // But for the padding, blocks begin at whole vectors.
        let shift = (4 - padding[1]) % 4;
        let input = self.op.roles().iter().position(|&role| role == planes.role).unwrap_or_default();
        let shader = Shader::file("winograd_input", include_str!("../../../shaders/winograd_input.wgsl"));
        Kernel {
            // SAFETY: what is outside an image is not read; there are no loops left, and no size is 0.
            shader: unsafe { shader.unchecked() },
            constants: vec![
                ("BLOCK_X", word(tiles_x)),
                ("TILE", word(tile)),
                ("SPAN_Y", word(span_y)),
                ("SPAN_X", word(span_x)),
                ("VECTORS", planes.vectors().to_string().into()),
                ("WORDS", word((shift + span_x).div_ceil(4))),
                ("SHIFT", word(shift)),
            ],
            bindings: vec![Binding::Input(input), Binding::Input(input), Binding::Scratch(to)],
            params: words(&[self.params(planes), padding.to_vec()].concat()),
            groups: self.groups(planes),
        }
    }

    /// The kernel that transforms the points of `planes` back.
    fn back(&self, planes: &Planes) -> Kernel {
        let shader = Shader::file("winograd_output", include_str!("../../../shaders/winograd_output.wgsl"));
        Kernel {
            // SAFETY: what is outside an image is not written; the loops go up to the points' number and the height, and
            // no size is 0.
            shader: unsafe { shader.unchecked() },
            constants: vec![
                ("BLOCK_X", word(self.blocks.tiles_x)),
                ("VECTORS", planes.vectors().to_string().into()),
            ],
            bindings: vec![Binding::Written(SECOND), Binding::Output, Binding::Output],
            params: words(&self.params(planes)),
            groups: self.groups(planes),
        }
    }

    /// The kernel that transforms the points of the weight's gradient back, and adds them to those of the parts
    /// before.
    fn weight_back(&self) -> Kernel {
        let kernels = self.op.sizes.channels * self.op.sizes.filters / 4;
        let shader =
            Shader::file("winograd_gradient", include_str!("../../../shaders/winograd_gradient.wgsl"));
        Kernel {
            // SAFETY: places are inside the weight and its points; the loop goes up to their number.
            shader: unsafe { shader.unchecked() },
            constants: vec![("ADDED", (self.start > 0).to_string().into())],
            bindings: vec![Binding::Written(WEIGHT), Binding::Output],
            params: words(&[kernels]),
            groups: Kernel::fold(kernels.div_ceil(LANES), self.caps),
        }
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use super::*;
    use crate::ops::Conv2dOptions;
    use crate::ops::conv2d::Sizes;
    use crate::{Engine, Error, Output, Result, Tensor, View};

    fn sizes(batch: usize, channels: usize, filters: usize, image: [usize; 2], padding: [usize; 2]) -> Sizes {
        let input = Shape::new(&[batch, channels, image[0], image[1]]).unwrap();
        let weight = Shape::new(&[filters, channels, 3, 3]).unwrap();
        Sizes::new(&input, &weight, &Conv2dOptions { padding, ..Default::default() }).unwrap()
    }

    /// A convolution that a GPU computes by points, whatever its sizes.
    #[derive(Debug)]
    struct ByPoints(Conv2d, usize);

    impl Op for ByPoints {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn output(&self, inputs: &[Spec]) -> Result<Spec> {
            self.0.output(inputs)
        }

        fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
            self.0.cpu(inputs, output)
        }

        fn gpu(&self, _: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
            by_points(&self.0, self.1, caps)
        }

        fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![None, None])
        }
    }

    #[test]
    fn every_role_is_right_at_any_size() -> Result<()> {
        let gpu = match Engine::new("gpu") {
            Ok(gpu) => gpu,
            Err(error @ Error::NoDevice { .. })
                if std::env::var_os("KILN_REQUIRE_GPU").is_none_or(|value| value != "1") =>
            {
                eprintln!("not run: {error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let cpu = Engine::cpu();
        for (batch, channels, filters, image, padding) in [
            (1, 1, 1, [3, 3], [0, 0]),
            (2, 3, 4, [1, 1], [1, 1]),
            (3, 5, 3, [6, 4], [2, 2]),
            (5, 4, 6, [7, 13], [1, 0]),
            (2, 6, 5, [14, 14], [1, 1]),
            (7, 3, 8, [8, 16], [0, 1]),
            (2, 8, 7, [9, 8], [2, 1]),
            (2, 2, 6, [5, 28], [1, 2]),
        ] {
            let sizes = sizes(batch, channels, filters, image, padding);
            for of in [Role::Output, Role::Input, Role::Weight] {
                // All images at once, and one or two at a time.
                for part_bytes in [PART_BYTES, 1, 9 * BLOCK * POINTS * (channels + filters)] {
                    let op = Conv2d { of, sizes };
                    let compute = |engine: &Engine| {
                        let inputs = op.roles().map(|role| {
                            let shape = sizes.shape(role)?;
                            let values: Vec<f32> =
                                (0..shape.elements()).map(|at| (at * 37 % 101) as f32 / 50.0 - 1.0).collect();
                            Tensor::from_slice(&values, shape, engine)
                        });
                        let [first, second] = inputs;
                        Tensor::apply(ByPoints(op, part_bytes), &[&first?, &second?])?.to_vec::<f32>()
                    };
                    let (found, expected) = (compute(&gpu)?, compute(&cpu)?);
                    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        let close = (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
                        assert!(close, "{op:?} {part_bytes} at {at}: {found} for {expected}");
                    }
                }
            }
        }
        Ok(())
    }

    /// The plan of a square convolution of this many channels to as many, by rule or a variant of it.
    fn of(role: Role, [batch, channels, image]: [usize; 3], dtype: DType, caps: &Caps) -> Plan {
        let sizes = sizes(batch, channels, channels, [image; 2], [1, 1]);
        let op = Conv2d { of: role, sizes };
        let inputs = op.roles().map(|role| Spec::new(dtype, sizes.shape(role).unwrap()));
        plan(&op, &inputs, caps).unwrap()
    }

    fn is_by_points(plan: &Plan) -> bool {
        plan.kernels.iter().any(|kernel| kernel.shader.name.starts_with("winograd"))
    }

    #[test]
    fn the_rule_takes_it_where_it_pays() {
        let (hardware, software) = (Caps::default(), Caps { software: true, ..Caps::default() });
        for role in [Role::Input, Role::Weight, Role::Output] {
            let by_rule = |sizes, caps| is_by_points(&of(role, sizes, DType::F32, caps));
            assert_eq!(by_rule([2, 16, 7], &software), role != Role::Weight);
            assert!(by_rule([2, 64, 7], &software) && by_rule([1, 256, 8], &software));
            assert!(!by_rule([2, 15, 7], &software) && !by_rule([1, 512, 4], &software));
            assert!(by_rule([32, 256, 14], &hardware) && !by_rule([32, 128, 32], &hardware));
            assert!(!is_by_points(&of(role, [32, 256, 14], DType::F16, &software)));
            let small = Caps { binding_bytes: 16 << 10, ..software.clone() };
            assert!(!by_rule([2, 16, 7], &small));
        }
    }

    #[test]
    fn each_variant_is_what_it_is_called() {
        for (sizes, at_first) in [([32, 64, 32], false), ([32, 256, 14], true)] {
            for role in [Role::Input, Role::Weight, Role::Output] {
                let Variants { class, names } =
                    of(role, sizes, DType::F32, &Caps::default()).variants.unwrap();
                assert_eq!(names.iter().position(|name| name == "points") == Some(0), at_first);
                let mut tiles = Vec::new();
                for (variant, name) in names.iter().enumerate() {
                    let caps = Caps { variant: Some(variant), ..Caps::default() };
                    let plan = of(role, sizes, DType::F32, &caps);
                    assert_eq!(is_by_points(&plan), name == "points");
                    assert_eq!(
                        plan.variants.unwrap(),
                        Variants { class: class.clone(), names: names.clone() }
                    );
                    tiles.push(plan.kernels.into_iter().map(|kernel| kernel.constants).collect::<Vec<_>>());
                }
                tiles.dedup();
                assert_eq!(tiles.len(), names.len());
            }
        }
    }

    #[test]
    fn what_is_passed_on_is_bounded() {
        let caps = Caps { binding_bytes: 2 << 30, software: true, ..Caps::default() };
        for role in [Role::Input, Role::Weight, Role::Output] {
            for (images, image) in [(4096, 56), (1, 224)] {
                let plan = of(role, [images, 64, image], DType::F32, &caps);
                assert!(is_by_points(&plan));
                assert!(
                    plan.scratch[FIRST] + plan.scratch[SECOND]
                        <= if images > 1 { PART_BYTES } else { MOST_BYTES }
                );
            }
            assert!(!is_by_points(&of(role, [1, 64, 1024], DType::F32, &caps)));
        }
    }
}
