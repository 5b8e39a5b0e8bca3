//! Seeded random numbers and the series that the tests run on.

/// Splitmix64 (Steele, Lea and Flood 2014): good enough for test data, the same on every platform.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Near enough to a standard normal: twelve uniforms.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    WhiteNoise,
    RandomWalk,
    Ramp,
    ConstantRuns,
    Quantised,
    LargeOffset,
    LargeOffsetQuantised,
    Spike,
    MissingAtRandom,
    MissingRuns,
    Infinite,
    LastDigits,
    Steps,
    Stuck,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::WhiteNoise,
        Kind::RandomWalk,
        Kind::Ramp,
        Kind::ConstantRuns,
        Kind::Quantised,
        Kind::LargeOffset,
        Kind::LargeOffsetQuantised,
        Kind::Spike,
        Kind::MissingAtRandom,
        Kind::MissingRuns,
        Kind::Infinite,
        Kind::LastDigits,
        Kind::Steps,
        Kind::Stuck,
    ];

    pub fn series(self, n: usize, seed: u64) -> Vec<f64> {
        let random = &mut Random::new(seed);
        let mut level = 0.0;
        let mut left = 0;
        let mut x: Vec<f64> = Vec::with_capacity(n);
        for row in 0..n {
            x.push(match self {
                Kind::WhiteNoise | Kind::Spike => random.normal(),
                Kind::RandomWalk => {
                    level += random.normal();
                    level
                }
                Kind::Ramp => 1000.0 + 0.1 * row as f64 + 1e-6 * random.normal(),
                Kind::ConstantRuns => {
                    if left == 0 {
                        left = 1 + random.below(60);
                        level = (10.0 * random.normal()).round() / 10.0;
                    }
                    left -= 1;
                    // now and then a single other reading inside a run
                    if random.below(40) == 0 { level + 1e-3 } else { level }
                }
                Kind::Quantised => (2.0 * random.normal()).round() / 2.0,
                Kind::LargeOffset => 1e8 + 1e-3 * random.normal(),
                Kind::LargeOffsetQuantised => 1e8 + (2.0 * random.normal()).round() * 1e-3,
                Kind::MissingAtRandom => {
                    if random.below(20) == 0 {
                        f64::NAN
                    } else {
                        20.0 + random.normal()
                    }
                }
                Kind::MissingRuns => {
                    if left == 0 {
                        left = 1 + random.below(30);
                        level = if level.is_nan() { 0.0 } else { f64::NAN };
                    }
                    left -= 1;
                    level + random.normal()
                }
                Kind::Infinite => match random.below(12) {
                    0 => f64::INFINITY,
                    1 => f64::NEG_INFINITY,
                    _ => random.normal(),
                },
                // runs longer than most windows, so that constant windows follow varying ones; a third is missing
                Kind::Stuck => {
                    if left == 0 {
                        let longest = random.pick(&[5, 600, 600]);
                        left = 1 + random.below(longest);
                        level = random.pick(&[0.1, 0.2, -273.2, 1e6 / 3.0, 0.0]);
                    }
                    left -= 1;
                    if random.below(3) == 0 { f64::NAN } else { level }
                }
                Kind::LastDigits => f64::from_bits(0.1f64.to_bits() + random.next() % 3),
                Kind::Steps => {
                    if random.below(25) == 0 {
                        level = 1e6 * random.normal();
                    }
                    level + 1e-3 * random.normal()
                }
            });
        }
        if self == Kind::Spike && n > 0 {
            x[random.below(n.div_ceil(2))] = 1e15;
        }
        x
    }
}

/// Ascending times with ties, bursts a few nanoseconds apart, regular stretches and long gaps; also before 1970.
pub fn irregular_times(n: usize, seed: u64) -> Vec<i64> {
    let random = &mut Random::new(seed);
    let mut time = -(random.below(5_000_000_000) as i64);
    (0..n)
        .map(|_| {
            time += match random.below(10) {
                0 | 1 => 0,
                2 => 1 + random.below(5) as i64,
                3 => random.below(20_000_000_000) as i64,
                4 => random.below(3_000_000_000) as i64,
                _ => 1_000_000_000,
            };
            time
        })
        .collect()
}
