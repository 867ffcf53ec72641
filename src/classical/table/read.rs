//! Tables from CSV.

use crate::classical::estimator::Target;
use crate::classical::preprocessing::LabelEncoder;
use crate::{Error, Result};
use csv::{ReaderBuilder, StringRecord, Trim};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers; NaN is missing.
    Numbers(Vec<f64>),
    /// Categories.
    Categories {
        /// The categories, ascending.
        names: Vec<String>,
        /// For each row the position in `names`; `None` is missing.
        codes: Vec<Option<u32>>,
    },
}

/// A named column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name, of the header line.
    pub name: String,
    /// Its values, one a row.
    pub values: Values,
}

/// Columns of one length.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    source: PathBuf,
    /// The line of the source that each row stands in.
    lines: Vec<u64>,
    columns: Vec<Column>,
}

/// What stands for a missing value, besides nothing at all.
const MISSING: [&str; 8] = ["?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"];

/// A column has categories if it is not all numbers, and classes rather than amounts if it is whole
/// numbers of at most so many different values.
const MOST_CLASSES: usize = 20;

impl Table {
    /// Reads a CSV file with a header line; the separator is the comma, semicolon or tabulator that the
    /// header has most of. A column is numbers if every value in it is; else it is categories. An empty
    /// field, `?`, `NA`, `N/A`, `NaN`, `null` or `None` is missing.
    ///
    /// # Errors
    /// A file that cannot be read, has no rows, lines of another number of fields (with their line), or
    /// two columns of one name.
    pub fn read_csv(path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        Table::parse(&text, path)
    }

