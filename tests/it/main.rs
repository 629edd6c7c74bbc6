//! All integration tests, in one binary so that they link once.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod architecture;
mod cli;
mod crash;
mod crossings;
mod demo;
mod dispatch;
mod enrollments;
mod examples;
mod feeds;
mod fixtures;
mod nodes;
mod operator;
mod outage;
mod reload;
mod scripts_templates;
mod service;
mod site;
mod smtp;
mod source_schema;
mod store_conformance;
mod support;
mod sweeps;
mod webhooks;
mod world;
