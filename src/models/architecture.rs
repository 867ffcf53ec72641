//! Networks by name.

use super::convnext::convnext_tiny;
use super::densenet::densenet121;
use super::efficientnet::efficientnet;
use super::mobilenet::{mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small};
use super::shufflenet::shufflenet_v2;
use super::small::small;
use super::squeezenet::squeezenet;
use super::vgg::vgg;
use super::vit::{VitOptions, vit};
use super::{Classifier, LeNet, ResNet, ResNetOptions};
use crate::nn::Params;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What it takes to build a network again; a saved model's metadata holds it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// One of [`names`].
    pub name: String,
    /// How many classes there are.
    pub classes: usize,
    /// Channels of the images: 1 for grey ones, 3 for colours.
    pub channels: usize,
    /// Pixels of the images a side.
    pub image_size: usize,
}

type Build = fn(&Params, &Architecture) -> Result<Box<dyn Classifier>>;

const NETWORKS: &[(&str, Build)] = &[
    ("kiln-small", small),
    ("lenet", |p, a| Ok(Box::new(LeNet::new(p, a.channels, a.classes)?))),
    ("resnet18", |p, a| resnet(p, a, ResNetOptions::RESNET18)),
    ("resnet34", |p, a| resnet(p, a, ResNetOptions::RESNET34)),
    ("resnet50", |p, a| resnet(p, a, ResNetOptions::RESNET50)),
    ("resnet101", |p, a| resnet(p, a, ResNetOptions::RESNET101)),
    ("wide_resnet50_2", |p, a| resnet(p, a, ResNetOptions::WIDE_RESNET50_2)),
    ("wide_resnet101_2", |p, a| resnet(p, a, ResNetOptions::WIDE_RESNET101_2)),
    ("resnet18-cifar", |p, a| resnet(p, a, ResNetOptions::RESNET18.cifar())),
    ("resnet34-cifar", |p, a| resnet(p, a, ResNetOptions::RESNET34.cifar())),
    ("resnet50-cifar", |p, a| resnet(p, a, ResNetOptions::RESNET50.cifar())),
    ("vgg11", |p, a| vgg(p, a, [1, 1, 2, 2, 2], false)),
    ("vgg13", |p, a| vgg(p, a, [2, 2, 2, 2, 2], false)),
    ("vgg16", |p, a| vgg(p, a, [2, 2, 3, 3, 3], false)),
    ("vgg19", |p, a| vgg(p, a, [2, 2, 4, 4, 4], false)),
    ("vgg11_bn", |p, a| vgg(p, a, [1, 1, 2, 2, 2], true)),
    ("vgg13_bn", |p, a| vgg(p, a, [2, 2, 2, 2, 2], true)),
    ("vgg16_bn", |p, a| vgg(p, a, [2, 2, 3, 3, 3], true)),
    ("vgg19_bn", |p, a| vgg(p, a, [2, 2, 4, 4, 4], true)),
    ("mobilenet_v2", mobilenet_v2),
    ("mobilenet_v3_large", mobilenet_v3_large),
    ("mobilenet_v3_small", mobilenet_v3_small),
    ("efficientnet_b0", |p, a| efficientnet(p, a, 1.0, 1.0, 0.2)),
    ("efficientnet_b1", |p, a| efficientnet(p, a, 1.0, 1.1, 0.2)),
    ("efficientnet_b2", |p, a| efficientnet(p, a, 1.1, 1.2, 0.3)),
    ("efficientnet_b3", |p, a| efficientnet(p, a, 1.2, 1.4, 0.3)),
    ("efficientnet_b4", |p, a| efficientnet(p, a, 1.4, 1.8, 0.4)),
    ("densenet121", densenet121),
    ("squeezenet1_0", |p, a| squeezenet(p, a, false)),
    ("squeezenet1_1", |p, a| squeezenet(p, a, true)),
    ("shufflenet_v2_x0_5", |p, a| shufflenet_v2(p, a, [48, 96, 192])),
    ("shufflenet_v2_x1_0", |p, a| shufflenet_v2(p, a, [116, 232, 464])),
    ("convnext_tiny", convnext_tiny),
    ("vit_b_16", |p, a| vit(p, a, VitOptions { patch: 16, width: 768, blocks: 12, heads: 12 })),
    ("vit-small", |p, a| {
        let patch = if a.image_size < 48 { 4 } else { 8 };
        vit(p, a, VitOptions { patch, width: 192, blocks: 6, heads: 3 })
    }),
];

fn resnet(params: &Params, a: &Architecture, options: ResNetOptions) -> Result<Box<dyn Classifier>> {
    let options = ResNetOptions { channels: a.channels, ..options };
    Ok(Box::new(ResNet::new(params, options, a.classes)?))
}

/// The names that [`Architecture::build`] knows: torchvision's, and Kiln's own networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|(name, _)| *name)
}

impl Architecture {
    /// Builds the network and registers its parameters under `params`.
    ///
    /// An error for a name that is not among [`names`], a size of 0, or where a path is taken.
    pub fn build(&self, params: &Params) -> Result<Box<dyn Classifier>> {
        let Some((_, build)) = NETWORKS.iter().find(|(name, _)| *name == self.name) else {
            let nearest = names().min_by_key(|name| distance(name, &self.name)).unwrap_or_default();
            let known = names().collect::<Vec<_>>().join(", ");
            let message = format!(
                "no network is called {:?}; the nearest name is {nearest:?}, and there are {known}",
                self.name
            );
            return Err(Error::op("models", message));
        };
        if [self.classes, self.channels, self.image_size].contains(&0) {
            let message =
                format!("{}: classes, channels and image size must be above 0: {self:?}", self.name);
            return Err(Error::op("models", message));
        }
        build(params, self)
    }
}

/// The number of letters to insert, delete or replace to make one word of another (Levenshtein 1966).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for j in 0..to.len() {
            let replaced = diagonal + usize::from(letter != to[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
