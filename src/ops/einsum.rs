//! Sums of products in Einstein's notation, as permutations, sums and matrix products.

use crate::{Error, Result, Tensor};

/// A dimension's name: a letter of the equation, or a number for those an ellipsis stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// Dimension of an ellipsis, counted from its end, so that shorter ones align to the right.
    Ellipsis(usize),
    Letter(char),
}

/// A tensor whose dimensions have names.
#[derive(Clone)]
struct Term {
    tensor: Tensor,
    labels: Vec<Label>,
}

/// The names before and after the ellipsis; the second is absent where there is no ellipsis.
type Pattern = (Vec<char>, Option<Vec<char>>);

fn refuse<T>(equation: &str, message: impl std::fmt::Display) -> Result<T> {
    Err(Error::op("einsum", format!("{equation:?}: {message}")))
}

fn pattern(equation: &str, text: &str) -> Result<Pattern> {
    let letters = |text: &str| -> Result<Vec<char>> {
        match text.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(other) => refuse(equation, format!("{other:?} is not a letter")),
            None => Ok(text.chars().collect()),
        }
    };
    match text.split_once("...") {
        Some((before, after)) => Ok((letters(before)?, Some(letters(after)?))),
        None => Ok((letters(text)?, None)),
    }
}

/// A pattern's labels, where its ellipsis stands for `hidden` dimensions.
fn labels((before, after): &Pattern, hidden: usize) -> Vec<Label> {
    let letters = |letters: &[char]| letters.iter().copied().map(Label::Letter).collect::<Vec<_>>();
    let mut labels = letters(before);
    if let Some(after) = after {
        labels.extend((0..hidden).rev().map(Label::Ellipsis));
        labels.extend(letters(after));
    }
    labels
}

impl Term {
    fn new(equation: &str, text: &str, tensor: &Tensor) -> Result<Term> {
        let pattern = pattern(equation, text)?;
        let named = pattern.0.len() + pattern.1.as_ref().map_or(0, Vec::len);
        let Some(hidden) = tensor.rank().checked_sub(named).filter(|&n| n == 0 || pattern.1.is_some()) else {
            return refuse(equation, format!("{text:?} does not name the dimensions of {}", tensor.shape()));
        };
        let mut term = Term { tensor: tensor.clone(), labels: labels(&pattern, hidden) };
        while let Some(pair) = term.repeated() {
            term = term.diagonal(equation, pair)?;
        }
        Ok(term)
    }

    /// Two places of one label.
    fn repeated(&self) -> Option<(usize, usize)> {
        let first = |at: usize| self.labels[..at].iter().position(|label| *label == self.labels[at]);
        (0..self.labels.len()).find_map(|at| Some((first(at)?, at)))
    }

    /// The elements at which both dimensions have the same index: of the two flattened into one of
    /// `n * n` elements, every `n + 1`-th.
    fn diagonal(&self, equation: &str, (first, second): (usize, usize)) -> Result<Term> {
        let n = self.tensor.dims()[first];
        if self.tensor.dims()[second] != n {
            let message =
                format!("no diagonal of dimensions {first} and {second} of {}", self.tensor.shape());
            return refuse(equation, message);
        }
        let mut labels = self.labels.clone();
        labels.remove(second);
        let label = labels.remove(first);
        labels.push(label);
        let others = (0..self.labels.len()).filter(|&axis| axis != first && axis != second);
        let order: Vec<isize> = others.chain([first, second]).map(|axis| axis as isize).collect();
        let tensor = self.tensor.permute(&order)?.flatten(-2, -1)?.slice(-1, 0, n * n, n + 1)?;
        Ok(Term { tensor, labels })
    }

    fn has(&self, label: &Label) -> bool {
        self.labels.contains(label)
    }

    fn size(&self, label: &Label) -> usize {
        self.labels.iter().position(|l| l == label).map_or(1, |axis| self.tensor.dims()[axis])
    }

    /// Sums over the dimensions that nothing else needs.
    fn keep(&self, needed: impl Fn(&Label) -> bool) -> Result<Term> {
        let gone = (0..self.labels.len()).filter(|&axis| !needed(&self.labels[axis]));
        let axes: Vec<isize> = gone.map(|axis| axis as isize).collect();
        if axes.is_empty() {
            return Ok(self.clone());
        }
        let labels = self.labels.iter().copied().filter(|label| needed(label)).collect();
        Ok(Term { tensor: self.tensor.sum(&axes[..], false)?, labels })
    }

    /// With the dimensions in this order, those it does not have as size 1, stretched to these sizes.
    fn aligned(&self, order: &[Label], sizes: &[usize]) -> Result<Tensor> {
        let present: Vec<isize> = order
            .iter()
            .filter_map(|label| self.labels.iter().position(|l| l == label))
            .map(|axis| axis as isize)
            .collect();
        let with_ones: Vec<usize> = order.iter().map(|label| self.size(label)).collect();
        self.tensor.permute(&present)?.reshape(with_ones)?.broadcast_to(sizes)
    }

