use super::*;

#[test]
fn one_click_of_a_mail_program_ends_the_mails_about_the_topic() {
    let address = "anna@one-click.example";
    let mut office = Office::new(OFFERS, &[address]).open();
    let raw = mail_to(address);
    let mail = parsed(&raw);
    assert_eq!(mail.header_raw("List-Unsubscribe-Post").map(str::trim), Some("List-Unsubscribe=One-Click"));
    let url = link_in(&raw, "List-Unsubscribe");
    assert!(url.starts_with(&format!("{}/u/", office.base)), "{url}");
    assert!(!url.contains("anna") && !url.contains("one-click.example"), "no address in {url}");
    let text = mail.body_text(0).unwrap().replace("\r\n", "\n");
    assert!(text.contains(&url) && text.contains("Rosengasse 4, 1010 Vienna"), "whoever reads text finds it: {text}");
    assert!(mail.body_html(0).unwrap().contains(&url));

    // Scanners follow links.
    for _ in 0..2 {
        let (status, headers, page) = get(&url);
        assert_eq!(status, 200);
        assert!(page.contains("<form method=\"post\">") && !page.contains("<script"), "{page}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(
            (&headers["cache-control"], &headers["referrer-policy"]),
            (&"no-store".parse().unwrap(), &"no-referrer".parse().unwrap())
        );
    }
    assert!(office.list().is_empty(), "looking is not saying no");

    let (status, _, page) = one_click(&url);
    assert_eq!(status, 200, "{page}");
    assert_eq!(office.holds_for(address), ["unsubscribed from offers"]);
    let (status, _, page) = one_click(&url);
    assert!(status == 200 && page.contains("already"), "again is harmless and says so: {page}");
    assert_eq!(office.list().len(), 1);
    assert_eq!(office.list()[0]["by"], "one_click");

    office.an_hour_passes();
    poll_until(PATIENCE, || office.skipped().len() == 1);
    let detail = office.skipped().remove(0);
    assert!(detail.contains("unsubscribed from offers on 20"), "{detail}");
    let (_, why, _) = office.site.run(&["why", "customer:1"]);
    assert!(why.contains("unsubscribed from offers on 20"), "{why}");
    assert_eq!(smtp().inbox(address).len(), 1);
    let log = office.site.log();
    assert!(!log.contains(address) && !log.contains(url.rsplit('/').next().unwrap()), "{log}");
}

#[test]
fn the_other_forms_of_one_click_and_of_the_page_are_understood() {
    let addresses = ["multipart@forms.example", "page@forms.example", "all@forms.example"];
    let office = Office::new(OFFERS, &addresses).open();
    let url = |address: &str| link_in(&mail_to(address), "List-Unsubscribe");
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    assert_eq!(post(&url(addresses[0]), "multipart/form-data; boundary=x", multipart).0, 200);
    assert_eq!(office.holds_for(addresses[0]), ["unsubscribed from offers"]);
    let (_, _, page) = post(&url(addresses[1]), FORM, "scope=topic");
    assert!(page.contains("won&#x27;t get mails about “Offers” from Linden"), "{page}");
    let (_, _, page) = get(&url(addresses[1]));
    assert!(page.contains("already") && !page.contains("<form"), "{page}");
    assert_eq!(post(&url(addresses[2]), FORM, "scope=all").0, 200);
    let mut all = office.holds_for(addresses[2]);
    all.sort();
    assert_eq!(all, ["unsubscribed from all topics", "unsubscribed from news", "unsubscribed from offers"]);
}

#[test]
fn a_forged_link_a_cut_one_and_one_of_another_purpose_do_nothing() {
    let address = "anna@forged.example";
    let office = Office::new(OFFERS, &[address]).open();
    let url = link_in(&mail_to(address), "List-Unsubscribe");
    let (path, token) = url.rsplit_once('/').unwrap();
    let mut tried = 0;
    for (place, letter) in token.char_indices() {
        let other = if letter == 'A' { 'B' } else { 'A' };
        let forged = format!("{path}/{}{other}{}", &token[..place], &token[place + 1..]);
        assert_eq!(one_click(&forged).0, 404, "at {place}");
        tried += 1;
    }
    assert!(tried > 80, "{token}");
    for wrong in
        [format!("{path}/{}", &token[1..]), format!("{path}/{}", &token[..token.len() - 1]), format!("{path}/x")]
    {
        assert_eq!(one_click(&wrong).0, 404, "{wrong}");
        let (status, _, page) = get(&wrong);
        assert!(status == 404 && page.contains("not complete") && !page.contains("<form"), "{page}");
    }
    for other in ["p", "c"] {
        let url = format!("{}/{other}/{token}", office.base);
        assert_eq!((get(&url).0, post(&url, FORM, "scope=all&shown=offers").0), (404, 404), "{url}");
    }
    assert!(office.list().is_empty());
    assert_eq!(one_click(&url).0, 200, "the true one still works");
    assert_eq!(office.holds_for(address), ["unsubscribed from offers"]);
}

