//! A file that is wrong from top to bottom is told by its first findings: what lies behind them says little more, and is
//! thousands of lines to read.

use super::{Finding, Severity};
use std::collections::BTreeMap;

/// Of one file.
const MOST: usize = 50;

/// The first findings of each file, errors before warnings, and behind them how many more there are. All keep their order.
#[must_use]
pub fn bounded(findings: Vec<Finding>) -> Vec<Finding> {
    let mut files: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, finding) in findings.iter().enumerate() {
        if let Some(place) = &finding.place {
            files.entry(place.file.path.clone()).or_default().push(number);
        }
    }
    let mut shown: Vec<_> = findings.into_iter().map(Some).collect();
    let mut behind = BTreeMap::new();
    for mut numbers in files.into_values().filter(|numbers| numbers.len() > MOST) {
        numbers.sort_by_key(|number| shown[*number].as_ref().map(is_warning));
        let rest: Vec<_> = numbers.split_off(MOST).into_iter().filter_map(|number| shown[number].take()).collect();
        behind.extend(numbers.into_iter().max().zip(more(&rest)));
    }
    let shown = shown.into_iter().enumerate();
    shown.flat_map(|(number, finding)| finding.into_iter().chain(behind.remove(&number))).collect()
}

fn is_warning(finding: &Finding) -> bool {
    finding.severity == Severity::Warning
}

/// As bad as the worst of those left out, at the first of them.
fn more(rest: &[Finding]) -> Option<Finding> {
    let first = rest.first()?;
    let message = format!("{} more findings in this file", rest.len());
    let finding = Finding::warning("rules.more-findings", message).help("mend those above, and check again");
    Some(Finding { severity: first.severity, place: first.place.clone(), ..finding })
}

#[cfg(test)]
mod tests {
    use super::super::{Place, SourceFile};
    use super::*;
    use std::sync::Arc;

    fn findings(file: &str, number: usize, make: fn(&'static str, String) -> Finding) -> Vec<Finding> {
        let file = Arc::new(SourceFile { path: file.to_owned(), text: "x\n".repeat(number) });
        let at = |line: usize| Place { file: Arc::clone(&file), range: line * 2..line * 2 + 1 };
        (0..number).map(|line| make("rule.cron", format!("{line}")).at(at(line))).collect()
    }

    fn words(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_file_has_its_first_findings_and_says_how_many_more_there_are() {
        let few = findings("a.yaml", MOST, Finding::error);
        let many = findings("b.yaml", MOST + 7, Finding::warning);
        let alone = Finding::warning("catalog.no-rows", "nothing");
        let all = [few.clone(), many.clone(), vec![alone.clone()]].concat();
        let bounded = words(&bounded(all));
        assert_eq!(bounded[..MOST], words(&few));
        assert_eq!(bounded[MOST..2 * MOST], words(&many[..MOST]));
        let more = "b.yaml:51:1: warning[rules.more-findings]: 7 more findings in this file (mend those above, and check again)";
        assert_eq!(bounded[2 * MOST..], [more.to_owned(), alone.to_string()]);
    }

    #[test]
    fn warnings_hide_no_error() {
        let mut all = findings("a.yaml", 2 * MOST, Finding::warning);
        let error = Finding { severity: Severity::Error, ..all[2 * MOST - 1].clone() };
        all[2 * MOST - 1] = error.clone();
        let bounded = bounded(all);
        assert_eq!(bounded.len(), MOST + 1);
        assert!(bounded.contains(&error));
        assert!(bounded.iter().filter(|finding| finding.severity == Severity::Error).count() == 1);
    }
}
