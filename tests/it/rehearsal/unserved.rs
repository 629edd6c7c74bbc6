//! A plan where the configuration, or the source, lacks what the running rules need.

use super::shown::silent;
use crate::site::Site;

const CALLS: &str = "version: 1\nid: calls\nmode: live\npurpose: staff\nfor_each: customer\n\
                     trigger: {inactivity: {of: orders, for: 90 days}}\nsteps: [task: {title: hello}]\n";

/// Two rules that have run; one of them writes marketing mails.
fn ran() -> (Site, String) {
    let site = silent(1);
    let rule = std::fs::read_to_string(site.path("rules/silence.yaml")).unwrap();
    site.rules(&[("silence.yaml", &rule), ("calls.yaml", CALLS)]);
    let mut daemon = site.start();
    site.told("READY=1");
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0));
    (site, rule)
}

fn planned(site: &Site) -> (String, String) {
    let (code, data, talk) = site.run(&["plan"]);
    assert_eq!(code, 0, "{talk}");
    (data, talk)
}

#[test]
fn what_the_configuration_lacks_is_told_and_everything_else_compared() {
    let (site, rule) = ran();
    site.configure("public_url = \"https://mail.linden.example\"", "");
    site.configure("postal_address = \"Rosengasse 4, 1010 Vienna\"", "");
    let (_, told) = planned(&site);
    assert!(told.contains("rule.no-pages") && told.contains("rule.no-postal-address"), "{told}");
    assert!(told.contains("goes without silence.yaml (silence)"), "{told}");
    assert!(told.contains("0 rules differ, 1 don't"), "{told}");
    // In shadow it lacks nothing.
    site.rules(&[
        ("silence.yaml", &rule.replace("mode: live", "mode: shadow")),
        ("calls.yaml", &CALLS.replace("title: hello", "title: call")),
    ]);
    let (plan, told) = planned(&site);
    assert!(plan.contains("~ calls  changed: steps") && plan.contains("~ silence  changed: mode"), "{plan}");
    assert!(!plan.contains("added") && !told.contains("warning"), "{plan}{told}");
}

#[test]
fn rules_that_ran_by_what_is_gone_are_named_and_the_others_compared() {
    let (site, rule) = ran();
    site.configure("[webhooks.team-chat]", "[webhooks.other]");
    let without = rule.split("  - wait:").next().unwrap();
    site.rules(&[("silence.yaml", without), ("calls.yaml", CALLS)]);
    let (plan, told) = planned(&site);
    assert!(told.contains("rule.unknown-destination"), "{told}");
    assert!(told.contains("what ran of silence.yaml (silence) can't be asked any more"), "{told}");
    assert!(plan.contains("+ silence  added") && !plan.contains("calls"), "{plan}");
}

#[test]
fn a_rule_whose_running_form_the_source_refuses_is_changed_and_not_counted() {
    let (site, rule) = ran();
    site.crm("DROP INDEX tickets_account; ALTER TABLE tickets DROP COLUMN status");
    site.rules(&[("silence.yaml", &rule.replace("status: open", "")), ("calls.yaml", CALLS)]);
    let (plan, told) = planned(&site);
    assert!(plan.contains("~ silence  changed: who matches"), "{plan}{told}");
    assert!(plan.contains("not counted: the source can't be asked about the running rule any more"), "{plan}{told}");
}
