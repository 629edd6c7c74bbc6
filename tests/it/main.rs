//! All integration tests, in one binary so that they link once.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::default_trait_access,
    clippy::format_collect,
    clippy::match_wild_err_arm,
    clippy::similar_names,
    reason = "brevity reads better than these in tests, and nothing here is fast or long-lived"
)]

mod alerts;
mod architecture;
mod arrivals;
mod catalog_shapes;
mod chats;
mod cli;
mod crash;
mod crossings;
mod deliveries;
mod demo;
mod dispatch;
mod draft;
mod drift;
mod enrollments;
mod episodes;
mod events;
mod examples;
mod faults;
mod feeds;
mod fixtures;
mod held;
mod hostile;
mod indexes;
mod init;
mod injection;
mod injection_writes;
mod journal;
mod mail_links;
mod nodes;
mod operator;
mod operator_enrollments;
mod oracle;
mod outage;
mod permissions;
mod personal;
mod probes;
mod rehearsal;
mod reload;
mod restore;
mod schemas;
mod scores;
mod scripts_templates;
mod sending;
mod sequences;
mod service;
mod site;
mod smtp;
mod source_restart;
mod source_schema;
mod store_conformance;
mod support;
mod sweeps;
mod takeover;
mod templates;
mod testbench;
mod voices;
mod webhooks;
mod world;
mod writes;
