//! What each chat is sent for a plain text.
//!
//! Slack: <https://docs.slack.dev/messaging/formatting-message-text>. Discord:
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>. Mattermost:
//! <https://developers.mattermost.com/integrate/webhooks/incoming>. Teams: an Adaptive Card as Workflows take it,
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors>.

use super::ChatFormat;
use serde_json::{Value as Json, json};
use std::borrow::Cow;

/// UTF-16 units that a message may have: what all of these count at most.
const fn longest(format: ChatFormat) -> usize {
    match format {
        ChatFormat::Discord => 2_000,
        // More is taken, but cut or hidden. Teams takes 28 KB, with everything around it.
        ChatFormat::Slack | ChatFormat::Teams => 4_000,
        ChatFormat::Mattermost => 16_383,
    }
}

/// A card isn't made of more lines.
const MOST_LINES: usize = 60;

/// The JSON that the chat's incoming webhook takes.
#[must_use]
pub fn body(format: ChatFormat, text: &str) -> Json {
    match format {
        ChatFormat::Slack => json!({
            "text": written(format, text), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false,
        }),
        // 4: links are not followed to be shown.
        ChatFormat::Discord => json!({
            "content": written(format, text), "allowed_mentions": {"parse": []}, "flags": 4,
        }),
        ChatFormat::Mattermost => json!({"text": written(format, text)}),
        ChatFormat::Teams => card(&written(format, text)),
    }
}

/// The text with what means something there taken its meaning, and not too long.
fn written(format: ChatFormat, text: &str) -> String {
    let mut pieces = Vec::new();
    for part in parts(text) {
        match part {
            Part::Link(link) => pieces.push(linked(format, link)),
            Part::Text(text, before) => {
                let mut before = before;
                for c in text.chars().filter(|c| !c.is_control() || "\n\t".contains(*c)) {
                    pieces.push(escaped(format, c, before));
                    before = Some(c);
                }
            }
        }
    }
    cut(&pieces, longest(format))
}

fn linked(format: ChatFormat, link: &str) -> Cow<'_, str> {
    match format {
        ChatFormat::Slack => link.replace('&', "&amp;").into(),
        ChatFormat::Mattermost => link.replace('@', "%40").into(),
        ChatFormat::Teams | ChatFormat::Discord => link.into(),
    }
}

/// One character of text, after the one before it.
fn escaped(format: ChatFormat, c: char, before: Option<char>) -> Cow<'static, str> {
    let starts_line = before.is_none_or(|before| before == '\n');
    match (format, c) {
        (ChatFormat::Slack, '&') => "&amp;".into(),
        (ChatFormat::Slack, '<') => "&lt;".into(),
        (ChatFormat::Slack, '>') => "&gt;".into(),
        // There is no switch for mentions; with a blank of no width it isn't one.
        (ChatFormat::Mattermost, '@') if !before.is_some_and(char::is_alphanumeric) => "@\u{200b}".into(),
        (ChatFormat::Discord, '<') => "\\<".into(),
        (ChatFormat::Discord | ChatFormat::Mattermost, _)
            if "\\`*_~|[]".contains(c) || (starts_line && "#>-+".contains(c)) =>
        {
            format!("\\{c}").into()
        }
        _ => c.to_string().into(),
    }
}

