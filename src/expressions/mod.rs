//! Polars expressions: one thin function each. Series in, a kernel, Series out.

mod features;
mod io;
