//! A draft as the text of a catalog.

use super::{Draft, Entity, KeyFrom, Recipient, Relation, Side, Tasks, Way};
use crate::catalog::Table;
use std::fmt::Write;

/// YAML with comments.
#[must_use]
pub fn render(draft: &Draft) -> String {
    let mut text = String::from(
        "# A first catalog, drafted from the database: names and keys are as they were found, everything that says\n\
         # \"guess\" wants a look. Remove what no rule needs. docs/catalog.md has every key.\n",
    );
    let zone = scalar(&draft.time_zone);
    let _ = writeln!(
        text,
        "version: 1\ntime_zone: {zone}  # of timestamps without a zone, and of people whose zone isn't known"
    );
    if draft.entities.is_empty() {
        text.push_str("entities: {}\n");
    } else {
        text.push_str("entities:\n");
        draft.entities.iter().for_each(|entity| write_entity(&mut text, entity));
    }
    if !draft.suppressions.is_empty() {
        text.push_str("suppressions:  # guess: addresses that must never be written to\n");
        for (table, email) in &draft.suppressions {
            let _ = writeln!(text, "  - {{table: {}, email: {}, reason: suppressed}}", of_table(table), scalar(email));
        }
    }
    match &draft.tasks {
        Some(tasks) => write_tasks(&mut text, tasks),
        None => text.push_str("# Tasks go to a list of nudged's own until `tasks` says how the CRM keeps them.\n"),
    }
    for (table, why) in &draft.left_out {
        let _ = writeln!(text, "# Left out: {table}: {why}.");
    }
    text
}

fn write_tasks(text: &mut String, tasks: &Tasks) {
    let _ = writeln!(
        text,
        "# `{}` looks like a table of tasks. Until `tasks` says how rows get into it, tasks go to a list of\n# nudged's own:",
        tasks.table
    );
    let set: Vec<String> = tasks.set.iter().map(|(column, value)| format!("{}: {value}", scalar(column))).collect();
    let (table, set) = (of_table(&tasks.table), set.join(", "));
    let _ = writeln!(text, "# tasks:\n#   insert:\n#     - {{table: {table}, set: {{{set}}}}}");
    if !tasks.homeless.is_empty() {
        let values = tasks.homeless.join("`, `");
        let _ = writeln!(
            text,
            "# No column is called after what goes into it for `{values}`: name them, as in `COLUMN: {}`.",
            tasks.homeless[0]
        );
    }
    if tasks.homeless.contains(&"$ref") {
        text.push_str("# `$ref` needs one, of text: by it a task that was made already is recognised.\n");
    }
}

fn write_entity(text: &mut String, entity: &Entity) {
    let _ = writeln!(text, "  {}:", scalar(&entity.name));
    if let Some(table) = &entity.table {
        let _ = writeln!(text, "    table: {}", of_table(table));
    }
    let _ = writeln!(text, "    key: {}{}", scalar(&entity.key), why_key(entity.key_from));
    write_sides(text, entity);
    let from_main = entity.main.iter().filter(|main| main.certain).flat_map(|main| &main.only);
    let only: Vec<_> = entity.only.iter().chain(from_main).cloned().collect();
    if !only.is_empty() {
        let is_unset = entity.unset || only.iter().any(|(_, test)| test.starts_with('['));
        let unset = if is_unset { "; `missing` keeps those whose mark was never set (NULL)" } else { "" };
        let _ = writeln!(text, "    only: {{{}}}  # guess: rows outside are no records{unset}", tests(&only));
    }
    for (key, column) in [("at", &entity.at), ("updated_at", &entity.updated_at)] {
        if let Some(column) = column {
            let what = if key == "at" { "guess: when the row happened" } else { "guess: when it last changed" };
            let _ = writeln!(text, "    {key}: {}  # {what}", scalar(column));
        }
    }
    if let Some(score) = &entity.score {
        let _ = writeln!(text, "    score: {}  # guess", scalar(score));
        let kind = entity.kind.as_deref().map_or("nps".to_owned(), scalar);
        let what = if entity.kind.is_some() { "guess: the column" } else { "guess: all rows are of this kind" };
        let _ = writeln!(text, "    kind: {kind}  # {what}");
    }
    if !entity.fields.is_empty() || !entity.amounts.is_empty() {
        write_fields(text, entity);
    }
    if !entity.relations.is_empty() {
        text.push_str("    relations:\n");
        entity.relations.iter().for_each(|relation| write_relation(text, relation));
    }
    if !entity.person.is_empty() {
        let parts: Vec<String> =
            entity.person.iter().map(|(part, column)| format!("{part}: {}", scalar(column))).collect();
        let _ = writeln!(text, "    person: {{{}}}", parts.join(", "));
        write_consent(text, entity);
    }
    if !entity.recipients.is_empty() {
        text.push_str("    recipients:\n");
        entity.recipients.iter().for_each(|recipient| write_recipient(text, recipient));
    }
}

