//! What marketing mails must have before they may go: a link to unsubscribe that works, and a postal address. What asks
//! for a yes must have the link that gives it.

use super::inspect::{Outside, placed};
use crate::diagnostic::{Finding, Place};
use crate::model::TemplateName;
use crate::rule::CompiledRule;
use crate::rule::checked::{Email, Purpose};
use crate::rule::generation::Generation;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Errors for one live rule.
pub(super) fn findings(outside: &Outside, rule: &CompiledRule, generation: &Generation) -> Vec<Finding> {
    let mails = rule.rule.nodes.iter().filter_map(|node| node.step.action()?.email());
    let mails: Vec<&Email> = mails.collect();
    let confirming: Vec<&Email> = mails.iter().copied().filter(|mail| mail.confirms.is_some()).collect();
    let marketing: &[&Email] = if matches!(rule.rule.purpose, Purpose::Topic(_)) { &mails } else { &[] };
    let asking: Vec<&Email> = mails.iter().copied().filter(|mail| mail.asks.is_some()).collect();
    if marketing.is_empty() && confirming.is_empty() && asking.is_empty() {
        return Vec::new();
    }
    let id = &rule.rule.id;
    let mut findings = Vec::new();
    if !outside.pages {
        let message = format!("nobody who reads the mails of the rule `{id}` could unsubscribe, confirm or answer");
        let help = "set `public_url` (it begins with https://) and `public_listen` in `[web]` of the configuration, or \
                    `mode: shadow` here";
        let finding = Finding::error("rule.no-pages", message).help(help);
        findings.push(placed(finding, rule, generation, "email:"));
    }
    if !marketing.is_empty() && !outside.postal_address {
        let message = format!("the rule `{id}` writes marketing mails without a postal address");
        let help = "set `postal_address` in `[sender]` of the configuration, or `mode: shadow` here";
        let finding = Finding::error("rule.no-postal-address", message).help(help);
        findings.push(placed(finding, rule, generation, "email:"));
    }
    let needed = [
        (marketing, "rule.no-unsubscribe-link", "unsubscribe_url", "marketing mails must offer a way out"),
        (marketing, "rule.no-postal-line", "sender.postal_address", "marketing mails must say whose they are"),
        (
            &confirming,
            "rule.no-confirm-link",
            "confirm_url",
            "a mail that asks for a yes must have the link that gives it",
        ),
        (&asking, "rule.no-answer-link", "answer_url", "a mail that asks a survey must have the links that answer it"),
    ];
    for (mails, code, path, why) in needed {
        let templates: BTreeSet<&TemplateName> = mails.iter().map(|mail| &mail.template).collect();
        let without = templates.into_iter().filter(|name| !uses(generation, name, path));
        findings.extend(without.map(|name| {
            let message = format!("neither the template `{name}` nor its layout prints `{{{{ {path} }}}}`: {why}");
            let finding =
                Finding::error(code, message).help(format!("add `{{{{ {path} }}}}` to the template or to its layout"));
            at_template(finding, name, generation)
        }));
    }
    findings
}

fn uses(generation: &Generation, template: &TemplateName, path: &str) -> bool {
    generation.templates.uses(template).iter().any(|used| used.path == path)
}

fn at_template(finding: Finding, template: &TemplateName, generation: &Generation) -> Finding {
    match generation.templates.files(template).first() {
        Some(file) => finding.at(Place { file: Arc::clone(file), range: 0..0 }),
        None => finding,
    }
}
