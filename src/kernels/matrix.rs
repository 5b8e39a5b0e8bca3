//! Rows by columns of `f64`, column by column in memory: what fits learn from and what scores are computed of.

use crate::kernels::parallel;
use crate::kernels::simd::LANES;

/// A borrowed matrix.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    cells: Place<'a>,
    rows: usize,
    columns: usize,
}

/// Where the columns lie.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// cell (i, j) at `j * rows + i`
    Together(&'a [f64]),
    Apart(&'a [&'a [f64]]),
}

impl<'a> Matrix<'a> {
    /// Of columns that lie one behind the other.
    ///
    /// # Panics
    /// If there are not `rows * columns` values.
    pub fn new(data: &'a [f64], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { cells: Place::Together(data), rows, columns }
    }

    /// # Panics
    /// If a column has another length.
    pub fn of(columns: &'a [&'a [f64]], rows: usize) -> Self {
        assert!(columns.iter().all(|column| column.len() == rows), "columns of {rows} rows");
        Self { cells: Place::Apart(columns), rows, columns: columns.len() }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn column(&self, j: usize) -> &'a [f64] {
        match self.cells {
            Place::Together(data) => &data[j * self.rows..(j + 1) * self.rows],
            Place::Apart(columns) => columns[j],
        }
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

    pub fn cells(&self) -> Cells<'_> {
        Cells { data: &self.data, rows: self.rows, stride: self.stride }
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

/// The cells of a [`Tile`] or of one of many [`Tiles`].
#[derive(Clone, Copy)]
pub struct Cells<'a> {
    /// Cell (i, j) lies at `j * stride + i`; behind the last row of a column come copies of it.
    pub data: &'a [f64],
    pub rows: usize,
    pub stride: usize,
}

/// Rows of each of many [`Tiles`]: columns lie closer together than in a [`Tile`], because a fit that goes through the columns
/// of a few rows fetches them from afar.
pub const FIT_ROWS: usize = 64;

/// Tiles that are one piece of work, and the most pieces that a matrix is cut into: their results wait for each other.
const PIECE_TILES: usize = 1024 / FIT_ROWS;
const PIECES: usize = 64;

/// A whole matrix tile by tile, for fits that pass over it many times.
pub struct Tiles {
    data: Vec<f64>,
    rows: usize,
    columns: usize,
}

impl Tiles {
    /// `convert(j, column, out)` writes the cells of column j that go with some rows of it.
    pub fn new(
        matrix: Matrix<'_>,
        pool: &rayon::ThreadPool,
        convert: impl Fn(usize, &[f64], &mut [f64]) + Sync,
    ) -> Self {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let mut tiles = Self { data: vec![0.0; rows.next_multiple_of(LANES) * columns], rows, columns };
        let parts = tiles.data.chunks_mut(FIT_ROWS * columns.max(1));
        parallel::each(
            pool,
            parts,
            rows * columns,
            || (),
            |(), t, tile| {
                let from = t * FIT_ROWS;
                let rows = (rows - from).min(FIT_ROWS);
                for (j, column) in tile.chunks_exact_mut(tile.len() / columns).enumerate() {
                    convert(j, &matrix.column(j)[from..from + rows], &mut column[..rows]);
                    let last = column[rows - 1];
                    column[rows..].fill(last);
                }
            },
        );
        tiles
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn len(&self) -> usize {
        self.rows.div_ceil(FIT_ROWS)
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn get(&self, t: usize) -> Cells<'_> {
        let from = t * FIT_ROWS;
        let rows = (self.rows - from).min(FIT_ROWS);
        let stride = rows.next_multiple_of(LANES);
        Cells { data: &self.data[from * self.columns..(from + stride) * self.columns], rows, stride }
    }

    pub fn cell(&self, i: usize, j: usize) -> f64 {
        let Cells { data, stride, .. } = self.get(i / FIT_ROWS);
        data[j * stride + i % FIT_ROWS]
    }

    /// The tiles of each piece of work; a function of the number of rows alone.
    pub fn pieces(&self) -> Vec<std::ops::Range<usize>> {
        let step = PIECE_TILES.max(self.len().div_ceil(PIECES));
        (0..self.len()).step_by(step).map(|t| t..(t + step).min(self.len())).collect()
    }
}
