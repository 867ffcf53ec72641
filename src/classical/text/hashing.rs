//! Terms put into columns by their hashes: no vocabulary, nothing to learn (Weinberger et al., 2009).

use super::tokens::{Analyzer, terms};
use super::{normalize, sparse};
use crate::classical::preprocessing::Norm;
use crate::{Error, Result};
use sprs::CsMat;
use std::collections::BTreeMap;

/// MurmurHash3 of 32 bits with seed 0 (Appleby, 2011, public domain).
fn murmur3(bytes: &[u8]) -> u32 {
    let mix = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for word in words {
        hash =
            (hash ^ mix(u32::from_le_bytes(*word))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = tail.iter().rev().fold(0_u32, |rest, &byte| rest << 8 | u32::from(byte));
    hash ^= mix(rest) ^ bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// Named numbers put into columns by the hashes of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureHasher {
    /// How many columns.
    pub n_features: usize,
    /// Whether half of the names count negatively, so that collisions cancel out on average.
    pub alternate_sign: bool,
}

impl Default for FeatureHasher {
    fn default() -> FeatureHasher {
        FeatureHasher { n_features: 1 << 20, alternate_sign: true }
    }
}

impl FeatureHasher {
    fn row<'a>(&self, pairs: impl Iterator<Item = (&'a str, f64)>) -> Vec<(usize, f64)> {
        let mut row: BTreeMap<usize, f64> = BTreeMap::new();
        for (name, value) in pairs {
            let hash = murmur3(name.as_bytes()).cast_signed();
            let negative = self.alternate_sign && hash < 0;
            let column = hash.unsigned_abs() as usize % self.n_features;
            *row.entry(column).or_default() += if negative { -value } else { value };
        }
        row.into_iter().collect()
    }

    /// A row for each list of named numbers. A category is named `name=category` and counts 1.
    ///
    /// # Errors
    /// If `n_features` is 0.
    pub fn transform<S: AsRef<str>>(&self, samples: &[Vec<(S, f64)>]) -> Result<CsMat<f64>> {
        check(self.n_features)?;
        let row = |pairs: &Vec<(S, f64)>| self.row(pairs.iter().map(|(name, value)| (name.as_ref(), *value)));
        Ok(sparse(samples.iter().map(row).collect(), self.n_features))
    }
}

fn check(n_features: usize) -> Result<()> {
    if n_features == 0 {
        return Err(Error::op("FeatureHasher", "n_features is 0; it must be 1 or more"));
    }
    Ok(())
}

/// Counts of the terms of texts, put into columns by the terms' hashes.
#[derive(Debug, Clone, PartialEq)]
pub struct HashingVectorizer {
    /// The columns.
    pub hasher: FeatureHasher,
    /// Whether capitals are made small first.
    pub lowercase: bool,
    /// What the terms are.
    pub analyzer: Analyzer,
    /// The fewest and the most terms in a row that count as one.
    pub ngram_range: (usize, usize),
    /// Words that are left out.
    pub stop_words: Vec<String>,
    /// The length that each row is brought to.
    pub norm: Option<Norm>,
}

impl Default for HashingVectorizer {
    fn default() -> HashingVectorizer {
        HashingVectorizer {
            hasher: FeatureHasher::default(),
            lowercase: true,
            analyzer: Analyzer::Word,
            ngram_range: (1, 1),
            stop_words: Vec::new(),
            norm: Some(Norm::L2),
        }
    }
}

impl HashingVectorizer {
    /// A row for each text, `[texts, n_features]`.
    ///
    /// # Errors
    /// If the hasher's `n_features` is 0.
    pub fn transform(&self, texts: &[impl AsRef<str>]) -> Result<CsMat<f64>> {
        check(self.hasher.n_features)?;
        let row = |text: &str| {
            let mut found = Vec::new();
            terms(text, self.analyzer, self.lowercase, self.ngram_range, &self.stop_words, |term| {
                found.push(term)
            });
            let mut row = self.hasher.row(found.iter().map(|term| (term.as_str(), 1.0)));
            normalize(&mut row, self.norm);
            row
        };
        Ok(sparse(texts.iter().map(|text| row(text.as_ref())).collect(), self.hasher.n_features))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_murmur3() {
        // The reference implementation's values for seed 0.
        for (text, hash) in
            [("", 0), ("foo", 0xf6a5_c420), ("hello", 0x248b_fa47), ("hello, world", 0x149b_bb7f)]
        {
            assert_eq!(super::murmur3(text.as_bytes()), hash, "{text:?}");
        }
    }
}
