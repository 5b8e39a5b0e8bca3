//! Assignment of rows to columns, one to one, at the least sum of costs.
//!
//! Shortest augmenting paths with dual variables (Jonker and Volgenant 1987, in the rectangular form of Crouse 2016): row by
//! row the cheapest way on which assigned rows make room. Of equal costs the first column is taken.
//!
//! Cost: `m^2 n` operations for m rows and n columns, m the smaller.

use crate::kernels::elementary::power_of_two_below;

/// For each row the column that it gets, None for the rows that are more than the columns.
///
/// # Panics
/// If there are not `rows * columns` costs, row by row, or one of them is not finite.
pub fn assign(cost: &[f64], rows: usize, columns: usize) -> Vec<Option<usize>> {
    assert_eq!(cost.len(), rows * columns, "costs of {rows} rows and {columns} columns");
    assert!(cost.iter().all(|c| c.is_finite()), "finite costs");
    if rows <= columns {
        return wide(|i, j| cost[i * columns + j], rows, columns).into_iter().map(Some).collect();
    }
    let mut of_row = vec![None; rows];
    for (j, i) in wide(|j, i| cost[i * columns + j], columns, rows).into_iter().enumerate() {
        of_row[i] = Some(j);
    }
    of_row
}

/// Every row gets a column.
fn wide(cost: impl Fn(usize, usize) -> f64, rows: usize, columns: usize) -> Vec<usize> {
    let (mut u, mut v) = (vec![0.0; rows], vec![0.0; columns]);
    let mut row_of: Vec<Option<usize>> = vec![None; columns];
    for start in 0..rows {
        // lengths of the shortest paths to the columns, and the row from which each is reached
        let mut length = vec![f64::INFINITY; columns];
        let mut from = vec![start; columns];
        let mut reached = vec![false; columns];
        let (mut i, mut least) = (start, 0.0);
        let end = loop {
            let mut next: Option<usize> = None;
            for j in (0..columns).filter(|&j| !reached[j]) {
                let through = least + (cost(i, j) - u[i] - v[j]);
                if through < length[j] {
                    (length[j], from[j]) = (through, i);
                }
                if next.is_none_or(|next| length[j] < length[next]) {
                    next = Some(j);
                }
            }
            let j = next.expect("more columns than rows so far");
            (reached[j], least) = (true, length[j]);
            match row_of[j] {
                Some(row) => i = row,
                None => break j,
            }
        };
        u[start] += least;
        for j in (0..columns).filter(|&j| reached[j]) {
            if let Some(row) = row_of[j] {
                u[row] += least - length[j];
            }
            v[j] -= least - length[j];
        }
        // each row on the way moves on to the column that was reached from it
        let mut j = end;
        loop {
            let row = from[j];
            let left = row_of.iter().position(|&r| r == Some(row));
            row_of[j] = Some(row);
            match left {
                Some(column) => j = column,
                None => break,
            }
        }
    }
    let mut column_of = vec![0; rows];
    for (j, row) in row_of.into_iter().enumerate() {
        if let Some(row) = row {
            column_of[row] = j;
        }
    }
    column_of
}

/// New labels of components.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    pub labels: Vec<i64>,
    /// To the old centre of that label, in scaled units; NaN for a component that has none.
    pub distances: Vec<f64>,
}

/// Gives new components the labels of the old ones that they are assigned to, at the least sum of Euclidean distances in units
/// of `scale`; components that are more than the old ones get the numbers above all old labels, in their order.
///
/// # Panics
/// If there is no scale, or centres and labels do not belong together.
pub fn align(new: &[f64], old: &[f64], scale: &[f64], old_labels: &[i64]) -> Alignment {
    let columns = scale.len();
    assert_eq!(old.len(), old_labels.len() * columns, "an old centre for each label");
    assert!(new.len().is_multiple_of(columns), "new centres of {columns} columns");
    let (ours, theirs) = (new.chunks_exact(columns), old.chunks_exact(columns));
    let rows = ours.len();
    let cost: Vec<f64> = ours.flat_map(|a| theirs.clone().map(|b| distance(a, b, scale))).collect();
    let mut next = old_labels.iter().max().map_or(0, |label| label.saturating_add(1));
    let assigned = assign(&cost, rows, old_labels.len());
    let mut alignment = Alignment { labels: Vec::with_capacity(rows), distances: Vec::with_capacity(rows) };
    for (i, j) in assigned.into_iter().enumerate() {
        alignment.labels.push(j.map_or(next, |j| old_labels[j]));
        alignment.distances.push(j.map_or(f64::NAN, |j| cost[i * old_labels.len() + j]));
        next = if j.is_none() { next.saturating_add(1) } else { next };
    }
    alignment
}

/// Distances are no larger, so that sums and differences of them are numbers.
const FARTHEST: f64 = 1e300;

fn distance(a: &[f64], b: &[f64], scale: &[f64]) -> f64 {
    // divided first, because the difference of two huge numbers of unlike signs does not fit
    let parts = a.iter().zip(b).zip(scale).map(|((a, b), scale)| (a / 2.0 - b / 2.0) / scale * 2.0);
    let largest = parts.clone().fold(0.0_f64, |most, v| v.abs().max(most)).min(FARTHEST);
    let power = power_of_two_below(largest);
    (parts.map(|v| v * power).map(|v| v * v).sum::<f64>().sqrt() / power).min(FARTHEST)
}
