//! Rows by columns of `f64`, column by column in memory: what fits learn from and what scores are computed of.

use crate::kernels::simd::LANES;

/// A borrowed matrix; cell (i, j) lies at `j * rows + i`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f64],
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// # Panics
    /// If there are not `rows * columns` values.
    pub fn new(data: &'a [f64], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { data, rows, columns }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn column(&self, j: usize) -> &'a [f64] {
        &self.data[j * self.rows..(j + 1) * self.rows]
    }
}

/// Rows of a block that is scored at once; their columns lie in the cache together.
pub const TILE_ROWS: usize = 128;

/// A few rows of all columns. Each column has room for whole vectors of rows: cell (i, j) lies at `j * stride + i`, and behind
/// the last row come copies of it, so that a kernel may compute whole vectors and ignore the rest.
#[derive(Default)]
pub struct Tile {
    data: Vec<f64>,
    rows: usize,
    stride: usize,
}

impl Tile {
    /// Makes room for so many rows and columns; what it holds then is unspecified. Call [`Tile::pad`] when the rows are written.
    pub fn resize(&mut self, rows: usize, columns: usize) {
        self.rows = rows;
        self.stride = rows.next_multiple_of(LANES);
        self.data.resize(self.stride * columns, 0.0);
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows with the copies behind them, a multiple of [`LANES`].
    pub fn stride(&self) -> usize {
        self.stride
    }

    pub fn columns(&self) -> usize {
        self.data.len().checked_div(self.stride).unwrap_or(0)
    }

    /// A column with the copies behind it.
    pub fn column(&self, j: usize) -> &[f64] {
        &self.data[j * self.stride..(j + 1) * self.stride]
    }

    /// The rows of a column alone.
    pub fn column_mut(&mut self, j: usize) -> &mut [f64] {
        let start = j * self.stride;
        &mut self.data[start..start + self.rows]
    }

    /// Writes the copies of the last row.
    pub fn pad(&mut self) {
        if self.rows > 0 {
            for column in self.data.chunks_exact_mut(self.stride) {
                let last = column[self.rows - 1];
                column[self.rows..].fill(last);
            }
        }
    }
}
