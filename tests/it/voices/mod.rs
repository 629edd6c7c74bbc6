//! Other ways to reach people than a mail each: text messages, preferred channels, digests, combined messages.

mod combined;
mod digests;
mod preferred;
mod surveys;
mod texts;
mod world;
