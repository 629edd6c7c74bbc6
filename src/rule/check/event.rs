use super::Checker;
use crate::diagnostic::yaml::At;
use crate::rule::checked::{Event, JsonPath};
use crate::rule::written::EventEntry;
use std::ops::Range;

impl Checker<'_> {
    pub(super) fn event(&mut self, written: &EventEntry, range: &Range<usize>) -> Option<Event> {
        let name = self.endpoint(&written.name);
        let key = self.json_path(&written.key);
        let id = match &written.id {
            Some(id) => Some(self.json_path(id)?),
            None => None,
        };
        let tenant = match &written.tenant {
            Some(tenant) => Some(self.json_path(tenant)?),
            None => None,
        };
        if self.known.catalog.tenants.is_some() && tenant.is_none() {
            let help = "say where the event names it: `tenant: data.account.tenant`";
            self.wrong(range, "rule.event", "the catalog has tenants, and the event names none", help);
            return None;
        }
        Some(Event { name: name?, key: key?, id, tenant })
    }

    /// The last part of an address.
    fn endpoint(&mut self, name: &At<String>) -> Option<String> {
        let fine = (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        if !fine {
            let message = format!("`{}` can't be the name of an event", name.value);
            self.wrong(&name.range, "rule.event", message, "use up to 64 lower-case letters, digits, `-` and `_`");
        }
        fine.then(|| name.value.clone())
    }

    /// `data.customer.id`
    fn json_path(&mut self, path: &At<String>) -> Option<JsonPath> {
        let found = JsonPath::of(path);
        if found.0.iter().any(String::is_empty) {
            let message = format!("`{}` is not a path", path.value);
            self.wrong(&path.range, "rule.event", message, "write the names on the way with dots: `data.customer_id`");
            return None;
        }
        Some(found)
    }
}
