//! How often a rule's script may fail before the rule is held: for a few records that are odd, never for many.

use super::SweepReport;

/// Of those that the script had a say in.
const PERCENT: u64 = 5;
/// Fewer than these are odd records, whatever their share. A record that failed is asked again at every sweep, so
/// that a rule with few crossers reaches it as well.
const FLOOR: u64 = 5;

/// Whether a sweep's failures are too many.
pub fn is_spent(report: &SweepReport) -> bool {
    report.script_failed >= FLOOR && report.script_failed * 100 > report.scripted * PERCENT
}

/// For the rule's status and its owner. `error` names file and line and no value.
pub fn reason(report: &SweepReport, error: &str) -> String {
    let (failed, scripted) = (report.script_failed, report.scripted);
    format!("its script failed for {failed} of {scripted} records, more than {PERCENT} %; the first: {error}")
}
