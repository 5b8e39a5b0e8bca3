//! Linear algebra that the detectors share.
