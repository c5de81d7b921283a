//! See [`rvs_fuzz::packets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fuzz::packets::run(data));
