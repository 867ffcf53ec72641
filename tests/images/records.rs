//! Files that hold many images, and tables of images.

use crate::{assert_refused, assert_says, folder, picture, png, write};
use flate2::{Compression, write::GzEncoder};
use image::Rgb;
use kiln::Result;
use kiln::data::{Dataset, ImageSet, Mnist, Opened, Split, Typical};
use std::io::Write;
use std::path::{Path, PathBuf};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two IDX files of images of 2 x 3 pixels; each byte of an image is ten times its label.
fn idx(folder: &Path, prefix: &str, labels: &[u8]) -> [Vec<u8>; 2] {
    let sizes = |sizes: &[u32]| sizes.iter().flat_map(|size| size.to_be_bytes()).collect::<Vec<u8>>();
    let count = labels.len() as u32;
    let pixels: Vec<u8> = labels.iter().flat_map(|label| [10 * label; 6]).collect();
    let images = [&[0, 0, 8, 3][..], &sizes(&[count, 2, 3]), &pixels].concat();
    let labels = [&[0, 0, 8, 1][..], &sizes(&[count]), labels].concat();
    write(folder.join(format!("{prefix}-images-idx3-ubyte")), &images);
    write(folder.join(format!("{prefix}-labels-idx1-ubyte")), &labels);
    [images, labels]
}

#[test]
fn idx_files_are_found_by_their_names() -> Result<()> {
    let root = folder("idx");
    idx(&root, "train", &[1, 0, 2, 2]);
    idx(&root, "t10k", &[2]);
    for path in [root.clone(), root.join("train-images-idx3-ubyte")] {
        let Opened { train, test } = ImageSet::open(path)?;
        let test = test.expect("a test set");
        assert_eq!(train.classes(), ["0", "1", "2"]);
        assert_eq!((train.counts(), test.counts()), (vec![1, 1, 2], vec![0, 0, 1]));
        assert_eq!(train.typical(), Typical { channels: 1, height: 2, width: 3 });
        assert_eq!((train.label(2)?, train.decode(2)?.get_pixel(2, 1)), (2, &Rgb([20; 3])));
        assert!(train.name(2)?.ends_with("train-images-idx3-ubyte[2]"), "{}", train.name(2)?);
        assert_says(train.warnings(), &["images are byte for byte the same"]);
    }
    Ok(())
}

#[test]
fn idx_files_may_be_compressed_and_a_pair_is_enough() -> Result<()> {
    let root = folder("idx-gzip");
    let [images, labels] = idx(&folder("idx-plain"), "train", &[3, 5]);
    let path = write(root.join("letters.images.idx3-ubyte.gz"), &gzip(&images));
    assert_refused(ImageSet::open(&root), &["letters.images", "its labels are not beside it"]);
    write(root.join("letters.labels.idx1-ubyte.gz"), &gzip(&labels));
    for path in [root.clone(), path] {
        let Opened { train, test } = ImageSet::open(path)?;
        assert!(test.is_none());
        // Numbers without images are no classes.
        assert_eq!((train.classes(), train.label(1)?), (&["3".to_string(), "5".to_string()][..], 1));
    }
    Ok(())
}

#[test]
fn idx_files_that_do_not_fit_are_refused() -> Result<()> {
    let root = folder("idx-refused");
    idx(&root, "train", &[1, 0]);
    let [_, labels] = idx(&folder("idx-other"), "train", &[1, 0, 1]);
    let path = write(root.join("train-labels-idx1-ubyte"), &labels);
    assert_refused(ImageSet::open(&root), &["3 labels for 2 images"]);
    write(path, &labels[..9]);
    assert_refused(ImageSet::open(&root), &["truncated"]);
    idx(&root, "emnist-letters-train", &[1, 0]);
    assert_refused(ImageSet::open(&root), &["several IDX sets", "emnist-letters-train"]);
    Ok(())
}

#[test]
fn mnist_is_an_image_set() -> Result<()> {
    let set = ImageSet::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mnist"))?;
    let (train, test) = (set.train, set.test.expect("the test digits"));
    assert_eq!((train.len(), test.len(), train.classes().len()), (60_000, 10_000, 10));
    let (mut expected, digits) = (vec![0.0; 784], Mnist::load(Split::Test, None)?);
    for index in [0, 4321, 9999] {
        assert_eq!(digits.sample(index, &mut expected)?, test.label(index)?);
        let image = test.decode(index)?;
        assert!(image.pixels().zip(&expected).all(|(pixel, value)| f32::from(pixel.0[1]) / 255.0 == *value));
    }
    Ok(())
}

/// A CIFAR record: the labels, then a plane each of red, green and blue.
fn cifar(labels: &[u8], red: u8) -> Vec<u8> {
    let planes = [red, 7, 9].into_iter().enumerate();
    let mut bytes = labels.to_vec();
    bytes.extend(
        planes.flat_map(|(channel, value)| (0..1024).map(move |i| value + u8::from(i == 33 * channel))),
    );
    bytes
}

