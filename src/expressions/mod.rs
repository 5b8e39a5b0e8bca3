//! Polars expressions: one thin function each. Series in, a kernel, Series out.

mod detectors;
mod features;
mod io;
mod learning;
mod models;
mod regimes;
