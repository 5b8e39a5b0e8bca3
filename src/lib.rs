#![doc = include_str!("../README.md")]

#[cfg(feature = "plugin")]
mod expressions;
pub mod kernels;

#[cfg(feature = "plugin")]
mod python {
    use pyo3::prelude::*;
    use pyo3_polars::PolarsAllocator;

    /// Polars' own allocator, so that buffers cross without a copy and are freed by the one that made them.
    #[global_allocator]
    static ALLOCATOR: PolarsAllocator = PolarsAllocator::new();

    #[pymodule]
    fn _internal(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("__profile__", env!("ACM_RS_PROFILE"))?;
        module.add_function(wrap_pyfunction!(simd_level, module)?)
    }

    /// The instruction set in use: "portable", "avx2" or "avx512".
    #[pyfunction]
    fn simd_level() -> String {
        format!("{:?}", crate::kernels::simd::level()).to_lowercase()
    }
}
