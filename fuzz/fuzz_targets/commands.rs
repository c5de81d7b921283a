//! See [`rvs_fuzz::commands`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fuzz::commands::run(data));