fn why_key(from: KeyFrom) -> &'static str {
    match from {
        KeyFrom::Primary => "",
        KeyFrom::Unique => "  # unique and never NULL; the table has no primary key",
        KeyFrom::UniqueBesideSeveral => "  # unique and never NULL; the primary key has several columns",
        KeyFrom::Generated => "  # guess: unique and computed; rows where it is NULL have no name",
        KeyFrom::Name => "  # guess: nothing says that it names one row",
    }
}

/// Tables with other columns of the same rows. A row of the main table is there for sure; one of a side table may not be.
fn write_sides(text: &mut String, entity: &Entity) {
    if let Some(main) = entity.main.as_ref().filter(|main| !main.columns.is_empty()) {
        if main.certain {
            let _ = writeln!(text, "    parents:  # by its key these are rows of `{}`", main.table);
            let _ = writeln!(text, "      - {}", parent(main));
        } else {
            let only: Vec<_> = entity.only.iter().chain(&main.only).cloned().collect();
            let _ =
                writeln!(text, "    # guess, by names: these are rows of `{}`, of which some don't count:", main.table);
            let _ = writeln!(text, "    # parents:\n    #   - {}\n    # only: {{{}}}", parent(main), tests(&only));
        }
    }
    if entity.sides.is_empty() {
        return;
    }
    text.push_str(
        "    # guess: more columns of the same records; as `parents`, those without a row there are no records\n    # parents:\n",
    );
    for side in &entity.sides {
        let _ = writeln!(text, "    #   - {}", parent(side));
    }
}

fn parent(side: &Side) -> String {
    let columns: Vec<String> = side.columns.iter().map(|column| scalar(column)).collect();
    format!("{{table: {}, key: {}, columns: [{}]}}", of_table(&side.table), scalar(&side.key), columns.join(", "))
}

fn tests(only: &[(String, String)]) -> String {
    let tests: Vec<String> = only.iter().map(|(column, test)| format!("{}: {test}", scalar(column))).collect();
    tests.join(", ")
}

fn write_fields(text: &mut String, entity: &Entity) {
    if entity.fields.is_empty() {
        text.push_str("    # fields:\n");
    } else {
        text.push_str("    fields:\n");
    }
    for field in &entity.fields {
        let (name, column, ty) = (scalar(&field.name), scalar(&field.column), field.ty);
        let _ = writeln!(text, "      {name}: {{column: {column}, type: {ty}}}  # guess: a time, by its name");
    }
    for amount in &entity.amounts {
        let column = scalar(amount);
        let _ = writeln!(text, "      # {column}: {{column: {column}, currency: EUR}}  # an amount? name its currency");
    }
}

fn write_relation(text: &mut String, relation: &Relation) {
    let way = match &relation.way {
        Way::By(column) => format!("by: {}", scalar(column)),
        Way::To(column) => format!("to: {}", scalar(column)),
        Way::Through { table, from, to, only } => {
            let only = if only.is_empty() { String::new() } else { format!(", through_only: {{{}}}", tests(only)) };
            format!("through: {}, from: {}, to: {}{only}", of_table(table), scalar(from), scalar(to))
        }
    };
    let guess = if relation.guessed { "  # guess, by the column's name" } else { "" };
    let (name, entity) = (scalar(&relation.name), scalar(&relation.entity));
    let _ = writeln!(text, "      {name}: {{entity: {entity}, {way}}}{guess}");
}

fn write_consent(text: &mut String, entity: &Entity) {
    if entity.consent.is_empty() {
        if entity.recipients.iter().all(|recipient| !recipient.staff) {
            text.push_str(
                "    # consent: nothing here looks like it, so only `purpose: service` reaches these people\n",
            );
        }
        return;
    }
    text.push_str("    consent:  # guess: what did people agree to?\n");
    for (channel, yes, column) in &entity.consent {
        let column = scalar(column);
        let agreed = if *yes { column } else { format!("{{not: {column}}}") };
        let _ = writeln!(text, "      {channel}: {{any_topic: {agreed}}}");
    }
}

fn write_recipient(text: &mut String, recipient: &Recipient) {
    let mut parts = Vec::new();
    match &recipient.first_of {
        Some(relation) => parts.push(format!("first_of: {}", scalar(relation))),
        None => parts.push("self: true".to_owned()),
    }
    parts.extend(recipient.order.iter().map(|order| format!("order: [{}]", scalar(order))));
    if recipient.staff {
        parts.push("staff: true".to_owned());
    }
    let _ = writeln!(text, "      {}: {{{}}}", scalar(&recipient.name), parts.join(", "));
}

/// Quoted where the parser of table names would take a dot for the schema's.
fn of_table(table: &Table) -> String {
    let part = |name: &str| if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    let name = match &table.schema {
        Some(schema) => format!("{}.{}", part(schema), part(&table.name)),
        None => part(&table.name),
    };
    scalar(&name)
}

/// Plain where it is plain text for every YAML reader, quoted otherwise.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' '))
        && !text.ends_with(' ');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n" | "missing" | "present"
    );
    if plain && !word {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
