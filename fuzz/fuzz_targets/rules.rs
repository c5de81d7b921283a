//! See [`rvs_fuzz::rules`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fuzz::rules::run(data));
