//! What is wrong with filters and tests whatever the record: those that don't exist, and arguments that can't be meant.

use super::context::Amount;
use super::scan::{Call, References};
use super::{currency, environment, filters};
use crate::diagnostic::{Finding, suggest};
use minijinja::{Environment, Error, ErrorKind, Value};
use std::ops::Range;

const FILTERS: [&str; 24] = [
    "date",
    "time",
    "datetime",
    "money",
    "number",
    "percent",
    "plural",
    "default",
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "replace",
    "length",
    "join",
    "first",
    "last",
    "round",
    "int",
    "float",
    "sort",
    "unique",
    "urlencode",
];

/// How filters are written whose arguments are easily mistaken.
const USAGES: [(&str, &str); 9] = [
    ("date", "`date`, `date(\"short\")` or `date(\"%d.%m.%Y\")`"),
    ("datetime", "`datetime`, `datetime(\"short\")` or `datetime(\"%d.%m. %H:%M\")`"),
    ("time", "`time`"),
    ("money", "`money`, `money(\"EUR\")` or `money(\"EUR\", places=0)`"),
    ("number", "`number` or `number(places=1)`"),
    ("percent", "`percent` or `percent(places=1)`"),
    ("default", "`default(\"…\")`, or `default(\"…\", true)` for zero and false as well"),
    ("replace", "`replace(\"old\", \"new\")`"),
    ("round", "`round` or `round(1)`"),
];

pub(super) fn mistakes(environment: &Environment<'_>, found: &References) -> Vec<(Finding, Range<usize>)> {
    let mut mistakes = Vec::new();
    for call in &found.filters {
        if is_unknown(environment, "filter", &call.name) {
            let finding = Finding::error("template.unknown-filter", format!("there is no filter `{}`", call.name));
            let finding = match suggest::nearest(&call.name, FILTERS) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding,
            };
            mistakes.push((finding, call.range.clone()));
            continue;
        }
        mistakes.extend(argument(call).or_else(|| refused(environment, call)));
    }
    for test in found.tests.iter().filter(|test| is_unknown(environment, "test", &test.name)) {
        let finding = Finding::error("template.unknown-test", format!("there is no test `is {}`", test.name));
        mistakes.push((finding, test.range.clone()));
    }
    mistakes
}

/// Asks the engine itself, so that this list can't differ from what rendering knows.
fn is_unknown(environment: &Environment<'_>, kind: &str, name: &str) -> bool {
    let (source, unknown) = match kind {
        "filter" => (format!("1|{name}"), ErrorKind::UnknownFilter),
        _ => (format!("1 is {name}"), ErrorKind::UnknownTest),
    };
    let evaluated = environment.compile_expression(&source).and_then(|expression| expression.eval(()));
    evaluated.is_err_and(|error: Error| error.kind() == unknown)
}

