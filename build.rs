//! Tells the library which cargo profile it was built with, so that benchmarks can refuse a slow one.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // OUT_DIR is <target>/<profile>/build/<package>/out; cargo's own PROFILE knows only debug and release
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name).map(|name| name.to_string_lossy());
    println!("cargo::rustc-env=ACM_RS_PROFILE={}", profile.as_deref().unwrap_or("unknown"));
}
