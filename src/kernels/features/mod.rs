//! Features of single columns and of pairs of them.

pub mod rolling;
pub mod seasonal;
pub mod spectrum;
