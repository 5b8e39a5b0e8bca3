//! Exact results: every f64 is a whole number times a power of two, so the sums are whole numbers, and one rounding to
//! f64 stands at the end.

use crate::naive::shift;
use crate::subject::What;
use num_bigint::{BigInt, Sign};

/// `value = integer * 2^exponent`, exactly.
fn decode(value: f64) -> (BigInt, i64) {
    let field = (value.to_bits() >> 52 & 0x7ff) as i64;
    let fraction = (value.to_bits() & ((1 << 52) - 1)) as i64;
    let mantissa = if field == 0 { fraction } else { fraction | 1 << 52 };
    (BigInt::from(if value < 0.0 { -mantissa } else { mantissa }), field.max(1) - 1075)
}

/// `numerator / denominator * 2^exponent` as a mantissa of moderate size and a power of two.
fn divide(numerator: &BigInt, denominator: &BigInt, exponent: i64) -> (f64, i64) {
    let bits = 70 + denominator.bits() as i64 - numerator.bits() as i64;
    let quotient = if bits >= 0 { (numerator << bits) / denominator } else { numerator / (denominator << -bits) };
    let (sign, digits) = quotient.to_u64_digits();
    let magnitude = digits.iter().rev().fold(0u128, |all, digit| all << 64 | u128::from(*digit)) as f64;
    (if sign == Sign::Minus { -magnitude } else { magnitude }, exponent - bits)
}

fn rounded((mantissa, exponent): (f64, i64)) -> f64 {
    shift(mantissa, exponent as i32)
}

/// Root of a quotient times an even or odd power of two, with the sign of `sign`.
fn root((mantissa, exponent): (f64, i64), sign: Sign) -> f64 {
    let odd = exponent.rem_euclid(2);
    let value = shift(shift(mantissa, odd as i32).sqrt(), ((exponent - odd) / 2) as i32);
    if sign == Sign::Minus { -value } else { value }
}

/// Whole-number sums of one window. Deviations are `n` times the true ones, so that the mean needs no division.
pub struct Window {
    n: i64,
    exponent: i64,
    sum: BigInt,
    /// Sums of the powers 2, 3 and 4 of the deviations.
    powers: [BigInt; 3],
    /// Of `n` times the centred places: the product with the deviations, and the square.
    product: BigInt,
    square: BigInt,
}

impl Window {
    /// `places` are whole numbers: rows, or nanoseconds.
    pub fn new(values: &[f64], places: &[f64]) -> Window {
        let n = values.len() as i64;
        let decoded: Vec<(BigInt, i64)> = values.iter().map(|v| decode(*v)).collect();
        let exponent = decoded.iter().map(|(_, e)| *e).min().unwrap_or(0);
        let whole: Vec<BigInt> = decoded.into_iter().map(|(m, e)| m << (e - exponent)).collect();
        let sum: BigInt = whole.iter().sum();
        let places: Vec<BigInt> = places.iter().map(|p| BigInt::from(*p as i64)).collect();
        let place_sum: BigInt = places.iter().sum();
        let mut powers = [BigInt::ZERO, BigInt::ZERO, BigInt::ZERO];
        let (mut product, mut square) = (BigInt::ZERO, BigInt::ZERO);
        for (value, place) in whole.iter().zip(&places) {
            let deviation = n * value - &sum;
            let place = n * place - &place_sum;
            let second = &deviation * &deviation;
            powers[1] += &second * &deviation;
            powers[2] += &second * &second;
            powers[0] += second;
            product += &place * &deviation;
            square += &place * &place;
        }
        Window { n, exponent, sum, powers, product, square }
    }

