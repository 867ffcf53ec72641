//! Texts cut into terms.

use serde::{Deserialize, Serialize};

/// What the terms of a text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Analyzer {
    /// Runs of at least two letters, digits or underscores.
    #[default]
    Word,
    /// Characters.
    Char,
    /// Characters of each word between spaces, with a space before and after it.
    CharWb,
}

/// Runs of these many terms, joined, each given to `take`.
fn ngrams(parts: &[&str], (least, most): (usize, usize), glue: &str, mut take: impl FnMut(String)) {
    for length in least..=most.min(parts.len()) {
        parts.windows(length).for_each(|run| take(run.join(glue)));
    }
}

fn characters(text: &str) -> Vec<&str> {
    text.char_indices().map(|(at, character)| &text[at..at + character.len_utf8()]).collect()
}

/// Gives the terms of a text to `take`, with runs of `range` many of them.
pub(super) fn terms(
    text: &str,
    analyzer: Analyzer,
    lowercase: bool,
    range: (usize, usize),
    stop_words: &[String],
    mut take: impl FnMut(String),
) {
    let text = if lowercase { text.to_lowercase() } else { text.to_owned() };
    match analyzer {
        Analyzer::Word => {
            let words = text.split(|character: char| !character.is_alphanumeric() && character != '_');
            let long = words.filter(|word| word.chars().nth(1).is_some());
            let kept: Vec<&str> = long.filter(|word| !stop_words.iter().any(|stop| stop == word)).collect();
            ngrams(&kept, range, " ", take);
        }
        Analyzer::Char => {
            // Runs of spaces count as one.
            let mut single = String::with_capacity(text.len());
            for character in text.chars() {
                let space = character.is_whitespace();
                if !space {
                    single.push(character);
                } else if !single.ends_with(' ') {
                    single.push(' ');
                }
            }
            ngrams(&characters(&single), range, "", take);
        }
        Analyzer::CharWb => {
            for word in text.split_whitespace() {
                let padded = format!(" {word} ");
                let parts = characters(&padded);
                for length in range.0..=range.1 {
                    if length >= parts.len() {
                        take(padded.clone()); // A short word counts once, whole.
                        break;
                    }
                    ngrams(&parts, (length, length), "", &mut take);
                }
            }
        }
    }
}
