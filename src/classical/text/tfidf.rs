//! Counts weighted by how rare their terms are.

use super::vocabulary::{CountVectorizer, CountVectorizerParams};
use super::{normalize, sparse};
use crate::Result;
use crate::classical::estimator::Parameters;
use crate::classical::params::{model, params};
use crate::classical::preprocessing::Norm;
use serde::{Deserialize, Serialize};
use sprs::CsMat;

/// Fitted weights of terms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TfidfTransformer {
    n_features: usize,
    params: TfidfTransformerParams,
    idf: Vec<f64>,
}

params! {
    /// Parameters of [`TfidfTransformer`]: counts times the logarithm of how rare the term is (Spärck
    /// Jones, 1972).
    TfidfTransformerParams for TfidfTransformer = "TfidfTransformer" {
        /// The length that each row is brought to.
        norm: Option<Norm> = Some(Norm::L2),
        /// Whether to weight by rarity.
        use_idf: bool = true,
        /// Whether to count one more text that has every term.
        smooth_idf: bool = true,
        /// Whether a count becomes 1 plus its logarithm.
        sublinear_tf: bool = false,
    }
}

impl TfidfTransformerParams {
    /// Learns the weights from counts `[texts, terms]`.
    ///
    /// # Errors
    /// A matrix without rows or columns, or in compressed columns.
    pub fn fit(&self, counts: &CsMat<f64>) -> Result<TfidfTransformer> {
        if !counts.is_csr() || counts.rows() == 0 || counts.cols() == 0 {
            return Err(Self::error("it needs a matrix in compressed rows, not empty"));
        }
        let mut texts = vec![0.0; counts.cols()];
        counts.iter().filter(|(count, _)| **count != 0.0).for_each(|(_, (_, column))| texts[column] += 1.0);
        let extra = f64::from(u8::from(self.smooth_idf));
        let all = counts.rows() as f64 + extra;
        let weight = |texts: f64| if self.use_idf { (all / (texts + extra)).ln() + 1.0 } else { 1.0 };
        let idf: Vec<f64> = texts.into_iter().map(weight).collect();
        Ok(TfidfTransformer { n_features: idf.len(), params: self.clone(), idf })
    }
}

impl TfidfTransformer {
    /// The weight of each term.
    pub fn idf(&self) -> &[f64] {
        &self.idf
    }

    /// Weighted counts.
    ///
    /// # Errors
    /// Another number of columns than at the fit, or a matrix in compressed columns.
    pub fn transform(&self, counts: &CsMat<f64>) -> Result<CsMat<f64>> {
        if !counts.is_csr() || counts.cols() != self.idf.len() {
            let (given, fitted) = (counts.cols(), self.idf.len());
            let message = format!("{given} columns for {fitted} terms; it needs compressed rows of as many");
            return Err(TfidfTransformerParams::error(message));
        }
        let weight = |(column, &count): (usize, &f64)| {
            let count = if self.params.sublinear_tf && count > 0.0 { count.ln() + 1.0 } else { count };
            (column, count * self.idf[column])
        };
        let rows = counts.outer_iterator().map(|row| {
            let mut row: Vec<(usize, f64)> = row.iter().map(weight).collect();
            normalize(&mut row, self.params.norm);
            row
        });
        Ok(sparse(rows.collect(), counts.cols()))
    }
}

model!(
    TfidfTransformer = "TfidfTransformer",
    fn is_consistent(&self) -> bool {
        self.idf.len() == self.n_features
    }
);

/// A fitted vocabulary and its weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TfidfVectorizer {
    n_features: usize,
    counts: CountVectorizer,
    tfidf: TfidfTransformer,
}

params! {
    /// Parameters of [`TfidfVectorizer`]: [`CountVectorizer`], then [`TfidfTransformer`].
    ///
    /// ```
    /// use kiln::classical::text::TfidfVectorizer;
    ///
    /// let (model, weights) = TfidfVectorizer::params().fit_transform(&["a red cat", "a grey cat"])?;
    /// let [cat, grey] = ["cat", "grey"].map(|word| model.vocabulary().iter().position(|term| term == word));
    /// let weight = |column: Option<usize>| weights.get(1, column?).copied();
    /// assert!(weight(grey) > weight(cat), "the rarer word weighs more");
    /// # Ok::<(), kiln::Error>(())
    /// ```
    TfidfVectorizerParams for TfidfVectorizer = "TfidfVectorizer" {
        /// What is counted.
        counts: CountVectorizerParams = CountVectorizerParams::default(),
        /// How it is weighted.
        tfidf: TfidfTransformerParams = TfidfTransformerParams::default(),
    }
}

impl TfidfVectorizerParams {
    /// Learns vocabulary and weights of texts.
    ///
    /// # Errors
    /// As [`CountVectorizerParams::fit`].
    pub fn fit(&self, texts: &[impl AsRef<str>]) -> Result<TfidfVectorizer> {
        Ok(self.fit_transform(texts)?.0)
    }

    /// Learns vocabulary and weights of texts and gives their weighted counts, `[texts, terms]`.
    ///
    /// # Errors
    /// As [`CountVectorizerParams::fit`].
    pub fn fit_transform(&self, texts: &[impl AsRef<str>]) -> Result<(TfidfVectorizer, CsMat<f64>)> {
        let (counts, matrix) = self.counts.fit_transform(texts)?;
        let tfidf = self.tfidf.fit(&matrix)?;
        let weighted = tfidf.transform(&matrix)?;
        Ok((TfidfVectorizer { n_features: matrix.cols(), counts, tfidf }, weighted))
    }
}

impl TfidfVectorizer {
    /// The terms, in the order of the columns.
    pub fn vocabulary(&self) -> &[String] {
        self.counts.vocabulary()
    }

    /// The weight of each term.
    pub fn idf(&self) -> &[f64] {
        self.tfidf.idf()
    }

    /// Weighted counts of texts, `[texts, terms]`.
    ///
    /// # Errors
    /// None for a model that was fitted; those of [`TfidfTransformer::transform`].
    pub fn transform(&self, texts: &[impl AsRef<str>]) -> Result<CsMat<f64>> {
        self.tfidf.transform(&self.counts.transform(texts))
    }
}

model!(
    TfidfVectorizer = "TfidfVectorizer",
    fn is_consistent(&self) -> bool {
        self.counts.n_features() == self.n_features
            && self.tfidf.n_features() == self.n_features
            && self.counts.is_consistent()
            && self.tfidf.is_consistent()
    }
);
