//! How a transaction is had.

use super::sql::Session;
use crate::engine::port::StoreError;
use futures::future::BoxFuture;
use std::future::Future;

/// One of the two databases. The work of a transaction is a closure, since it may run more than once
/// (PostgreSQL asks for that after a deadlock) and may share its commit with others (SQLite).
pub trait Database: Send + Sync + 'static {
    /// Runs `work` in a read-write transaction and returns once it is durable.
    fn write<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static;

    /// Runs `work` on one consistent view of the state.
    fn read<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static;

    /// Runs one reading statement that finds its rows by index, by itself: what is asked again and again while
    /// nothing happens costs no transaction.
    fn peek<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send + 'static,
        F: for<'c> Fn(Session<'c>) -> BoxFuture<'c, Result<T, StoreError>> + Send + Sync + 'static;
}
