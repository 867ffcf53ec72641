//! The networks by name, against torchvision's: `tests/fixtures/models_main.py` says how the fixture
//! was made.

use half::f16;
use kiln::io::HostTensor;
use kiln::models::{Architecture, Classifier, Head, Row, load_pretrained, names, summary};
use kiln::nn::{Module, Params, StochasticDepth, cross_entropy};
use kiln::optim::{Optimizer, Sgd, SgdOptions};
use kiln::{Engine, Error, Tensor, no_grad};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn architecture(name: &str, channels: usize, image_size: usize) -> Architecture {
    Architecture { name: name.into(), classes: 10, channels, image_size }
}

fn build(name: &str, image_size: usize) -> (Params, Box<dyn Classifier>) {
    let params = Params::new(&Engine::cpu(), 0);
    let model = architecture(name, 3, image_size).build(&params).unwrap();
    (params, model)
}

fn refused<T>(result: kiln::Result<T>, expected: &str) {
    let message = result.err().expect("an error").to_string();
    assert!(message.contains(expected), "{message}");
}

/// The networks of the fixture: torchvision's by their names, ours by the names of the script.
fn fixture() -> serde_json::Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/models/torchvision.json");
    let mut all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    match all["networks"].take() {
        Value::Object(networks) => networks,
        other => panic!("{other} is not an object"),
    }
}

