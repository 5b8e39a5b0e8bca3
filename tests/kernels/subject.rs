//! The kernels as the tests see them: one description of a call, understood by the kernels and by the naive twin.

use crate::checks::same_bits;
use acm_rs::kernels::features::rolling::{Plan, Statistic, evaluate};
use acm_rs::kernels::params::{Bands, Window};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Median,
    Mad { scale: f64 },
    Mean,
    Std { ddof: u32 },
    Skew { bias: bool },
    Kurtosis { bias: bool },
    Slope,
    RobustZ { clip: f64, scale_floor: f64 },
    Hampel { n_sigmas: f64 },
    Energy(usize),
}

impl What {
    /// Statistics that only order, subtract, halve and divide once: equal to the naive evaluation bit for bit.
    pub fn is_order_statistic(self) -> bool {
        matches!(self, What::Median | What::Mad { .. } | What::RobustZ { .. } | What::Hampel { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    Rows(usize),
    Nanoseconds(i64),
}

#[derive(Clone, Debug)]
pub struct Case {
    pub span: Span,
    pub min_samples: usize,
    pub what: Vec<What>,
    pub bands: Vec<(f64, f64)>,
    pub sampling_hz: f64,
    pub spectrum_min_samples: usize,
}

/// The three bands of ACM: up to a tenth, up to three tenths, up to the whole of the Nyquist frequency (exclusive).
pub fn default_bands(sampling_hz: f64) -> Vec<(f64, f64)> {
    let nyquist = sampling_hz / 2.0;
    vec![(0.0, 0.1 * nyquist), (0.1 * nyquist, 0.3 * nyquist), (0.3 * nyquist, nyquist)]
}

/// The eleven outputs of the feature builder, the last of them after the energies.
pub fn eleven() -> Vec<What> {
    vec![
        What::Median,
        What::Mad { scale: 1.0 },
        What::Mean,
        What::Std { ddof: 1 },
        What::Slope,
        What::Skew { bias: false },
        What::Kurtosis { bias: false },
        What::Energy(0),
        What::Energy(1),
        What::Energy(2),
        What::RobustZ { clip: 100.0, scale_floor: 0.0 },
    ]
}

/// Every statistic, and the other form of those that have one.
pub fn all_statistics() -> Vec<What> {
    let mut what = eleven();
    what.extend([
        What::Mad { scale: 1.4826 },
        What::Std { ddof: 0 },
        What::Std { ddof: 3 },
        What::Skew { bias: true },
        What::Kurtosis { bias: true },
        What::RobustZ { clip: 2.0, scale_floor: 0.25 },
        What::Hampel { n_sigmas: 3.0 },
        What::Hampel { n_sigmas: 0.5 },
    ]);
    what
}

impl Case {
    pub fn rows(size: usize, min_samples: usize, what: Vec<What>) -> Case {
        Case {
            span: Span::Rows(size),
            min_samples,
            what,
            bands: default_bands(1.0),
            sampling_hz: 1.0,
            spectrum_min_samples: (size / 2).max(2),
        }
    }

    /// Energies have no meaning in a window of time and are left out.
    pub fn nanoseconds(length: i64, min_samples: usize, what: Vec<What>) -> Case {
        let what = what.into_iter().filter(|w| !matches!(w, What::Energy(_))).collect();
        Case { span: Span::Nanoseconds(length), ..Case::rows(1, min_samples, what) }
    }

    pub fn evaluate(&self, x: &[f64], times: Option<&[i64]>) -> Vec<Vec<f64>> {
        let window = match self.span {
            Span::Rows(size) => Window::rows(size, self.min_samples).expect("a valid window of rows"),
            Span::Nanoseconds(length) => Window::duration(length, self.min_samples).expect("a valid window of time"),
        };
        let statistics = self.what.iter().map(|what| match *what {
            What::Median => Statistic::Median,
            What::Mad { scale } => Statistic::Mad { scale },
            What::Mean => Statistic::Mean,
            What::Std { ddof } => Statistic::Std { ddof },
            What::Skew { bias } => Statistic::Skew { bias, clip: f64::INFINITY },
            What::Kurtosis { bias } => Statistic::Kurtosis { bias, clip: f64::INFINITY },
            What::Slope => Statistic::Slope,
            What::RobustZ { clip, scale_floor } => Statistic::RobustZ { clip, scale_floor },
            What::Hampel { n_sigmas } => Statistic::Hampel { n_sigmas },
            What::Energy(band) => Statistic::Energy(band),
        });
        let mut plan = Plan::new(window, statistics.collect());
        if self.what.iter().any(|what| matches!(what, What::Energy(_))) {
            let bands = Bands::new(&self.bands, self.sampling_hz).expect("valid bands");
            plan = plan.with_spectrum(bands, self.spectrum_min_samples).expect("a window of rows");
        }
        let results = evaluate(x, times, &plan);
        assert_eq!(results.len(), self.what.len(), "one result per statistic");
        for result in &results {
            assert_eq!(result.len(), x.len(), "one value per row");
        }
        // a median alone is found in another way than one beside a MAD
        if let Some(i) = self.what.iter().position(|what| *what == What::Median).filter(|_| self.what.len() > 1) {
            let alone = Case { what: vec![What::Median], ..self.clone() };
            same_bits("alone", &alone, x, &alone.evaluate(x, times), &results[i..=i]);
        }
        results
    }
}
