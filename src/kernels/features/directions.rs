//! Directions: readings on a circle, where 359 and 1 degrees are neighbours.
//!
//! A direction is taken as the unit vector `(cos, sin)` of its angle. The circular mean is the direction of the mean vector,
//! the resultant length is that vector's length: 1 where all directions are equal, 0 where they cancel (Mardia and Jupp 2000,
//! *Directional Statistics*, section 2.2). Missing readings (NaN) are skipped.
//!
//! The angle is first brought into a quarter turn, by operations without rounding for degrees, so that multiples of
//! 90 degrees give exact vectors. Cost: one sine and one cosine per reading.

use std::f64::consts::TAU;

/// Below this length the mean vector is rounding, and has no direction: a unit vector is known to about 1e-16.
pub const NO_DIRECTION: f64 = 1e-14;

/// The unit vector of a direction; `period` is the full circle.
pub fn unit_vector(x: f64, period: f64) -> (f64, f64) {
    let quarter = period / 4.0;
    let within = x % period;
    let turns = (within / quarter).round();
    let (sin, cos) = ((within - turns * quarter) / period * TAU).sin_cos();
    let (x, y) = match (turns as i64).rem_euclid(4) {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    };
    // no negative zeros
    (x + 0.0, y + 0.0)
}

/// The mean vector of the readings that are present; NaN if there is none.
fn mean_vector(x: &[f64], period: f64) -> (f64, f64) {
    let (mut cosines, mut sines, mut readings) = (0.0, 0.0, 0.0);
    for &v in x.iter().filter(|v| !v.is_nan()) {
        let (cos, sin) = unit_vector(v, period);
        cosines += cos;
        sines += sin;
        readings += 1.0;
    }
    (cosines / readings, sines / readings)
}

/// The direction of the mean vector, in `[0, period)`; NaN where there is none.
pub fn circular_mean(x: &[f64], period: f64) -> f64 {
    let (cos, sin) = mean_vector(x, period);
    if cos.hypot(sin) < NO_DIRECTION {
        return f64::NAN;
    }
    let angle = sin.atan2(cos) / TAU * period;
    let angle = if angle < 0.0 { angle + period } else { angle };
    // a tiny negative angle rounds to the full circle
    if angle >= period { 0.0 } else { angle }
}

/// The length of the mean vector, 0 to 1.
pub fn resultant_length(x: &[f64], period: f64) -> f64 {
    let (cos, sin) = mean_vector(x, period);
    let length = cos.hypot(sin);
    if length > 1.0 { 1.0 } else { length }
}
