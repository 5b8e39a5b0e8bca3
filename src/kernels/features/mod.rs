//! Features of single columns and of pairs of them.

pub mod correlation;
pub mod rolling;
