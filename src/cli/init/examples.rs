//! Example rules that fit a drafted catalog. All begin in shadow: they write down what they would do.

use crate::catalog::draft::{Draft, Entity, Relation, Way};

/// A rule with what it needs beside it.
pub(super) struct Example {
    pub name: &'static str,
    /// For the person who chooses.
    pub about: String,
    /// Path below the rules directory, and text.
    pub files: Vec<(String, String)>,
}

/// Those whose entities, times and recipients are there.
pub(super) fn fitting(draft: &Draft) -> Vec<Example> {
    [win_back(draft), low_score(draft), renewal(draft)].into_iter().flatten().collect()
}

/// A role that leads to somebody outside with an address.
fn recipient(entity: &Entity) -> Option<&str> {
    entity.recipients.iter().find(|recipient| !recipient.staff).map(|recipient| recipient.name.as_str())
}

/// The entity with a recipient whose related rows, seen as `fits` says, are the most telling.
fn related(draft: &Draft, fits: impl Fn(&Entity) -> u8) -> Option<(&Entity, &Relation, &str)> {
    let mut found: Vec<(u8, &Entity, &Relation, &str)> = Vec::new();
    for entity in draft.entities.iter().filter(|entity| entity.can_stand_alone()) {
        let Some(role) = recipient(entity) else { continue };
        for relation in entity.relations.iter().filter(|relation| !matches!(relation.way, Way::To(_))) {
            let weight = draft.entity(&relation.entity).map_or(0, &fits);
            if weight > 0 {
                found.push((weight, entity, relation, role));
            }
        }
    }
    found.into_iter().max_by_key(|(weight, ..)| *weight).map(|(_, entity, relation, role)| (entity, relation, role))
}

fn win_back(draft: &Draft) -> Option<Example> {
    let (entity, relation, role) = related(draft, |entity| {
        if entity.at.is_none() || entity.score.is_some() {
            return 0;
        }
        let bought = ["order", "purchase", "invoice", "booking", "sale"].iter().any(|word| entity.name.contains(word));
        if bought { 3 } else { u8::from(!entity.amounts.is_empty()) * 2 }
    })?;
    let (for_each, of) = (&entity.name, &relation.name);
    let text = format!(
        "# yaml-language-server: $schema=../schema/rule.v1.json\n\
         version: 1\n\
         id: win-back\n\
         description: \"No {of} for 90 days: one mail, unless something happens first.\"\n\
         mode: shadow          # writes down what it would do; `live` does it\n\
         purpose: service      # name a topic of the configuration once consent is mapped\n\
         for_each: {for_each}\n\
         to: {role}\n\
         trigger:\n\
         \x20 inactivity: {{of: {of}, for: 90 days}}\n\
         goal: {{name: came back, when: {{{of}: {{some: {{}}, since: entry}}}}, within: 30 days}}\n\
         check_every: 1 hour\n\
         steps:\n\
         \x20 - email: {{template: win-back}}\n"
    );
    let mail = "---\nsubject: We miss you\n---\n\nHello {{ to.first_name | default(\"there\") }},\n\n\
                    it has been a while. Is there anything we can do for you?\n";
    Some(Example {
        name: "win-back",
        about: format!("a mail to the `{role}` of every {for_each} without {of} for 90 days"),
        files: vec![("win-back.yaml".to_owned(), text), ("templates/win-back.md".to_owned(), mail.to_owned())],
    })
}

fn low_score(draft: &Draft) -> Option<Example> {
    let (entity, relation, _) = related(draft, |entity| u8::from(entity.score.is_some() && entity.at.is_some()))?;
    let (for_each, of) = (&entity.name, &relation.name);
    let text = format!(
        "# yaml-language-server: $schema=../schema/rule.v1.json\n\
         version: 1\n\
         id: low-score\n\
         description: \"A low answer makes a task, so that somebody calls.\"\n\
         mode: shadow\n\
         purpose: service\n\
         for_each: {for_each}\n\
         trigger:\n\
         \x20 survey: {{of: {of}, score: {{at_most: 6}}}}\n\
         steps:\n\
         \x20 - task: {{title: \"Call back: a score of {{{{ occasion.value }}}}\", due: 2 business days}}\n"
    );
    Some(Example {
        name: "low-score",
        about: format!("a task for every {} of 6 or less", relation.entity),
        files: vec![("low-score.yaml".to_owned(), text)],
    })
}

fn renewal(draft: &Draft) -> Option<Example> {
    let fits = |entity: &&Entity| !entity.dates.is_empty() && !entity.relations.is_empty() && entity.can_stand_alone();
    let fitting = || draft.entities.iter().filter(fits);
    // What is called by a name stands in the main table.
    let entity = fitting().find(|entity| entity.main.is_none()).or_else(|| fitting().next())?;
    let field = entity.dates.first()?;
    let text = format!(
        "# yaml-language-server: $schema=../schema/rule.v1.json\n\
         version: 1\n\
         id: renewal\n\
         description: \"A task a month before {field}.\"\n\
         mode: shadow\n\
         purpose: service\n\
         for_each: {}\n\
         trigger:\n\
         \x20 date: {{field: {field}, at: \"09:00\"}}\n\
         offsets:\n\
         \x20 30 days before:\n\
         \x20   - task: {{title: \"{field} is in 30 days\"}}\n",
        entity.name
    );
    Some(Example {
        name: "renewal",
        about: format!("a task 30 days before `{field}` of every {}", entity.name),
        files: vec![("renewal.yaml".to_owned(), text)],
    })
}
