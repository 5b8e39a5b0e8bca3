//! Elementary functions on eight lanes, from additions and multiplications alone, so that every level gives the same bits.

use crate::kernels::simd::Simd;
use std::f64::consts::{LN_2, LOG2_E};

/// Adding it rounds to a whole number, which then lies in the low bits of the sum.
const TO_WHOLE: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52

/// ln 2 in two parts: 33 bits, whose multiples up to 2^20 are exact, and the rest (`LN_2` lies 2.319e-17 below ln 2).
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0xf_ffff);
const LN_2_LOW: f64 = (LN_2 - LN_2_HIGH) + 2.319_046_813_846_299_6e-17;

/// The least argument whose exponential is a normal number.
const LEAST: f64 = -708.0;

/// 1/2!, 1/3!, ..: the series is cut where |r| <= ln 2 / 2 leaves 4e-18.
const SERIES: [f64; 12] = {
    let (mut terms, mut factorial, mut i) = ([0.0; 12], 1.0, 0);
    while i < 12 {
        factorial *= (i + 2) as f64;
        terms[i] = 1.0 / factorial;
        i += 1;
    }
    terms
};

/// `e^x` for x up to 0, to within one unit in the last place; 0 below -708 and where x is NaN.
///
/// `x = n ln 2 + r` (Cody and Waite 1980), then the Taylor series of `e^r` in its even and odd terms side by side.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let inside = s.le(s.splat(LEAST), x);
    let x = s.keep(inside, x);
    let shifted = s.add(s.mul(x, s.splat(LOG2_E)), s.splat(TO_WHOLE));
    let n = s.sub(shifted, s.splat(TO_WHOLE));
    let r = s.sub(s.sub(x, s.mul(n, s.splat(LN_2_HIGH))), s.mul(n, s.splat(LN_2_LOW)));
    let square = s.mul(r, r);
    let mut even = s.splat(SERIES[10]);
    let mut odd = s.splat(SERIES[11]);
    for i in (0..10).step_by(2).rev() {
        even = s.add(s.mul(even, square), s.splat(SERIES[i]));
        odd = s.add(s.mul(odd, square), s.splat(SERIES[i + 1]));
    }
    let tail = s.mul(square, s.add(even, s.mul(odd, r)));
    let e = s.add(s.splat(1.0), s.add(r, tail));
    let power = s.to_array(shifted).map(|v| f64::from_bits((v.to_bits() << 52).wrapping_add(1023 << 52)));
    s.keep(inside, s.mul(e, s.load(&power)))
}

/// `1 / sqrt(x)` of a positive normal number between 1e-300 and 1e300, to within two units in the last place; anything for others.
///
/// Half the exponent, negated, by integer arithmetic on the bits (Lomont 2003), then Newton's steps, which square the relative error of
/// 3.5 percent four times. Division and square root of the processor were two fifths of the preparation of rolling correlations (AVX-512).
#[inline(always)]
pub fn inverse_sqrt<S: Simd>(s: S, x: S::V) -> S::V {
    let guess = s.to_array(x).map(|v| f64::from_bits(0x5fe6_eb50_c7b5_37a9_u64.wrapping_sub(v.to_bits() >> 1)));
    let half = s.mul(x, s.splat(0.5));
    let mut y = s.load(&guess);
    for _ in 0..4 {
        y = s.mul(y, s.sub(s.splat(1.5), s.mul(s.mul(half, y), y)));
    }
    y
}

/// The power of two that brings numbers of up to this size below 1, as far as it is a normal number itself. Multiplying by it
/// rounds nothing, so squares can be added without overflow.
pub fn power_of_two_below(largest: f64) -> f64 {
    let exponent = ((largest.to_bits() >> 52) & 0x7ff) as i64 - 1022;
    f64::from_bits(((1023 - exponent.clamp(-1000, 1000)) as u64) << 52)
}
