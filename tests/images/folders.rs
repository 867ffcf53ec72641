//! Trees of folders.

use crate::{assert_refused, assert_says, folder, picture, png};
use kiln::Result;
use kiln::data::{ImageSet, Opened, Typical};
use std::collections::HashSet;
use std::fs;

#[test]
fn each_folder_is_a_class() -> Result<()> {
    let root = folder("classes");
    for (class, tone) in [("dog", 1), ("cat", 2), ("cat", 3), ("eel", 4)] {
        png(root.join(class).join(format!("{tone}.png")), tone);
    }
    png(root.join("dog/puppies/5.png"), 5);
    png(root.join("dog/.hidden.png"), 6);
    png(root.join(".git/7.png"), 7);
    png(root.join("stray.png"), 8);
    fs::create_dir(root.join("fox")).unwrap();

    let Opened { train, test } = ImageSet::open(&root)?;
    assert!(test.is_none());
    assert_eq!(train.classes(), ["cat", "dog", "eel"]);
    assert_eq!(train.counts(), [2, 2, 1]);
    let names: Vec<_> = (0..train.len()).map(|index| train.name(index)).collect::<Result<_>>()?;
    let expected = ["cat/2.png", "cat/3.png", "dog/1.png", "dog/puppies/5.png", "eel/4.png"];
    assert!(names.iter().zip(expected).all(|(name, end)| name.ends_with(end)), "{names:?}");
    assert_eq!((0..5).map(|index| train.label(index)).collect::<Result<Vec<_>>>()?, [0, 0, 1, 1, 2]);
    assert_eq!(train.decode(1)?, picture(6, 4, 3));
    assert_eq!(train.typical(), Typical { channels: 3, height: 4, width: 6 });
    assert_eq!(train.skipped(), []);
    assert_says(train.warnings(), &["empty folder", "fox"]);
    assert_says(train.warnings(), &["left out", "'fox'"]);
    assert_says(train.warnings(), &["not in the folder of a class", "stray.png"]);
    assert!(train.label(5).is_err() && train.name(5).is_err() && train.decode(5).is_err());
    Ok(())
}

#[test]
fn whole_numbers_are_classes_by_value() -> Result<()> {
    let root = folder("numbers");
    for class in 0..12 {
        png(root.join(class.to_string()).join("a.png"), class);
    }
    let set = ImageSet::open(&root)?.train;
    assert_eq!(set.classes(), (0..12).map(|class| class.to_string()).collect::<Vec<_>>());
    assert_eq!(set.decode(10)?, picture(6, 4, 10));
    Ok(())
}

#[test]
fn parts_are_told_by_their_names() -> Result<()> {
    for held_out in ["val", "valid", "validation", "test", "Test"] {
        let root = folder(&format!("parts-{held_out}"));
        for (path, tone) in [("cat/1.png", 1), ("dog/2.png", 2), ("dog/3.png", 3)] {
            png(root.join("train").join(path), tone);
        }
        png(root.join(held_out).join("dog/4.png"), 4);
        png(root.join(held_out).join("owl/5.png"), 5);
        png(root.join("extra/6.png"), 6);
        let Opened { train, test } = ImageSet::open(&root)?;
        let test = test.expect("a part to test by");
        assert_eq!((train.counts(), test.counts()), (vec![1, 2], vec![0, 1]));
        assert_eq!((test.label(0)?, test.decode(0)?), (1, picture(6, 4, 4)));
        assert_eq!(test.classes(), ["cat", "dog"]);
        assert_says(train.warnings(), &["no such class to train", "owl"]);
        assert_says(train.warnings(), &["not used beside", "extra"]);
    }
    Ok(())
}

#[test]
fn a_class_may_be_called_train() -> Result<()> {
    let root = folder("vehicles");
    png(root.join("train/1.png"), 1);
    png(root.join("bus/2.png"), 2);
    let opened = ImageSet::open(&root)?;
    assert_eq!(opened.train.classes(), ["bus", "train"]);
    Ok(())
}

#[test]
fn what_cannot_be_learned_is_refused_with_a_remedy() {
    let root = folder("refused");
    assert_refused(ImageSet::open(&root), &["an empty folder", "put the images of each class into a folder"]);
    png(root.join("1.png"), 1);
    assert_refused(ImageSet::open(&root), &["no folders", "put the images of each class into a folder"]);
    fs::create_dir(root.join("cat")).unwrap();
    assert_refused(ImageSet::open(&root), &["no image to learn from"]);
    png(root.join("cat/1.png"), 1);
    assert_refused(
        ImageSet::open(&root),
        &["only one class, 'cat'", "put the images of each class into a folder"],
    );
    assert!(ImageSet::open(root.join("absent")).is_err_and(|error| error.to_string().contains("absent")));
}

#[test]
fn splits_hold_their_share_of_each_class_and_tear_no_twins_apart() -> Result<()> {
    let root = folder("split");
    for tone in 0..50 {
        png(root.join(format!("cat/{tone}.png")), tone);
        png(root.join(format!("dog/{tone}.png")), 100 + tone / 2);
    }
    png(root.join("one/0.png"), 200);
    let set = ImageSet::open(&root)?.train;
    assert_says(set.warnings(), &["25 images are byte for byte the same as another"]);
    let (train, held_out) = set.split(0.2, 7)?;
    assert_eq!((train.counts(), held_out.counts()), (vec![40, 40, 1], vec![10, 10, 0]));
    let names = |set: &ImageSet| (0..set.len()).map(|index| set.name(index)).collect::<Result<Vec<_>>>();
    let both: HashSet<_> = [names(&train)?, names(&held_out)?].concat().into_iter().collect();
    assert_eq!(both.len(), set.len());
    let tones = |set: &ImageSet| {
        (0..set.len()).map(|index| Ok(set.decode(index)?.into_raw()[0])).collect::<Result<HashSet<_>>>()
    };
    assert!(tones(&train)?.is_disjoint(&tones(&held_out)?));
    assert_eq!(names(&set.split(0.2, 7)?.1)?, names(&held_out)?);
    assert_ne!(names(&set.split(0.2, 8)?.1)?, names(&held_out)?);
    for share in [0.0, 1.0, -0.1, f64::NAN] {
        assert!(set.split(share, 0).is_err_and(|error| error.to_string().contains("between 0 and 1")));
    }
    Ok(())
}

#[test]
fn the_same_image_in_two_places_is_told() -> Result<()> {
    let root = folder("twins");
    for (path, tone) in [("train/cat/1.png", 1), ("train/cat/2.png", 2), ("train/dog/1.png", 1)] {
        png(root.join(path), tone);
    }
    png(root.join("test/cat/3.png"), 2);
    let train = ImageSet::open(&root)?.train;
    assert_says(
        train.warnings(),
        &["1 images to judge by are also among those to learn from", "3.png = ", "2.png"],
    );
    assert_says(train.warnings(), &["1 images have one label here and another one there", "dog", "cat"]);
    Ok(())
}
