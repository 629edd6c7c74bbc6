//! Email: a message is composed here and carried by SMTP, or written into a folder.

mod compose;
mod dkim;
mod folder;
mod options;
pub mod returned;
pub mod smtp;

pub use compose::{ComposeError, Composed, Composer};
pub use folder::FolderSender;
pub use options::{DkimOptions, EmailOptions, IdentityOptions, Tls, Transport};

use super::SetupError;
use crate::engine::port::Sender;
use crate::model::Clock;
use std::sync::Arc;

/// The sender that the options ask for. Opens no connection yet.
pub fn sender(options: &EmailOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Sender>, SetupError> {
    match options.transport {
        Transport::Folder => Ok(Arc::new(FolderSender::new(options, clock)?)),
        Transport::Smtp => Ok(Arc::new(smtp::SmtpSender::new(options, clock)?)),
    }
}
