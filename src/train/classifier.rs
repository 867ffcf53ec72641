//! A trained network with all it takes to use it.

use super::Precision;
use super::quantize::{dequantize, quantize};
use crate::data::Preprocessing;
use crate::io::StateDict;
use crate::models::{Architecture, Classifier};
use crate::nn::Params;
use crate::{Engine, Error, Result, Tensor, no_grad};
use image::RgbImage;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A network, the names of its classes, and how an image becomes its input: what a model file of
/// [`save`](ImageClassifier::save) holds, so that it can be used with no code.
pub struct ImageClassifier {
    params: Params,
    network: Box<dyn Classifier>,
    architecture: Architecture,
    classes: Vec<String>,
    preprocessing: Preprocessing,
}

const ARCHITECTURE: &str = "architecture";
const CLASSES: &str = "classes";
const PREPROCESSING: &str = "preprocessing";

impl ImageClassifier {
    /// A network with initial values that follow from `seed`. An error where the architecture is unknown,
    /// or does not fit the classes or the preprocessing.
    pub fn new(
        engine: &Engine,
        seed: u64,
        architecture: Architecture,
        classes: Vec<String>,
        preprocessing: Preprocessing,
    ) -> Result<ImageClassifier> {
        preprocessing.check()?;
        let sizes = (architecture.image_size, preprocessing.size);
        if sizes.0 != sizes.1 {
            let message =
                format!("{} is for images of {} pixels, got {}", architecture.name, sizes.0, sizes.1);
            return Err(Error::op("ImageClassifier", message));
        }
        let wanted = (architecture.classes, architecture.channels);
        let given = (classes.len(), preprocessing.channels);
        if wanted != given {
            let message = format!(
                "{} has {} classes of images with {} channels, got {} names and images with {}",
                architecture.name, wanted.0, wanted.1, given.0, given.1
            );
            return Err(Error::op("ImageClassifier", message));
        }
        let params = Params::new(engine, seed);
        let network = architecture.build(&params)?;
        Ok(ImageClassifier { params, network, architecture, classes, preprocessing })
    }

    /// Reads a model file. An error where it cannot be read, or was not written by
    /// [`save`](ImageClassifier::save).
    pub fn load(path: impl AsRef<Path>, engine: &Engine) -> Result<ImageClassifier> {
        let path = path.as_ref();
        let state = dequantize(StateDict::load(path)?, path)?;
        let model = ImageClassifier::new(
            engine,
            0,
            part(&state, ARCHITECTURE, path)?,
            part(&state, CLASSES, path)?,
            part(&state, PREPROCESSING, path)?,
        )
        .map_err(|error| Error::file(path, error.to_string()))?;
        model.params.load_state_dict(&state, path)?;
        model.params.eval();
        Ok(model)
    }

    /// Writes a model file: the weights at this precision, and in the metadata, as JSON, `architecture`,
    /// `classes` and `preprocessing`. The file holds its old content until the new one is complete.
    pub fn save(&self, path: impl AsRef<Path>, precision: Precision) -> Result<()> {
        let path = path.as_ref();
        let mut state = quantize(self.params.state_dict()?, precision)?;
        let json = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::file(path, format!("cannot be written: {error}")))
        };
        state.metadata.insert(ARCHITECTURE.into(), json(serde_json::to_string(&self.architecture))?);
        state.metadata.insert(CLASSES.into(), json(serde_json::to_string(&self.classes))?);
        state.metadata.insert(PREPROCESSING.into(), json(serde_json::to_string(&self.preprocessing))?);
        state.save(path)
    }

    /// The probabilities `[classes]` of each image, in the order of [`classes`](ImageClassifier::classes).
    pub fn predict(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = self.inputs(images)?;
        self.params.eval();
        let probabilities = no_grad(|| self.network.forward(&inputs)?.softmax(1))?;
        let rows = probabilities.to_vec::<f32>()?;
        Ok(rows.chunks_exact(self.classes.len().max(1)).map(<[f32]>::to_vec).collect())
    }

    /// Images as the network takes them, `[N, C, H, W]`.
    pub fn inputs(&self, images: &[RgbImage]) -> Result<Tensor> {
        let Preprocessing { channels, size, .. } = self.preprocessing;
        let mut inputs = vec![0.0; images.len() * channels * size * size];
        for (image, input) in images.iter().zip(inputs.chunks_exact_mut(channels * size * size)) {
            self.preprocessing.apply(image, input)?;
        }
        Tensor::from_slice(&inputs, [images.len(), channels, size, size], self.params.engine())
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The network.
    pub fn network(&self) -> &dyn Classifier {
        &*self.network
    }

    /// What the network is.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How an image becomes an input.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }
}

fn part<T: DeserializeOwned + Serialize>(state: &StateDict, key: &str, path: &Path) -> Result<T> {
    let Some(text) = state.metadata.get(key) else {
        let message = format!(
            "its metadata has no {key:?}: weights alone, not a model of `kiln train`; `kiln train --weights` \
             starts from such a file"
        );
        return Err(Error::file(path, message));
    };
    serde_json::from_str(text)
        .map_err(|error| Error::file(path, format!("its {key} cannot be read: {error}")))
}
