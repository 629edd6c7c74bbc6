use super::*;
use nudged::engine::port::{Consents, Register};
use nudged::model::{Channel, Preference, PreferenceSource};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";
const SHOP: &str = "https://shop.example/?a=1&b=2";

const TEMPLATE: &str = "---\nsubject: \"We miss {{ record.name }}\"\n---
Hello {{ to.first_name }}! [Look](https://shop.example/?a=1&b=2) and [look again](https://shop.example/two),
[call us](tel:+4312345) or [write](mailto:hello@linden.example).
";

/// These customers; with a `+` they agreed to being tracked, with a `-` they refused, others were never asked.
fn tracking(track: &str, rule: &str, addresses: &[&str]) -> Office {
    let plain: Vec<&str> = addresses.iter().map(|address| address.trim_start_matches(['+', '-'])).collect();
    let office = Office::new(rule, &plain);
    let keys = format!("track = {track}\ntrack_after = \"0 s\"\n[webhooks.team-chat]");
    office.site.configure("[webhooks.team-chat]", &keys);
    let folder = office.site.folder.path().join("rules");
    fs::write(folder.join("templates/hello.md"), TEMPLATE).unwrap();
    let catalog = fs::read_to_string(folder.join("catalog.yaml")).unwrap();
    let mapped = catalog.replace("given_at: news_ok_at}", "given_at: news_ok_at, tracking: track_ok}");
    assert_ne!(mapped, catalog);
    fs::write(folder.join("catalog.yaml"), mapped).unwrap();
    office.site.crm("ALTER TABLE contacts ADD COLUMN track_ok BOOLEAN");
    for (id, address) in (1..).zip(addresses) {
        if let Some(agreed) = ["-", "+"].iter().position(|sign| address.starts_with(sign)) {
            office.site.crm(&format!("UPDATE contacts SET track_ok = {agreed} WHERE id = {id}"));
        }
    }
    office.open()
}

/// The addresses below one of our paths, in the order of the mail.
fn ours(office: &Office, mail: &str, path: &str) -> Vec<String> {
    let start = format!("{}/{path}/", office.base);
    let html = parsed(mail).body_html(0).unwrap().into_owned();
    html.split('"').filter(|part| part.starts_with(&start)).map(str::to_owned).collect()
}

fn read_by(agent: &str, url: &str) -> Answer {
    asked(|client| client.get(url).header("user-agent", agent))
}

/// What is told of how a customer read their mail: what was done, and with what.
fn reactions(office: &Office, customer: usize) -> Vec<(String, String)> {
    let shown = office.site.json(&["enrollments", "show", &format!("customer:{customer}")]);
    let lines = shown["enrollments"].as_array().unwrap().iter().flat_map(|one| one["timeline"].as_array().unwrap());
    let text = |line: &Json, key: &str| line[key].as_str().unwrap().to_owned();
    let told = lines.map(|line| (text(line, "what"), text(line, "detail")));
    let mut told: Vec<_> = told.filter(|(what, _)| what.starts_with("opened") || what.starts_with("clicked")).collect();
    told.sort();
    told
}

fn pair(what: &str, detail: &str) -> (String, String) {
    (what.to_owned(), detail.to_owned())
}

#[test]
fn what_who_agreed_opens_and_follows_is_noted_once_and_machines_are_told_apart() {
    let addresses = ["+reader@track.example", "+scanned@track.example", "+quick@track.example"];
    let office = tracking("[\"opens\", \"clicks\"]", OFFERS, &addresses);
    let mail = mail_to("reader@track.example");
    let (code, _, talk) = office.site.run(&["check", "--deny-warnings"]);
    assert!(!talk.contains("unknown-topic"), "{code}: {talk}");
    let links = ours(&office, &mail, "t");
    assert_eq!(ours(&office, &mail, "u").len(), 1, "the way out leads straight there");
    assert!(!links.iter().any(|link| link.contains("reader") || link.contains("shop")), "{links:?}");
    let html = parsed(&mail).body_html(0).unwrap().into_owned();
    assert!(html.contains("\"tel:+4312345\"") && html.contains("\"mailto:hello@linden.example\""), "{html}");
    assert!(!html.contains("\"https://shop.example"), "{html}");
    let text = parsed(&mail).body_text(0).unwrap().into_owned();
    assert!(text.contains("https://shop.example/?a=1&b=2") && !text.contains("/t/"), "text stays as it is: {text}");

    // Somebody opens the mail and follows a link, twice.
    let [dot] = &ours(&office, &mail, "o")[..] else { panic!("{html}") };
    let (status, headers, _) = read_by(BROWSER, dot);
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "image/gif"));
    assert_eq!(headers["cache-control"], "no-store, private");
    for _ in 0..2 {
        let (status, headers, _) = read_by(BROWSER, &links[0]);
        assert_eq!((status, headers["location"].to_str().unwrap()), (302, SHOP));
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
    poll_until(PATIENCE, || reactions(&office, 1) == [pair("clicked", SHOP), pair("opened", "")]);

    // A mail server looks, a proxy fetches, a browser reads ahead; all are led on all the same.
    let mail = mail_to("scanned@track.example");
    let (link, dot) = (ours(&office, &mail, "t").remove(0), ours(&office, &mail, "o").remove(0));
    let (status, headers, _) = asked(|client| client.head(&link).header("user-agent", BROWSER));
    assert_eq!((status, headers["location"].to_str().unwrap()), (302, SHOP));
    assert_eq!(read_by("Mozilla/5.0 (via ggpht.com GoogleImageProxy)", &dot).0, 200);
    let ahead =
        |client: &reqwest::Client| client.get(&link).header("user-agent", BROWSER).header("sec-purpose", "prefetch");
    assert_eq!(asked(ahead).0, 302);
    let clicked = format!("{SHOP} (asked without reading)");
    let machines = [pair("clicked_by_machine", &clicked), pair("opened_by_machine", "a scanner or proxy")];
    poll_until(PATIENCE, || reactions(&office, 2) == machines);

    // Two links within a second.
    let links = ours(&office, &mail_to("quick@track.example"), "t");
    links[..2].iter().for_each(|link| assert_eq!(read_by(BROWSER, link).0, 302));
    let at_once = |page: &str| pair("clicked_by_machine", &format!("{page} (several links at once)"));
    poll_until(PATIENCE, || {
        reactions(&office, 3) == [at_once("https://shop.example/?a=1&b=2"), at_once("https://shop.example/two")]
    });

    let (_, shown, _) = office.site.run(&["enrollments", "show", "customer:1"]);
    assert!(shown.contains("clicked") && shown.contains(SHOP), "{shown}");
    let (_, why, _) = office.site.run(&["why", "customer:1", "--verbose"]);
    assert!(why.contains(&format!("clicked: {SHOP}")) && why.contains("opened"), "{why}");
    let log = office.site.log();
    assert!(!log.contains("shop.example"), "{log}");
}

