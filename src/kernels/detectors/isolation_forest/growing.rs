//! Growing the trees.

use std::ops::Range;

use super::{Error, Forest, Plan, average_path};
use crate::kernels::matrix::Matrix;
use crate::kernels::parallel;
use crate::kernels::random::Stream;

/// Grows a forest; the same for every number of threads.
pub fn fit(matrix: Matrix<'_>, plan: &Plan, pool: &rayon::ThreadPool) -> Result<Forest, Error> {
    if matrix.rows() == 0 {
        return Err(Error::NoRows);
    }
    if matrix.columns() == 0 {
        return Err(Error::NoColumns);
    }
    if matrix.rows() > i32::MAX as usize {
        return Err(Error::TooLarge);
    }
    let sample_size = plan.max_samples.min(matrix.rows());
    let limit = sample_size.max(2).next_power_of_two().ilog2();
    let cells = plan.n_trees.saturating_mul(sample_size).saturating_mul(limit as usize);
    let trees = parallel::map(
        pool,
        plan.n_trees,
        cells,
        || Grower::new(matrix),
        |grower, t| grower.grow(&mut Stream::new(plan.seed, t), sample_size, plan.bootstrap, limit),
    );
    let mut forest = Forest { sample_size, ..Forest::default() };
    for tree in trees {
        forest.start.push(u32::try_from(forest.child.len()).map_err(|_| Error::TooLarge)?);
        forest.feature.extend(tree.feature);
        forest.value.extend(tree.value);
        forest.child.extend(tree.child);
    }
    Ok(forest)
}

/// The lists of one tree.
#[derive(Default)]
struct Grown {
    feature: Vec<u32>,
    value: Vec<f64>,
    child: Vec<u32>,
}

/// What a thread needs to grow trees.
struct Grower<'a> {
    matrix: Matrix<'a>,
    /// One bit for each row: whether it is drawn. All are 0 between two trees.
    drawn: Vec<u64>,
    /// Rows of the tree; those of a node lie together.
    rows: Vec<u32>,
    /// Readings of the node that is split, and the rows that go right.
    readings: Vec<f64>,
    right: Vec<u32>,
    /// All columns; a node looks at the first few, the others are constant in it.
    columns: Vec<u32>,
    tree: Grown,
}

impl<'a> Grower<'a> {
    fn new(matrix: Matrix<'a>) -> Self {
        Self {
            matrix,
            drawn: vec![0; matrix.rows().div_ceil(64)],
            rows: Vec::new(),
            readings: Vec::new(),
            right: Vec::new(),
            columns: Vec::new(),
            tree: Grown::default(),
        }
    }

    fn grow(&mut self, stream: &mut Stream, sample_size: usize, bootstrap: bool, limit: u32) -> Grown {
        self.draw(stream, sample_size, bootstrap);
        self.readings.resize(self.rows.len(), 0.0);
        self.right.resize(self.rows.len(), 0);
        let columns = self.matrix.columns();
        self.columns.clear();
        self.columns.extend(0..columns as u32);
        self.tree.child.push(0);
        self.tree.feature.push(0);
        self.tree.value.push(0.0);
        self.split(stream, 0, 0..self.rows.len(), limit, 0, columns);
        std::mem::take(&mut self.tree)
    }

    /// Without replacement each set of rows is as likely as any other (Floyd's algorithm, Bentley 1987).
    fn draw(&mut self, stream: &mut Stream, sample_size: usize, bootstrap: bool) {
        self.rows.clear();
        let n = self.matrix.rows();
        for last in n - sample_size..n {
            let row = stream.below(if bootstrap { n } else { last + 1 });
            if self.insert(row) {
                self.rows.push(row as u32);
            } else if !bootstrap {
                self.insert(last);
                self.rows.push(last as u32);
            }
        }
        for &row in &self.rows {
            self.drawn[row as usize / 64] = 0;
        }
    }

    /// Whether the row was not yet drawn.
    fn insert(&mut self, row: usize) -> bool {
        let (word, bit) = (&mut self.drawn[row / 64], 1 << (row % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Splits a node of the rows at `range` until nothing is left to split; of the columns the first `varying` may vary in it.
    fn split(
        &mut self,
        stream: &mut Stream,
        node: usize,
        range: Range<usize>,
        limit: u32,
        depth: u32,
        mut varying: usize,
    ) {
        let rows = &mut self.rows[range.clone()];
        let mut found = None;
        while depth < limit && rows.len() > 1 && varying > 0 {
            let k = stream.below(varying);
            let column = self.matrix.column(self.columns[k] as usize);
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for (reading, &row) in self.readings.iter_mut().zip(rows.iter()) {
                let v = column[row as usize];
                *reading = v;
                low = if v < low { v } else { low };
                high = if v > high { v } else { high };
            }
            if low < high {
                found = Some((self.columns[k], threshold(low, high, stream.uniform())));
                break;
            }
            varying -= 1;
            self.columns.swap(k, varying);
        }
        let Some((feature, threshold)) = found else {
            self.tree.value[node] = f64::from(depth) + average_path(rows.len());
            return;
        };
        // no branch depends on the readings: those of a row are written to both sides, and one side moves on
        let (mut left, mut right) = (0, 0);
        for i in 0..rows.len() {
            let (row, goes_left) = (rows[i], self.readings[i] <= threshold);
            rows[left] = row;
            self.right[right] = row;
            left += usize::from(goes_left);
            right += usize::from(!goes_left);
        }
        rows[left..].copy_from_slice(&self.right[..right]);
        let child = self.tree.child.len();
        self.tree.feature[node] = feature;
        self.tree.value[node] = threshold;
        self.tree.child[node] = child as u32;
        self.tree.feature.extend([0; 2]);
        self.tree.value.extend([0.0; 2]);
        self.tree.child.extend([0; 2]);
        let middle = range.start + left;
        self.split(stream, child, range.start..middle, limit, depth + 1, varying);
        self.split(stream, child + 1, middle..range.end, limit, depth + 1, varying);
    }
}

/// At `u`, in [0, 1), of the way from `low` to `high`, at least `low` and below `high`, so that both sides get a row.
fn threshold(low: f64, high: f64, u: f64) -> f64 {
    let range = high - low;
    // the range of readings of both signs may overflow; neither product does
    let at = if range.is_finite() { low + u * range } else { (1.0 - u) * low + u * high };
    // by rounding only
    if at < high { at.max(low) } else { low }
}
