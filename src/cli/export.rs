//! `nudged export RECORD`: everything the state holds about a record, for the person who asks.

use super::enrollments::last_rules;
use super::rehearsal::load_tree;
use super::suppress::reached_by;
use super::{Context, Exit, Failure, Output, message, record};
use crate::engine::port::{Dossier, Enrolled, Happening, Inbound, Store};
use crate::engine::{Reached, addresses_in, events_about, reached};
use crate::model::{AddressHash, EndReason, EnrollmentState, Preference, RecordId, Suppression};
use crate::rule::generation::Tree;
use crate::service::open_source;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The record: `customer:4711`, or `tenant/customer:4711`.
    record: String,
    /// Also what is kept of this email address or phone number (with its country: `+43…`), beside those that the CRM has of
    /// the record's people and those that replies or answers named.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// There is one: a table can't hold all of it.
    #[arg(long, value_enum, default_value_t)]
    format: Only,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Only {
    #[default]
    Json,
}

/// All that is known.
pub(super) struct Known {
    pub dossier: Dossier,
    pub events: BTreeMap<i64, Inbound>,
    /// Whether the rules could be read that tell whose events are.
    pub rules: bool,
    /// Why the CRM named no addresses, and what to do, where it didn't.
    pub unreached: Option<String>,
    pub addresses: BTreeSet<String>,
    pub suppressions: Vec<Suppression>,
    pub preferences: Vec<Preference>,
}

impl Known {
    pub fn is_empty(&self) -> bool {
        self.dossier.is_empty() && self.events.is_empty() && self.suppressions.is_empty() && self.preferences.is_empty()
    }

    /// Whether all that is left holds by a hash, or says no to a topic.
    pub fn is_erased(&self) -> bool {
        let named = self.suppressions.iter().any(|entry| entry.address.is_some());
        self.dossier.is_empty() && self.events.is_empty() && !named
    }

    /// Says what could not be looked through.
    pub fn warn(&self, output: &mut Output) {
        if !self.rules {
            output.talk(UNREAD);
        }
        if let Some(unreached) = &self.unreached {
            output.talk(unreached);
        }
    }

    pub fn hashes(&self, store: &dyn Store) -> Vec<AddressHash> {
        let hash = |address: &String| {
            let (channel, address) = reached_by(address, None);
            store.secret().address_hash(channel, &address)
        };
        self.addresses.iter().map(hash).collect()
    }
}

pub(super) async fn gather(
    context: &Context,
    store: &dyn Store,
    record: &RecordId,
    addresses: &[String],
) -> Result<Known, Failure> {
    let dossier = store.dossier(record).await?;
    let generation = last_rules(context, store).await?;
    let rules = generation.is_some();
    let (events, asked) = match generation {
        Some(generation) => {
            (events_about(store, &generation, record).await?, ask_source(context, &generation.tree, record).await)
        }
        None => (BTreeMap::new(), Err("the rules can't be read that say where they are".to_owned())),
    };
    let (theirs, unreached) = match asked {
        Ok(Reached::By(theirs)) => (theirs, None),
        Ok(Reached::Gone) => (BTreeSet::new(), Some(format!("the CRM has no {record} any more"))),
        Ok(Reached::NoRule) => (BTreeSet::new(), Some(format!("no rule is about {} records", record.entity))),
        Err(reason) => (BTreeSet::new(), Some(reason)),
    };
    let unreached = unreached.map(|reason| {
        format!(
            "addresses of {record} were not looked up: {reason}. What is kept of them by address is therefore missing here; \
             name every email address and phone number that was theirs with --address"
        )
    });
    let mut known = Known {
        addresses: addresses_in(&dossier),
        dossier,
        events,
        rules,
        unreached,
        suppressions: vec![],
        preferences: vec![],
    };
    known.addresses.extend(theirs);
    known.addresses.extend(addresses.iter().map(|address| address.trim().to_lowercase()));
    let hashes = known.hashes(store);
    known.suppressions = store.suppressed(&hashes).await?;
    known.preferences = store.preferences(&hashes).await?;
    Ok(known)
}

