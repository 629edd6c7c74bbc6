//! Messages of more important rules that come due for the same records within the hour. Nobody has asked yet whom they
//! are for, so they are found by their records, and taken for messages to the same person where the role is the same.

use super::addressed::Addressed;
use super::work::Work;
use crate::engine::EngineError;
use crate::engine::context::Context;
use crate::engine::port::{Coming, ContactStanding, Waiting};
use crate::engine::versions::Standing;
use crate::model::{Channel, ContactId, Lane, RoleName};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Mode, Purpose, Step, Until, Wait};
use crate::rule::generation::Generation;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Records and rules that the state is asked about at once.
const PAGE: usize = 5_000;

/// A message's channel, and the role it is for.
type Way = (Channel, RoleName);

/// A row and a more important rule that may write to the same contact.
struct Pair<'g> {
    contact: ContactId,
    way: Way,
    rival: &'g CheckedRule,
}

/// What comes by that instant, before these rows in importance, for the contacts that they write to. Where the caps have
/// room for everybody nobody is asked.
pub async fn coming(
    context: &Context,
    generation: &Generation,
    (works, addressed): (&[Work], &[Addressed]),
    standings: &HashMap<ContactId, ContactStanding>,
    (now, by): (Timestamp, Timestamp),
) -> Result<Vec<(ContactId, Waiting)>, EngineError> {
    let mut asked: HashMap<[u8; 16], Vec<Pair<'_>>> = HashMap::new();
    for (work, addressed) in works.iter().zip(addressed).filter(|(work, _)| work.claimed.lane == Lane::Live) {
        let ways = ways(work);
        for (channel, contact) in addressed.by_channel() {
            let Some(way) = ways.iter().find(|way| way.0 == channel) else { continue };
            let rivals: Vec<_> = rivals(generation, &work.rule.rule, way).collect();
            if !may_be_short(context, channel, standings.get(&contact), rivals.len(), now) {
                continue;
            }
            for rival in rivals {
                for name in std::iter::once(&rival.id).chain(&rival.was) {
                    let track = context.store.secret().track(name, Lane::Live, &work.claimed.record);
                    asked.entry(track).or_default().push(Pair { contact, way: way.clone(), rival });
                }
            }
        }
    }
    let tracks: Vec<[u8; 16]> = asked.keys().copied().collect();
    let mut found = Vec::new();
    for page in tracks.chunks(PAGE) {
        for coming in context.store.coming(page, by).await? {
            for Pair { contact, way, rival } in asked.get(&coming.track).into_iter().flatten() {
                if ways_ahead(context, generation, rival, &coming).await?.contains(way) {
                    found.push((*contact, Waiting { id: coming.id, priority: rival.priority, due_at: coming.due_at }));
                }
            }
        }
    }
    Ok(found)
}

/// Whether so many others may take the last place. Who has none at all is put off anyway.
fn may_be_short(
    context: &Context,
    channel: Channel,
    standing: Option<&ContactStanding>,
    rivals: usize,
    now: Timestamp,
) -> bool {
    let sending = &context.settings.sending;
    let limits = if channel == Channel::Sms { &sending.texts.limits } else { &sending.limits };
    let sends: Vec<Timestamp> = standing.iter().flat_map(|known| known.sends.iter().map(|(_, at)| *at)).collect();
    (1..=rivals).contains(&limits.places(&sends, now))
}

/// The live rules for the same entity that go before this one, that caps count, and that write this way at all.
fn rivals<'g>(generation: &'g Generation, ours: &CheckedRule, way: &Way) -> impl Iterator<Item = &'g CheckedRule> {
    let (entity, priority) = (&ours.for_each, ours.priority);
    generation.rules.values().map(|rule| &*rule.rule).filter(move |rule| {
        rule.priority > priority
            && rule.for_each == *entity
            && rule.mode == Mode::Live
            && matches!(rule.purpose, Purpose::Topic(_))
            && rule.nodes.iter().filter_map(|node| node.step.action()).any(|action| ways_of(rule, action).contains(way))
    })
}

/// How a row writes, and to whom.
fn ways(work: &Work) -> Vec<Way> {
    let action = work.rule.rule.nodes.get(work.node).and_then(|node| node.step.action());
    action.map(|action| ways_of(&work.rule.rule, action)).unwrap_or_default()
}

fn ways_of(rule: &CheckedRule, action: &Action) -> Vec<Way> {
    let mail = action.email().map(|email| (Channel::Email, email.to.as_ref()));
    let text = action.sms().map(|sms| (Channel::Sms, sms.to.as_ref()));
    let named = mail.into_iter().chain(text);
    named.filter_map(|(channel, role)| Some((channel, role.or(rule.to.as_ref())?.clone()))).collect()
}

/// The messages that may follow once the row is due, up to the next wait, by whatever branch.
async fn ways_ahead(
    context: &Context,
    generation: &Generation,
    rival: &CheckedRule,
    coming: &Coming,
) -> Result<HashSet<Way>, EngineError> {
    let standing = context.versions.standing(&*context.store, generation, &rival.id, &coming.version).await?;
    let (Standing::Run(rule) | Standing::Migrate { from: rule, .. }) = standing else { return Ok(HashSet::new()) };
    let (mut ahead, mut seen, mut found) = (vec![coming.node], BTreeSet::new(), HashSet::new());
    if !rule.rule.nodes.get(coming.node).is_some_and(|node| goes_on(&rule.rule, &node.step)) {
        return Ok(found);
    }
    while let Some(place) = ahead.pop() {
        let Some(node) = rule.rule.nodes.get(place).filter(|_| seen.insert(place)) else { continue };
        if matches!(node.step, Step::Wait(_)) && place != coming.node {
            continue;
        }
        found.extend(node.step.action().into_iter().flat_map(|action| ways_of(&rule.rule, action)));
        ahead.extend(node.next);
        ahead.extend(node.step.inner());
    }
    Ok(found)
}

/// Whether what follows comes when the row is due. A wait for the record looks again and again, and a webhook that fails
/// is tried again and again: whoever waited for what follows them might wait for ever.
fn goes_on(rule: &CheckedRule, step: &Step) -> bool {
    match step {
        Step::Wait(Wait { until, .. }) => !matches!(until, Until::When(_) | Until::Date(_)),
        Step::Act(action) => !ways_of(rule, action).is_empty(),
        Step::Branch { .. } | Step::Split(_) | Step::Enroll(_) | Step::Stop => true,
    }
}
