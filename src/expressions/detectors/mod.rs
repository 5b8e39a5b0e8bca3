//! Detectors: what their models hold, and which kernels their operations call.

mod ar1;
mod cusum;
pub mod gmm;
mod isolation_forest;
mod omr;
mod pca;
