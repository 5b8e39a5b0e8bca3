//! Missing cells of many columns: which rows know enough, and what stands in for what they lack.
//!
//! A row counts while at least `min_present` of its columns are present; its missing cells are replaced by the medians of
//! the train rows. Other rows are left out of fits, and their scores are NaN. Columns that never change or are never
//! present say nothing and are dropped, with the reason.

use crate::kernels::features::filling::median;
use crate::kernels::matrix::{Matrix, Tile};

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
pub struct Complete {
    data: Vec<f64>,
    rows: usize,
    /// Positions of the columns that are kept, ascending.
    pub kept: Vec<usize>,
    pub dropped: Vec<(usize, Reason)>,
    pub imputation: Imputation,
    /// Rows with too few readings.
    pub rows_left_out: usize,
}

impl Complete {
    /// Takes a matrix whose missing cells are NaN; `min_present` lies in (0, 1].
    ///
    /// The share of a row's columns that are present counts the kept ones only; leaving rows out may make further columns
    /// constant, which are then dropped too, until nothing changes.
    pub fn new(matrix: Matrix<'_>, min_present: f64) -> Self {
        let mut kept: Vec<usize> = (0..matrix.columns()).collect();
        let mut rows: Vec<usize> = (0..matrix.rows()).collect();
        let mut dropped = Vec::new();
        loop {
            let before = (kept.len(), rows.len());
            kept.retain(|&j| {
                let reason = useless(rows.iter().map(|&i| matrix.column(j)[i]));
                dropped.extend(reason.map(|reason| (j, reason)));
                reason.is_none()
            });
            let needed = needed(min_present, kept.len());
            let mut present = vec![0_usize; matrix.rows()];
            for &j in &kept {
                for (count, v) in present.iter_mut().zip(matrix.column(j)) {
                    *count += usize::from(!v.is_nan());
                }
            }
            rows.retain(|&i| present[i] >= needed);
            if (kept.len(), rows.len()) == before {
                break;
            }
        }
        dropped.sort_unstable_by_key(|&(j, _)| j);
        let mut data = Vec::with_capacity(rows.len() * kept.len());
        let mut medians = Vec::with_capacity(kept.len());
        let mut readings = Vec::with_capacity(rows.len());
        for &j in &kept {
            let column = matrix.column(j);
            let start = data.len();
            data.extend(rows.iter().map(|&i| column[i]));
            let cells = &mut data[start..];
            readings.clear();
            readings.extend(cells.iter().copied().filter(|v| !v.is_nan()));
            let center = median(&mut readings);
            cells.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = center);
            medians.push(center);
        }
        Self {
            data,
            rows: rows.len(),
            rows_left_out: matrix.rows() - rows.len(),
            dropped,
            imputation: Imputation { medians, min_present },
            kept,
        }
    }

    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.data, self.rows, self.kept.len())
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
    /// Replaces the missing cells of a tile; `complete` says for each row whether enough of it was present.
    pub fn fill(&self, tile: &mut Tile, complete: &mut Vec<bool>) {
        assert_eq!(tile.columns(), self.medians.len(), "a median for each column");
        let needed = needed(self.min_present, self.medians.len());
        let mut missing = vec![0_usize; tile.rows()];
        for (j, &center) in self.medians.iter().enumerate() {
            for (count, v) in missing.iter_mut().zip(tile.column_mut(j)) {
                if v.is_nan() {
                    *v = center;
                    *count += 1;
                }
            }
        }
        complete.clear();
        complete.extend(missing.iter().map(|&count| self.medians.len() - count >= needed));
        tile.pad();
    }
}
