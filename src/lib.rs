//! nudged watches a CRM database and acts when a customer relationship needs a nudge.
//!
//! The modules stand in one order and import only what stands above them; `tests/it/architecture.rs`
//! enforces it. `ARCHITECTURE.md` tells the way data flows through them.

pub mod model;

pub mod catalog;
pub mod diagnostic;

pub mod rule;

pub mod engine;

pub mod action;
pub mod rulebook;
pub mod source;
pub mod store;

pub mod config;
pub mod testbench;
pub mod web;

pub mod service;

pub mod cli;
