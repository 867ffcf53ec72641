use crate::assert_refused;
use image::{Rgb, RgbImage};
use kiln::explain::{HeatMap, grad_cam, occlusion, overlay, saliency, smooth_grad};
use kiln::models::{Architecture, Classifier};
use kiln::nn::{Conv2d, Module, Params};
use kiln::ops::{Conv2dOptions, Pool2dOptions};
use kiln::{Engine, Result, Tensor};

const SIZE: usize = 16;

/// Class `q` of four is the brightness of quadrant `q` alone, seen at half the resolution.
struct Quadrants {
    masks: Tensor,
}

impl Quadrants {
    fn new(engine: &Engine) -> Quadrants {
        let half = SIZE / 4;
        let inside = |at: usize| {
            let (quadrant, y, x) = (at / (4 * half * half), at / (2 * half) % (2 * half), at % (2 * half));
            f32::from(u8::from(y / half * 2 + x / half == quadrant))
        };
        let masks: Vec<f32> = (0..16 * half * half).map(inside).collect();
        Quadrants { masks: Tensor::from_vec(masks, [1, 4, 2 * half, 2 * half], engine).unwrap() }
    }
}

impl Module for Quadrants {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for Quadrants {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        images.sum(1, true)?.avg_pool2d(Pool2dOptions::new(2))?.square()?.mul(&self.masks)
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        features.mean([2, 3], false)
    }

    fn head(&self) -> &'static str {
        "none"
    }
}

/// Two convolutions without a kink, so that differences are good derivatives.
struct Smooth {
    first: Conv2d,
    second: Conv2d,
}

impl Smooth {
    fn new(params: &Params) -> Smooth {
        let same = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
        Smooth {
            first: Conv2d::new(params / "first", 3, 4, [3, 3], same).unwrap(),
            second: Conv2d::new(params / "second", 4, 5, [3, 3], same).unwrap(),
        }
    }
}

impl Module for Smooth {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(images)?)
    }
}

impl Classifier for Smooth {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.first.forward(images)?.tanh()
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.second.forward(features)?.tanh()?.mean([2, 3], false)
    }

    fn head(&self) -> &'static str {
        "second"
    }
}

/// A bright image whose quadrants differ, so that the most probable class is the last.
fn bright(engine: &Engine) -> Tensor {
    let value =
        |at: usize| 0.5 + 0.2 * ((at * 37 % 11) as f32 / 11.0) + 0.3 * (at % (SIZE * SIZE)) as f32 / 256.0;
    Tensor::from_vec((0..3 * SIZE * SIZE).map(value).collect(), [1, 3, SIZE, SIZE], engine).unwrap()
}

/// The share of a map's heat that lies in a quadrant.
fn share(map: &HeatMap, quadrant: usize) -> f32 {
    let inside = |at: &usize| at / SIZE / (SIZE / 2) * 2 + at % SIZE / (SIZE / 2) == quadrant;
    let mass: f32 = (0..SIZE * SIZE).filter(inside).map(|at| map.values[at]).sum();
    mass / map.values.iter().sum::<f32>()
}

/// Derivatives of the score of `class` by each of `values`, by central differences.
fn differences(
    shape: [usize; 4],
    values: &[f32],
    class: usize,
    engine: &Engine,
    forward: impl Fn(&Tensor) -> Result<Tensor>,
) -> Vec<f32> {
    let step = 1e-2;
    let scores = |step: f32| -> Vec<f32> {
        let mut copies = values.repeat(values.len());
        copies.iter_mut().step_by(values.len() + 1).for_each(|value| *value += step);
        let copies = Tensor::from_vec(copies, [values.len(), shape[1], shape[2], shape[3]], engine).unwrap();
        forward(&copies).unwrap().select(1, class).unwrap().to_vec().unwrap()
    };
    scores(step).iter().zip(scores(-step)).map(|(up, down)| (up - down) / (2.0 * step)).collect()
}

#[track_caller]
fn assert_map(map: &HeatMap, expected: &[f32]) {
    let highest = expected.iter().copied().fold(0.0, f32::max);
    assert!(highest > 0.0 && map.values.len() == expected.len());
    for (at, (ours, expected)) in map.values.iter().zip(expected).enumerate() {
        let expected = expected.max(0.0) / highest;
        assert!((ours - expected).abs() < 5e-3, "pixel {at}: {ours} is not {expected}");
    }
}

#[test]
fn heat_lies_where_the_score_comes_from() {
    let engine = Engine::cpu();
    let (model, image) = (Quadrants::new(&engine), bright(&engine));
    for quadrant in 0..4 {
        let class = Some(quadrant);
        // Interpolation and windows reach over the border.
        for (method, map, least) in [
            ("grad_cam", grad_cam(&model, &image, class).unwrap(), 0.9),
            ("saliency", saliency(&model, &image, class).unwrap(), 1.0),
            ("smooth_grad", smooth_grad(&model, &image, class, 4, 0.1, 7).unwrap(), 1.0),
            ("occlusion", occlusion(&model, &image, class, 4, 2).unwrap(), 0.75),
            ("occlusion pixel by pixel", occlusion(&model, &image, class, 1, 1).unwrap(), 1.0),
        ] {
            assert_eq!((map.height, map.width, map.class), (SIZE, SIZE, quadrant));
            assert_eq!(map.values.iter().copied().fold(0.0, f32::max), 1.0, "{method}");
            let share = share(&map, quadrant);
            assert!(share > least - 1e-3, "{method}: {share} of the heat is in quadrant {quadrant}");
        }
    }
    assert_eq!(grad_cam(&model, &image, None).unwrap().class, 3);
    assert_eq!(saliency(&model, &image, None).unwrap().class, 3);
    assert_eq!(occlusion(&model, &image, None, 3, 2).unwrap().class, 3);
}

