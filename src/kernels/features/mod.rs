//! Features of single columns and of pairs of them.

pub mod correlation;
pub mod directions;
pub mod filling;
pub mod quality;
pub mod rolling;
pub mod scaling;
pub mod seasonal;
pub mod spectrum;
