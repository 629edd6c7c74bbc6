//! A source that panics or hangs when it is told to, and whose clock may be off.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use nudged::catalog::{ColumnSchema, Schema, Table};
use nudged::engine::port::{Deed, Done, Source, SourceError};
use nudged::model::Tenant;
use nudged::rule::statement::{Dialect, Row, Statement};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A source that misbehaves when asked for rows, as often as it was told to.
pub struct Moody {
    inner: Arc<dyn Source>,
    pub moods: Mutex<VecDeque<Mood>>,
    pub hanging: watch::Sender<bool>,
    /// How far its clock is ahead.
    pub skew: Mutex<SignedDuration>,
}

pub enum Mood {
    Panic,
    Hang,
}

impl Moody {
    pub fn new(inner: &Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            moods: Mutex::default(),
            hanging: watch::Sender::new(false),
            skew: Mutex::default(),
        })
    }

    pub fn next(&self, mood: Mood) {
        self.moods.lock().unwrap().push_back(mood);
    }
}

#[async_trait]
impl Source for Moody {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        let skew = *self.skew.lock().unwrap();
        Ok(self.inner.now().await? + skew)
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let mood = self.moods.lock().unwrap().pop_front();
        match mood {
            None => self.inner.rows(tenant, statement),
            Some(Mood::Panic) => panic!("as told"),
            Some(Mood::Hang) => {
                self.hanging.send_replace(true);
                futures::stream::pending().boxed()
            }
        }
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        self.inner.transact(tenant, steps).await
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.inner.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.inner.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.inner.prepare(statement).await
    }
}
