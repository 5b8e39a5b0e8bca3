//! Polars expressions: one thin function each. Series in, a kernel, Series out.

mod detectors;
mod features;
mod io;
mod models;
mod regimes;
