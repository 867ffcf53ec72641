//! The networks by name.

use kiln::models::{Architecture, names};
use kiln::nn::Params;
use kiln::{Engine, Tensor};

fn architecture(name: &str, channels: usize, image_size: usize) -> Architecture {
    Architecture { name: name.into(), classes: 10, channels, image_size }
}

#[test]
fn every_name_builds_a_network_for_grey_images() {
    let engine = Engine::cpu();
    for name in names() {
        let params = Params::new(&engine, 0);
        let model = architecture(name, 1, 64).build(&params).unwrap();
        let images = Tensor::zeros([2, 1, 64, 64], &engine).unwrap();
        let features = model.features(&images).unwrap();
        assert!(matches!(features.dims(), [2, _, _, _] | [2, _, _]), "{name}: {:?}", features.dims());
        assert_eq!(model.classify(&features).unwrap().dims(), [2, 10], "{name}");
        assert_eq!(model.forward(&images).unwrap().dims(), [2, 10], "{name}");
        let head: usize = (&params / model.head()).count();
        assert!(head > 0 && head.is_multiple_of(10), "{name}: {}", model.head());
    }
}

#[test]
fn wrong_architectures_are_refused() {
    let params = Params::new(&Engine::cpu(), 0);
    let refused = |architecture: Architecture| architecture.build(&params).err().unwrap().to_string();
    let message = refused(architecture("resnet81", 3, 32));
    assert!(message.contains("\"resnet81\"; the nearest name is \"resnet18\""), "{message}");
    assert!(message.contains("there are kiln-small, lenet, "), "{message}");
    let message = refused(architecture("lenet", 0, 32));
    assert!(message.contains("lenet: classes, channels and image size must be above 0"), "{message}");
    assert!(params.named().is_empty());
}