    /// The product with another term, summed over what neither the result nor a later term needs.
    fn product(&self, other: &Term, needed: impl Fn(&Label) -> bool) -> Result<Term> {
        let a = self.keep(|label| needed(label) || other.has(label))?;
        let b = other.keep(|label| needed(label) || a.has(label))?;
        let select = |from: &Term, wanted: &dyn Fn(&Label) -> bool| {
            from.labels.iter().copied().filter(|label| wanted(label)).collect::<Vec<_>>()
        };
        let batch = select(&a, &|label| b.has(label) && needed(label));
        let summed = select(&a, &|label| b.has(label) && !needed(label));
        let rows = select(&a, &|label| !b.has(label));
        let columns = select(&b, &|label| !a.has(label));
        let sizes = |labels: &[Label]| -> Vec<usize> {
            labels
                .iter()
                .map(|label| if a.size(label) == 1 { b.size(label) } else { a.size(label) })
                .collect()
        };
        let labels = [&batch[..], &rows, &columns].concat();
        let ones = |count: usize| vec![1; count];
        if summed.is_empty() {
            // No sum: cheaper element by element than as a product of depth one.
            let left = [sizes(&batch), sizes(&rows), ones(columns.len())].concat();
            let right = [sizes(&batch), ones(rows.len()), sizes(&columns)].concat();
            let tensor = a.aligned(&labels, &left)?.mul(&b.aligned(&labels, &right)?)?;
            return Ok(Term { tensor, labels });
        }
        let count = |labels: &[Label]| sizes(labels).iter().product::<usize>();
        let [n, m, k, p] = [&batch, &rows, &summed, &columns].map(|labels| count(labels));
        let left = [&batch[..], &rows, &summed].concat();
        let right = [&batch[..], &summed, &columns].concat();
        let left = a.aligned(&left, &sizes(&left))?.reshape([n, m, k])?;
        let right = b.aligned(&right, &sizes(&right))?.reshape([n, k, p])?;
        Ok(Term { tensor: left.matmul(&right)?.reshape(sizes(&labels))?, labels })
    }
}

/// The labels of the result: those after the arrow, or without one the ellipsis and then every
/// letter that occurs once, in alphabetical order.
fn result_labels(equation: &str, right: Option<&str>, texts: &str, terms: &[Term]) -> Result<Vec<Label>> {
    let all = terms.iter().flat_map(|term| &term.labels);
    let hidden = all.filter(|label| matches!(label, Label::Ellipsis(_))).max();
    let hidden = hidden.map_or(0, |label| if let Label::Ellipsis(last) = label { last + 1 } else { 0 });
    let Some(right) = right else {
        let mut letters: Vec<char> = texts.chars().filter(char::is_ascii_alphabetic).collect();
        letters.retain(|letter| texts.matches(*letter).count() == 1);
        letters.sort_unstable();
        return Ok(labels(&(Vec::new(), Some(letters)), hidden));
    };
    let result = labels(&pattern(equation, right)?, hidden);
    for (at, label) in result.iter().enumerate() {
        if result[..at].contains(label) {
            return refuse(equation, format!("{right:?} repeats a letter"));
        }
        if !terms.iter().any(|term| term.has(label)) {
            return refuse(equation, format!("{right:?} has a letter that no operand has"));
        }
    }
    Ok(result)
}

impl Tensor {
    /// Sums of products by an equation, as `torch.einsum`: `"bij,bjk->bik"` multiplies matrices,
    /// `"ii->i"` takes a diagonal, `"ij->j"` sums rows. A letter names a dimension, `...` those that
    /// are left, broadcast; letters that the right side lacks are summed over. Without `->` the result
    /// has the letters that occur once, in alphabetical order. Products are taken from left to right.
    ///
    /// An error names the equation where it is malformed or does not fit the shapes.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 4.0, 1.0, &Engine::cpu())?.reshape([2, 2])?;
    /// assert_eq!(Tensor::einsum("ii->", &[&x])?.item()?, 3.0);
    /// assert_eq!(Tensor::einsum("ij,ij->i", &[&x, &x])?.to_vec::<f32>()?, [1.0, 13.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn einsum(equation: &str, tensors: &[&Tensor]) -> Result<Tensor> {
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let texts: Vec<&str> = left.split(',').collect();
        if texts.len() != tensors.len() {
            let message = format!("{} operands are named, {} given", texts.len(), tensors.len());
            return refuse(equation, message);
        }
        let named = texts.iter().zip(tensors);
        let terms =
            named.map(|(text, tensor)| Term::new(equation, text, tensor)).collect::<Result<Vec<_>>>()?;
        let result = result_labels(equation, right, left, &terms)?;
        for term in &terms {
            for label in &term.labels {
                let size = terms.iter().map(|other| other.size(label)).find(|&size| size != 1).unwrap_or(1);
                if ![1, size].contains(&term.size(label)) {
                    let shapes: Vec<_> = tensors.iter().map(|tensor| tensor.shape().to_string()).collect();
                    let message = format!("shapes {} differ where a letter is shared", shapes.join(", "));
                    return refuse(equation, message);
                }
            }
        }
        let mut product = terms[0].clone();
        for at in 1..terms.len() {
            let needed =
                |label: &Label| result.contains(label) || terms[at + 1..].iter().any(|term| term.has(label));
            product = product.product(&terms[at], needed)?;
        }
        let product = product.keep(|label| result.contains(label))?;
        let sizes: Vec<usize> = result.iter().map(|label| product.size(label)).collect();
        product.aligned(&result, &sizes)
    }
}
