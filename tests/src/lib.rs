//! Shared by the tests in this package.
#![forbid(unsafe_code)]

pub mod fixtures;
pub mod refvm;
