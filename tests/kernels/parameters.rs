//! Parameters out of range are refused with a text that names them; missing and infinite ones too.

use acm_rs::kernels::params::{Bands, ParamError, Window};

fn text<T>(result: Result<T, ParamError>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn windows() {
    assert!(Window::rows(1, 1).is_ok());
    assert!(Window::rows(usize::MAX, 1).is_ok());
    assert!(Window::duration(1, 1).is_ok());
    assert!(Window::duration(i64::MAX, 1000).is_ok());
    assert!(text(Window::rows(0, 1)).contains("window_size"));
    assert!(text(Window::rows(5, 0)).contains("min_samples"));
    assert!(text(Window::rows(5, 6)).contains("min_samples"));
    assert!(text(Window::duration(0, 1)).contains("window_size"));
    assert!(text(Window::duration(-1, 1)).contains("window_size"));
    assert!(text(Window::duration(1, 0)).contains("min_samples"));
}

#[test]
fn numbers_of_statistics() {
    use acm_rs::kernels::features::rolling::{Plan, Statistic};
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(text(Statistic::Mad { scale: wrong }.checked()).contains("scale"), "{wrong}");
        assert!(text(Statistic::RobustZ { clip: wrong, scale_floor: 0.0 }.checked()).contains("clip"), "{wrong}");
    }
    assert!(text(Statistic::RobustZ { clip: 1.0, scale_floor: -1.0 }.checked()).contains("scale_floor"));
    assert!(text(Statistic::Hampel { n_sigmas: f64::NAN }.checked()).contains("n_sigmas"));
    assert!(Statistic::Hampel { n_sigmas: 0.0 }.checked().is_ok());
    let plan = Plan::new(Window::duration(1, 1).unwrap(), vec![]);
    let bands = Bands::new(&[(0.0, 0.5)], 1.0).unwrap();
    assert!(plan.with_spectrum(bands, 1).err().is_some_and(|e| e.0.contains("by")));
}

#[test]
fn bands() {
    assert!(Bands::new(&[(0.0, 0.1), (0.1, 0.2), (0.3, 0.5)], 1.0).is_ok());
    for sampling_hz in [1e-9, 1.0, 7.3, 1e9] {
        assert!(Bands::new(&[(0.0, 0.1 * sampling_hz), (0.1 * sampling_hz, 0.5 * sampling_hz)], sampling_hz).is_ok());
    }
    let nan = f64::NAN;
    let wrong: [&[(f64, f64)]; 10] = [
        &[],
        &[(0.2, 0.1)],
        &[(0.1, 0.1)],
        &[(0.0, 0.2), (0.1, 0.3)],
        &[(0.3, 0.4), (0.0, 0.1)],
        &[(-0.1, 0.1)],
        &[(0.4, 0.6)],
        &[(nan, 0.1)],
        &[(0.1, nan)],
        &[(0.1, f64::INFINITY)],
    ];
    for edges in wrong {
        assert!(text(Bands::new(edges, 1.0)).contains("bands"), "{edges:?}");
    }
    for sampling_hz in [0.0, -1.0, nan, f64::INFINITY] {
        assert!(text(Bands::new(&[(0.0, 0.1)], sampling_hz)).contains("sampling_hz"), "{sampling_hz}");
    }
}