#[test]
fn preferences_keep_what_was_changed_and_nothing_else() {
    let address = "anna@preferences.example";
    let mut office = Office::new(OFFERS, &[address]).open();
    let raw = mail_to(address);
    let mail = parsed(&raw);
    let html = mail.body_html(0).unwrap().into_owned();
    let url = html.split('"').find(|part| part.starts_with(&format!("{}/p/", office.base))).unwrap().to_owned();
    let ticks = |page: &str| page.matches(" checked>").count();
    let (_, _, page) = get(&url);
    assert_eq!((ticks(&page), page.matches("type=\"checkbox\"").count()), (2, 2), "{page}");

    let (_, _, page) = post(&url, FORM, "shown=news&shown=offers&topic=news&topic=offers&scope=chosen");
    assert!(page.contains("saved"), "{page}");
    assert!(office.holds_for(address).is_empty(), "ticks that were left are no yes");
    let (_, _, page) = post(&url, FORM, "shown=news&shown=offers&topic=offers&scope=chosen");
    assert_eq!(ticks(&page), 1, "{page}");
    assert_eq!(office.holds_for(address), ["unsubscribed from news"]);
    let stood = |page: &str| {
        let field = page.split("name=\"stood\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}"));
        format!("&stood={}", field.split('"').next().unwrap())
    };
    let back = format!("shown=news&shown=offers&topic=news&scope=chosen{}", stood(&page));
    post(&url, FORM, &back);
    let mut holds = office.holds_for(address);
    holds.sort();
    assert_eq!(holds, ["unsubscribed from offers", "wants news"]);
    post(&url, FORM, "shown=unknown&topic=unknown&scope=chosen");
    assert_eq!(office.holds_for(address).len(), 2, "there is no such topic");
    // Whoever sends the same again after a later no, or makes up a form, gets no yes by it; a no counts by any form.
    post(&url, FORM, "shown=news&scope=chosen");
    for replayed in [back.as_str(), "shown=news&topic=news&scope=chosen", "shown=news&topic=news&scope=chosen&stood=0"]
    {
        let (_, _, page) = post(&url, FORM, replayed);
        assert!(page.contains("please choose again") && !page.contains("saved"), "{page}");
        let mut holds = office.holds_for(address);
        holds.sort();
        assert_eq!(holds, ["unsubscribed from news", "unsubscribed from offers"], "{replayed}");
    }
    // Back again: the second mail goes out.
    let (_, _, page) = get(&url);
    post(&url, FORM, &format!("shown=offers&topic=offers&scope=chosen{}", stood(&page)));
    office.an_hour_passes();
    assert_eq!(smtp().wait_for(address, 2).len(), 2);
}

#[test]
fn a_reader_gets_their_language_and_the_companys_names() {
    let address = "anna@words.example";
    let office = Office::new(OFFERS, &[address]);
    let words = "[pages.topics]\noffers = \"<b>Aktionen</b>\"\n[pages.texts.de]\nunsubscribe = \"Abbestellen\"\n\
                 unsubscribe_question = \"Nichts mehr über {topic} von {sender}?\"\n[log]";
    office.site.configure("[log]", words);
    let _office = office.open();
    let url = link_in(&mail_to(address), "List-Unsubscribe");
    let (_, _, page) = asked(|client| client.get(&url).header("accept-language", "de-AT,en;q=0.5"));
    assert!(page.contains("<html lang=\"de\">") && page.contains("<h1>Abbestellen</h1>"), "{page}");
    assert!(page.contains("Nichts mehr über &lt;b&gt;Aktionen&lt;&#x2f;b&gt; von Linden?"), "{page}");
    assert!(get(&url).2.contains("<h1>Unsubscribe</h1>"));
}

#[test]
fn marketing_without_a_way_out_does_not_load() {
    for (from, to, code) in [
        ("public_url = \"http://127.0.0.1", "# public_url = \"http://127.0.0.1", "rule.no-pages"),
        ("public_url = \"http://127.0.0.1", "public_url = \"http://mail.linden.example", "rule.no-pages"),
        ("public_listen = ", "# public_listen = ", "rule.no-pages"),
        ("postal_address = ", "# postal_address = ", "rule.no-postal-address"),
    ] {
        let office = Office::new(OFFERS, &[]);
        office.site.configure(from, to);
        let (status, _, talk) = office.site.run(&["check"]);
        assert!(status == 4 && talk.contains(code), "{to}: {talk}");
        office.site.rules(&[("silence.yaml", &OFFERS.replace("purpose: offers", "purpose: service"))]);
        assert_eq!(office.site.run(&["check"]).0, 0, "what isn't marketing needs none");
    }
}
