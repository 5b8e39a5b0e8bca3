pub(super) mod columns;
mod correlation;
mod directions;
mod filling;
mod quality;
pub(super) mod rolling;
mod scaling;
mod seasonal;
mod spectrum;
