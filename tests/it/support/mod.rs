//! Real servers and shared helpers for the tests.
