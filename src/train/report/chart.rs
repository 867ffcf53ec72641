//! Charts as SVG whose colours come from the page's style, so that they follow its light and dark.

use super::text::escape;
use crate::train::Calibration;
use std::fmt::Write;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 40.0;

/// A line of a chart.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// The class that gives its colour: `main` or `quiet`.
    pub(super) colour: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// How an axis writes its numbers.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Number,
    Percent,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Unit::Percent => format!("{} %", short(100.0 * value)),
            Unit::Number => short(value),
        }
    }
}

/// A number in at most four digits: 12,000 is `12k`, 0.00025 is `2.5e-4`.
pub(super) fn short(value: f64) -> String {
    let trim = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    };
    match value.abs() {
        0.0 => "0".to_string(),
        size if size < 1e-3 => {
            let text = format!("{value:.1e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", trim(digits.to_string()))
        }
        size if size < 10.0 => trim(format!("{value:.3}")),
        size if size < 1e4 => trim(format!("{value:.1}")),
        size if size < 1e7 => trim(format!("{:.1}", value / 1e3)) + "k",
        _ => format!("{value:.1e}"),
    }
}

/// About five round numbers that span the values.
fn ticks(low: f64, high: f64, whole: bool) -> Vec<f64> {
    let range = if high > low { high - low } else { low.abs().max(1e-6) };
    let rough = range / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    let step = if whole { (factor * power).max(1.0) } else { factor * power };
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|at| at as f64 * step).collect()
}

/// Where values lie on the picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// The picture with its axes, and `inside` drawn on them.
    fn picture(&self, label: &str, axes: [(&[f64], Unit); 2], x_name: &str, inside: &str) -> String {
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(label));
        let [(x_ticks, x_unit), (y_ticks, y_unit)] = axes;
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &tick in y_ticks {
            let (y, text) = (self.y(tick), y_unit.write(tick));
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"axis\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 7.0,
                y + 4.0
            );
        }
        for &tick in x_ticks.iter().filter(|&&tick| (self.x.0..=self.x.1).contains(&tick)) {
            let (x, text) = (self.x(tick), x_unit.write(tick));
            let y = bottom + 17.0;
            let _ = writeln!(
                svg,
                "<text class=\"axis\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>"
            );
        }
        let (middle, y) = ((LEFT + right) / 2.0, HEIGHT - 5.0);
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
            escape(x_name)
        );
        svg + inside + "</svg>\n"
    }
}

/// A titled chart of lines, with their last values in its legend. Points that are not finite are left out.
pub(super) fn lines(title: &str, x_name: &str, unit: Unit, mut series: Vec<Series>) -> String {
    for line in &mut series {
        line.points.retain(|(x, y)| x.is_finite() && y.is_finite());
    }
    series.retain(|line| !line.points.is_empty());
    let all = || series.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        all().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let mut html = format!("<figure>\n<h3>{}</h3>\n<div class=\"legend\">", escape(title));
    for Series { name, colour, points } in &series {
        let last = points.last().map_or(String::new(), |&(_, y)| unit.write(y));
        let _ = write!(html, "<span class=\"{colour}\"><i></i>{} {last}</span>", escape(name));
    }
    html += "</div>\n";
    if series.is_empty() {
        return html + "<p class=\"note\">There are no values to draw.</p>\n</figure>\n";
    }
    let ((left, right), (mut low, mut high)) = (range(|point| point.0), range(|point| point.1));
    if let Unit::Percent = unit {
        // A level line at 0 or 100 % needs a range on the side that there is.
        low = low.min(high - 0.01).max(0.0);
        high = high.max(low + 0.01);
    }
    let (x_ticks, mut y_ticks) = (ticks(left, right, true), ticks(low, high, false));
    if let Unit::Percent = unit {
        y_ticks.retain(|tick| (0.0..=1.0 + 1e-9).contains(tick));
    }
    let ends = |ticks: &[f64]| (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
    let x = if right > left { (left, right) } else { (left - 0.5, left + 0.5) };
    let frame = Frame { x, y: ends(&y_ticks) };
    let mut inside = String::new();
    for Series { colour, points, .. } in &series {
        let place = |&(x, y): &(f64, f64)| (frame.x(x), frame.y(y));
        let path: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(inside, "<polyline class=\"curve {colour}\" points=\"{}\"/>", path.join(" "));
        if let Some((x, y)) = points.last().map(place) {
            let _ = writeln!(inside, "<circle class=\"dot {colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        }
    }
    let axes = [(x_ticks.as_slice(), Unit::Number), (y_ticks.as_slice(), unit)];
    html + &frame.picture(title, axes, x_name, &inside) + "</figure>\n"
}

/// Accuracy against confidence, bin by bin, beside the diagonal where both are equal.
pub(super) fn reliability(calibration: &Calibration) -> String {
    let frame = Frame { x: (0.0, 1.0), y: (0.0, 1.0) };
    let mut inside = String::new();
    for bin in &calibration.bins {
        let (x, y) = (frame.x(bin.low) + 1.0, frame.y(bin.accuracy));
        let (width, height) = (frame.x(bin.high) - x - 1.0, frame.y(0.0) - y);
        let _ = writeln!(
            inside,
            "<rect class=\"column\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"2\"><title>{} images, confidence {:.1} %, accuracy {:.1} %</title></rect>",
            bin.images,
            100.0 * bin.confidence,
            100.0 * bin.accuracy
        );
    }
    let (left, right, bottom, top) = (frame.x(0.0), frame.x(1.0), frame.y(0.0), frame.y(1.0));
    let _ =
        writeln!(inside, "<line class=\"ideal\" x1=\"{left}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{top}\"/>");
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
    let axes = [(ticks.as_slice(), Unit::Percent), (ticks.as_slice(), Unit::Percent)];
    frame.picture("Accuracy against confidence", axes, "confidence", &inside)
}
