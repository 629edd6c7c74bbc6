//! The rules as far as they can be told without the database.

use crate::config::Config;
use crate::diagnostic::Finding;
use crate::model::Topic;
use crate::rule::generation::{Generation, Surroundings, Tree};
use crate::rule::statement::Dialect;
use crate::rulebook::Outside;
use crate::service::outside;
use secrecy::ExposeSecret;
use std::sync::Arc;

/// A tree, built against the configuration alone.
pub(super) struct Offline {
    pub built: Result<Generation, Vec<Finding>>,
    pub outside: Outside,
    pub surroundings: Surroundings,
    /// Names that were taken for known.
    pub assumed: usize,
}

impl Offline {
    /// Without a configuration nobody can say which destinations, chats and topics there are: names of those that rules
    /// use are then taken for known.
    pub fn build(tree: Arc<Tree>, config: &Config, has_config: bool) -> Self {
        let mut outside = outside(config);
        outside.emails |= !has_config;
        outside.pages |= !has_config;
        outside.postal_address |= !has_config;
        outside.senders = outside.senders.filter(|_| has_config);
        let mut surroundings = Surroundings {
            dialect: dialect(config.source.url.expose_secret()),
            schema: None,
            destinations: outside.destinations.clone(),
            chats: outside.chats.clone(),
            gateways: outside.gateways.clone(),
            topics: outside.topics.clone(),
        };
        let first = Generation::build(Arc::clone(&tree), &surroundings);
        let assumed = if has_config { 0 } else { assume(&mut surroundings, first.as_ref().err()) };
        let built = if assumed > 0 { Generation::build(tree, &surroundings) } else { first };
        Self { built, outside, surroundings, assumed }
    }
}

/// Adds the names that were unknown; returns how many.
fn assume(surroundings: &mut Surroundings, findings: Option<&Vec<Finding>>) -> usize {
    let mut assumed = 0;
    for finding in findings.into_iter().flatten() {
        let Some(name) = finding.message.split('`').nth(1) else { continue };
        assumed += usize::from(match finding.code {
            "rule.unknown-destination" => surroundings.destinations.insert(name.to_owned()),
            "rule.unknown-chat" => surroundings.chats.insert(name.to_owned()),
            "rule.unknown-gateway" => surroundings.gateways.names.insert(name.to_owned()),
            "rule.unknown-topic" => surroundings.topics.insert(Topic::from(name)),
            _ => false,
        });
    }
    assumed
}

/// Offline nothing depends on it but the text of the SQL, which nobody sees.
fn dialect(url: &str) -> Dialect {
    match url.split_once(':') {
        Some(("mysql" | "mariadb", _)) => Dialect::MySql,
        Some(("sqlite", _)) => Dialect::Sqlite,
        _ => Dialect::Postgres,
    }
}
