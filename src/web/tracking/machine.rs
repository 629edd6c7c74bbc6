//! Who asks for a link: somebody who reads, or a mail server, a scanner or a proxy that looks ahead.

use axum::http::{HeaderMap, Method, header};

/// Headers by which programs say that nobody has asked for it yet.
const AHEAD: [&str; 4] = ["purpose", "sec-purpose", "x-purpose", "x-moz"];

/// What stands in the names of programs that fetch by themselves, in lower case.
const MACHINES: [&str; 36] = [
    "googleimageproxy",
    "ggpht.com",
    "yahoomailproxy",
    "yahoocachesystem",
    "bingpreview",
    "skypeuripreview",
    "slackbot",
    "facebookexternalhit",
    "whatsapp",
    "telegrambot",
    "twitterbot",
    "linkedinbot",
    "barracuda",
    "proofpoint",
    "mimecast",
    "fireeye",
    "symantec",
    "messagelabs",
    "trendmicro",
    "sophos",
    "fortinet",
    "ironport",
    "cloudmark",
    "forcepoint",
    "virustotal",
    "urlscan",
    "headlesschrome",
    "phantomjs",
    "python-requests",
    "python-urllib",
    "go-http-client",
    "libwww-perl",
    "apache-httpclient",
    "spider",
    "crawler",
    "scanner",
];

/// Programs that are known by how their name begins.
const TOOLS: [&str; 5] = ["curl/", "wget/", "java/", "okhttp/", "axios/"];

/// Why a request is taken for a machine's; `None`: nothing gives it away.
pub(super) fn tell(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    if *method == Method::HEAD {
        return Some("asked without reading");
    }
    let looks_ahead = |name: &&'static str| {
        let value = headers.get(*name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        value.contains("prefetch") || value.contains("preview") || value.contains("prerender")
    };
    if AHEAD.iter().any(looks_ahead) {
        return Some("fetched ahead");
    }
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let agent = agent.trim().to_ascii_lowercase();
    // Apple's Mail Privacy Protection says this and no more, for every mail, whether it is opened or not.
    if agent.is_empty() || agent == "mozilla/5.0" {
        return Some("a proxy");
    }
    // `bot` alone is also part of the names of phones.
    let robot = ["bot/", "bot;", "bot)", "bot "].iter().any(|sign| agent.contains(sign)) && !agent.contains("cubot");
    let known = MACHINES.iter().any(|name| agent.contains(name)) || TOOLS.iter().any(|name| agent.starts_with(name));
    (robot || known || agent.contains("+http")).then_some("a scanner or proxy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

    fn told(method: &Method, headers: &[(&'static str, &str)]) -> Option<&'static str> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        tell(method, &headers)
    }

    #[rstest]
    #[case::a_browser(FIREFOX)]
    #[case::a_phone(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
    )]
    #[case::a_phone_of_a_strange_name(
        "Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 21) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile"
    )]
    #[case::outlook("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.10730; Pro)")]
    #[case::thunderbird("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0")]
    fn people_are_people(#[case] agent: &str) {
        assert_eq!(told(&Method::GET, &[("user-agent", agent)]), None);
    }

    #[rstest]
    #[case::gmail("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)")]
    #[case::apple("Mozilla/5.0")]
    #[case::nothing("")]
    #[case::a_robot("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")]
    #[case::a_scanner("BarracudaCentral/1.0")]
    #[case::a_tool("curl/8.5.0")]
    #[case::a_chat("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)")]
    fn machines_are_machines(#[case] agent: &str) {
        assert!(told(&Method::GET, &[("user-agent", agent)]).is_some());
    }

    #[test]
    fn looking_ahead_is_no_reading() {
        assert_eq!(told(&Method::HEAD, &[("user-agent", FIREFOX)]), Some("asked without reading"));
        assert_eq!(told(&Method::GET, &[]), Some("a proxy"));
        for (name, value) in [("purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("x-moz", "Prefetch")] {
            assert_eq!(told(&Method::GET, &[("user-agent", FIREFOX), (name, value)]), Some("fetched ahead"));
        }
    }
}
