//! Tensors as text, the way NumPy prints arrays with a precision of 4.

use super::Tensor;
use crate::{DType, Result, no_grad};
use std::fmt;

/// Decimals shown at most.
const PRECISION: usize = 4;
/// Elements beyond which only the edges are shown.
const THRESHOLD: usize = 1000;
/// Elements shown at each edge.
const EDGE: usize = 3;
/// Characters in a line.
const LINE: usize = 75;

impl fmt::Display for Tensor {
    /// The values, computed if need be; an error in their place where that fails. Above 1000 elements
    /// only the first and the last three of each dimension.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, -0.5, 1.0 / 3.0, 20.0], [2, 2], &Engine::cpu())?;
    /// assert_eq!(x.to_string(), "[[ 1.     -0.5   ]\n [ 0.3333 20.    ]]");
    /// # Ok::<(), kiln::Error>(())
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match text(self) {
            Ok(text) => f.write_str(&text),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

fn text(tensor: &Tensor) -> Result<String> {
    if tensor.elements() == 0 {
        return Ok("[]".into());
    }
    let summarised = tensor.elements() > THRESHOLD;
    let shown = if summarised { no_grad(|| edges(tensor))? } else { tensor.clone() };
    let words = match tensor.dtype() {
        DType::F32 => floats(&shown.to_vec()?),
        DType::F16 => floats(&shown.cast(DType::F32)?.to_vec()?),
        DType::I32 => shown.to_vec::<i32>()?.iter().map(i32::to_string).collect(),
        DType::Bool => {
            let word = |&value| if value { "True" } else { "False" };
            shown.to_vec::<bool>()?.iter().map(|value| word(value).to_string()).collect()
        }
    };
    let width = words.iter().map(String::len).max().unwrap_or(0);
    let words: Vec<String> = words.iter().map(|word| format!("{word:>width$}")).collect();
    let cut: Vec<bool> = tensor.dims().iter().map(|&size| summarised && size > 2 * EDGE).collect();
    Ok(brackets(&words, shown.dims(), &cut, 1))
}

/// The corners of a tensor: the first and the last elements of every dimension that has more.
fn edges(tensor: &Tensor) -> Result<Tensor> {
    let mut shown = tensor.detach();
    for (axis, &size) in tensor.dims().iter().enumerate().filter(|&(_, &size)| size > 2 * EDGE) {
        let axis = axis as isize;
        let ends = [shown.narrow(axis, 0, EDGE)?, shown.narrow(axis, size - EDGE, EDGE)?];
        shown = Tensor::concat(&[&ends[0], &ends[1]], axis)?;
    }
    Ok(shown)
}

/// Nested brackets around words; `cut` says of each dimension whether its middle was left out, and
/// `indent` is the number of brackets open before this one, and one.
fn brackets(words: &[String], dims: &[usize], cut: &[bool], indent: usize) -> String {
    let [size, inner @ ..] = dims else { return words.concat() };
    let mut items: Vec<String> =
        words.chunks(words.len() / size).map(|part| brackets(part, inner, &cut[1..], indent + 1)).collect();
    if cut[0] {
        items.insert(EDGE, "...".into());
    }
    if !inner.is_empty() {
        let gap = format!("{}{}", "\n".repeat(inner.len()), " ".repeat(indent));
        return format!("[{}]", items.join(&gap));
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for item in items {
        // The brackets that may close after the last element need room too.
        if !line.is_empty() && indent + line.len() + 1 + item.len() > LINE - indent {
            lines.push(std::mem::take(&mut line).trim_end().to_string());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &item;
    }
    lines.push(line);
    format!("[{}]", lines.join(&format!("\n{}", " ".repeat(indent))))
}

/// Numbers with their points in one column; in scientific notation where the largest is large, the
/// smallest is small, or one is more than a thousand times the other.
fn floats(values: &[f32]) -> Vec<String> {
    let finite = values.iter().filter(|value| value.is_finite());
    let sizes = finite.map(|value| value.abs()).filter(|&size| size > 0.0);
    let (least, greatest) =
        sizes.fold((f32::INFINITY, 0.0f32), |(least, greatest), size| (least.min(size), greatest.max(size)));
    let scientific = greatest >= 1e8 || (greatest > 0.0 && (least < 1e-4 || greatest / least > 1000.0));
    let parts: Vec<Option<(String, String, String)>> = values
        .iter()
        .map(|&value| value.is_finite().then(|| if scientific { exponent(value) } else { decimal(value) }))
        .collect();
    let decimals = parts.iter().flatten().map(|part| part.1.len()).max().unwrap_or(0);
    let fill = if scientific { '0' } else { ' ' };
    let word = |(part, value): (&Option<(String, String, String)>, &f32)| match part {
        Some((whole, fraction, exponent)) => {
            let filler = fill.to_string().repeat(decimals - fraction.len());
            format!("{whole}.{fraction}{filler}{exponent}")
        }
        None => value.to_string().to_lowercase(),
    };
    parts.iter().zip(values).map(word).collect()
}

/// The digits before and after the point: as few as tell the number from its neighbours, at most
/// `PRECISION` after the point.
fn decimal(value: f32) -> (String, String, String) {
    split(&value.to_string(), &format!("{value:.PRECISION$}"), String::new())
}

/// As [`decimal`], with an exponent of two digits or more.
fn exponent(value: f32) -> (String, String, String) {
    let (exact, rounded) = (format!("{value:e}"), format!("{value:.PRECISION$e}"));
    let mantissa = |text: &str| text.split('e').next().unwrap_or_default().to_string();
    let power = |text: &str| text.split('e').nth(1).and_then(|power| power.parse().ok()).unwrap_or(0);
    // Rounding may carry into the next power of ten.
    let short = mantissa(&exact).len() <= mantissa(&rounded).len();
    let power: i32 = power(if short { &exact } else { &rounded });
    let sign = if power < 0 { '-' } else { '+' };
    split(&mantissa(&exact), &mantissa(&rounded), format!("e{sign}{:02}", power.abs()))
}

fn split(exact: &str, rounded: &str, exponent: String) -> (String, String, String) {
    let text = if exact.len() <= rounded.len() { exact } else { rounded };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (whole.to_string(), fraction.trim_end_matches('0').to_string(), exponent)
}

#[cfg(test)]
mod tests {
    use crate::{DType, Element, Engine, IntoShape, Result, Tensor};

    /// What NumPy 2 prints for the same array with `np.set_printoptions(precision=4)`.
    #[track_caller]
    fn prints<T: Element>(values: &[T], shape: impl IntoShape, expected: &str) {
        let tensor = Tensor::from_slice(values, shape, &Engine::cpu()).unwrap();
        assert_eq!(tensor.to_string(), expected);
    }

    fn range(n: i32) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn decimals_stand_in_columns() {
        prints(&[1.0f32, 2.0, 3.0], 3, "[1. 2. 3.]");
        prints(&[1.0f32, -0.5, 1.0 / 3.0, 20.0], [2, 2], "[[ 1.     -0.5   ]\n [ 0.3333 20.    ]]");
        prints(&[0.0f32, 1.0, -12.34567, 5.0], [2, 2], "[[  0.       1.    ]\n [-12.3457   5.    ]]");
        prints(&[16777.1f32, 100.0], 2, "[16777.1   100. ]");
        prints(&[0.99999f32, 0.5], 2, "[1.  0.5]");
        prints(&[0.0f32, -0.0], 2, "[ 0. -0.]");
        prints(&[1.0f32, -20.0], [2, 1, 1], "[[[  1.]]\n\n [[-20.]]]");
        prints(&[1.23456f32], (), "1.2346");
        prints::<f32>(&[], [0, 3], "[]");
    }

    #[test]
    fn wide_ranges_are_scientific() {
        prints(&[1e-5f32, 1.5], 2, "[1.0e-05 1.5e+00]");
        prints(&[9.99999e-6f32, 1.0], 2, "[1.e-05 1.e+00]");
        prints(&[1000.5f32, 1.0], 2, "[1.0005e+03 1.0000e+00]");
        prints(&[1e8f32, 1.0], 2, "[1.e+08 1.e+00]");
        prints(&[3e38f32, 1e-38], 2, "[3.e+38 1.e-38]");
    }

    #[test]
    fn numbers_that_are_none() {
        prints(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.25], 4, "[ nan  inf -inf 1.25]");
        prints(&[f32::NAN, f32::NEG_INFINITY, 1.25e10, -3.0], 4, "[      nan      -inf  1.25e+10 -3.00e+00]");
        prints(&[f32::NAN, f32::INFINITY], 2, "[nan inf]");
    }

    #[test]
    fn integers_and_truth_values() {
        prints(&[1i32, -20, 300, 4], [2, 2], "[[  1 -20]\n [300   4]]");
        prints(&[true, false, false, false], [2, 2], "[[ True False]\n [False False]]");
    }

    #[test]
    fn blank_lines_part_matrices() {
        let matrices = "[[[ 0.  1.]\n  [ 2.  3.]\n  [ 4.  5.]]\n\n [[ 6.  7.]\n  [ 8.  9.]\n  [10. 11.]]]";
        prints(&range(12), [2, 3, 2], matrices);
        let stacks = "[[[[0. 1.]]\n\n  [[2. 3.]]]\n\n\n [[[4. 5.]]\n\n  [[6. 7.]]]]";
        prints(&range(8), [2, 2, 1, 2], stacks);
    }

    #[test]
    fn long_rows_wrap() {
        let sevenths: Vec<f32> = range(60).iter().map(|value| value / 7.0).collect();
        let row = "[0.     0.1429 0.2857 0.4286 0.5714 0.7143 0.8571 1.     1.1429 1.2857\n \
                   1.4286 1.5714 1.7143 1.8571 2.     2.1429 2.2857 2.4286 2.5714 2.7143\n \
                   2.8571 3.     3.1429 3.2857 3.4286 3.5714 3.7143 3.8571 4.     4.1429]";
        prints(&sevenths[..30], 30, row);
        let rows = "[[0.     0.1429 0.2857 0.4286 0.5714 0.7143 0.8571 1.     1.1429 1.2857\n  \
                    1.4286 1.5714 1.7143 1.8571 2.     2.1429 2.2857 2.4286 2.5714 2.7143\n  \
                    2.8571 3.     3.1429 3.2857 3.4286 3.5714 3.7143 3.8571 4.     4.1429]\n \
                    [4.2857 4.4286 4.5714 4.7143 4.8571 5.     5.1429 5.2857 5.4286 5.5714\n  \
                    5.7143 5.8571 6.     6.1429 6.2857 6.4286 6.5714 6.7143 6.8571 7.\n  \
                    7.1429 7.2857 7.4286 7.5714 7.7143 7.8571 8.     8.1429 8.2857 8.4286]]";
        prints(&sevenths, [2, 30], rows);
    }

    #[test]
    fn large_tensors_are_summarised() {
        prints(&range(1001), 1001, "[   0.    1.    2. ...  998.  999. 1000.]");
        let whole: Vec<i32> = (0..2000).collect();
        let corners = "[[   0    1    2 ...   17   18   19]\n [  20   21   22 ...   37   38   39]\n \
                       [  40   41   42 ...   57   58   59]\n ...\n \
                       [1940 1941 1942 ... 1957 1958 1959]\n [1960 1961 1962 ... 1977 1978 1979]\n \
                       [1980 1981 1982 ... 1997 1998 1999]]";
        prints(&whole, [100, 20], corners);
        let few_rows = "[[   0    1    2 ...  997  998  999]\n [1000 1001 1002 ... 1997 1998 1999]]";
        prints(&whole, [2, 1000], few_rows);
    }

    #[test]
    fn views_pending_values_and_errors() -> Result<()> {
        let x = Tensor::from_slice(&[1i32, 2, 3, 4], [2, 2], &Engine::cpu())?;
        assert_eq!(x.t()?.add(1)?.to_string(), "[[2 4]\n [3 5]]");
        // Only the kernel can see that this index is out of range.
        let index = Tensor::from_slice(&[9.0f32], [1, 1], x.engine())?.cast(DType::I32)?;
        let text = x.gather(0, &index)?.to_string();
        assert!(text.starts_with("<gather: ") && text.contains('9'), "{text}");
        Ok(())
    }
}
