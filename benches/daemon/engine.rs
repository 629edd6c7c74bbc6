//! The engine in this process, on a clock that the measurement moves, with a sender that does nothing: for
//! what can't be waited for, such as four hundred sweeps a quarter of an hour apart.

use super::Bench;
use super::machine::directory;
use super::nudged::State;
use super::source::CATALOG;
use super::support::Database;
use async_trait::async_trait;
use nudged::catalog::Table;
use nudged::diagnostic::SourceFile;
use nudged::engine::port::{Message, Owner, Sender, Sent, Store};
use nudged::engine::{Engine, Parts, Senders, Settings, TaskWriter};
use nudged::model::{Clock, Outcome};
use nudged::rule::generation::{Gateways, Generation, Surroundings, Tree};
use nudged::source::{SourceOptions, connect};
use nudged::store::postgres::{PostgresStore, Reached};
use nudged::store::sqlite::SqliteStore;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;

pub struct Running {
    pub engine: Arc<Engine>,
    _generation: watch::Sender<Option<Arc<Generation>>>,
    _state: (Option<TempDir>, Option<Database>),
}

/// Takes everything, sends nothing.
struct Nowhere;

#[async_trait]
impl Sender for Nowhere {
    fn sessions(&self) -> usize {
        32
    }

    async fn send(&self, _message: Message) -> Sent {
        Sent { outcome: Outcome::Sent { reply: String::new() }, answer: None }
    }
}

/// The engine over the bench's source with these rules and a fresh state.
pub async fn build(
    bench: &Bench,
    state: State,
    clock: Arc<dyn Clock>,
    settings: Settings,
    rules: Vec<String>,
) -> Running {
    let url = &bench.source.crm.url;
    let source = connect(&SourceOptions::new(url).clock(Arc::clone(&clock))).expect("the URL is right");
    let (store, kept): (Arc<dyn Store>, _) = match state {
        State::Sqlite => {
            let dir = tempfile::tempdir_in(directory()).expect("the directory is writable");
            let store = SqliteStore::open(&dir.path().join("state.db"), clock.now()).await.expect("a fresh state");
            (Arc::new(store), (Some(dir), None))
        }
        State::Postgres => {
            let database = bench.source.server.create();
            let store =
                PostgresStore::open_as(&database.url, Reached::Directly, clock.now()).await.expect("a fresh state");
            (Arc::new(store), (None, Some(database)))
        }
    };
    let generation = Arc::new(generation(&*source, rules).await);
    let (sender, generations) = watch::channel(Some(generation));
    let task = TaskWriter::new(Arc::clone(&clock), Arc::clone(&source), Arc::clone(&store), generations.clone());
    let nowhere: Arc<dyn Sender> = Arc::new(Nowhere);
    let senders = Senders { email: Arc::clone(&nowhere), webhook: nowhere, task: Arc::new(task) };
    let owner = Owner("bench".to_owned());
    let parts = Parts { clock, source, store, senders, generation: generations, owner, settings };
    Running { engine: Arc::new(Engine::new(parts)), _generation: sender, _state: kept }
}

async fn generation(source: &dyn nudged::engine::port::Source, rules: Vec<String>) -> Generation {
    let file = |path: String, text: String| Arc::new(SourceFile { path, text });
    let mut files = vec![file("catalog.yaml".to_owned(), CATALOG.to_owned())];
    files.extend(rules.into_iter().enumerate().map(|(number, text)| file(format!("rule-{number:04}.yaml"), text)));
    let tables =
        ["accounts", "contacts", "orders"].map(|name| Table { schema: Some("crm".to_owned()), name: name.to_owned() });
    let surroundings = Surroundings {
        dialect: source.dialect(),
        schema: Some(source.schema(&tables).await.expect("the source answers")),
        destinations: ["sink".to_owned()].into(),
        chats: ["sales".to_owned()].into(),
        gateways: Gateways::default(),
        topics: ["offers".into()].into(),
    };
    Generation::build(Arc::new(Tree { files }), &surroundings).expect("the rules are right")
}
