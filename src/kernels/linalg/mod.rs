//! Linear algebra that the detectors share.

pub mod eigen;
pub mod gram;
pub mod project;
