//! Operating regimes: which rows belong together.
