mod rolling;
mod seasonal;
mod spectrum;
