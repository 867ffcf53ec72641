//! From a folder of images to a classifier and back, as a user does it.

use super::kiln;
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A fresh folder for one test's files.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A picture of a class: stripes down, stripes across or a disc, somewhere, in noise.
fn picture(class: usize, seed: u64) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(seed * 3 + class as u64);
    let (dx, dy) = (rng.i32(0..6), rng.i32(0..6));
    RgbImage::from_fn(20, 16, |x, y| {
        let (x, y) = (x as i32 + dx, y as i32 + dy);
        let on = match class {
            0 => x % 6 < 3,
            1 => y % 6 < 3,
            _ => (x - 13).pow(2) + (y - 11).pow(2) < 30,
        };
        let base = if on { 180 } else { 20 };
        Rgb([base + rng.u8(0..60), base + rng.u8(0..60), 40 + rng.u8(0..60)])
    })
}

const CLASSES: [&str; 3] = ["down", "across", "disc, \"round\""];

/// A folder of `images` pictures of each class.
fn pictures(path: &Path, images: u64, seed: u64) {
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = path.join(name);
        fs::create_dir_all(&folder).unwrap();
        for image in 0..images {
            picture(class, seed + image).save(folder.join(format!("{image}.png"))).unwrap();
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], word: &str) {
    let output = kiln(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(error.contains(word), "{error:?} does not say {word:?}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn a_folder_becomes_a_classifier_that_is_used() {
    let root = folder("product");
    let (data, out) = (root.join("data"), root.join("run"));
    pictures(&data, 40, 0);
    fs::write(data.join("down").join("broken.png"), b"\x89PNG\r\n\x1a\nbut not really").unwrap();
    let output = kiln(&[
        "train",
        text(&data),
        "--out",
        text(&out),
        "--epochs",
        "8",
        "--batch-size",
        "8",
        "--device",
        "cpu",
        "--json",
    ]);
    let told: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    let progress = String::from_utf8_lossy(&output.stderr);
    for word in ["broken.png", "layer1", "FLOPs", "epoch 8/8", "device: "] {
        assert!(progress.contains(word), "{progress:?} does not say {word:?}");
    }
    assert_eq!(told["epochs"].as_array().unwrap().len(), 8);
    assert_eq!(told["evaluation"]["images"], 24);
    assert!(told["evaluation"]["accuracy"].as_f64().unwrap() > 0.9, "{told}");
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("disc, &quot;round&quot;") && report.contains("broken.png"));
    assert_eq!(fs::read_to_string(out.join("metrics.csv")).unwrap().lines().count(), 9);
    let events = fs::read_dir(&out).unwrap().flatten();
    assert!(events.into_iter().any(|file| file.file_name().to_string_lossy().contains("tfevents")));
    fails(&["train", text(&data), "--out", text(&out)], "--resume");

    // Other pictures of the same kinds.
    let model = out.join("model.safetensors");
    let (model, other) = (text(&model), root.join("other"));
    pictures(&other, 10, 1000);
    let evaluation: Value =
        serde_json::from_str(&succeeds(&kiln(&["evaluate", model, text(&other), "--json"]))).unwrap();
    let accuracy = evaluation["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.85, "{evaluation}");

    // A folder with one file that is no image: all others are told, and the exit code says so.
    fs::write(other.join("notes.txt"), "not an image").unwrap();
    let output = kiln(&["predict", model, text(&other), "--json", "--top", "2", "--batch-size", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("notes.txt"));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut right = 0;
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let predictions = line["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 2);
        let class = predictions[0]["class"].as_str().unwrap();
        right += usize::from(line["path"].as_str().unwrap().contains(&format!("/{class}/")));
    }
    assert_eq!((lines.lines().count(), right as f64 / 30.0), (30, accuracy));

    // From the standard input, an image or a list of paths; as CSV.
    let image = other.join(CLASSES[0]).join("0.png");
    let piped = |bytes: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["predict", model, "-", "--csv", "--top", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        succeeds(&child.wait_with_output().unwrap())
    };
    let (whole, listed) =
        (piped(&fs::read(&image).unwrap()), piped(format!("{}\n", text(&image)).as_bytes()));
    assert!(whole.starts_with("path,rank,class,probability\n-,1,"), "{whole}");
    let class = |told: &str| told.rsplit_once(",1,").unwrap().1.to_string();
    assert_eq!(class(&whole), class(&listed));

    // Smaller files say nearly the same.
    for (flag, share) in [("--f16", 0.55), ("--int8", 0.35)] {
        let told = succeeds(&kiln(&["export", model, flag, "--data", text(&other), "--json"]));
        let told: Value = serde_json::from_str(&told).unwrap();
        let number = |key: &str| told[key].as_f64().unwrap();
        assert!(number("bytes") < share * number("bytes_before"), "{told}");
        assert!((number("accuracy") - accuracy).abs() < 0.07, "{told}");
        succeeds(&kiln(&["info", told["out"].as_str().unwrap()]));
    }
    for method in ["gradcam", "saliency", "occlusion"] {
        let overlay = root.join(format!("{method}.png"));
        succeeds(&kiln(&["explain", model, text(&image), "--method", method, "--out", text(&overlay)]));
        assert_eq!(image::open(&overlay).unwrap().to_rgb8().dimensions(), (20, 16));
    }
    let info: Value = serde_json::from_str(&succeeds(&kiln(&["info", model, "--json"]))).unwrap();
    assert_eq!(info["architecture"]["name"], "kiln-small");
    // The classes are in the order of their names.
    assert_eq!(info["classes"][1], CLASSES[2]);

    fails(&["explain", model, text(&image), "--class", "square"], "square");
    fails(&["predict", model, text(&root.join("nowhere.png"))], "nowhere.png");
    fails(&["predict", text(&image), text(&image)], "0.png");
    fails(&["evaluate", model, text(&root.join("nowhere"))], "nowhere");
    fails(&["export", model, "--f16", "--out", model], "--out");
}

#[test]
fn a_run_that_is_killed_ends_as_if_it_were_not() {
    let root = folder("killed");
    let data = root.join("data");
    pictures(&data, 12, 0);
    let arguments = |out: &Path| {
        let fixed =
            ["--epochs", "6", "--batch-size", "8", "--augment", "strong", "--ema", "0.9", "--device", "cpu"];
        let mut all = vec!["train", text(&data), "--model", "lenet", "--image-size", "28", "--out"];
        all.push(text(out));
        all.extend(fixed);
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let run = |out: &Path, resume: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(arguments(out)).stdout(Stdio::null()).stderr(Stdio::null());
        if resume {
            command.arg("--resume");
        }
        command.spawn().unwrap()
    };
    let (whole, killed) = (root.join("whole"), root.join("killed"));
    assert!(run(&whole, false).wait().unwrap().success());
    for attempt in 0.. {
        let mut child = run(&killed, true);
        std::thread::sleep(Duration::from_millis(60 + 40 * attempt));
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        // SIGKILL, or a process that has ended.
        let _ = child.kill();
        if child.wait().unwrap().success() {
            break;
        }
    }
    let model = |out: &Path| fs::read(out.join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&killed));
    let epochs = |out: &Path| {
        let text = fs::read_to_string(out.join("metrics.csv")).unwrap();
        // But for the times.
        text.lines().map(|line| line.split(',').take(6).collect::<Vec<_>>().join(",")).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&whole), epochs(&killed));

    // Settings cannot change on the way, and images cannot either.
    let mut other = arguments(&killed);
    other.extend(["--resume".into(), "--seed".into(), "5".into()]);
    fails(&other.iter().map(String::as_str).collect::<Vec<_>>(), "seed was 0, now 5");
    fs::remove_file(data.join(CLASSES[0]).join("3.png")).unwrap();
    other.truncate(other.len() - 2);
    fails(&other.iter().map(String::as_str).collect::<Vec<_>>(), "images");
}

#[test]
fn what_cannot_be_trained_on_is_said() {
    let root = folder("wrong");
    let data = root.join("data");
    fails(&["train", text(&data)], "data");
    pictures(&data, 3, 0);
    let out = root.join("run");
    let train = |extra: &[&str], word: &str| {
        let fixed = ["train", text(&data), "--out", text(&out), "--device", "cpu"];
        fails(&[&fixed, extra].concat(), word);
        assert!(!out.exists());
    };
    train(&["--model", "resnet81"], "resnet18");
    train(&["--epochs", "0"], "epochs");
    train(&["--batch-size", "0"], "above 0");
    train(&["--lr", "0"], "above 0");
    train(&["--val", "1.5"], "between 0 and 1");
    train(&["--image-size", "0"], "pixels");
    train(&["--weights", text(&root.join("none.pt"))], "none.pt");
    train(&["--augment", "much"], "light");
    fs::create_dir_all(root.join("one/only")).unwrap();
    picture(0, 0).save(root.join("one/only/0.png")).unwrap();
    fails(&["train", text(&root.join("one"))], "class");
}
