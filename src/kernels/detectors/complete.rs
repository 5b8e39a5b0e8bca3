//! Missing cells of many columns: which rows know enough, and what stands in for what they lack.
//!
//! A row counts if at least `min_present` of the columns that are kept are present in it; its missing cells are replaced by
//! the medians of the train rows. Other rows are left out of fits, and their scores are NaN. Columns that never change or are
//! never present say nothing and are dropped, with the reason.

use rayon::ThreadPool;

use crate::kernels::features::rolling::Columns;
use crate::kernels::matrix::{Matrix, TILE_ROWS, Tile};
use crate::kernels::parallel;
use crate::kernels::selection::median;
use crate::kernels::simd::all_finite;

/// Why a column is not part of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Constant,
    Missing,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Missing => "missing",
        }
    }
}

/// A matrix without missing cells, and how it came about.
#[derive(Clone, Debug)]
pub struct Complete<'a> {
    cells: Kept<'a>,
    rows: usize,
    /// Positions of the columns that are kept, ascending.
    pub kept: Vec<usize>,
    pub dropped: Vec<(usize, Reason)>,
    pub imputation: Imputation,
    /// Rows with too few readings.
    pub rows_left_out: usize,
}

/// The columns that are kept.
#[derive(Clone, Debug)]
enum Kept<'a> {
    /// Where they lie in memory: nothing is missing anywhere.
    There(Vec<&'a [f64]>),
    /// One behind the other.
    Copied(Vec<f64>),
}

impl<'a> Complete<'a> {
    /// `min_present` lies in (0, 1].
    ///
    /// The share of a row's columns that are present counts the kept ones only, in a fit as in a score. Leaving rows out may
    /// make further columns constant, which are then dropped too, and with them gone a row that was left out may count again;
    /// this goes on until nothing changes. A dropped column does not come back, even if it changes among the rows that do, lest
    /// both take turns for ever.
    pub fn new(pool: &ThreadPool, rows: usize, columns: &'a Columns<'a>, min_present: f64) -> Self {
        let cells = rows * columns.len();
        let mut known = vec![None; columns.len()];
        let values: Option<Vec<&[f64]>> = columns.iter().map(|column| column.values()).collect();
        if let Some(values) = values {
            known = parallel::map(pool, values.len(), cells, Vec::new, |scratch, j| {
                all_finite(values[j]).then(|| median(values[j], scratch))
            });
            if let Some(medians) = known.iter().copied().collect::<Option<Vec<f64>>>() {
                let choice = Choice::new(Matrix::of(&values, rows), &vec![false; values.len()], min_present);
                return Self {
                    cells: Kept::There(choice.kept.iter().map(|&j| &values[j][..choice.left.len()]).collect()),
                    rows: choice.left.len(),
                    rows_left_out: rows - choice.left.len(),
                    imputation: Imputation { medians: choice.kept.iter().map(|&j| medians[j]).collect(), min_present },
                    kept: choice.kept,
                    dropped: choice.dropped,
                };
            }
        }
        let mut data = vec![0.0; cells];
        // the median while the column is in the cache, for the most part that of the rows that are left
        let read = |scratch: &mut Vec<f64>, j: usize, x: &mut [f64]| {
            (columns[j].load(0, x), known[j].unwrap_or_else(|| median(x, scratch)))
        };
        let columns_read = parallel::each(pool, data.chunks_exact_mut(rows.max(1)), cells, Vec::new, read);
        let (mut gaps, mut medians): (Vec<bool>, Vec<f64>) = columns_read.into_iter().unzip();
        // without rows there are no columns to read
        gaps.resize(columns.len(), false);
        medians.resize(columns.len(), f64::NAN);
        let Choice { kept, left, dropped } = Choice::new(Matrix::new(&data, rows, columns.len()), &gaps, min_present);
        // no cell moves back
        let mut to = 0;
        for &j in &kept {
            if left.len() == rows && to == j * rows {
                to += rows;
            } else if left.len() == rows {
                data.copy_within(j * rows..(j + 1) * rows, to);
                to += rows;
            } else {
                for &i in &left {
                    data[to] = data[j * rows + i];
                    to += 1;
                }
            }
        }
        data.truncate(to);
        let medians = if left.len() == rows {
            kept.iter().map(|&j| medians[j]).collect()
        } else {
            let matrix = Matrix::new(&data, left.len(), kept.len());
            parallel::map(pool, kept.len(), to, Vec::new, |scratch, j| median(matrix.column(j), scratch))
        };
        for (k, _) in kept.iter().enumerate().filter(|(_, j)| gaps[**j]) {
            let column = &mut data[k * left.len()..(k + 1) * left.len()];
            column.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = medians[k]);
        }
        Self {
            cells: Kept::Copied(data),
            rows: left.len(),
            rows_left_out: rows - left.len(),
            dropped,
            imputation: Imputation { medians, min_present },
            kept,
        }
    }

    pub fn matrix(&self) -> Matrix<'_> {
        match &self.cells {
            Kept::There(columns) => Matrix::of(columns, self.rows),
            Kept::Copied(data) => Matrix::new(data, self.rows, self.kept.len()),
        }
    }
}

