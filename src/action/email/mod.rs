//! Email: a message is composed here and carried by SMTP, or written into a folder.

mod compose;
mod dkim;
mod folder;
pub mod mailed_out;
mod options;
mod redirect;
pub mod returned;
pub mod smtp;

pub use compose::{ComposeError, Composed, Composer};
pub use folder::FolderSender;
pub use options::{DkimOptions, EmailOptions, IdentityOptions, Tls, Transport};
pub use redirect::Redirect;

use super::SetupError;
use crate::engine::port::Sender;
use crate::model::Clock;
use std::sync::Arc;

/// The sender that the options ask for. Opens no connection yet.
pub fn sender(options: &EmailOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Sender>, SetupError> {
    let sender: Arc<dyn Sender> = match options.transport {
        Transport::Folder => Arc::new(FolderSender::new(options, clock)?),
        Transport::Smtp => Arc::new(smtp::SmtpSender::new(options, clock)?),
    };
    let redirected = !options.redirect_all_to.is_empty();
    Ok(if redirected { Arc::new(Redirect::new(sender, options.redirect_all_to.as_str())) } else { sender })
}
