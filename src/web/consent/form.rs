//! What was posted: by a page's own form, or by a mail program.

use axum::extract::{FromRequest, Request};
use axum::http::header;

/// The fields, in their order. Whatever can't be read is as if nothing had been said beside the link itself.
#[derive(Debug, Default)]
pub(super) struct Form {
    fields: Vec<(String, String)>,
    /// A mail program may also send `multipart/form-data` (RFC 8058, 3.2).
    multipart: bool,
}

impl Form {
    pub async fn read(request: Request) -> Self {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let multipart = kind.to_ascii_lowercase().starts_with("multipart/form-data");
        let fields = axum::Form::<Vec<(String, String)>>::from_request(request, &()).await;
        Self { fields: fields.map(|form| form.0).unwrap_or_default(), multipart }
    }

    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// `List-Unsubscribe=One-Click`; our own pages never send multipart.
    pub fn is_one_click(&self) -> bool {
        self.multipart || self.first("List-Unsubscribe") == Some("One-Click")
    }
}
