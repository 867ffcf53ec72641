//! Counts of terms.

use super::sparse;
use super::tokens::{Analyzer, terms};
use crate::Result;
use crate::classical::estimator::Parameters;
use crate::classical::params::{model, params, untagged};
use serde::{Deserialize, Serialize};
use sprs::CsMat;
use std::collections::{BTreeMap, HashMap, HashSet};

/// In how many texts a term is, as a count or a share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", untagged)]
pub enum Frequency {
    /// So many texts.
    Count(usize),
    /// This share of the texts.
    Share(f64),
}

untagged!(Frequency);

impl Frequency {
    fn of(self, texts: usize) -> f64 {
        match self {
            Frequency::Count(count) => count as f64,
            Frequency::Share(share) => share * texts as f64,
        }
    }
}

/// A fitted vocabulary, which makes counts of texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountVectorizer {
    n_features: usize,
    params: CountVectorizerParams,
    vocabulary: Vec<String>,
}

params! {
    /// Parameters of [`CountVectorizer`]: how often each term of a vocabulary is in each text.
    ///
    /// ```
    /// use kiln::classical::text::CountVectorizer;
    ///
    /// let (model, counts) = CountVectorizer::params().fit_transform(&["the cat", "the dog, the cat"])?;
    /// assert_eq!(model.vocabulary(), ["cat", "dog", "the"]);
    /// assert_eq!(counts.to_dense(), ndarray::array![[1.0, 0.0, 1.0], [1.0, 1.0, 2.0]]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    CountVectorizerParams for CountVectorizer = "CountVectorizer" {
        /// Whether capitals are made small first.
        lowercase: bool = true,
        /// What the terms are.
        analyzer: Analyzer = Analyzer::Word,
        /// The fewest and the most terms in a row that count as one.
        ngram_range: (usize, usize) = (1, 1),
        /// Words that are left out.
        stop_words: Vec<String> = Vec::new(),
        /// Terms in fewer texts are left out.
        min_df: Frequency = Frequency::Count(1),
        /// Terms in more texts are left out.
        max_df: Frequency = Frequency::Share(1.0),
        /// Only so many terms are kept, the most frequent.
        max_features: Option<usize> = None,
        /// Whether a term counts once however often it is there.
        binary: bool = false,
    }

    fn check(&self) -> Result<()> {
        let (least, most) = self.ngram_range;
        if least == 0 || least > most {
            return Err(Self::error(format!("ngram_range is {least} to {most}; it must be 1 or more, ascending")));
        }
        Ok(())
    }
}

impl CountVectorizerParams {
    fn counts(&self, text: &str) -> HashMap<String, f64> {
        let mut counts = HashMap::new();
        terms(text, self.analyzer, self.lowercase, self.ngram_range, &self.stop_words, |term| {
            *counts.entry(term).or_default() += 1.0;
        });
        if self.binary {
            counts.values_mut().for_each(|count| *count = 1.0);
        }
        counts
    }

    /// Learns the vocabulary of texts.
    ///
    /// # Errors
    /// Wrong parameters, and texts without any term that is kept.
    pub fn fit(&self, texts: &[impl AsRef<str>]) -> Result<CountVectorizer> {
        Ok(self.fit_transform(texts)?.0)
    }

    /// Learns the vocabulary of texts and counts its terms, `[texts, terms]`.
    ///
    /// # Errors
    /// As [`CountVectorizerParams::fit`].
    pub fn fit_transform(&self, texts: &[impl AsRef<str>]) -> Result<(CountVectorizer, CsMat<f64>)> {
        self.check()?;
        // For each term its number of texts and its number in all.
        let mut totals: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        let counted: Vec<HashMap<String, f64>> =
            texts.iter().map(|text| self.counts(text.as_ref())).collect();
        for (term, count) in counted.iter().flatten() {
            let total = totals.entry(term.clone()).or_default();
            *total = (total.0 + 1.0, total.1 + count);
        }
        let (least, most) = (self.min_df.of(texts.len()), self.max_df.of(texts.len()));
        totals.retain(|_, (texts, _)| (least..=most).contains(texts));
        if let Some(kept) = self.max_features.filter(|&kept| kept < totals.len()) {
            let mut by_count: Vec<(String, f64)> =
                totals.iter().map(|(term, total)| (term.clone(), total.1)).collect();
            by_count.sort_by(|a, b| b.1.total_cmp(&a.1));
            let dropped: HashSet<String> =
                by_count.split_off(kept).into_iter().map(|(term, _)| term).collect();
            totals.retain(|term, _| !dropped.contains(term));
        }
        if totals.is_empty() {
            return Err(Self::error(
                "no term is left: are the texts empty, or min_df and max_df too strict?",
            ));
        }
        let vocabulary: Vec<String> = totals.into_keys().collect();
        let model = CountVectorizer { n_features: vocabulary.len(), params: self.clone(), vocabulary };
        let counts = model.matrix(counted.into_iter());
        Ok((model, counts))
    }
}

impl CountVectorizer {
    /// The terms, in the order of the columns.
    pub fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    /// How often each term is in each text, `[texts, terms]`; other terms are left alone.
    pub fn transform(&self, texts: &[impl AsRef<str>]) -> CsMat<f64> {
        self.matrix(texts.iter().map(|text| self.params.counts(text.as_ref())))
    }

    fn matrix(&self, counted: impl Iterator<Item = HashMap<String, f64>>) -> CsMat<f64> {
        let columns: HashMap<&str, usize> = self.vocabulary.iter().map(String::as_str).zip(0..).collect();
        let row = |counts: HashMap<String, f64>| {
            let known =
                counts.iter().filter_map(|(term, &count)| Some((*columns.get(term.as_str())?, count)));
            let mut row: Vec<(usize, f64)> = known.collect();
            row.sort_unstable_by_key(|(column, _)| *column);
            row
        };
        sparse(counted.map(row).collect(), self.vocabulary.len())
    }
}

model!(
    CountVectorizer = "CountVectorizer",
    fn is_consistent(&self) -> bool {
        self.vocabulary.len() == self.n_features
    }
);