/// Joined up to the limit, never within a piece.
fn cut(pieces: &[Cow<'_, str>], longest: usize) -> String {
    let units = |text: &str| text.encode_utf16().count();
    if pieces.iter().map(|piece| units(piece)).sum::<usize>() <= longest {
        return pieces.concat();
    }
    let (mut text, mut used) = (String::new(), 1);
    for piece in pieces {
        used += units(piece);
        if used > longest {
            break;
        }
        text.push_str(piece);
    }
    text.push('…');
    text
}

/// Text runs know no markup, so nothing is escaped; links must be said.
fn card(text: &str) -> Json {
    let run = |part: Part<'_>| match part {
        Part::Text(text, _) => json!({"type": "TextRun", "text": text}),
        Part::Link(link) => {
            json!({"type": "TextRun", "text": link, "selectAction": {"type": "Action.OpenUrl", "url": link}})
        }
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(MOST_LINES);
    let blocks: Vec<Json> = lines
        .map(|line| json!({"type": "RichTextBlock", "inlines": parts(line).into_iter().map(run).collect::<Vec<_>>()}))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": blocks,
            },
        }],
    })
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    /// With the character before it.
    Text(&'a str, Option<char>),
    Link(&'a str),
}

/// Splits the text at its addresses, which are left as they are so that they can be followed.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    let before = |at: usize| text[..at].chars().next_back();
    while let Some(found) = text[at..].find("http") {
        let start = at + found;
        let rest = &text[start..];
        at = start + "http".len();
        let inside_word = before(start).is_some_and(char::is_alphanumeric);
        if inside_word || !(rest.starts_with("http://") || rest.starts_with("https://")) {
            continue;
        }
        let ends = |c: char| c.is_whitespace() || c.is_control() || "<>\"[]|*`\\".contains(c);
        let link = rest.split(ends).next().unwrap_or_default().trim_end_matches(|c| ".,:;!?)'_~".contains(c));
        if link.ends_with('/') && link.matches('/').count() == 2 {
            continue;
        }
        if from < start {
            parts.push(Part::Text(&text[from..start], before(from)));
        }
        parts.push(Part::Link(link));
        from = start + link.len();
        at = from;
    }
    if from < text.len() {
        parts.push(Part::Text(&text[from..], before(from)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "*Ann* <!channel> & [here](https://evil.example) @all\n# https://crm.example/a_b?x=1&y=2.";

    #[test]
    fn what_means_something_in_a_chat_is_only_text() {
        let text = |format| {
            let body = body(format, NASTY);
            body["text"].as_str().or(body["content"].as_str()).unwrap().to_owned()
        };
        assert_eq!(
            text(ChatFormat::Slack),
            "*Ann* &lt;!channel&gt; &amp; [here](https://evil.example) @all\n# https://crm.example/a_b?x=1&amp;y=2."
        );
        assert_eq!(
            text(ChatFormat::Discord),
            "\\*Ann\\* \\<!channel> & \\[here\\](https://evil.example) @all\n\\# https://crm.example/a_b?x=1&y=2."
        );
        assert_eq!(
            text(ChatFormat::Mattermost),
            "\\*Ann\\* <!channel> & \\[here\\](https://evil.example) @\u{200b}all\n\\# https://crm.example/a_b?x=1&y=2."
        );
        assert_eq!(body(ChatFormat::Discord, NASTY)["allowed_mentions"], json!({"parse": []}));
        assert_eq!(body(ChatFormat::Slack, NASTY)["mrkdwn"], json!(false));
    }

    #[test]
    fn a_card_has_a_block_a_line_and_links_that_show_where_they_lead() {
        let card = body(ChatFormat::Teams, "*Ann* is silent\n\nSee https://crm.example/1.");
        let content = &card["attachments"][0]["content"];
        let run = |text: &str| json!({"type": "TextRun", "text": text});
        let url = "https://crm.example/1";
        let link = json!({"type": "TextRun", "text": url, "selectAction": {"type": "Action.OpenUrl", "url": url}});
        assert_eq!(
            content["body"],
            json!([
                {"type": "RichTextBlock", "inlines": [run("*Ann* is silent")]},
                {"type": "RichTextBlock", "inlines": [run("See "), link, run(".")]},
            ])
        );
    }

    #[test]
    fn too_long_a_text_is_cut_between_escapes() {
        let body = body(ChatFormat::Discord, &"*".repeat(3_000));
        let content = body["content"].as_str().unwrap();
        assert_eq!(content.chars().count(), 1_999);
        assert!(content.ends_with("\\*…"), "{}", &content[content.len() - 8..]);
        let emoji = super::body(ChatFormat::Slack, &"😀".repeat(3_000));
        assert_eq!(emoji["text"].as_str().unwrap().encode_utf16().count(), 3_999);
    }

    #[test]
    fn addresses_end_where_people_end_them() {
        let links = |text| {
            let links = parts(text).into_iter().filter_map(|part| match part {
                Part::Link(link) => Some(link.to_owned()),
                Part::Text(..) => None,
            });
            links.collect::<Vec<_>>()
        };
        assert_eq!(
            links("(see https://a.example/x), https://b.example!"),
            ["https://a.example/x", "https://b.example"]
        );
        assert_eq!(links("https://a.example/[x](https://b.example)"), ["https://a.example/", "https://b.example"]);
        assert_eq!(links("xhttps://a.example http:/b https://"), Vec::<String>::new());
    }
}
