//! What the names of tables and columns suggest. English and German, since those are what CRMs are built in here.

/// `crm_accounts` is `account`, `Customers` is `customer`, `companies` is `company`.
pub(super) fn singular(table: &str) -> String {
    let lower = snake(table);
    let one = |stem: &str, ending: &str| format!("{stem}{ending}");
    if let Some(stem) = lower.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return one(stem, "y");
    }
    for ending in ["sses", "shes", "ches", "uses", "xes", "zes"] {
        if let Some(stem) = lower.strip_suffix(ending) {
            return one(stem, &ending[..ending.len() - 2]);
        }
    }
    if lower.ends_with("ss") || lower.ends_with("us") || lower.ends_with("is") {
        return lower;
    }
    lower.strip_suffix('s').filter(|stem| stem.len() > 2).map_or(lower.clone(), str::to_owned)
}

pub(super) fn plural(name: &str) -> String {
    if let Some(stem) = name.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        return format!("{stem}ies");
    }
    if name.ends_with('s') || name.ends_with('x') || name.ends_with("ch") || name.ends_with("sh") {
        return format!("{name}es");
    }
    format!("{name}s")
}

/// `OrderLine`, `Order-Lines` and `order lines` in lower case with underscores.
pub(super) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            snake.push('_');
        }
        snake.push(if c.is_alphanumeric() { c.to_lowercase().next().unwrap_or(c) } else { '_' });
        before = c;
    }
    let parts: Vec<&str> = snake.split('_').filter(|part| !part.is_empty()).collect();
    parts.join("_")
}

/// A column that should name a row of some entity: `account_id`, `accountId`, `fk_account`; the entity it names.
pub(super) fn names_row(column: &str) -> Option<String> {
    let lower = snake(column);
    lower
        .strip_suffix("_id")
        .or_else(|| lower.strip_prefix("fk_"))
        .or_else(|| lower.strip_prefix("id_"))
        .map(str::to_owned)
}

/// The part of a person a column holds.
pub(super) fn person(column: &str) -> Option<&'static str> {
    let name = snake(column);
    let name = name.as_str();
    Some(match name {
        "email" | "e_mail" | "mail" | "email_address" | "email1" | "emailaddress" | "mail_address" => "email",
        "phone" | "mobile" | "phone_number" | "telephone" | "tel" | "phone_mobile" | "phone_work" | "telefon" => {
            "phone"
        }
        "first_name" | "firstname" | "given_name" | "vorname" => "first_name",
        "last_name" | "lastname" | "surname" | "family_name" | "nachname" => "last_name",
        "time_zone" | "timezone" | "tz" => "zone",
        "locale" | "language" | "lang" | "sprache" => "locale",
        _ => return None,
    })
}

/// A column that seems to hold an address of some kind: `work_email`, `EmailPrivate`.
pub(super) fn some_email(column: &str) -> bool {
    let name = snake(column);
    let kinds = ["work", "business", "office", "private", "personal", "home", "main", "primary", "contact"];
    let is_kind = |word: &str| kinds.contains(&word);
    name.split_once('_').is_some_and(|(first, rest)| {
        is_kind(first) && person(rest) == Some("email") || person(first) == Some("email") && is_kind(rest)
    })
}

/// Channel and whether true means yes.
pub(super) fn consent(column: &str) -> Option<(&'static str, bool)> {
    let name = snake(column);
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(&["given_at", "_at", "date", "token", "ip"]) {
        return None;
    }
    if has(&["do_not_call", "no_call", "dont_call"]) {
        return Some(("phone", false));
    }
    if has(&[
        "opt_out",
        "optout",
        "unsubscribed",
        "do_not_email",
        "do_not_mail",
        "no_mail",
        "do_not_contact",
        "donotemail",
    ]) {
        return Some(("email", false));
    }
    if has(&["opt_in", "optin", "newsletter", "news_ok", "consent", "marketing_ok", "accepts_marketing", "subscribed"])
    {
        return Some((if has(&["phone", "sms", "call"]) { "phone" } else { "email" }, true));
    }
    None
}

/// How sure a name is to say when a row happened; the greatest wins.
pub(super) fn happened(column: &str) -> u8 {
    let name = snake(column);
    match name.as_str() {
        "placed_at" | "ordered_at" | "order_date" | "answered_at" | "responded_at" | "submitted_at" | "opened_at"
        | "paid_at" | "invoice_date" | "issued_on" | "issued_at" | "issue_date" | "purchase_date" | "booking_date"
        | "occurred_at" | "seen_at" | "happened_at" | "purchased_at" => 9,
        "date" | "at" | "timestamp" | "time" | "event_date" | "started_at" | "starts_on" => 6,
        "created_at" | "created" | "created_on" | "created_date" | "date_entered" | "createdtime" | "date_created"
        | "creation_date" | "inserted_at" => 4,
        _ => 0,
    }
}

pub(super) fn changed(column: &str) -> bool {
    matches!(
        snake(column).as_str(),
        "updated_at"
            | "modified_at"
            | "changed_at"
            | "date_modified"
            | "modifiedtime"
            | "last_modified"
            | "updated"
            | "modified"
            | "updated_on"
    )
}

