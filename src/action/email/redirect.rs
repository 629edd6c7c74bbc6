//! For trying things out: every mail goes to one address, whoever it was meant for.

use crate::engine::port::{Message, Sender, Sent};
use crate::model::Outcome;
use async_trait::async_trait;
use std::sync::Arc;

/// Names whom a redirected mail was meant for.
const MEANT_FOR: &str = "X-Nudged-Meant-For";

/// Stands before another sender.
pub struct Redirect {
    behind: Arc<dyn Sender>,
    to: String,
}

impl Redirect {
    pub fn new(behind: Arc<dyn Sender>, to: impl Into<String>) -> Self {
        Self { behind, to: to.into() }
    }

    fn redirected(&self, message: Message) -> Message {
        let Message::Email(email) = message else { return message };
        let meant_for = email.to_address.clone();
        let mut email = email.copied_to(&self.to);
        email.subject = format!("[to {meant_for}] {}", email.subject);
        email.headers.push((MEANT_FOR.to_owned(), meant_for));
        Message::Email(email)
    }
}

#[async_trait]
impl Sender for Redirect {
    fn sessions(&self) -> usize {
        self.behind.sessions()
    }

    fn departing(&self, message: &Message) -> Option<Message> {
        self.behind.departing(&self.redirected(message.clone()))
    }

    async fn send(&self, message: Message) -> Sent {
        let mut sent = self.behind.send(self.redirected(message)).await;
        if let Outcome::Permanent { reason } = &mut sent.outcome {
            // The server speaks of our address; the real one isn't to be taken for gone.
            "email.redirect_all_to was refused".clone_into(reason);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::port::Email;
    use crate::model::DeliveryId;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Message>>);

    #[async_trait]
    impl Sender for Kept {
        fn sessions(&self) -> usize {
            3
        }

        async fn send(&self, message: Message) -> Sent {
            self.0.lock().unwrap().push(message);
            Sent { outcome: Outcome::Permanent { reason: "550 5.1.1 no such user".into() }, answer: None }
        }
    }

    #[tokio::test]
    async fn nobody_real_is_written_to() {
        let kept = Arc::new(Kept::default());
        let redirect = Redirect::new(kept.clone(), "staging@acme.example");
        assert_eq!(redirect.sessions(), 3);
        let email = Email {
            tracked_html: Some("the reader's own links".into()),
            delivery: DeliveryId([7; 16]),
            to_address: "ada@example.org".into(),
            to_name: Some("Ada".into()),
            subject: "We miss you".into(),
            html: "<a href=\"https://acme.example/u/s1gned\">No more</a>".into(),
            text: "https://acme.example/a/asked/9".into(),
            from: None,
            reply_to: None,
            sender: None,
            images: Vec::new(),
            return_tag: Some("the reader's address".into()),
            headers: vec![("List-Unsubscribe".into(), "<https://acme.example/u/1>".into())],
            signed: vec!["s1gned".into(), "asked".into()],
        };
        let Some(Message::Email(departing)) = redirect.departing(&Message::Email(email.clone())) else { panic!() };
        let told = redirect.send(Message::Email(email)).await.outcome;
        assert_eq!(told, Outcome::Permanent { reason: "email.redirect_all_to was refused".into() });
        let Message::Email(sent) = kept.0.lock().unwrap().remove(0) else { panic!() };
        assert_eq!((&departing.to_address, &departing.subject), (&sent.to_address, &sent.subject));
        assert_eq!((sent.to_address.as_str(), sent.to_name), ("staging@acme.example", None));
        assert_eq!(sent.tracked_html, None, "what is done with it is not what the reader did");
        assert_eq!(sent.return_tag, None, "what bounces is our address");
        assert_eq!(sent.html, "<a href=\"https://acme.example/u/copy\">No more</a>");
        assert_eq!(sent.text, "https://acme.example/a/copy/9");
        assert_eq!(sent.subject, "[to ada@example.org] We miss you");
        assert_eq!(sent.headers, [("X-Nudged-Meant-For".to_owned(), "ada@example.org".to_owned())]);
    }
}