/// What is wrong with a filter's arguments, as far as that can be told before there are values.
fn argument(call: &Call) -> Option<(Finding, Range<usize>)> {
    let wrong = |message: String, range: &Range<usize>| (Finding::error("template.argument", message), range.clone());
    match (call.name.as_str(), &call.first) {
        ("date" | "datetime", Some(style)) if !style.name.contains('%') => {
            if filters::DATE_STYLES.contains(&style.name.as_str()) {
                return None;
            }
            let (finding, range) = wrong(format!("there is no date style `{}`", style.name), &style.range);
            let help = suggest::nearest(&style.name, filters::DATE_STYLES).map_or_else(
                || format!("use one of {}, or a pattern such as `%d.%m.%Y`", filters::DATE_STYLES.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            Some((finding.help(help), range))
        }
        ("date" | "datetime", Some(pattern)) if !filters::is_pattern(&pattern.name) => {
            Some(wrong("this is not a pattern of a date".to_owned(), &pattern.range))
        }
        ("money", Some(code)) if !filters::is_code(&code.name) => {
            let (finding, range) = wrong(format!("`{}` is not a currency code", code.name), &code.range);
            Some((finding.help("write its three letters: `EUR`"), range))
        }
        ("money", Some(code)) if !currency::is_known(&code.name) => {
            let message = format!("there is no currency `{}`; it is printed as it is", code.name);
            let finding = Finding::warning("template.argument", message);
            let help = suggest::nearest(&code.name, currency::codes());
            let finding = match help {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding,
            };
            Some((finding, code.range.clone()))
        }
        ("plural", _) => plural(call),
        _ => None,
    }
}

fn plural(call: &Call) -> Option<(Finding, Range<usize>)> {
    let wrong = |message: String, range: &Range<usize>| (Finding::error("template.argument", message), range.clone());
    let strange = call.keywords.iter().find(|named| !filters::CATEGORIES.contains(&named.name.as_str()));
    if let Some(strange) = strange {
        let (finding, range) = wrong(format!("there is no plural `{}`", strange.name), &strange.range);
        return Some((finding.help(format!("languages have {}", filters::CATEGORIES.join(", "))), range));
    }
    let complete = call.keywords.iter().any(|named| named.name == "other");
    let missing = || {
        let (finding, range) = wrong("`plural` needs `other`".to_owned(), &call.range);
        (finding.help("`plural(one=\"1 order\", other=\"{} orders\")`"), range)
    };
    (!complete).then(missing)
}

/// What the filter itself says of constant arguments, beside a value that it takes.
fn refused(environment: &Environment<'_>, call: &Call) -> Option<(Finding, Range<usize>)> {
    let arguments = call.constants.as_deref()?;
    let name = call.name.as_str();
    let (sample, is_certain) = sample(name)?;
    let source = if arguments.is_empty() { format!("value|{name}") } else { format!("value|{name}({arguments})") };
    let tried = environment.compile_expression(&source);
    let error = tried.and_then(|expression| expression.eval(Value::from_pairs([("value", sample)]))).err()?;
    let of_arguments = matches!(error.kind(), ErrorKind::TooManyArguments | ErrorKind::MissingArgument);
    if !(of_arguments || is_certain && error.kind() == ErrorKind::InvalidOperation) {
        return None;
    }
    let message = match error.detail() {
        Some(own) if own.starts_with('`') => own.to_owned(),
        _ if of_arguments => environment::of_filter(error.kind(), name),
        _ => format!("`{name}` can't be meant with these arguments"),
    };
    let finding = Finding::error("template.argument", message);
    let usage = USAGES.iter().find(|(filter, _)| *filter == name);
    let finding = if let Some((_, usage)) = usage { finding.help(format!("write {usage}")) } else { finding };
    Some((finding, call.range.clone()))
}

/// A value that the filter takes, and whether what it then refuses must be its arguments: those that look into lists
/// may ask for names that only the real value has.
fn sample(filter: &str) -> Option<(Value, bool)> {
    Some(match filter {
        "date" | "datetime" | "time" => (Value::from("2026-01-02T03:04:05Z"), true),
        "money" => (Value::from_object(Amount { text: "1".to_owned(), currency: "EUR".to_owned() }), true),
        "number" | "percent" | "plural" | "round" => (Value::from(1), true),
        "replace" => (Value::from("text"), true),
        "int" | "float" => (Value::from("1"), false),
        "default" | "d" | "upper" | "lower" | "title" | "capitalize" | "trim" | "urlencode" => {
            (Value::from("text"), false)
        }
        "length" | "first" | "last" | "join" | "sort" | "unique" => (Value::from(vec![1]), false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::Value as Cell;
    use crate::rule::message::line_mistakes;
    use crate::rule::message::tests::{compiled, facts, findings, line};

    #[test]
    fn the_error_of_a_filter_names_the_filter() {
        let facts = facts(&[("name", Cell::Text("Secret".into())), ("n", Cell::Int(2))]);
        for (body, told) in [
            ("{{ record.name | upper(record.n) }}", "`record.name`: `upper` doesn't take these arguments"),
            ("{{ record.name | replace(record.n | string) }}", "`record.name`: `replace` lacks an argument"),
            ("{{ record.n | round(record.name) }}", "`record.n`: `round` can't be applied to this"),
        ] {
            let error = line(body, &facts).unwrap_err();
            assert!(error.problem.starts_with(told) && !error.problem.contains("Secret"), "{error}");
        }
    }

    #[test]
    fn arguments_that_a_filter_never_takes_are_told_when_files_are_read() {
        for (body, told) in [
            ("{{ record.n | number('2') }}", "`number` doesn't take these arguments"),
            ("{{ record.n | money(places=-1) }}", "`money` can't be meant with these arguments"),
            ("{{ record.n | number(places=\"x\") }}", "`number` can't be meant"),
            ("{{ record.n | number(digits=2) }}", "`number` doesn't take"),
            ("{{ record.n | replace('a') }}", "`replace` lacks an argument"),
            ("{{ record.n | upper('x') }}", "`upper` doesn't take"),
            ("{{ record.n | default('x', true, 1) }}", "`default` doesn't take"),
            ("{{ record.n | date(3) }}", "`date` takes short, medium"),
        ] {
            let found = &findings(&format!("---\nsubject: a\n---\n{body}\n"))[0];
            assert!(found.contains("error[template.argument]") && found.contains(told), "{body}: {found}");
        }
        let fine = "{{ record.n | money('EUR', places=0) }}{{ record.n | default(0, true) | round(1, 'floor') }}\
                    {{ record.n | number(places=record.p) }}{{ record.l | sort(attribute='a') | join(', ') }}\
                    {{ record.l | join(d=' ', attribute='b') }}{{ record.n | replace('a', 'b') | title }}\
                    {{ record.n | datetime('%H') }}{{ record.l | map(attribute='a') | first }}{{ record.n | percent(places=1) }}";
        let templates = compiled(&[("mail.md", &format!("---\nsubject: a\n---\n{fine}\n"))]).unwrap();
        assert!(templates.warnings().is_empty(), "{:?}", templates.warnings());
        let odd = compiled(&[("mail.md", "---\nsubject: a\n---\n{{ record.n | money('XXQ') }}\n")]).unwrap();
        assert!(odd.warnings()[0].to_string().contains("warning[template.argument]: there is no currency `XXQ`"));
        assert!(line_mistakes("{{ record.n | uper }} {{ record.n | number('2') }}").len() == 2);
    }
}