/// The test that keeps rows in that count, for flags and marks of those that don't.
/// `stamp`: it may hold the time since when they don't.
pub(super) fn kept(column: &str, flag: bool, time: bool, stamp: bool) -> Option<&'static str> {
    let name = snake(column);
    let yes = if flag { "true" } else { "1" };
    let no = if flag { "false" } else { "0" };
    match name.as_str() {
        "deleted_at" | "archived_at" | "removed_at" | "voided_at" | "cancelled_at" | "canceled_at" if stamp => {
            Some("missing")
        }
        "merged_into" | "merged_into_id" | "master_record_id" => Some("missing"),
        "deleted" | "is_deleted" | "archived" | "is_archived" | "is_test" | "is_sample" | "is_demo" | "cancelled"
        | "canceled" | "is_cancelled" | "is_canceled" | "voided" | "is_void" | "is_voided"
            if !time =>
        {
            Some(no)
        }
        "is_active" | "active" | "enabled" if !time => Some(yes),
        _ => None,
    }
}

/// A mark of what was called off, which is no record where rows are single deals.
pub(super) fn called_off(column: &str) -> bool {
    let name = snake(column);
    ["cancelled", "canceled", "void"].iter().any(|part| name.contains(part))
}

/// What runs on until it is cancelled: those that were are people to win back.
pub(super) fn lasting(entity: &str) -> bool {
    let lasting = ["subscription", "contract", "membership", "plan", "account", "customer", "abo"];
    entity.split('_').any(|part| lasting.contains(&part))
}

/// A name of whole days, where the column's type doesn't say it.
pub(super) fn names_day(column: &str) -> bool {
    let name = snake(column);
    let ends = |ending: &str| name == ending || name.ends_with(&format!("_{ending}"));
    ["date", "on", "day", "until", "expiry"].iter().any(|ending| ends(ending))
        || name.starts_with("date_of_")
        || birth(column)
}

pub(super) fn birth(column: &str) -> bool {
    matches!(
        snake(column).as_str(),
        "birthday" | "birth_date" | "birthdate" | "date_of_birth" | "dob" | "born_on" | "geburtsdatum" | "geburtstag"
    )
}

/// A time of the day, or how long something took, where it isn't declared as more.
pub(super) fn clock(column: &str) -> bool {
    matches!(snake(column).as_str(), "time" | "at")
}

pub(super) fn score(column: &str) -> bool {
    matches!(snake(column).as_str(), "score" | "rating" | "nps" | "nps_score" | "csat" | "stars")
}

pub(super) fn survey(table: &str) -> bool {
    let name = snake(table);
    ["survey", "response", "feedback", "rating", "nps", "csat", "review"].iter().any(|part| name.contains(part))
}

pub(super) fn amount(column: &str) -> bool {
    let name = snake(column);
    ["amount", "total", "price", "revenue", "value", "fee", "cost", "balance"]
        .iter()
        .any(|part| name == *part || name.ends_with(&format!("_{part}")) || name.starts_with(&format!("{part}_")))
}

/// A date that reminders count from.
pub(super) fn due(column: &str) -> bool {
    let name = snake(column);
    ["renew", "expire", "expiry", "valid_until", "ends_on", "end_date", "ends_at", "due", "term"]
        .iter()
        .any(|part| name.contains(part))
}

pub(super) fn first(column: &str) -> bool {
    matches!(snake(column).as_str(), "is_primary" | "is_main" | "primary_contact" | "is_default" | "primary")
}

pub(super) fn staff(entity: &str) -> bool {
    ["user", "employee", "staff", "agent", "rep", "sales_rep", "owner"].contains(&entity)
}

pub(super) fn blocked(table: &str) -> bool {
    let name = snake(table);
    ["suppress", "blocked", "blocklist", "blacklist", "bounce", "unsubscribe", "do_not_mail"]
        .iter()
        .any(|part| name.contains(part))
}

pub(super) fn tasks(table: &str) -> bool {
    matches!(singular(table).as_str(), "task" | "todo" | "crm_task" | "activity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_name_many_and_entities_one() {
        for (table, entity) in [
            ("accounts", "account"),
            ("Companies", "company"),
            ("OrderLines", "order_line"),
            ("statuses", "status"),
            ("addresses", "address"),
            ("Order-Items", "order_item"),
            ("boxes", "box"),
            ("crm", "crm"),
            ("business", "business"),
        ] {
            assert_eq!(singular(table), entity, "{table}");
        }
        for (one, many) in [("company", "companies"), ("order", "orders"), ("box", "boxes"), ("key", "keys")] {
            assert_eq!(plural(one), many);
        }
    }

    #[test]
    fn what_columns_say() {
        assert_eq!(names_row("accountId").as_deref(), Some("account"));
        assert!(some_email("work_email") && some_email("EmailPrivate") && some_email("contact_e_mail"));
        assert!(!some_email("email") && !some_email("email_verified") && !some_email("no_email"));
        assert_eq!(consent("email_opt_out"), Some(("email", false)));
        assert_eq!(consent("newsletter_opt_in_at"), None);
        assert_eq!(consent("do_not_call"), Some(("phone", false)));
        assert_eq!(kept("deleted_at", false, true, true), Some("missing"));
        assert_eq!(kept("is_deleted", false, false, false), Some("0"));
        assert_eq!(kept("voidedAt", false, false, true), Some("missing"));
        assert_eq!(kept("voidedAt", false, false, false), None);
        assert_eq!(kept("cancelled", false, false, true), Some("0"));
        assert!(names_day("orderDate") && names_day("date_of_sale") && names_day("birthday"));
        assert!(!names_day("created") && !names_day("person"));
        assert!(clock("time") && !clock("timestamp"));
        assert!(happened("placed_at") > happened("created_at"));
        assert!(amount("total_price") && !amount("totality"));
    }
}