#[test]
fn who_did_not_agree_is_not_tracked_and_a_no_said_here_holds() {
    let addresses =
        ["-no@untracked.example", "null@untracked.example", "+yes@untracked.example", "+control@untracked.example"];
    let mut office = tracking("[\"opens\", \"clicks\"]", OFFERS, &addresses);
    for address in &addresses[..2] {
        let mail = mail_to(address.trim_start_matches('-'));
        assert_eq!((ours(&office, &mail, "t"), ours(&office, &mail, "o")), (vec![], vec![]), "{address}");
        assert!(parsed(&mail).body_html(0).unwrap().contains("https://shop.example/two"));
    }
    let links = ours(&office, &mail_to("yes@untracked.example"), "t");
    let others = ours(&office, &mail_to("control@untracked.example"), "t");
    assert!(!links.is_empty());
    let waiting = || office.site.json(&["deliveries", "list", "--state", "sent"]).as_array().unwrap().len() == 4;
    poll_until(PATIENCE, waiting);
    office.state(async |store| {
        let (channel, address) = (Channel::Email, "yes@untracked.example");
        let said = Preference {
            hash: store.secret().address_hash(channel, address),
            channel,
            topic: Some("tracking".into()),
            allowed: false,
            since: Timestamp::now(),
            source: PreferenceSource::Page,
            delivery: None,
        };
        store.prefer(&[said]).await.unwrap();
    });
    // The links of a mail that was sent before lead on, and nobody looks; whoever is noted after it is noted.
    for link in [&links[0], &others[0]] {
        assert_eq!(read_by(BROWSER, link).0, 302);
    }
    poll_until(PATIENCE, || !reactions(&office, 4).is_empty());
    assert_eq!(reactions(&office, 3), []);
    office.an_hour_passes();
    let second = smtp().wait_for("yes@untracked.example", 2).remove(1);
    assert_eq!((ours(&office, &second, "t"), ours(&office, &second, "o")), (vec![], vec![]));
}

