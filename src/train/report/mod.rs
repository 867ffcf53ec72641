//! A training run as one HTML page.

mod chart;
mod text;

use super::{EpochRecord, Evaluation};
use crate::Result;
use chart::{Series, Unit, lines, short};
use image::RgbImage;
use std::fmt::Write;
use text::{data_uri, escape, fill};

/// The pixels of a thumbnail's longer side, at most.
const THUMBNAIL: u32 = 192;

/// A training run, to be written as one HTML page that needs nothing besides itself: no scripts, no network.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What the page is called.
    pub title: &'a str,
    /// What the run was made on.
    pub device: &'a str,
    /// Names and values of settings, in the order they are shown.
    pub settings: &'a [(String, String)],
    /// The epochs.
    pub history: &'a [EpochRecord],
    /// Steps and the learning rate of each.
    pub learning_rates: &'a [(usize, f64)],
    /// How good the model became.
    pub evaluation: &'a Evaluation,
    /// Parts of the data (`training`, `validation`) and how many images of each class they hold.
    pub counts: &'a [(String, Vec<usize>)],
    /// The images of the first of [`Evaluation::mistakes`], in that order.
    pub thumbnails: &'a [Thumbnail],
    /// What should be known about the data.
    pub warnings: &'a [String],
}

/// A small picture of an image; a larger one is scaled down.
#[derive(Debug, Clone)]
pub struct Thumbnail {
    /// The image.
    pub image: RgbImage,
    /// Its name, such as its path.
    pub name: String,
}

