//! Networks by name.

use super::{Classifier, LeNet, ResNet, ResNetOptions, Small};
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
    ("kiln-small", |p, a| Ok(Box::new(Small::new(p, a.channels, a.image_size, a.classes)?))),
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
