mod correlation;
mod rolling;
