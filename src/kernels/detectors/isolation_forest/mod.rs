//! Isolation forest (Liu, Ting and Zhou 2008 and 2012): rows that few random splits part from all others are unusual.
//!
//! A tree is grown on `psi` rows drawn at random. A node draws a column among those that vary in it and a threshold uniform
//! between their minimum and maximum; rows with `x <= threshold` go left. A node is a leaf when it holds one row or equal rows, or lies
//! at depth `ceil(log2(max(psi, 2)))`. The path length of a row in a tree is `h = depth + c(m)` of its leaf of `m` train rows, and with `T` trees
//!
//! ```text
//! s = 2^(-sum h / (T c(psi)))      c(m) = 2 (ln(m - 1) + gamma) - 2 (m - 1) / m,  c(1) = 0, c(2) = 1
//! ```
//!
//! in (0, 1], more unusual is higher (2008, equations 1 and 2, with the harmonic number by its asymptote, as everywhere). With
//! `c(psi) = 0`, which takes a single train row, `s` is 1/2. A row that `bootstrap` draws twice is in the tree once: a copy
//! cannot be parted from it, and would lengthen its path by nothing but the draw. scikit-learn counts the same way, and with the
//! same trees has the same scores; it compares readings narrowed to `f32`, which is what `narrow` is for.
//!
//! The order of random numbers is part of the result: tree `t` has stream `t` of the seed.
//!
//! A fit takes about `T psi log2(psi)` readings, whatever the number of rows and columns, as only the column that a node draws is read.

mod growing;
mod scoring;

use std::fmt;

use crate::kernels::params::ParamError;

pub use growing::fit;
pub use scoring::Scorer;

/// Euler's constant.
const GAMMA: f64 = 0.577_215_664_901_532_9;

/// The mean path length of an unsuccessful search in a binary search tree of `m` rows.
fn average_path(m: usize) -> f64 {
    match m {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * (((m - 1) as f64).ln() + GAMMA) - 2.0 * (m - 1) as f64 / m as f64,
    }
}

/// How a forest is grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    n_trees: usize,
    max_samples: usize,
    bootstrap: bool,
    seed: u64,
}

impl Plan {
    /// `max_samples` is the number of rows that a tree draws, all where there are fewer; with `bootstrap` it draws with replacement.
    pub fn new(n_trees: i64, max_samples: i64, bootstrap: bool, seed: u64) -> Result<Self, ParamError> {
        let count = |name: &str, value: i64, least: i64| {
            if value < least {
                return Err(ParamError(format!("`{name}` must be >= {least}, got {value}")));
            }
            // no series has more rows
            Ok(usize::try_from(value).unwrap_or(usize::MAX))
        };
        Ok(Self {
            n_trees: count("n_trees", n_trees, 1)?,
            max_samples: count("max_samples", max_samples, 2)?,
            bootstrap,
            seed,
        })
    }
}

/// Why there is no forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    NoRows,
    NoColumns,
    /// Rows, or nodes of a tree, are counted in 32 bits.
    TooLarge,
    /// The lists are not those of a forest; what is wrong with them.
    Damaged(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRows => f.write_str("no row has enough readings to learn from"),
            Self::NoColumns => f.write_str("no column varies"),
            Self::TooLarge => f.write_str("more than 2^31 rows; learn from a sample of them"),
            Self::Damaged(what) => write!(f, "the model is damaged: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// A fitted forest, as lists: one entry for each node, one tree after the other, each from its root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// Column that an inner node asks for; 0 for a leaf.
    pub feature: Vec<u32>,
    /// Threshold of an inner node; path length of a leaf.
    pub value: Vec<f64>,
    /// Left child of an inner node, counted from the root of its tree; the right child is the next. 0 for a leaf.
    pub child: Vec<u32>,
    /// First node of each tree.
    pub start: Vec<u32>,
    /// `psi`, how many rows each tree drew.
    pub sample_size: usize,
    /// Whether readings are narrowed to `f32` before they are compared.
    pub narrow: bool,
}