/// Which columns and rows teach something.
struct Choice {
    kept: Vec<usize>,
    left: Vec<usize>,
    dropped: Vec<(usize, Reason)>,
}

impl Choice {
    /// Only the columns with `gaps` have missing cells, which are NaN.
    fn new(matrix: Matrix<'_>, gaps: &[bool], min_present: f64) -> Self {
        let rows = matrix.rows();
        let mut kept: Vec<usize> = (0..matrix.columns()).collect();
        let mut left: Vec<usize> = (0..rows).collect();
        let mut dropped = Vec::new();
        loop {
            let before = (kept.len(), left.len()); // the rows follow from the columns
            kept.retain(|&j| {
                let reason = useless(left.iter().map(|&i| matrix.column(j)[i]));
                dropped.extend(reason.map(|reason| (j, reason)));
                reason.is_none()
            });
            let needed = needed(min_present, kept.len());
            let with_gaps: Vec<usize> = kept.iter().copied().filter(|&j| gaps[j]).collect();
            let mut present = vec![kept.len() - with_gaps.len(); rows];
            for j in with_gaps {
                for (count, v) in present.iter_mut().zip(matrix.column(j)) {
                    *count += usize::from(!v.is_nan());
                }
            }
            // of all rows, not of those that were left: what scores a row knows the kept columns only
            left = (0..rows).filter(|&i| present[i] >= needed).collect();
            if (kept.len(), left.len()) == before {
                break;
            }
        }
        dropped.sort_unstable_by_key(|&(j, _)| j);
        Self { kept, left, dropped }
    }
}

/// Why readings say nothing, if so.
fn useless(readings: impl Iterator<Item = f64>) -> Option<Reason> {
    let mut present = readings.filter(|v| !v.is_nan());
    let Some(first) = present.next() else { return Some(Reason::Missing) };
    if present.any(|v| v != first) { None } else { Some(Reason::Constant) }
}

/// The least number of present columns; a row without any reading never counts.
fn needed(min_present: f64, columns: usize) -> usize {
    ((min_present * columns as f64).ceil() as usize).max(1)
}

/// What completes rows that are scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Imputation {
    /// Of the train rows, one for each kept column.
    pub medians: Vec<f64>,
    pub min_present: f64,
}

impl Imputation {
    /// Replaces the missing cells of a tile, which only the columns `with_gaps` have; `complete` says for each row whether
    /// enough of it was present.
    pub fn fill(&self, tile: &mut Tile, with_gaps: &[usize], complete: &mut Vec<bool>) {
        assert_eq!(tile.columns(), self.medians.len(), "a median for each column");
        complete.clear();
        complete.resize(tile.rows(), true);
        if !with_gaps.is_empty() {
            let needed = needed(self.min_present, self.medians.len());
            let mut missing = [0_u32; TILE_ROWS];
            let missing = &mut missing[..tile.rows()];
            for &j in with_gaps {
                let center = self.medians[j];
                for (count, v) in missing.iter_mut().zip(tile.column_mut(j)) {
                    *count += u32::from(v.is_nan());
                    *v = if v.is_nan() { center } else { *v };
                }
            }
            for (complete, &missing) in complete.iter_mut().zip(&*missing) {
                *complete = self.medians.len() - missing as usize >= needed;
            }
        }
        tile.pad();
    }
}