#[test]
fn cifar_files_are_found_by_their_names() -> Result<()> {
    let root = folder("cifar");
    write(root.join("data_batch_1.bin"), &[cifar(&[1], 20), cifar(&[0], 30)].concat());
    let second = write(root.join("data_batch_2.bin"), &cifar(&[2], 40));
    write(root.join("test_batch.bin"), &cifar(&[2], 50));
    assert_eq!(ImageSet::open(&root)?.train.classes(), ["0", "1", "2"]);
    write(root.join("batches.meta.txt"), b"plane\ncar\nbird\n\n");
    let Opened { train, test } = ImageSet::open(&root)?;
    assert_eq!(train.classes(), ["plane", "car", "bird"]);
    assert_eq!(
        (train.len(), train.label(0)?, train.label(2)?, test.map(|test| test.len())),
        (3, 1, 2, Some(1))
    );
    let image = train.decode(1)?;
    let pixels = [(0, 0), (1, 1), (2, 2), (3, 3)].map(|(x, y)| image.get_pixel(x, y).0);
    assert_eq!(pixels, [[31, 7, 9], [30, 8, 9], [30, 7, 10], [30, 7, 9]]);
    assert_eq!(train.typical(), Typical { channels: 3, height: 32, width: 32 });
    assert_refused(ImageSet::open(&second), &["only one class, 'bird'"]);

    write(root.join("batches.meta.txt"), b"plane\ncar\n");
    assert_refused(ImageSet::open(&root), &["names of 2 classes", "data_batch_2.bin[0]", "label 2"]);
    write(second, &[0; 3072]);
    assert_refused(ImageSet::open(&root), &["data_batch_2.bin", "3072 bytes are not a whole number"]);
    Ok(())
}

#[test]
fn cifar_100_has_two_labels_a_record() -> Result<()> {
    let root = folder("cifar-100");
    write(root.join("train.bin"), &[cifar(&[9, 1], 20), cifar(&[9, 0], 30)].concat());
    write(root.join("test.bin"), &cifar(&[9, 1], 50));
    write(root.join("fine_label_names.txt"), b"apple\nbear\n");
    let Opened { train, test } = ImageSet::open(&root)?;
    assert_eq!((train.classes()[0].as_str(), train.label(0)?), ("apple", 1));
    assert_eq!(test.expect("a test set").decode(0)?.get_pixel(5, 5), &Rgb([50, 7, 9]));
    Ok(())
}

fn csv(root: &Path, text: &str) -> PathBuf {
    write(root.join("images.csv"), text.as_bytes())
}

#[test]
fn tables_name_images_labels_and_parts() -> Result<()> {
    let root = folder("csv");
    for tone in 1..=4 {
        png(root.join(format!("photos/{tone}.png")), tone);
    }
    let plain = "photos/1.png,cat\nphotos/2.png,dog\nphotos/3.png,dog,test\n\"photos/4.png\",\"cat\",train\n";
    let ordered = "label;id;split;filename\ncat;0;train;photos/1.png\ndog;0;;photos/2.png\n\
                   dog;1;test;photos/3.png\ncat;2;Train;photos/4.png\n";
    for text in [plain, ordered, &format!("\u{feff}{ordered}").replace('\n', "\r\n")] {
        let Opened { train, test } = ImageSet::open(csv(&root, text))?;
        let test = test.expect("a test set");
        assert_eq!(train.classes(), ["cat", "dog"]);
        assert_eq!((train.counts(), test.counts()), (vec![2, 1], vec![0, 1]));
        assert_eq!((train.label(2)?, train.decode(2)?), (0, picture(6, 4, 4)));
        assert_eq!(test.decode(0)?, picture(6, 4, 3));
    }
    let three = "photos/1.png,1,train\nphotos/2.png,10,train\nphotos/3.png,10,val\nphotos/4.png,1,test\n";
    let Opened { train, test } = ImageSet::open(csv(&root, three))?;
    assert_eq!((train.len(), test.expect("a part").decode(0)?), (2, picture(6, 4, 3)));
    assert_says(train.warnings(), &["1 lines to test by are not used"]);
    Ok(())
}

#[test]
#[ignore = "reads sign-digits from KILN_DATA"]
fn photos_are_a_set_as_a_folder_and_as_a_table() -> Result<()> {
    let root = PathBuf::from(std::env::var_os("KILN_DATA").expect("KILN_DATA")).join("sign-digits");
    let (folder, table) = (ImageSet::open(&root)?.train, ImageSet::open(root.join("split.csv"))?);
    let test = table.test.expect("the lines to test by");
    assert_eq!((folder.len(), table.train.len(), test.len()), (2062, 1653, 409));
    assert_eq!(folder.classes(), test.classes());
    assert_eq!(folder.typical(), Typical { channels: 3, height: 100, width: 100 });
    assert_eq!((folder.skipped(), table.train.skipped()), (&[][..], &[][..]));
    let (train, held_out) = folder.split(0.2, 0)?;
    assert_eq!(train.len() + held_out.len(), 2062);
    let shares = held_out.counts().into_iter().zip(folder.counts());
    assert!(shares.map(|(part, all)| part as f64 / all as f64).all(|share| (share - 0.2).abs() < 0.01));
    Ok(())
}

#[test]
fn tables_that_say_nothing_are_refused() {
    let root = folder("csv-refused");
    png(root.join("1.png"), 1);
    let open = |text: &str| ImageSet::open(csv(&root, text));
    assert_refused(open("1.png,cat\n1.png\n"), &["line 2", "expected a path and a label"]);
    assert_refused(open("1.png,cat,tast\n"), &["line 1", "\"tast\"", "expected train, validation or test"]);
    assert_refused(open("path,label\n"), &["no image to learn from"]);
    assert_refused(open(""), &["no image to learn from"]);
    assert_refused(open("2.png,cat\n1.png,dog\n"), &["only one class, 'dog'", "1 skipped", "2.png"]);
    assert_refused(ImageSet::open(write(root.join("bad.csv"), b"a,\xff\n")), &["bad.csv", "UTF-8"]);
    assert_refused(ImageSet::open(root.join("1.png")), &["one image"]);
    assert_refused(ImageSet::open(write(root.join("a.zip"), b"PK\x03\x04")), &["zip archive", "unpack"]);
}
