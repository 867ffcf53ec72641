use crate::folder;
use image::{Rgb, RgbImage};
use kiln::train::{EpochRecord, Evaluation, Report, Thumbnail};

/// Probabilities for `each` images of every class: mostly right, the surer the more so, and class 3 often
/// taken for class 5.
fn evaluation(classes: &[String], each: usize) -> Evaluation {
    let (count, mut probabilities, mut labels) = (classes.len(), Vec::new(), Vec::new());
    for label in 0..count {
        for image in 0..each {
            let noise = (image * 7919 + label * 104_729) % 97;
            let top = 0.35 + 0.64 * ((noise * 31 % 97) as f32 / 97.0);
            let wrong = noise < 9 || label == 3 && noise < 25;
            let guess = match (wrong, label) {
                (false, _) => label,
                (true, 3) => 5 % count,
                _ => (label + 1 + noise) % count,
            };
            let rest = (1.0 - top) / (count - 1) as f32;
            probabilities.extend((0..count).map(|class| if class == guess { top } else { rest }));
            labels.push(label as i32);
        }
    }
    Evaluation::new(classes, &probabilities, &labels).unwrap()
}

fn history(epochs: u32) -> Vec<EpochRecord> {
    let record = |epoch: u32| {
        let left = (-f64::from(epoch) / 4.0).exp();
        let (train_loss, val_loss) = (0.15 + 2.0 * left, 0.21 + 1.7 * left);
        let (train_accuracy, val_accuracy) = (0.96 - 0.7 * left, 0.93 - 0.55 * left);
        let (learning_rate, seconds, images_per_second) = (1e-3, 14.2, 3520.0);
        EpochRecord {
            epoch,
            train_loss,
            train_accuracy,
            val_loss,
            val_accuracy,
            learning_rate,
            seconds,
            images_per_second,
        }
    };
    (1..=epochs).map(record).collect()
}

/// Writes the page to the test's folder, to be looked at.
fn page(classes: &[String], name: &str, warnings: &[String]) -> String {
    let evaluation = evaluation(classes, 97);
    let picture = |at: usize| {
        let side = if at.is_multiple_of(2) { 28 } else { 300 };
        let mut image = RgbImage::new(side, side * 3 / 4);
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            *pixel = Rgb([(x * 255 / side) as u8, (y * 255 / side) as u8, (at * 20) as u8]);
        }
        Thumbnail { image, name: format!("{name}/image {at}.png") }
    };
    let thumbnails: Vec<Thumbnail> = (0..12).map(picture).collect();
    let rates: Vec<(usize, f64)> =
        (0..400).map(|step| (step * 10, 1e-3 * (std::f64::consts::PI * step as f64 / 400.0).sin())).collect();
    let parts = |each: usize| (0..classes.len()).map(|class| each - class % 7).collect();
    let html = Report {
        title: name,
        device: "cpu (2 threads)",
        settings: &[("architecture".into(), "resnet18".into()), ("seed".into(), name.into())],
        history: &history(20),
        learning_rates: &rates,
        evaluation: &evaluation,
        counts: &[("training".into(), parts(5000)), ("validation".into(), parts(97))],
        thumbnails: &thumbnails,
        warnings,
    }
    .html()
    .unwrap();
    std::fs::write(folder(&format!("report{}", classes.len())).join("report.html"), &html).unwrap();
    html
}

/// Asserts that every element that is opened is closed, in order.
fn assert_well_formed(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("every tag ends");
        let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !["!DOCTYPE", "meta", "img"].contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn page_of_ten_classes() {
    let words = "airplane automobile bird cat deer dog frog horse ship truck";
    let classes: Vec<String> = words.split(' ').map(str::to_string).collect();
    let warnings = ["12 images appear in both training and validation".to_string()];
    let html = page(&classes, "CIFAR-10", &warnings);
    assert_well_formed(&html);
    // One row for each class, one figure for each thumbnail, four charts.
    assert_eq!(html.matches("<tr><th title=").count(), 10);
    assert_eq!(html.matches("src=\"data:image/png;base64,iVBORw0KGgo").count(), 12);
    assert_eq!(html.matches("<svg ").count(), 4);
    let evaluation = evaluation(&classes, 97);
    assert!(html.contains(&format!("<b>{:.2} %</b>", 100.0 * evaluation.accuracy)));
    for count in evaluation.confusion.counts.iter().filter(|&&count| count > 0.0) {
        assert!(html.contains(&format!(">{count}</td>")));
    }
    assert!(html.contains("<td>cat</td><td>dog</td>") && html.contains(&warnings[0]));
}

/// No text of the user's can leave its place, and nothing is loaded.
#[test]
fn hostile_names() {
    let hostile = "</td><script>alert('x')</script> \"onerror=\"a & {{settings}}";
    let classes: Vec<String> = (0..6).map(|class| format!("{hostile}{class}")).collect();
    let html = page(&classes, hostile, &[hostile.to_string()]);
    assert_well_formed(&html);
    assert!(!html.contains("<script") && !html.contains("\"onerror"));
    assert!(html.contains(
        "&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;onerror=&quot;a &amp; {{settings}}0"
    ));
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("url("));
}

#[test]
fn two_and_a_hundred_classes() {
    for count in [2, 30, 100] {
        let classes: Vec<String> = (0..count).map(|class| format!("species {class}")).collect();
        let html = page(&classes, "Species", &[]);
        assert_well_formed(&html);
        assert_eq!(html.matches("<tr><th title=").count(), count);
        assert!(!html.contains("About the data"));
    }
}

/// An evaluation alone, of a model that makes no mistakes.
#[test]
fn no_history_and_no_mistakes() {
    let classes = ["a".to_string(), "b".to_string()];
    let evaluation = Evaluation::new(&classes, &[1.0, 0.0, 0.9, 0.1], &[0, 0]).unwrap();
    let mut report = Report {
        title: "Evaluation",
        device: "cpu",
        settings: &[],
        history: &[],
        learning_rates: &[],
        evaluation: &evaluation,
        counts: &[],
        thumbnails: &[],
        warnings: &[],
    };
    let html = report.html().unwrap();
    assert_well_formed(&html);
    assert!(
        html.contains("<b>100.00 %</b>")
            && !html.contains("Most confused")
            && !html.contains("Worst mistakes")
    );
    assert!(html.contains("<span>–</span>"), "nothing is known of b");

    // Losses that are not finite, and an epoch alone, have charts all the same.
    let broken = EpochRecord {
        train_loss: f64::NAN,
        val_loss: f64::INFINITY,
        train_accuracy: 1.0,
        val_accuracy: 1.0,
        ..history(1)[0]
    };
    let records = [broken];
    report.history = &records;
    let html = report.html().unwrap();
    assert_well_formed(&html);
    assert!(html.contains("There are no values to draw.") && !html.contains("NaN") && !html.contains("inf"));
}

#[test]
fn an_image_without_pixels_is_refused() {
    let evaluation = Evaluation::new(&["a".into(), "b".into()], &[1.0, 0.0], &[1]).unwrap();
    let thumbnails = [Thumbnail { image: RgbImage::new(0, 5), name: "empty.png".into() }];
    let report = Report {
        title: "",
        device: "",
        settings: &[],
        history: &[],
        learning_rates: &[],
        evaluation: &evaluation,
        counts: &[],
        thumbnails: &thumbnails,
        warnings: &[],
    };
    crate::assert_refused(report.html(), "a thumbnail of 0x5");
}
