//! The admin API: health, metrics, status, reload, pause. On a unix socket and on loopback.

mod options;

pub use options::WebOptions;