impl Report<'_> {
    /// The page.
    ///
    /// # Errors
    /// A thumbnail that has no pixels.
    pub fn html(&self) -> Result<String> {
        let Evaluation { images, classes, .. } = self.evaluation;
        let subtitle = format!(
            "{} classes, {} images evaluated, {}",
            classes.len(),
            thousands(*images),
            escape(self.device)
        );
        let parts = [
            ("title", escape(self.title)),
            ("style", include_str!("style.css").to_string()),
            ("subtitle", subtitle),
            ("warnings", self.warnings()),
            ("figures", self.figures()),
            ("training", self.training()),
            ("classes", self.classes()),
            ("confusion", self.confusion()),
            ("mistakes", self.mistakes()?),
            ("calibration", self.calibration()),
            ("settings", self.settings()),
            ("version", env!("CARGO_PKG_VERSION").to_string()),
        ];
        Ok(fill(include_str!("page.html"), &parts))
    }

    fn class(&self, class: usize) -> String {
        escape(&self.evaluation.class(class))
    }

    fn warnings(&self) -> String {
        let items: String = self.warnings.iter().map(|text| format!("<li>{}</li>\n", escape(text))).collect();
        if items.is_empty() {
            return items;
        }
        format!("<section class=\"warnings\">\n<h3>About the data</h3>\n<ul>\n{items}</ul>\n</section>")
    }

    fn figures(&self) -> String {
        let evaluation = self.evaluation;
        let mut figures =
            vec![("Accuracy", format!("{:.2} %", 100.0 * evaluation.accuracy), "of images right")];
        let best = format!("Top-{} accuracy", evaluation.top_k.k);
        if evaluation.top_k.k < evaluation.classes.len() {
            figures.push((&best, percent(evaluation.top_k.accuracy), "among the best"));
        }
        figures.push(("Macro F1", format!("{:.3}", evaluation.macro_f1), "mean over classes"));
        figures.push(("Loss", format!("{:.4}", evaluation.loss), "cross-entropy, nats"));
        let error = percent(evaluation.calibration.expected_error);
        figures.push(("Calibration error", error, "15 bins of confidence"));
        let seconds: f64 = self.history.iter().map(|record| record.seconds).sum();
        let epochs = format!("{} epochs", self.history.len());
        if !self.history.is_empty() {
            figures.push(("Training time", duration(seconds), &epochs));
        }
        let card = |(name, value, note): &(&str, String, &str)| {
            format!("<div><span>{name}</span><b>{value}</b><span>{note}</span></div>\n")
        };
        figures.iter().map(card).collect()
    }

    fn training(&self) -> String {
        if self.history.is_empty() {
            return String::new();
        }
        let series = |name, colour, value: fn(&EpochRecord) -> f64| {
            let point = |record: &EpochRecord| (f64::from(record.epoch), value(record));
            Series { name, colour, points: self.history.iter().map(point).collect() }
        };
        let pair = |train, validation| {
            vec![series("training", "quiet", train), series("validation", "main", validation)]
        };
        let rates = self.learning_rates.iter().map(|&(step, rate)| (step as f64, rate)).collect();
        let rates = vec![Series { name: "last", colour: "main", points: rates }];
        let charts = [
            lines("Loss", "epoch", Unit::Number, pair(|record| record.train_loss, |record| record.val_loss)),
            lines(
                "Accuracy",
                "epoch",
                Unit::Percent,
                pair(|record| record.train_accuracy, |record| record.val_accuracy),
            ),
            lines("Learning rate", "step", Unit::Number, rates),
        ];
        card(
            "Training",
            "Training figures are those of images as they were seen, augmented, while the model still \
             learned: they may be worse than those of validation.",
            &format!("<div class=\"columns\">\n{}</div>", charts.concat()),
        )
    }

    fn classes(&self) -> String {
        let heads: String = self
            .counts
            .iter()
            .map(|(part, _)| format!("<th class=\"number\">{}</th>", escape(part)))
            .collect();
        let mut rows = String::new();
        for (at, class) in self.evaluation.classes.iter().enumerate() {
            let _ = write!(rows, "<tr><td>{}</td>", escape(&class.name));
            for (_, counts) in self.counts {
                let count = counts.get(at).map_or_else(dash, |&count| thousands(count));
                let _ = write!(rows, "<td class=\"number\">{count}</td>");
            }
            for (value, known) in [
                (class.precision, class.predicted > 0),
                (class.recall, class.support > 0),
                (class.f1, class.predicted + class.support > 0),
            ] {
                let text = if known { format!("{value:.3}") } else { dash() };
                rows += &bar(value, "", &text);
            }
            rows += "</tr>\n";
        }
        let table = format!(
            "<table class=\"rows\">\n<thead><tr><th>Class</th>{heads}<th>Precision</th><th>Recall</th>\
             <th>F1</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
        );
        card(
            "Classes",
            "Images of each class, and how well it is told: precision is the share of predictions of the \
             class that are right, recall the share of its images that are found, F1 their harmonic mean.",
            &table,
        )
    }

    fn confusion(&self) -> String {
        let counts = &self.evaluation.confusion.counts;
        let classes = counts.nrows();
        let numbers = classes <= 30;
        let (least, text) = match classes {
            0..=12 => (34, 13),
            13..=30 => (26, 11),
            31..=60 => (11, 10),
            _ => (8, 7),
        };
        let dense = if numbers { "" } else { " dense" };
        let mut table = format!(
            "<div class=\"scroll\">\n<table class=\"matrix{dense}\" \
             style=\"--n:{classes};--least:{least}px;--text:{text}px\">\n<thead><tr><td></td>"
        );
        for class in 0..classes {
            let name = self.class(class);
            let _ = write!(table, "<th title=\"{name}\"><span>{name}</span></th>");
        }
        table += "</tr></thead>\n<tbody>\n";
        for (label, row) in counts.rows().into_iter().enumerate() {
            let (name, total) = (self.class(label), row.sum());
            let _ = write!(table, "<tr><th title=\"{name}\">{name}</th>");
            for (predicted, &count) in row.iter().enumerate() {
                if count == 0.0 {
                    table += "<td></td>";
                    continue;
                }
                let share: f64 = count / total;
                let kind = if label == predicted { "right" } else { "wrong" };
                // The square root shows a few mistakes among many images.
                let shade = 0.08 + 0.92 * if label == predicted { share } else { share.sqrt() };
                let full = if shade > 0.6 { " full" } else { "" };
                let number = if numbers { count.to_string() } else { String::new() };
                let _ = write!(
                    table,
                    "<td class=\"{kind}{full}\" style=\"--v:{shade:.2}\" title=\"{name} as {}: {count} \
                     ({})\">{number}</td>",
                    self.class(predicted),
                    percent(share)
                );
            }
            table += "</tr>\n";
        }
        table += "</tbody>\n</table>\n</div>\n<p class=\"legend\"><span class=\"main\">right \
                  <i class=\"scale\"></i></span><span class=\"other\">wrong <i class=\"scale\"></i></span>\
                  <span>share of the true class; wrong ones by its square root</span></p>";
        card("Confusion matrix", "True classes down, predicted ones across.", &table)
    }

    fn mistakes(&self) -> Result<String> {
        let mut html = String::new();
        if !self.evaluation.confused.is_empty() {
            let mut rows = String::new();
            for pair in self.evaluation.confused.iter().take(10) {
                let (label, predicted) = (self.class(pair.label), self.class(pair.predicted));
                let _ = writeln!(
                    rows,
                    "<tr><td>{label}</td><td>{predicted}</td><td class=\"number\">{}</td>{}</tr>",
                    thousands(pair.images),
                    bar(pair.share, " wrong", &percent(pair.share))
                );
            }
            let table = format!(
                "<table class=\"rows\">\n<thead><tr><th>Class</th><th>Taken for</th>\
                 <th class=\"number\">Images</th><th>Share of the class</th></tr></thead>\n\
                 <tbody>\n{rows}</tbody>\n</table>"
            );
            html += &card("Most confused", "The pairs of classes with the most mistakes.", &table);
        }
        let shown: Vec<_> = self.evaluation.mistakes.iter().zip(self.thumbnails).collect();
        if shown.is_empty() {
            return Ok(html);
        }
        let mut figures = String::new();
        for (mistake, Thumbnail { image, name }) in shown {
            let pixels = if image.width().max(image.height()) < 96 { " class=\"pixels\"" } else { "" };
            let (label, predicted) = (self.class(mistake.label), self.class(mistake.predicted));
            let (name, uri) = (escape(name), data_uri(image, THUMBNAIL)?);
            let probability = percent(mistake.probability);
            let _ = writeln!(
                figures,
                "<figure><img{pixels} src=\"{uri}\" alt=\"{name}\"><figcaption><span class=\"truth\">{label}\
                 </span><span class=\"arrow\">→</span><span class=\"guess\">{predicted}</span><small>{probability}</small><small>{name}</small></figcaption></figure>"
            );
        }
        html += &card(
            "Worst mistakes",
            "The wrong predictions that the model was surest of: true class, predicted class and its \
             probability. A wrong label in the data often shows here first.",
            &format!("<div class=\"gallery\">\n{figures}</div>"),
        );
        Ok(html)
    }

    fn calibration(&self) -> String {
        let calibration = &self.evaluation.calibration;
        let (error, bins) = (percent(calibration.expected_error), &calibration.bins);
        let gap: f64 = bins.iter().map(|bin| bin.images as f64 * (bin.confidence - bin.accuracy)).sum();
        let gap = gap / self.evaluation.images as f64;
        let leaning = match gap {
            gap if gap > 0.01 => {
                format!("On the whole the model is surer than it is right, by {}.", points(gap))
            }
            gap if gap < -0.01 => {
                format!("On the whole the model is more often right than it is sure, by {}.", points(-gap))
            }
            _ => "On the whole the model is about as sure as it is right.".to_string(),
        };
        let body = format!(
            "<div class=\"reliability\">\n<figure>\n{}</figure>\n<div><p>{leaning}</p><p>Columns below the \
             dashed line are images of which the model was too sure, columns above it images of which it was \
             not sure enough. The expected calibration error, the mean distance to the line, is {error}.</p>\
             </div>\n</div>",
            chart::reliability(calibration)
        );
        card("Calibration", "How often predictions are right, by how sure the model was.", &body)
    }

    fn settings(&self) -> String {
        let device = ("device".to_string(), self.device.to_string());
        let speed = self
            .history
            .last()
            .map(|record| ("images per second".to_string(), short(record.images_per_second)));
        let row = |(name, value): &(String, String)| {
            format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value))
        };
        let rows: String = self.settings.iter().chain([&device]).chain(&speed).map(row).collect();
        card("Settings", "", &format!("<table class=\"rows\">\n<tbody>\n{rows}</tbody>\n</table>"))
    }
}

fn card(title: &str, note: &str, body: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{note}</p>\n") };
    format!("<section class=\"card\">\n<h2>{title}</h2>\n{note}{body}\n</section>\n")
}

/// A cell with a bar behind its text, as long as the share.
fn bar(share: f64, kind: &str, text: &str) -> String {
    format!("<td class=\"bar{kind}\" style=\"--v:{share:.3}\"><span>{text}</span></td>")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn points(share: f64) -> String {
    format!("{:.1} percentage points", 100.0 * share)
}

fn dash() -> String {
    "–".to_string()
}

fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}
