//! Any other gateway: a form or JSON as the configuration writes it.

use super::{GatewayFormat, GatewayMethod, GatewayOptions};
use crate::action::webhook::destination::Destination;
use crate::engine::port::{Sent, SmsMessage};
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Url};
use secrecy::ExposeSecret;
use serde_json::{Map, Value as Json};

pub(super) async fn send(
    destination: &Destination,
    options: &GatewayOptions,
    message: &SmsMessage,
    now: Timestamp,
) -> Sent {
    match destination.exchange(now, |client, url| request(client, url, options, message)).await {
        Err(sent) => sent,
        Ok(answered) => answered.without_key().in_short(),
    }
}

fn request(client: &Client, url: Url, options: &GatewayOptions, message: &SmsMessage) -> RequestBuilder {
    let request = match options.method {
        GatewayMethod::Post => client.post(url),
        GatewayMethod::Put => client.put(url),
        GatewayMethod::Get => client.get(url),
    };
    let id = message.delivery.to_string();
    let values = [
        ("to", message.to.as_str()),
        ("from", options.from.as_deref().unwrap_or_default()),
        ("text", message.text.as_str()),
        ("id", id.as_str()),
    ];
    let body: Map<String, Json> =
        options.body.iter().map(|(name, value)| (name.clone(), filled(value, &values))).collect();
    let fields = || body.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Vec<_>>();
    let request = match (options.method, options.format) {
        (GatewayMethod::Get, _) => request.query(&fields()),
        (_, GatewayFormat::Form) => request.form(&fields()),
        _ => request.json(&body),
    };
    let request = options.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let Some(token) = options.token.as_ref().map(ExposeSecret::expose_secret) else { return request };
    match (&options.key_header, &options.account) {
        (Some(header), _) => request.header(header, token),
        (None, Some(account)) => request.basic_auth(account, Some(token)),
        (None, None) => request.bearer_auth(token),
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn filled(value: &Json, values: &[(&str, &str)]) -> Json {
    match value {
        Json::String(text) => Json::String(fill(text, values)),
        Json::Array(items) => items.iter().map(|item| filled(item, values)).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, values))).collect())
        }
        other => other.clone(),
    }
}

/// In one pass, so that a text that reads `{to}` stays what it is.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, after) = rest.split_at(start);
        out.push_str(before);
        let known =
            values.iter().find(|(name, _)| after[1..].strip_prefix(name).is_some_and(|end| end.starts_with('}')));
        if let Some((name, value)) = known {
            out.push_str(value);
            rest = &after[name.len() + 2..];
        } else {
            out.push('{');
            rest = &after[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_text_says_is_never_filled_in() {
        let values = [("to", "+43664"), ("text", "write {to} {id}")];
        assert_eq!(fill("{to}: {text} {other} {", &values), "+43664: write {to} {id} {other} {");
        let body = json!({"messages": [{"to": "{to}", "flash": false}]});
        assert_eq!(filled(&body, &values), json!({"messages": [{"to": "+43664", "flash": false}]}));
    }
}