    /// As [`Table::read_csv`], of text; `source` is what errors call it.
    ///
    /// # Errors
    /// As [`Table::read_csv`].
    pub fn parse(text: &[u8], source: impl AsRef<Path>) -> Result<Table> {
        let source = source.as_ref();
        let failed = |error: csv::Error| Error::file(source, error.to_string());
        let mut reader = ReaderBuilder::new().delimiter(separator(text)).trim(Trim::All).from_reader(text);
        let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(Error::file(source, format!("two columns are called {name:?}")));
        }
        let records: Vec<StringRecord> = reader.records().collect::<Result<_, _>>().map_err(failed)?;
        if records.is_empty() || names.is_empty() {
            return Err(Error::file(source, "there are no rows below the header line"));
        }
        let line = |record: &StringRecord| record.position().map_or(0, csv::Position::line);
        let columns = names.into_iter().enumerate().map(|(at, name)| {
            let fields = records.iter().map(|record| record.get(at).filter(|text| !missing(text)));
            Column { name, values: values(fields) }
        });
        Ok(Table {
            source: source.to_path_buf(),
            columns: columns.collect(),
            lines: records.iter().map(line).collect(),
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A column by name.
    ///
    /// # Errors
    /// A name that is not there; the error lists those there are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            Error::file(&self.source, format!("no column is called {name:?}; there are {}", names.join(", ")))
        })
    }

    /// The columns of these names, in this order.
    ///
    /// # Errors
    /// As [`Table::column`].
    pub fn select(&self, names: &[&str]) -> Result<Table> {
        let columns = names.iter().map(|name| self.column(name).cloned()).collect::<Result<_>>()?;
        Ok(Table { columns, ..self.clone() })
    }

    /// The table without the columns of these names.
    ///
    /// # Errors
    /// As [`Table::column`].
    pub fn drop(&self, names: &[&str]) -> Result<Table> {
        names.iter().try_for_each(|name| self.column(name).map(drop))?;
        let keep = |column: &&Column| !names.contains(&column.name.as_str());
        Ok(Table { columns: self.columns.iter().filter(keep).cloned().collect(), ..self.clone() })
    }

    /// Some rows, in this order; an index may come more than once.
    ///
    /// # Errors
    /// An index that is not below [`Table::rows`].
    pub fn take(&self, rows: &[usize]) -> Result<Table> {
        if let Some(row) = rows.iter().find(|&&row| row >= self.rows()) {
            return Err(Error::file(&self.source, format!("row {row} of {}", self.rows())));
        }
        let values = |values: &Values| match values {
            Values::Numbers(numbers) => Values::Numbers(rows.iter().map(|&row| numbers[row]).collect()),
            Values::Categories { names, codes } => Values::Categories {
                names: names.clone(),
                codes: rows.iter().map(|&row| codes[row]).collect(),
            },
        };
        let column = |column: &Column| Column { name: column.name.clone(), values: values(&column.values) };
        Ok(Table {
            source: self.source.clone(),
            lines: rows.iter().map(|&row| self.lines[row]).collect(),
            columns: self.columns.iter().map(column).collect(),
        })
    }

    /// The values of a column as text, none missing.
    fn texts(&self, name: &str) -> Result<Vec<String>> {
        let text = |row: usize| -> Option<String> {
            match &self.column(name).ok()?.values {
                Values::Numbers(numbers) => {
                    Some(numbers[row]).filter(|number| !number.is_nan()).map(|n| n.to_string())
                }
                Values::Categories { names, codes } => Some(names[codes[row]? as usize].clone()),
            }
        };
        self.column(name)?;
        (0..self.rows())
            .map(|row| text(row).ok_or_else(|| self.error(row, name, "the target is missing".to_owned())))
            .collect()
    }

    /// A column as class labels, with the names of the classes.
    ///
    /// # Errors
    /// As [`Table::column`], and a missing value, with its line.
    pub fn labels(&self, name: &str) -> Result<(Vec<i64>, LabelEncoder)> {
        let texts = self.texts(name)?;
        let encoder = LabelEncoder::fit(&texts)?;
        Ok((encoder.transform(&texts)?, encoder))
    }

    /// A column as numbers to predict.
    ///
    /// # Errors
    /// As [`Table::column`], and a missing value or text, with its line.
    pub fn targets(&self, name: &str) -> Result<Vec<f64>> {
        let number = |(row, text): (usize, String)| {
            text.parse().map_err(|_| self.error(row, name, format!("{text:?} is no number")))
        };
        self.texts(name)?.into_iter().enumerate().map(number).collect()
    }

    /// A column as a target: classes if it is categories or a few whole numbers, else numbers.
    ///
    /// # Errors
    /// As [`Table::labels`].
    pub fn target(&self, name: &str) -> Result<Target> {
        let classes = match &self.column(name)?.values {
            Values::Categories { .. } => true,
            Values::Numbers(numbers) => {
                let distinct: HashSet<u64> = numbers.iter().map(|number| number.to_bits()).collect();
                distinct.len() <= MOST_CLASSES && numbers.iter().all(|number| number.fract() == 0.0)
            }
        };
        if classes {
            Ok(Target::classes(&self.labels(name)?.0))
        } else {
            Ok(Target::Values(self.targets(name)?))
        }
    }

    /// An error at a row and column.
    pub(super) fn error(&self, row: usize, column: &str, message: String) -> Error {
        Error::file(&self.source, format!("line {}, column {column:?}: {message}", self.lines[row]))
    }
}

/// What separates the fields of a CSV text: the most frequent candidate of its first line.
pub(crate) fn separator(text: &[u8]) -> u8 {
    let header = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let count = |separator: u8| header.iter().filter(|&&byte| byte == separator).count();
    [b'\t', b';', b','].into_iter().max_by_key(|&separator| count(separator)).unwrap_or(b',')
}

fn missing(text: &str) -> bool {
    text.is_empty() || MISSING.contains(&text)
}

/// Numbers if every field is one, else categories.
fn values<'a>(fields: impl Iterator<Item = Option<&'a str>> + Clone) -> Values {
    let numbers: Option<Vec<f64>> =
        fields.clone().map(|field| field.map_or(Some(f64::NAN), |text| text.parse().ok())).collect();
    if let Some(numbers) = numbers {
        return Values::Numbers(numbers);
    }
    let mut names: Vec<String> =
        fields.clone().flatten().collect::<HashSet<_>>().into_iter().map(str::to_owned).collect();
    names.sort_unstable();
    let code =
        |text: &str| names.binary_search_by(|name| name.as_str().cmp(text)).ok().map(|code| code as u32);
    let codes = fields.map(|field| field.and_then(code)).collect();
    Values::Categories { names, codes }
}
