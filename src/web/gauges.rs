//! Metrics: what they mean, and the gauges that are read from the state when somebody asks.

use crate::engine::port::{Overview, RuleState, RuleStatus};
use jiff::Timestamp;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

/// Seconds that matter between a webhook's milliseconds and a slow mail server.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// A recorder with our buckets. The caller installs it, once per process.
pub fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
    Ok(builder.build_recorder())
}

/// Says what each metric means. `docs/operations.md` has the same table.
pub fn describe() {
    describe_gauge!("nudged_build_info", "1; the version is a label");
    describe_gauge!("nudged_rules", "Rules of the running generation");
    describe_gauge!("nudged_rules_loaded_timestamp_seconds", Unit::Seconds, "When the running generation was loaded");
    describe_gauge!("nudged_reload_successful", "1 while the rules on disk are the ones running");
    describe_counter!("nudged_reloads_total", "Verdicts on the rules directory, by result");
    describe_counter!("nudged_sweeps_total", "Sweeps, by rule and result");
    describe_histogram!("nudged_sweep_seconds", Unit::Seconds, "How long sweeps took");
    describe_counter!("nudged_script_failures_total", "Records that a rule's script failed for, by rule");
    describe_counter!("nudged_matches_total", "Matches entered, by rule and lane");
    describe_counter!("nudged_inbound_total", "Events of other systems, by name and outcome");
    describe_counter!("nudged_inbound_refused_total", "Requests of other systems that were refused, by status");
    describe_counter!("nudged_bounces_total", "Addresses that were reported, by verdict and way");
    describe_counter!("nudged_bounces_unread_total", "Mails among the bounces that said nothing, by why");
    describe_counter!("nudged_preferences_total", "What readers decided, by what they said, topic and way");
    describe_counter!("nudged_links_refused_total", "Links of mails that were not followed, by why");
    describe_counter!("nudged_reactions_total", "Openings and clicks of mails, each once, by what");
    describe_counter!("nudged_reactions_lost_total", "Openings and clicks that came faster than they could be kept");
    describe_counter!("nudged_attempts_total", "Tries at deliveries, by kind and outcome");
    describe_histogram!("nudged_attempt_seconds", Unit::Seconds, "How long tries took, by kind");
    describe_counter!("nudged_enrollments_ended_total", "Enrollments that ended, by rule and reason");
    describe_gauge!("nudged_source_up", "1 while the source answers");
    describe_gauge!(
        "nudged_sending_held",
        "1 while nothing is sent, after a restore or in a clone, until an operator confirms"
    );
    describe_gauge!("nudged_room_short", "1 while the state's disk is nearly full and sweeps stop");
    describe_counter!("nudged_state_failures_total", "Failures of the state database");
    describe_counter!("nudged_events_lost_total", "Events that logs and metrics missed because they came too fast");
    describe_gauge!("nudged_enrollments", "Enrollments by state");
    describe_gauge!("nudged_outbox", "Outbox rows by state");
    describe_gauge!("nudged_oldest_due_seconds", Unit::Seconds, "For how long the oldest due row has been due");
    describe_gauge!("nudged_suppressed", "Addresses on the suppression list");
    describe_gauge!("nudged_rule_status", "1 for each rule's status");
    describe_gauge!("nudged_rule_watermark_seconds", Unit::Seconds, "How far each rule has looked, as a Unix time");
}

/// Sets the gauges that the state knows.
pub fn set_from_state(overview: &Overview, rules: &[RuleState], now: Timestamp) {
    gauge!("nudged_enrollments", "state" => "active").set(overview.active_enrollments as f64);
    gauge!("nudged_enrollments", "state" => "held").set(overview.held_enrollments as f64);
    for (state, count) in [
        ("due", overview.outbox_due),
        ("waiting", overview.outbox_waiting),
        ("sending", overview.outbox_sending),
        ("unknown", overview.outbox_unknown),
        ("dead", overview.outbox_dead),
    ] {
        gauge!("nudged_outbox", "state" => state).set(count as f64);
    }
    let age = overview.oldest_due.map_or(0.0, |due| now.duration_since(due).as_secs_f64().max(0.0));
    gauge!("nudged_oldest_due_seconds").set(age);
    gauge!("nudged_suppressed").set(overview.suppressed as f64);
    for rule in rules {
        let name = rule.rule.to_string();
        for (status, is) in [
            ("running", rule.status == RuleStatus::Running),
            ("paused", rule.status == RuleStatus::Paused),
            ("held", matches!(rule.status, RuleStatus::Held(_))),
        ] {
            gauge!("nudged_rule_status", "rule" => name.clone(), "lane" => rule.lane.as_str(), "status" => status)
                .set(if is { 1.0 } else { 0.0 });
        }
        gauge!("nudged_rule_watermark_seconds", "rule" => name, "lane" => rule.lane.as_str())
            .set(rule.progress.watermark.as_second() as f64);
    }
}