/// 64-bit FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The script's `values`.
fn values(name: &str, shape: &[usize], gain: f64) -> Vec<f32> {
    let connections: usize = shape.iter().skip(1).product();
    let (scale, shift) = match name {
        "images" => (1.0, 0.0),
        _ if name.ends_with("running_var") => (0.5, 1.0),
        _ if name.ends_with("layer_scale") => (0.5, 0.0),
        _ if shape.len() > 1 => (gain * (6.0 / connections as f64).sqrt(), 0.0),
        _ if name.ends_with("weight") => (0.25, 1.0),
        _ => (0.1, 0.0),
    };
    let (start, count) = (fnv(name), shape.iter().product::<usize>() as u64);
    let value = |index: u64| {
        let x = start.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let u = ((x ^ (x >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0;
        (shift + scale * u) as f32
    };
    (1..=count).map(value).collect()
}

/// Sets every tensor but the counters by the formula.
fn set(params: &Params, gain: f64) {
    for (name, param) in params.named() {
        if !name.ends_with("num_batches_tracked") {
            let old = param.get();
            let value = Tensor::from_vec(values(&name, old.dims(), gain), old.dims(), params.engine());
            param.set(value.unwrap()).unwrap();
        }
    }
}

fn images(shape: [usize; 4], engine: &Engine) -> Tensor {
    Tensor::from_vec(values("images", &shape, 1.0), shape, engine).unwrap()
}

/// Compares one network's logits with float64's, within 1e-4 of their size.
fn compare_logits(name: &str, network: &Value, engine: &Engine) {
    let number = |value: &Value| value.as_f64().unwrap();
    let [height, width] = [0, 1].map(|at| network["size"][at].as_u64().unwrap() as usize);
    let params = Params::new(engine, 0);
    // The fixture has ViT at two sizes of images, "vit-small 64" being the other one.
    let model = architecture(name.split(' ').next().unwrap(), 3, height).build(&params).unwrap();
    set(&params, number(&network["gain"]));
    params.eval();
    let logits = no_grad(|| model.forward(&images([2, 3, height, width], engine))).unwrap();
    assert_eq!(logits.dims(), [2, 10]);
    let expected: Vec<f64> = network["logits"].as_array().unwrap().iter().map(number).collect();
    let limit = 1e-4 * expected.iter().fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
    for (index, (got, want)) in logits.to_vec::<f32>().unwrap().into_iter().zip(expected).enumerate() {
        assert!((f64::from(got) - want).abs() <= limit, "{name}, logit {index}: {got} instead of {want}");
    }
}

#[test]
fn every_name_has_a_reference() {
    let networks = fixture();
    let lacking: Vec<_> = names().filter(|name| !networks.contains_key(*name)).collect();
    // Kiln's own, and a third combination of what the two other stems and sizes show.
    assert_eq!(lacking, ["kiln-small", "resnet34-cifar"]);
}

#[test]
fn names_and_shapes_are_torchvision_s() {
    for (name, network) in fixture() {
        let size = network["size"][0].as_u64().unwrap() as usize;
        let (params, _) = build(name.split(' ').next().unwrap(), size);
        let shapes: BTreeMap<String, Vec<usize>> =
            params.named().into_iter().map(|(name, param)| (name, param.get().dims().to_vec())).collect();
        let lines: String = shapes.iter().map(|(name, shape)| format!("{name} {shape:?}\n")).collect();
        assert_eq!(Some(shapes.len() as u64), network["tensors"].as_u64(), "{name}");
        assert_eq!(Some(&*format!("{:016x}", fnv(&lines))), network["digest"].as_str(), "{name}:\n{lines}");
    }
}

#[test]
fn parameters_and_work_are_what_torchvision_publishes() {
    for (name, network) in fixture() {
        let Some(published) = network["parameters"].as_u64() else { continue };
        let params = Params::new(&Engine::cpu(), 0);
        let large = Architecture { name: name.clone(), classes: 1000, channels: 3, image_size: 224 };
        let model = large.build(&params).unwrap();
        assert_eq!(params.count() as u64, published, "{name}");

        // Published for the sizes that the weights were trained with; these are the ones of 224.
        let scaled = ["efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4"];
        if scaled.contains(&name.as_str()) {
            continue;
        }
        let rows = summary(&*model, &params, [3, 224, 224]).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters as u64).sum::<u64>(), published, "{name}");
        assert!(rows.iter().all(|row| !row.output.is_empty()), "{name}");
        // torchvision counts the multiply-adds of convolutions and linear layers alone.
        let giga = rows.iter().map(|row| row.flops).sum::<u64>() as f64 / 2e9;
        let ratio = giga / network["giga_multiply_adds"].as_f64().unwrap();
        assert!((1.0 - 0.01..1.1).contains(&ratio), "{name}: {giga}, {ratio} of what is published");
    }
}

#[test]
fn logits_are_torchvision_s() {
    // These differ from what is left by the number of repetitions alone, and are large.
    let left_out = ["vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "wide_resnet101_2"];
    for (name, network) in fixture().into_iter().filter(|(name, _)| !left_out.contains(&name.as_str())) {
        compare_logits(&name, &network, &Engine::cpu());
    }
}

#[test]
fn logits_on_the_gpu_are_torchvision_s() {
    let gpu = Engine::new("gpu");
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    assert!(gpu.is_ok() || !required, "{gpu:?}");
    let networks = fixture();
    for name in ["mobilenet_v3_small", "shufflenet_v2_x0_5", "vit-small"] {
        gpu.iter().for_each(|gpu| compare_logits(name, &networks[name], gpu));
    }
}

#[test]
fn every_name_takes_grey_images_too() {
    for name in names() {
        let params = Params::new(&Engine::cpu(), 0);
        let model = architecture(name, 1, 64).build(&params).unwrap();
        params.eval();
        let features = model.features(&Tensor::zeros([2, 1, 64, 64], params.engine()).unwrap()).unwrap();
        assert!(matches!(features.dims(), [2, _, _, _] | [2, _, _]), "{name}: {:?}", features.dims());
        assert_eq!(model.classify(&features).unwrap().dims(), [2, 10], "{name}");

        // Nothing but the first layer knows of the channels, and the head of the classes.
        let shapes = |params: &Params| {
            let shapes = params.named().into_iter().map(|(name, param)| (name, param.get().dims().to_vec()));
            shapes.collect::<Vec<_>>()
        };
        let other = Params::new(&Engine::cpu(), 0);
        Architecture { classes: 7, ..architecture(name, 3, 64) }.build(&other).unwrap();
        let pairs = shapes(&params).into_iter().zip(shapes(&other));
        let changed: Vec<String> = pairs.filter(|(a, b)| a != b).map(|((name, _), _)| name).collect();
        assert_eq!(changed[1..], ["weight", "bias"].map(|part| format!("{}.{part}", model.head())), "{name}");
    }
}

#[test]
fn weights_for_colours_fit_grey_images() {
    let engine = Engine::cpu();
    let build = |channels: usize| {
        let params = Params::new(&engine, channels as u64);
        let model = architecture("mobilenet_v2", channels, 32).build(&params).unwrap();
        params.eval();
        (params, model)
    };
    let ((colour_params, colour), (grey_params, grey)) = (build(3), build(1));
    let grey_images = images([2, 1, 32, 32], &engine);
    let colour_images = grey_images.expand(&[2, 3, 32, 32]).unwrap();
    let wanted = colour.forward(&colour_images).unwrap().to_vec::<f32>().unwrap();
    for half in [false, true] {
        let mut state = colour_params.state_dict().unwrap();
        if half {
            let first = state.tensors.get_mut("features.0.0.weight").unwrap();
            let narrow: Vec<f16> = first.to_vec::<f32>().unwrap().into_iter().map(f16::from_f32).collect();
            *first = HostTensor::from_slice(&first.shape, &narrow).unwrap();
        }
        let head = load_pretrained(&grey_params, &*grey, &state, "colour.pth").unwrap();
        assert_eq!(head, Head::Loaded);
        let got = grey.forward(&grey_images).unwrap().to_vec::<f32>().unwrap();
        let largest = wanted.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let tolerance = if half { 1e-2 } else { 1e-5 };
        for (got, wanted) in got.iter().zip(&wanted) {
            assert!((got - wanted).abs() < tolerance * largest, "{half}: {got} {wanted}");
        }
    }
}

/// The mean loss of two images in training mode.
fn loss(params: &Params, model: &dyn Classifier, size: usize) -> Tensor {
    let labels = Tensor::from_slice(&[3, 7], 2, params.engine()).unwrap();
    let logits = model.forward(&images([2, 3, size, size], params.engine())).unwrap();
    cross_entropy(&logits, &labels).unwrap()
}

#[test]
fn gradients_reach_every_parameter() {
    for name in names() {
        let (params, model) = build(name, 64);
        let gradients = loss(&params, &*model, 64).backward().unwrap();
        for (path, param) in params.trainable() {
            assert!(gradients.get(&param.get()).is_some(), "{name}: {path} has no gradient");
        }
    }
}

#[test]
fn a_step_changes_every_tensor() {
    let names = [
        "kiln-small",
        "lenet",
        "resnet18-cifar",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "densenet121",
        "squeezenet1_1",
        "shufflenet_v2_x0_5",
        "vit-small",
    ];
    for name in names {
        let (params, model) = build(name, 32);
        set(&params, 1.0);
        let mut sgd = Sgd::new(&params, SgdOptions { lr: 0.01, ..SgdOptions::default() }).unwrap();
        let mut step = |trained: bool| {
            let bits = || -> BTreeMap<String, Vec<u8>> {
                let all = params.named().into_iter().filter(|(_, param)| param.is_trained() == trained);
                all.map(|(name, param)| (name, param.get().to_bytes().unwrap())).collect()
            };
            let before = bits();
            sgd.step(loss(&params, &*model, 32).backward().unwrap()).unwrap();
            for (path, value) in bits() {
                assert_ne!(value, before[&path], "{name}: {path} stayed");
            }
        };
        // A batch norm takes away what a bias before it adds: those have gradients in evaluation mode alone.
        params.eval();
        step(true);
        params.train();
        step(false);
    }
}

#[test]
fn wrong_architectures_are_refused() {
    let params = Params::new(&Engine::cpu(), 0);
    let other = architecture("resnet81", 3, 32).build(&params);
    refused(other, "\"resnet81\"; the nearest name is \"resnet18\", and there are kiln-small, lenet, ");
    let none = architecture("lenet", 0, 32).build(&params);
    refused(none, "lenet: classes, channels and image size must be above 0");
    refused(
        architecture("vit_b_16", 3, 40).build(&params),
        "vit_b_16: images of 40 pixels a side do not divide into patches of 16",
    );
    assert!(params.named().is_empty());

    let (_, vit) = build("vit-small", 32);
    let images = Tensor::zeros([1, 3, 64, 64], params.engine()).unwrap();
    refused(vit.forward(&images), "vision transformer: expected images [N, 3, 32, 32], got [1, 3, 64, 64]");
}

#[test]
fn weights_load_for_other_classes() {
    let (params, model) = build("squeezenet1_1", 64);
    set(&params, 1.0);
    let state = params.state_dict().unwrap();
    let file = Path::new("weights.pt");

    let (same, built) = build("squeezenet1_1", 64);
    assert_eq!(load_pretrained(&same, &*built, &state, file).unwrap(), Head::Loaded);
    assert_eq!(same.state_dict().unwrap(), state);

    let other = Params::new(&Engine::cpu(), 5);
    let architecture = Architecture { classes: 3, ..architecture("squeezenet1_1", 3, 64) };
    let built = architecture.build(&other).unwrap();
    let before = other.state_dict().unwrap();
    assert_eq!(load_pretrained(&other, &*built, &state, file).unwrap(), Head::Kept { file_classes: 10 });
    for (name, value) in other.state_dict().unwrap().tensors {
        let from = if name.starts_with(model.head()) { &before } else { &state };
        assert_eq!(value, from.tensors[&name], "{name}");
    }

    // What does not fit otherwise is an error that changes nothing.
    let mut wrong = state.clone();
    let first = wrong.tensors.remove("features.0.weight").unwrap();
    wrong.tensors.insert("features.0.kernel".into(), first);
    wrong.tensors.get_mut("features.0.bias").unwrap().shape = vec![8, 8];
    let error = load_pretrained(&same, &*model, &wrong, file).unwrap_err();
    let Error::Keys { path, missing, unexpected, mismatched } = error else { panic!("{error}") };
    assert_eq!((path.as_path(), &missing[..]), (file, &["features.0.weight".to_string()][..]));
    assert_eq!(unexpected, ["features.0.kernel"]);
    assert_eq!(mismatched, ["features.0.bias: file [8, 8], model [64]"]);
    assert_eq!(same.state_dict().unwrap(), state);
}

#[test]
fn old_checkpoints_have_other_names_and_no_counters() {
    let (params, model) = build("densenet121", 32);
    set(&params, 1.0);
    let state = params.state_dict().unwrap();
    let mut old = state.clone();
    old.tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let dotted = |name: String| {
        let layers = ["norm1", "norm2", "conv1", "conv2"];
        let layer = layers.iter().find(|layer| name.contains(&format!(".{layer}.")));
        layer.map_or(name.clone(), |layer| {
            let (kind, number) = layer.split_at(4);
            name.replace(layer, &format!("{kind}.{number}"))
        })
    };
    old.tensors = old.tensors.into_iter().map(|(name, tensor)| (dotted(name), tensor)).collect();
    assert!(old.tensors.contains_key("features.denseblock1.denselayer1.norm.1.weight"));
    assert!(params.load_state_dict(&old, "old.pth").is_err());

    let (other, _) = build("densenet121", 32);
    assert_eq!(load_pretrained(&other, &*model, &old, "old.pth").unwrap(), Head::Loaded);
    assert_eq!(other.state_dict().unwrap(), state);
}

#[test]
fn a_summary_counts_what_is_recorded() {
    let (params, model) = build("lenet", 28);
    let rows = summary(&*model, &params, [3, 28, 28]).unwrap();
    assert!(params.is_training(), "the mode is what it was");
    let row = |path: &str, output: &[usize], parameters, flops| Row {
        path: path.into(),
        output: output.to_vec(),
        parameters,
        flops,
    };
    // Two for each multiply-add and one for each bias, then relu, four for a pooling of 2x2, and the mean over
    // single elements.
    let conv1 = 6 * 28 * 28 * (2 * 75 + 2) + 4 * 6 * 14 * 14;
    let conv2 = 16 * 10 * 10 * (2 * 150 + 2) + (4 + 1) * 16 * 5 * 5;
    let expected = [
        row("conv1", &[1, 6, 28, 28], 6 * 75 + 6, conv1),
        row("conv2", &[1, 16, 10, 10], 16 * 150 + 16, conv2),
        row("fc1", &[1, 120], 401 * 120, 120 * (2 * 400 + 2)),
        row("fc2", &[1, 84], 121 * 84, 84 * (2 * 120 + 2)),
        row("fc3", &[1, 10], 85 * 10, 10 * (2 * 84 + 1)),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn stochastic_depth_drops_whole_samples() {
    let params = Params::new(&Engine::cpu(), 3);
    let depth = StochasticDepth::new(&params, 0.25).unwrap();
    let x = images([400, 2, 3, 1], params.engine());
    let plain = x.to_vec::<f32>().unwrap();
    let dropped = depth.forward(&x).unwrap().to_vec::<f32>().unwrap();
    let mut kept = 0;
    for (got, was) in dropped.chunks(6).zip(plain.chunks(6)) {
        let scaled: Vec<f32> = was.iter().map(|value| value * (1.0 / 0.75)).collect();
        kept += usize::from(got == scaled);
        assert!(got == scaled || got == [0.0; 6], "{got:?} of {was:?}");
    }
    // Five standard deviations around 300.
    assert!((257..=343).contains(&kept), "{kept} of 400");
    assert_ne!(depth.forward(&x).unwrap().to_vec::<f32>().unwrap(), dropped, "another draw each time");
    params.eval();
    assert_eq!(depth.forward(&x).unwrap().to_vec::<f32>().unwrap(), plain);
    refused(StochasticDepth::new(&params, 1.5), "the probability 1.5 is not in 0..=1");
    params.train();
    refused(depth.forward(&Tensor::ones((), params.engine()).unwrap()), "expected [N, ...], got a scalar");
}
