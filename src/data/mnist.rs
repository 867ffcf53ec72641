//! The MNIST handwritten digits.

use super::{IdxArray, InMemory};
use crate::{Error, Result, cache};
use std::path::{Path, PathBuf};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What it is judged by.
    Test,
}

/// The MNIST handwritten digits: 60,000 training and 10,000 test images of shape `[1, 28, 28]`,
/// values from 0 to 1, classes `0` to `9`.
pub enum Mnist {}

impl Mnist {
    /// Loads one part from the four original IDX files, gzip-compressed or not.
    ///
    /// With `dir`, only there. Without, from the first of these that holds the files: `assets/mnist`
    /// of Kiln's own sources, `assets/mnist` of the working directory, `mnist` in the directory that
    /// the environment variable `KILN_DATA` names, and `kiln/mnist` in the user's cache directory
    /// (`XDG_CACHE_HOME`, or `~/.cache`).
    ///
    /// An error where no place holds the files (it names the places and where to get the files),
    /// where a file is not what it should be, or where there are not as many labels as images.
    pub fn load(split: Split, dir: Option<&Path>) -> Result<InMemory> {
        let prefix = match split {
            Split::Train => "train",
            Split::Test => "t10k",
        };
        let names = [format!("{prefix}-images-idx3-ubyte"), format!("{prefix}-labels-idx1-ubyte")];
        let places = dir.map_or_else(places, |dir| vec![dir.to_path_buf()]);
        let found = places.iter().find_map(|place| Some((file(place, &names[0])?, file(place, &names[1])?)));
        let Some((images_path, labels_path)) = found else {
            let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            let message = format!(
                "MNIST was not found: looked for {0} and {1} (plain, or with .gz) in {2}; get the four files, \
                 for example from https://ossci-datasets.s3.amazonaws.com/mnist/, and put them in a folder \
                 `mnist` of the directory that KILN_DATA names",
                names[0],
                names[1],
                looked.join(", ")
            );
            return Err(Error::file(&places[0], message));
        };

        let images = IdxArray::load(&images_path, 3)?;
        if images.dims[1..] != [28, 28] {
            let message = format!("images of {}x{}, expected 28x28", images.dims[1], images.dims[2]);
            return Err(Error::file(&images_path, message));
        }
        let labels = IdxArray::load(&labels_path, 1)?.data.into_iter().map(i32::from).collect();
        let classes = (0..10).map(|digit| digit.to_string()).collect();
        // What is left to go wrong is the labels' doing: their number or their values.
        InMemory::new(images.data, labels, &[1, 28, 28], classes)
            .map_err(|error| Error::file(&labels_path, error.to_string()))
    }
}

fn file(dir: &Path, name: &str) -> Option<PathBuf> {
    [dir.join(name), dir.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

/// Where MNIST may be, in the order in which to look.
fn places() -> Vec<PathBuf> {
    let mut places = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mnist"), "assets/mnist".into()];
    places.extend(cache::variable("KILN_DATA").map(|dir| dir.join("mnist")));
    places.extend(cache::directory().map(|dir| dir.join("mnist")));
    places
}
