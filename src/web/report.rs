//! The JSON of `/api/status`, which `nudged status` shows too.

use crate::diagnostic::{Finding, Severity};
use crate::engine::port::{Overview, RuleState, RuleStatus, Store, StoreError, SweepView};
use crate::rulebook::Standing;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// What the state says: counts, rules, held sweeps.
pub async fn state_report(store: &dyn Store, now: Timestamp) -> Result<Json, StoreError> {
    let overview = store.overview(now).await?;
    let rules = store.rule_states().await?;
    let held = store.held_sweeps().await?;
    let objections = store.objections().await?;
    Ok(json!({
        "sending_held": objections.iter().map(|(_, objection)| json!({
            "why": objection.as_str(),
            "message": objection.explain(),
        })).collect::<Vec<_>>(),
        "counts": counts(&overview),
        "rules": rules.iter().map(rule).collect::<Vec<_>>(),
        "held": held.iter().map(sweep).collect::<Vec<_>>(),
    }))
}

fn counts(overview: &Overview) -> Json {
    json!({
        "matches": overview.matches,
        "enrollments": {"active": overview.active_enrollments, "held": overview.held_enrollments},
        "outbox": {
            "due": overview.outbox_due,
            "waiting": overview.outbox_waiting,
            "sending": overview.outbox_sending,
            "unknown": overview.outbox_unknown,
            "dead": overview.outbox_dead,
            "oldest_due": overview.oldest_due,
        },
        "suppressed": overview.suppressed,
        "attempts_of_24_hours": overview.attempts_today.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

fn rule(state: &RuleState) -> Json {
    let (status, reason) = match &state.status {
        RuleStatus::Running => ("running", None),
        RuleStatus::Paused => ("paused", None),
        RuleStatus::Held(reason) => ("held", Some(reason)),
        RuleStatus::Removed => ("removed", None),
    };
    json!({
        "rule": state.rule,
        "lane": state.lane,
        "tenant": state.tenant,
        "status": status,
        "reason": reason,
        "matches": state.matches,
        "left_out": state.left_out,
        "baseline": state.baseline,
        "watermark": state.progress.watermark,
        // At first it says when the rule was taken up.
        "swept_at": state.progress.seeded.then_some(state.progress.swept_at),
    })
}

fn sweep(sweep: &SweepView) -> Json {
    json!({
        "sweep": sweep.id,
        "rule": sweep.rule,
        "lane": sweep.lane,
        "reason": sweep.reason,
        "matches": sweep.matches,
        "since": sweep.since,
    })
}

/// Which rules run, and why they are not the ones on disk.
pub fn rulebook_report(standing: &Standing) -> Json {
    json!({
        "generation": standing.hash,
        "rules": standing.rules,
        "loaded_at": standing.loaded_at,
        "restored": standing.restored,
        "resting": standing.resting.iter().map(|(rule, rest)| (rule.to_string(), rest.reason())).collect::<BTreeMap<_, _>>(),
        "warnings": standing.warnings.iter().map(finding).collect::<Vec<_>>(),
        "trouble": standing.trouble.as_ref().map(|trouble| json!({
            "kind": trouble.kind(),
            "message": trouble.to_string(),
            "findings": trouble.findings().iter().map(finding).collect::<Vec<_>>(),
        })),
    })
}

fn finding(finding: &Finding) -> Json {
    let at = finding.place.as_ref().map(|place| {
        let (line, column) = place.line_column();
        json!({"file": place.file.path, "line": line, "column": column})
    });
    let severity = match finding.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    json!({"code": finding.code, "severity": severity, "message": finding.message, "at": at, "help": finding.help})
}
