//! Crossings of event rules: what the public listener kept, read page by page.

use super::port::{Store, StoreError};
use crate::model::Tenant;
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Crossing, Window};
use crate::rule::inbound::{Told, Unread};

/// One page of events, each as its rule reads it.
#[derive(Default)]
pub(super) struct Page {
    pub crossings: Vec<Crossing>,
    /// Those that name nobody.
    pub unread: Vec<Unread>,
    /// Where the next page begins; `None`: this was the last.
    pub beyond: Option<i64>,
}

/// The rule's events of one tenant in the window, from the number `beyond` on. Empty for rules of other triggers.
pub(super) async fn page(
    store: &dyn Store,
    rule: &CompiledRule,
    tenant: &Tenant,
    window: Window,
    beyond: i64,
    limit: usize,
) -> Result<Page, StoreError> {
    page_among(store, rule, (tenant, &[]), window, beyond, limit).await
}

/// The same for a sweep. Events that are of none of these tenants would be read by nobody: the first of them, whom all
/// rules have, reads them as such that name nobody.
pub(super) async fn page_among(
    store: &dyn Store,
    rule: &CompiledRule,
    (tenant, tenants): (&Tenant, &[Tenant]),
    window: Window,
    beyond: i64,
    limit: usize,
) -> Result<Page, StoreError> {
    let Trigger::Event(event) = &rule.rule.trigger else { return Ok(Page::default()) };
    let found = store.received(&event.name, window.after, window.until, beyond, limit).await?;
    let last = found.last().map(|(number, _)| *number).filter(|_| found.len() >= limit);
    // One that was emptied, because the person it was about is erased, tells nothing any more.
    let told = found.iter().filter(|(_, inbound)| !inbound.body.is_null());
    let first = tenants.first() == Some(tenant);
    let mut page = Page { beyond: last, ..Page::default() };
    for (_, inbound) in told {
        let told = Told { id: &inbound.id, received_at: inbound.received_at, body: &inbound.body };
        if !event.concerns(&inbound.body, tenant) {
            page.unread.extend(first.then(|| event.stray(told, tenants)).flatten());
            continue;
        }
        match rule.read_event(event, told) {
            Ok(crossing) => page.crossings.push(crossing),
            Err(unread) => page.unread.push(unread),
        }
    }
    Ok(page)
}
