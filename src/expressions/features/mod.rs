mod columns;
mod directions;
mod filling;
mod quality;
mod rolling;
mod scaling;
mod seasonal;
mod spectrum;