/// Asks the CRM, as it is now, by which addresses the record's people are reached.
async fn ask_source(context: &Context, tree: &Arc<Tree>, record: &RecordId) -> Result<Reached, String> {
    let config = context.config().map_err(|error| error.to_string())?;
    let source = open_source(&config).map_err(|error| error.to_string())?;
    let now = source.now().await.map_err(|error| error.to_string())?;
    let generation = load_tree(&config, &*source, Arc::clone(tree)).await.map_err(|error| error.to_string())?;
    reached(&*source, &generation, record, config.sms.country, now).await.map_err(|error| error.to_string())
}

pub(super) fn nothing(record: &RecordId) -> Failure {
    Failure::other(Exit::NotFound, format!("the state knows nothing of {record}"))
}

const UNREAD: &str =
    "the rules can't be read, so events of other systems were not looked through; the state keeps them for a while";

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let record = record::parse(&args.record)?;
    let known = context.block_on(async {
        let store = context.state().await?;
        gather(context, &*store, &record, &args.addresses).await
    })?;
    known.warn(output);
    if known.is_empty() {
        return Err(nothing(&record));
    }
    match args.format {
        Only::Json => output.json(&as_json(&record, &known)),
    }
    Ok(Exit::Success)
}

fn as_json(record: &RecordId, known: &Known) -> Json {
    let dossier = &known.dossier;
    let suppressions = known.suppressions.iter().map(|entry| {
        json!({"address": entry.address, "channel": entry.channel, "reason": entry.reason, "since": entry.since})
    });
    let preferences = known.preferences.iter().map(|said| {
        json!({"channel": said.channel, "topic": said.topic, "allowed": said.allowed, "by": said.source,
               "since": said.since})
    });
    let misses = dossier.misses.iter().map(|miss| {
        json!({"rule": miss.rule, "lane": miss.lane, "occasion": miss.occasion, "crossed_at": miss.crossed_at,
               "reason": miss.reason, "seen_at": miss.seen_at})
    });
    let episodes = dossier.episodes.iter().map(|stay| {
        json!({"rule": stay.rule, "lane": stay.lane, "number": stay.ordinal, "opened_at": stay.opened_at,
               "closed_at": stay.closed_at})
    });
    let tasks = dossier.tasks.iter().map(|task| {
        json!({"title": task.title, "body": task.body, "due": task.due, "assignee": task.assignee,
               "created_at": task.created_at, "done_at": task.done_at})
    });
    let events = known
        .events
        .values()
        .map(|event| json!({"name": event.name, "id": event.id, "received_at": event.received_at, "body": event.body}));
    json!({
        "record": record.to_string(),
        "enrollments": dossier.enrollments.iter().map(|of| enrollment(of, &dossier.happenings)).collect::<Vec<_>>(),
        "messages": dossier.messages.iter().map(message::kept_as_json).collect::<Vec<_>>(),
        "misses": misses.collect::<Vec<_>>(),
        "episodes": episodes.collect::<Vec<_>>(),
        "tasks": tasks.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "addresses": known.addresses,
        "suppressions": suppressions.collect::<Vec<_>>(),
        "preferences": preferences.collect::<Vec<_>>(),
    })
}

const fn named(state: EnrollmentState) -> &'static str {
    match state {
        EnrollmentState::Active => "active",
        EnrollmentState::Held => "held",
        EnrollmentState::Ended => "ended",
    }
}

fn enrollment(of: &Enrolled, happenings: &[Happening]) -> Json {
    let mine = happenings.iter().filter(|happening| happening.enrollment == of.id);
    let timeline = mine.map(|happening| {
        json!({"at": happening.at, "step": happening.step, "what": happening.what, "detail": happening.detail,
               "until": happening.until, "kind": happening.attempt.as_ref().map(|attempt| &attempt.0)})
    });
    json!({
        "id": of.id,
        "rule": of.rule,
        "lane": of.lane,
        "occasion": of.occasion,
        "occasion_at": of.occasion_at,
        "occasion_data": of.occasion_data,
        "entered_at": of.entered_at,
        "state": of.state.map_or("staged", named),
        "ended": of.ended.map(EndReason::as_str),
        "ended_at": of.ended_at,
        "saved": of.saved,
        "held_because": of.hold,
        "timeline": timeline.collect::<Vec<_>>(),
    })
}
