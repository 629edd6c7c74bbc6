//! The configuration file, its environment overrides and secrets.
