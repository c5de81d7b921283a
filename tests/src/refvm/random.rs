//! Random histories for the schedulers.

super::tests![];