/// Where the score does not depend on the image at all, no pixel speaks for it.
#[test]
fn nothing_to_show() {
    let engine = Engine::cpu();
    let (model, black) = (Quadrants::new(&engine), Tensor::zeros([1, 3, SIZE, SIZE], &engine).unwrap());
    for map in [
        grad_cam(&model, &black, Some(1)),
        saliency(&model, &black, Some(1)),
        occlusion(&model, &black, Some(1), 4, 4),
    ] {
        assert!(map.unwrap().values.iter().all(|&value| value == 0.0));
    }
}

#[test]
fn saliency_is_the_derivative() {
    let engine = Engine::cpu();
    let params = Params::new(&engine, 3);
    let model = Smooth::new(&params);
    let image = Tensor::randn([1, 3, 6, 6], 1, &engine).unwrap();
    let slopes =
        differences([1, 3, 6, 6], &image.to_vec().unwrap(), 2, &engine, |images| model.forward(images));
    let expected: Vec<f32> =
        (0..36).map(|at| (0..3).map(|channel| slopes[channel * 36 + at].abs()).fold(0.0, f32::max)).collect();
    let map = saliency(&model, &image, Some(2)).unwrap();
    assert_map(&map, &expected);
    assert_eq!(smooth_grad(&model, &image, Some(2), 1, 0.0, 9).unwrap(), map);
}

/// Equations 1 and 2 of the paper, with the gradient by differences.
#[test]
fn grad_cam_is_the_papers() {
    let engine = Engine::cpu();
    let params = Params::new(&engine, 3);
    let model = Smooth::new(&params);
    let image = Tensor::randn([1, 3, 6, 6], 1, &engine).unwrap();
    let features: Vec<f32> = model.features(&image).unwrap().to_vec().unwrap();
    for class in 0..5 {
        let slopes = differences([1, 4, 6, 6], &features, class, &engine, |maps| model.classify(maps));
        let weight = |channel: usize| slopes[channel * 36..][..36].iter().sum::<f32>() / 36.0;
        let weights: Vec<f32> = (0..4).map(weight).collect();
        let expected: Vec<f32> = (0..36)
            .map(|at| (0..4).map(|channel| weights[channel] * features[channel * 36 + at]).sum())
            .collect();
        assert_map(&grad_cam(&model, &image, Some(class)).unwrap(), &expected);
    }
}

#[test]
fn overlay_colours() {
    let image = RgbImage::from_pixel(2, 1, Rgb([100, 100, 100]));
    let map = HeatMap { height: 1, width: 2, values: vec![0.0, 1.0], class: 0 };
    let picture = overlay(&image, &map);
    assert_eq!(picture.get_pixel(0, 0), &Rgb([100, 100, 100]));
    // Three quarters yellow, one quarter of the grey.
    assert_eq!(picture.get_pixel(1, 0), &Rgb([216, 216, 25]));
    assert_eq!(overlay(&RgbImage::new(40, 30), &map).dimensions(), (40, 30));
}

#[test]
fn bad_input() {
    let engine = Engine::cpu();
    let (model, image) = (Quadrants::new(&engine), bright(&engine));
    assert_refused(grad_cam(&model, &image, Some(4)), "there is no class 4; the model has 4");
    assert_refused(saliency(&model, &image, Some(9)), "there is no class 9");
    assert_refused(occlusion(&model, &image, Some(4), 4, 2), "there is no class 4");
    let two = Tensor::zeros([2, 3, SIZE, SIZE], &engine).unwrap();
    let flat = Tensor::zeros([3, SIZE, SIZE], &engine).unwrap();
    for wrong in [&two, &flat] {
        assert_refused(grad_cam(&model, wrong, None), "one f32 image [1, C, H, W] is needed");
        assert_refused(saliency(&model, wrong, None), "one f32 image");
        assert_refused(occlusion(&model, wrong, None, 4, 2), "one f32 image");
    }
    for (window, stride) in [(0, 1), (17, 1), (4, 0), (4, 5)] {
        assert_refused(occlusion(&model, &image, None, window, stride), "1 <= stride <= window <= image");
    }
    assert_refused(smooth_grad(&model, &image, None, 0, 0.1, 0), "0 samples");
    assert_refused(smooth_grad(&model, &image, None, 1, f64::NAN, 0), "a noise of NaN");
    let broken = image.mul(f64::NAN).unwrap();
    assert_refused(saliency(&model, &broken, Some(0)), "NaN");
    assert_refused(grad_cam(&model, &broken, Some(0)), "NaN");
    assert_refused(occlusion(&model, &broken, Some(0), 4, 4), "NaN");

    let params = Params::new(&engine, 0);
    let tokens = Architecture { name: "vit-small".into(), classes: 3, channels: 3, image_size: SIZE };
    let transformer = tokens.build(&params).unwrap();
    params.eval();
    assert_refused(grad_cam(&*transformer, &image, None), "use saliency or occlusion");
    assert_eq!(saliency(&*transformer, &image, None).unwrap().values.len(), SIZE * SIZE);
}