#[test]
fn a_rule_leaves_out_what_the_configuration_notes() {
    let rule = OFFERS.replace("purpose: offers", "purpose: offers\ntrack: [opens]");
    let office = tracking("[\"opens\", \"clicks\"]", &rule, &["+rule@track.example"]);
    let mail = mail_to("rule@track.example");
    assert_eq!((ours(&office, &mail, "t").len(), ours(&office, &mail, "o").len()), (0, 1));

    let rule = OFFERS.replace("purpose: offers", "purpose: offers\ntrack: [clicks]");
    let office = tracking("[\"opens\"]", &rule, &["+narrow@track.example"]);
    let mail = mail_to("narrow@track.example");
    assert_eq!((ours(&office, &mail, "t").len(), ours(&office, &mail, "o").len()), (0, 0), "it adds nothing");

    let service = OFFERS.replace("purpose: offers", "purpose: service");
    let office = tracking("[\"opens\", \"clicks\"]", &service, &["+service@track.example"]);
    let mail = mail_to("service@track.example");
    assert_eq!((ours(&office, &mail, "t").len(), ours(&office, &mail, "o").len()), (0, 0), "only marketing");
}

#[test]
fn a_forged_link_leads_nowhere_and_an_erased_reader_is_not_noted() {
    let addresses = ["+erased@track.example", "+witness@track.example"];
    let office = tracking("[\"opens\", \"clicks\"]", OFFERS, &addresses);
    let mail = mail_to("erased@track.example");
    let (link, dot) = (ours(&office, &mail, "t").remove(0), ours(&office, &mail, "o").remove(0));
    let token = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let last = if link.ends_with('A') { 'B' } else { 'A' };
    let middle = link.len() - 60;
    let other = if &link[middle..=middle] == "x" { "y" } else { "x" };
    let forged = [
        format!("{}{last}", &link[..link.len() - 1]),
        format!("{}{other}{}", &link[..middle], &link[middle + 1..]),
        link[..link.len() - 4].to_owned(),
        format!("{}/t/{}", office.base, token(&dot)),
        format!("{}/o/{}", office.base, token(&link)),
        format!("{}/t/{}", office.base, token(&ours(&office, &mail, "u")[0])),
        format!("{}/t/https%3A%2F%2Fevil.example", office.base),
    ];
    for url in &forged {
        let (status, headers, _) = read_by(BROWSER, url);
        assert!(status == 404 && headers.get("location").is_none(), "{url}: {status}");
    }
    assert_eq!(post(&link, FORM, "").0, 405);

    assert_eq!(read_by(BROWSER, &link).0, 302);
    poll_until(PATIENCE, || reactions(&office, 1) == [pair("clicked", SHOP)]);
    let exported = office.site.run(&["export", "customer:1"]).1;
    assert!(exported.contains("clicked") && exported.contains("shop.example"), "{exported}");
    assert_eq!(office.site.run(&["forget", "customer:1", "--yes"]).0, 0);

    // The link goes on to work; that it was followed is noted of the other alone.
    assert_eq!(read_by(BROWSER, &dot).0, 200);
    assert_eq!(read_by(BROWSER, &link).0, 302);
    assert_eq!(read_by(BROWSER, &ours(&office, &mail_to("witness@track.example"), "t")[0]).0, 302);
    poll_until(PATIENCE, || reactions(&office, 2) == [pair("clicked", SHOP)]);
    office.site.sql("state.db", "CREATE TABLE found AS SELECT * FROM timeline WHERE detail LIKE '%shop.example%'");
    let left = waited(async {
        let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", office.site.path("state.db"))).await.unwrap();
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM timeline WHERE what IN ('clicked', 'opened')")
            .fetch_one(&pool)
            .await
            .unwrap();
        let named: i64 = sqlx::query_scalar("SELECT count(*) FROM found").fetch_one(&pool).await.unwrap();
        (count, named)
    });
    assert_eq!(left, (2, 1), "the emptied line of the one, the line of the other");
}
