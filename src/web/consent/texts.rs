//! The words of the pages, in English unless the configuration has them in the reader's language.

use crate::model::Topic;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the pages behind the links of mails say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PageOptions {
    /// What readers call a topic: `offers = "Offers and discounts"`. Its own name if not given.
    #[schemars(with = "BTreeMap<String, String>")]
    pub topics: BTreeMap<Topic, String>,
    /// By language, such as `de`; what a language leaves out is English. `en` changes the English ones.
    pub texts: BTreeMap<String, Texts>,
}

macro_rules! texts {
    ($($name:ident: $english:literal,)*) => {
        /// Each text; `{topic}` and `{sender}` in them are filled in.
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        #[expect(missing_docs, reason = "each is its own text")]
        pub struct Texts {
            $(pub $name: String,)*
        }

        impl Default for Texts {
            fn default() -> Self {
                Self { $($name: $english.to_owned(),)* }
            }
        }
    };
}

texts! {
    unsubscribe: "Unsubscribe",
    unsubscribe_question: "Stop getting mails about “{topic}” from {sender}?",
    unsubscribe_topic: "No more “{topic}”",
    unsubscribe_all: "No more marketing at all",
    unsubscribed: "You won't get mails about “{topic}” from {sender} any more.",
    unsubscribed_already: "You had unsubscribed from “{topic}” already. Nothing more is to do.",
    unsubscribed_all: "You won't get marketing mails from {sender} any more.",
    preferences: "What you get from us",
    preferences_intro: "Untick what {sender} should no longer write to you about.",
    save: "Save",
    saved: "Your choice is saved.",
    outdated: "Something was decided after this page was opened. This is how it stands now; please choose again.",
    confirm: "One more click",
    confirm_question: "Do you want mails about “{topic}” from {sender}?",
    confirm_yes: "Yes, please",
    confirmed: "Thank you. From now on you get mails about “{topic}” from {sender}.",
    confirmed_already: "This link has been used, or you have decided otherwise since.",
    answer: "Your answer",
    answer_question: "Is this what you want to tell {sender}? You can still choose another one.",
    answer_comment: "Would you like to say why? (optional)",
    answer_send: "Send",
    answered: "Thank you! Your answer has reached {sender}.",
    answered_anew: "Thank you! Your new answer has taken the place of the one before.",
    answered_before: "You had answered already, and that was too long ago to be changed.",
    invalid: "This link is not complete. Please use the one in the newest mail you have from us.",
    copied: "This link is one of a copy of a mail that somebody else got. It does nothing.",
    expired: "This link has expired. Please ask us for a new one.",
    failed: "That could not be saved just now. Please try again in a minute.",
}

impl PageOptions {
    /// The texts for whoever reads these languages, with the language that they are in. `wanted` is what a browser
    /// sends as `Accept-Language`, best first as all browsers do.
    pub fn texts_for(&self, wanted: &str) -> (&str, Option<&Texts>) {
        let languages = wanted.split(',').filter_map(|tag| tag.split(['-', ';', '_']).next());
        for language in languages.map(|language| language.trim().to_ascii_lowercase()) {
            if let Some((name, texts)) = self.texts.get_key_value(&language) {
                return (name, Some(texts));
            }
            if language == "en" {
                break;
            }
        }
        ("en", self.texts.get("en"))
    }

    /// What readers call a topic.
    pub fn label(&self, topic: &Topic) -> String {
        let own = || {
            let mut letters = topic.as_str().chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        };
        self.topics.get(topic).cloned().unwrap_or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_a_language_of_theirs_or_english() {
        let german = Texts { save: "Sichern".into(), ..Texts::default() };
        let options = PageOptions { texts: [("de".to_owned(), german)].into(), ..PageOptions::default() };
        let save = |wanted: &str| options.texts_for(wanted).1.map_or("Save", |texts| texts.save.as_str());
        assert_eq!(save("de-AT,de;q=0.9,en;q=0.8"), "Sichern");
        assert_eq!(save("fr, DE;q=0.5"), "Sichern");
        assert_eq!(save("en-GB,de;q=0.5"), "Save");
        assert_eq!(save(""), "Save");
    }

    #[test]
    fn a_topic_without_a_name_for_readers_has_its_own() {
        let options = PageOptions { topics: [("news".into(), "Roasts".into())].into(), ..PageOptions::default() };
        assert_eq!(options.label(&"news".into()), "Roasts");
        assert_eq!(options.label(&"offers".into()), "Offers");
    }
}
