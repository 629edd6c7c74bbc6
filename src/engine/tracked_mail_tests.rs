use super::*;
use proptest::prelude::*;
use rstest::rstest;

const SECRET: InstanceSecret = InstanceSecret([7; 32]);
const BASE: &str = "https://mail.acme.example";

fn links() -> Links {
    Links::Served(Some(BASE.to_owned()))
}

fn by(tracks: &[Tracking], html: &str) -> Option<String> {
    let tracks = tracks.iter().copied().collect();
    tracked(
        html,
        &links(),
        &SECRET,
        TrackedMail { delivery: DeliveryId([2; 16]), enrollment: 7, reader: AddressHash([3; 16]), tracks: &tracks },
    )
}

/// The pages that the links of a tracked mail lead to, and the mail with `#1`, `#2` … in their place.
fn clicked(html: &str) -> (Vec<String>, String) {
    let mut text = by(&[Tracking::Clicks], html).unwrap();
    let mut pages = Vec::new();
    let start = format!("\"{BASE}/t/");
    while let Some(at) = text.find(&start) {
        let end = at + 1 + text[at + 1..].find('"').unwrap();
        let link = SECRET.read_tracked(&text[at + start.len()..end]).unwrap();
        assert_eq!((link.delivery, link.enrollment), (DeliveryId([2; 16]), 7));
        text.replace_range(at..=end, &format!("#{}", link.number));
        pages.extend(link.page);
    }
    (pages, text)
}

#[rstest]
#[case::plain("<a href=\"https://a.example/x\">x</a>", &["https://a.example/x"], "<a href=#1>x</a>")]
#[case::in_other_quotes("<A class=x HREF = 'http://a.example' id=1>", &["http://a.example"], "<A class=x HREF = #1 id=1>")]
#[case::without_quotes("<a href=https://a.example/x>x</a>", &["https://a.example/x"], "<a href=#1>x</a>")]
#[case::escaped(
    "<a href=\"https://a.example/?a=1&amp;b=&#34;&copy=3&#x26;\">",
    &["https://a.example/?a=1&b=\"&copy=3&"],
    "<a href=#1>"
)]
#[case::of_other_letters("<a href=\"https://a.example/grüße x\">", &["https://a.example/gr%C3%BC%C3%9Fe%20x"], "<a href=#1>")]
#[case::of_a_map("<area shape=rect href=\"https://a.example\">", &["https://a.example"], "<area shape=rect href=#1>")]
#[case::twice(
    "<a title=\"a > b\" href=\"https://a.example\"></a><a href=\"https://b.example\">",
    &["https://a.example", "https://b.example"],
    "<a title=\"a > b\" href=#1></a><a href=#2>"
)]
#[case::of_the_same_server("<a href=\"https://mail.acme.example/shop\">", &["https://mail.acme.example/shop"], "<a href=#1>")]
fn links_go_by_our_pages(#[case] html: &str, #[case] pages: &[&str], #[case] text: &str) {
    assert_eq!(clicked(html), (pages.iter().map(|page| (*page).to_owned()).collect(), text.to_owned()));
}

#[rstest]
#[case::unsubscribe("<a href=\"https://mail.acme.example/u/abc\">")]
#[case::preferences("<a href=\"https://mail.acme.example/p/abc\">")]
#[case::confirm("<a href=\"https://mail.acme.example/c/abc\">")]
#[case::survey("<a href=\"https://mail.acme.example/a/abc/9\">")]
#[case::mail("<a href=\"mailto:a@b.example?subject=https://x\">")]
#[case::phone("<a href=\"tel:+431234\">")]
#[case::within("<a href=\"#top\">")]
#[case::nowhere("<a href=\"\">")]
#[case::no_host("<a href=\"https:///x\">")]
#[case::no_link("<a name=\"href\">href=https://a.example</a>")]
#[case::relative("<a href=\"/shop\">")]
#[case::another_scheme("<a href=\"javascript:location='https://a.example'\">")]
#[case::a_comment("<!--[if mso]><a href=\"https://a.example\"><![endif]-->")]
#[case::a_style("<style>a:after{content:'<a href=\"https://a.example\">'}</style>")]
#[case::a_value("<img alt='<a href=\"https://a.example\">' src=x>")]
#[case::another_tag("<link href=\"https://a.example\"><article href=\"https://a.example\">")]
#[case::a_host_of_other_letters("<a href=\"https://grüße.example\">")]
#[case::a_line_break("<a href=\"https://a.example/\r\nSet-Cookie: x\">")]
#[case::cut_off("<a href=\"https://a.example")]
#[case::no_value("<a href>")]
#[case::signs("1 < 2 <a = \"https://a.example\">")]
fn what_is_no_link_to_a_page_stays_as_it_is(#[case] html: &str) {
    assert_eq!(clicked(html), (Vec::new(), html.to_owned()));
}

#[test]
fn too_long_addresses_stay() {
    let html = format!("<a href=\"https://a.example/{}\">", "x".repeat(LONGEST_PAGE));
    assert_eq!(clicked(&html).1, html);
}

#[test]
fn a_dot_is_last_and_leads_nowhere() {
    let opened = by(&[Tracking::Opens], "<html><BODY><a href=\"https://a.example\">x</a></BODY></html>").unwrap();
    let (before, dot) = opened.split_once("<img src=\"https://mail.acme.example/o/").unwrap();
    assert_eq!(before, "<html><BODY><a href=\"https://a.example\">x</a>", "clicks are not asked for");
    let link = SECRET.read_tracked(dot.split('"').next().unwrap()).unwrap();
    assert_eq!((link.number, link.page), (0, None));
    assert!(dot.ends_with("style=\"display:block;border:0\"></BODY></html>"), "{dot}");
    assert!(by(&[Tracking::Opens], "x").unwrap().starts_with("x<img"));
}

#[test]
fn nothing_is_done_where_nothing_is_tracked_or_nobody_answers() {
    assert_eq!(by(&[], "<a href=\"https://a.example\">"), None);
    let all = BTreeSet::from([Tracking::Opens, Tracking::Clicks]);
    let mail = TrackedMail { delivery: DeliveryId([2; 16]), enrollment: 7, reader: AddressHash([3; 16]), tracks: &all };
    assert_eq!(tracked("<p>", &Links::Rehearsed, &SECRET, mail), None);
    assert_eq!(tracked("<p>", &Links::Served(None), &SECRET, mail), None);
}

proptest! {
    #[test]
    fn any_text_comes_through(html in "[<>a-z\"'=/ !&#;ä-]{0,80}") {
        prop_assert_eq!(with_links(&html, |_| None), html);
    }
}