    /// The true value, rounded once or twice; NaN where there is none.
    pub fn statistic(&self, what: What, per: f64) -> f64 {
        let Window { n, exponent, sum, powers: [second, third, fourth], product, square } = self;
        let n = *n;
        let constant = *second == BigInt::ZERO;
        match what {
            What::Mean if n >= 1 => rounded(divide(sum, &BigInt::from(n), *exponent)),
            What::Std { ddof } if n >= 2 && n > i64::from(ddof) => {
                let denominator = BigInt::from(n) * n * (n - i64::from(ddof));
                if constant { 0.0 } else { root(divide(second, &denominator, 2 * exponent), Sign::Plus) }
            }
            What::Skew { bias } if n >= 3 && !constant => {
                // g1^2 = n (sum d^3)^2 / (sum d^2)^3; G1^2 = g1^2 n (n - 1) / (n - 2)^2
                let (up, down) = if bias { (1, 1) } else { (n * (n - 1), (n - 2) * (n - 2)) };
                if third.sign() == Sign::NoSign {
                    return 0.0;
                }
                root(divide(&(third * third * n * up), &(second * second * second * down), 0), third.sign())
            }
            What::Kurtosis { bias } if n >= 4 && !constant => {
                // g2 = u / v; G2 = (n - 1) ((n + 1) u / v + 6) / ((n - 2) (n - 3))
                let v = second * second;
                let u: BigInt = fourth * n - &v * 3;
                if bias {
                    rounded(divide(&u, &v, 0))
                } else {
                    rounded(divide(&(((n + 1) * u + &v * 6) * (n - 1)), &(v * ((n - 2) * (n - 3))), 0))
                }
            }
            What::Slope if n >= 2 && square.sign() != Sign::NoSign => rounded(divide(product, square, *exponent)) * per,
            What::Mean | What::Std { .. } | What::Skew { .. } | What::Kurtosis { .. } | What::Slope => f64::NAN,
            _ => panic!("{what:?} has no exact form here"),
        }
    }
}

/// The true correlation of pairs, rounded a few times; NaN where there is none.
pub fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let (x, y) = (deviations(x), deviations(y));
    let sum_of_products = |a: &[BigInt], b: &[BigInt]| -> BigInt { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let (xx, yy, xy) = (sum_of_products(&x, &x), sum_of_products(&y, &y), sum_of_products(&x, &y));
    if xx == BigInt::ZERO || yy == BigInt::ZERO {
        return f64::NAN;
    }
    if xy == BigInt::ZERO { 0.0 } else { root(divide(&(&xy * &xy), &(xx * yy), 0), xy.sign()) }
}

/// The deviations from the mean, as whole numbers of one unknown unit.
fn deviations(values: &[f64]) -> Vec<BigInt> {
    let decoded: Vec<(BigInt, i64)> = values.iter().map(|v| decode(*v)).collect();
    let exponent = decoded.iter().map(|(_, e)| *e).min().unwrap_or(0);
    let whole: Vec<BigInt> = decoded.into_iter().map(|(m, e)| m << (e - exponent)).collect();
    let sum: BigInt = whole.iter().sum();
    whole.iter().map(|value| value * whole.len() - &sum).collect()
}

#[test]
fn whole_numbers_of_a_small_window() {
    let window = Window::new(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(window.statistic(What::Mean, 1.0), 5.0);
    assert_eq!(window.statistic(What::Std { ddof: 0 }, 1.0), 2.0);
    assert_eq!(window.statistic(What::Skew { bias: true }, 1.0), 0.65625);
    assert_eq!(window.statistic(What::Kurtosis { bias: true }, 1.0), -0.21875);
    assert_eq!(window.statistic(What::Kurtosis { bias: false }, 1.0), 0.940625);
    assert_eq!(window.statistic(What::Slope, 1.0), 34.0 / 42.0);
    let window = Window::new(&[-1e308, -1.7e308, f64::MIN_POSITIVE, 5e-324], &[0.0, 1.0, 2.0, 3.0]);
    assert!((window.statistic(What::Mean, 1.0) / -0.675e308 - 1.0).abs() < 1e-15);
}

/// Least squares through the origin of `y_t` on `y_{t-1}` with `y = x - center`, over the pairs in which both are present,
/// rounded once.
pub fn autoregression(x: &[f64], center: f64) -> f64 {
    let (center, place) = decode(center);
    let decoded: Vec<Option<(BigInt, i64)>> = x.iter().map(|v| (!v.is_nan()).then(|| decode(*v))).collect();
    let exponent = decoded.iter().flatten().map(|(_, e)| *e).min().unwrap_or(place).min(place);
    let center = center << (place - exponent);
    let y: Vec<Option<BigInt>> = decoded.into_iter().map(|v| v.map(|(m, e)| (m << (e - exponent)) - &center)).collect();
    let (mut product, mut square) = (BigInt::ZERO, BigInt::ZERO);
    for pair in y.windows(2) {
        if let [Some(last), Some(next)] = pair {
            product += last * next;
            square += last * last;
        }
    }
    match product.sign() {
        _ if square == BigInt::ZERO => f64::NAN,
        Sign::NoSign => 0.0,
        _ => rounded(divide(&product, &square, 0)),
    }
}
