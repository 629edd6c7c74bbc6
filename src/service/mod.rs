//! Wiring: builds every part, runs them, and stops them in order.
