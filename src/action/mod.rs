//! Effects on the world outside: email, webhooks, tasks.
