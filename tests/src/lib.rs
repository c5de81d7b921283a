//! Shared by the tests in this package.
