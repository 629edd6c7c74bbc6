//! The pages in a real browser, as wide as a phone and as a desktop. Pictures are written to `target/pages`, for those
//! who want to look.

use super::*;
use crate::support::Browser;
use std::path::PathBuf;

fn picture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Nothing is cut off or must be moved sideways, nothing is too small for a thumb, nothing was blocked.
fn is_readable(browser: &Browser) {
    let wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wide, 0, "the page is wider than the window");
    let low = browser.run(
        "return [...document.querySelectorAll('button, label')].filter(e => e.getBoundingClientRect().height < 40).length",
    );
    assert_eq!(low, 0, "something to press is lower than 40 pixels");
    let padding = browser.run("return getComputedStyle(document.querySelector('main')).paddingLeft");
    assert_ne!(padding, "0px", "the style was applied");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_reader_unsubscribes_in_a_browser_on_a_phone_and_on_a_desktop() {
    for (width, height, name) in [(390, 844, "phone"), (1280, 800, "desktop")] {
        let address = format!("anna@{name}.example");
        let office = Office::new(OFFERS, &[&address]).open();
        let url = link_in(&mail_to(&address), "List-Unsubscribe");
        let browser = Browser::open(width, height);
        browser.go(&url);
        assert!(browser.text().contains("Stop getting mails about “Offers” from Linden?"), "{}", browser.text());
        is_readable(&browser);
        browser.screenshot(&picture(&format!("{name}-1-question.png")));
        assert!(office.list().is_empty());

        browser.click("button:not(.quiet)");
        browser.wait_for("You won't get mails about “Offers” from Linden any more.");
        is_readable(&browser);
        browser.screenshot(&picture(&format!("{name}-2-done.png")));
        assert_eq!(office.holds_for(&address), ["unsubscribed from offers"]);
        assert_eq!(office.list()[0]["by"], "page");
    }
}

#[test]
fn a_reader_chooses_topics_in_a_browser() {
    let address = "anna@choice.example";
    let office = Office::new(OFFERS, &[address]).open();
    let browser = Browser::open(390, 844);
    browser.go(&link_in(&mail_to(address), "List-Unsubscribe"));
    browser.click("main > p > a");
    browser.wait_for("What you get from us");
    assert_eq!((browser.count("input:checked"), browser.count("input[type=checkbox]")), (2, 2));
    is_readable(&browser);
    browser.screenshot(&picture("phone-3-preferences.png"));
    browser.click("input[value=news][type=checkbox]");
    browser.click("button:not(.quiet)");
    browser.wait_for("Your choice is saved.");
    assert_eq!(browser.count("input:checked"), 1);
    browser.screenshot(&picture("phone-4-saved.png"));
    assert_eq!(office.holds_for(address), ["unsubscribed from news"]);
    // Scripts and pictures of others would be blocked, were there any.
    assert_eq!(browser.run("return document.querySelectorAll('script, img, link, iframe').length"), 0);
}
