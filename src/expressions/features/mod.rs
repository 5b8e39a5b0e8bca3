mod rolling;
