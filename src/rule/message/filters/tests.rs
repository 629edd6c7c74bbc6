use super::*;
use crate::model::Locale;

/// Shows `{{ x | … }}` to a reader of that locale in Vienna.
fn show_as(locale: &str, filter: &str, x: impl Into<Value>) -> Result<String, String> {
    let mut environment = Environment::new();
    install(&mut environment);
    let locale = Locale::parse(locale).unwrap();
    let reader = Value::from_object(Reader { zone: TimeZone::get("Europe/Vienna").unwrap(), locale });
    let context = Value::from_pairs([("x", x.into()), (READER, reader), ("none", Value::from(()))]);
    environment.render_str(&format!("{{{{ x | {filter} }}}}"), context).map_err(|error| error.to_string())
}

fn show(filter: &str, x: impl Into<Value>) -> Result<String, String> {
    show_as("en", filter, x)
}

#[test]
fn money_is_exact_and_written_as_the_reader_writes_it() {
    for (locale, amount, currency, shown) in [
        ("en", "1234567.895", "EUR", "€1,234,567.90"),
        ("en", "-12.3", "CHF", "-CHF\u{a0}12.30"),
        ("en-US", "1234.5", "USD", "$1,234.50"),
        ("en-CA", "5", "USD", "US$5.00"),
        ("de", "1234567.895", "EUR", "1.234.567,90\u{a0}€"),
        ("de-AT", "1234.5", "EUR", "€\u{a0}1.234,50"),
        ("de-CH", "1234.5", "CHF", "CHF\u{a0}1'234.50"),
        ("fr", "1234.5", "EUR", "1\u{202f}234,50\u{a0}€"),
        ("nl", "1234.5", "EUR", "€\u{a0}1.234,50"),
        ("pl", "99", "PLN", "99,00\u{a0}zł"),
        ("ja", "1234.5", "JPY", "￥1,235"),
        ("pt-BR", "1234.5", "BRL", "R$\u{a0}1.234,50"),
        ("en", "-0.001", "EUR", "€0.00"),
        ("en", "1.2345", "KWD", "KWD\u{a0}1.235"),
    ] {
        assert_eq!(show_as(locale, &format!("money('{currency}')"), amount).as_deref(), Ok(shown), "{locale}");
    }
    assert_eq!(show("money('EUR', places=0)", "99.5").unwrap(), "€100");
    let amount = Value::from_object(Amount { text: "1234.50".into(), currency: "EUR".into() });
    assert_eq!(show("money", amount.clone()).unwrap(), "€1,234.50");
    assert_eq!(show("float", amount.clone()).unwrap(), "1234.5");
    assert_eq!(show("default('-')", amount).unwrap(), "1234.50");
    for (filter, x) in [("money", "12"), ("money('euro')", "12"), ("money('EUR')", "a secret")] {
        let error = show(filter, x).unwrap_err();
        assert!(error.contains("`money`") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn dates_follow_the_readers_zone_and_language() {
    for (locale, filter, shown) in [
        ("en", "date", "December 1, 2026"),
        ("en-GB", "date", "1 December 2026"),
        ("de", "date", "1. Dezember 2026"),
        ("de", "date('full')", "Dienstag, 1. Dezember 2026"),
        ("de", "date('medium')", "01.12.2026"),
        ("de", "date('short')", "01.12.26"),
        ("fr", "date('full')", "mardi 1 décembre 2026"),
        ("ja", "date", "2026年12月1日"),
        ("de", "date('iso')", "2026-12-01"),
        ("ja", "date('iso')", "2026-12-01"),
        ("de", "date('%A, %-d. %B %Y, 100%%')", "Dienstag, 1. Dezember 2026, 100%"),
    ] {
        assert_eq!(show_as(locale, filter, "2026-12-01").as_deref(), Ok(shown), "{locale} {filter}");
    }
    let late = "2026-12-01T23:30:00Z";
    assert_eq!(show("date('iso')", late).unwrap(), "2026-12-02");
    assert_eq!(show_as("de", "time", late).unwrap(), "00:30");
    assert_eq!(show("time", late).unwrap().replace('\u{202f}', " "), "12:30 AM");
    assert_eq!(show_as("de", "datetime", late).unwrap(), "2. Dezember 2026, 00:30");
    assert_eq!(show_as("de", "datetime('%d.%m. %H:%M')", late).unwrap(), "02.12. 00:30");
    assert_eq!(show_as("de", "datetime('short')", "2026-12-01T08:05:00").unwrap(), "01.12.26, 08:05");
    for locale in ["en", "de", "ja"] {
        assert_eq!(show_as(locale, "datetime('iso')", late).unwrap(), "2026-12-02 00:30");
        assert_eq!(show_as(locale, "datetime('iso')", "2026-10-07T18:00:59").unwrap(), "2026-10-07 18:00");
    }
    for (filter, x) in [
        ("datetime", "2026-12-01"),
        ("datetime('iso')", "2026-12-01"),
        ("datetime('tiny')", late),
        ("datetime", "Tom"),
        ("time", "Tom"),
        ("time", "2026-12-01"),
        ("date('%!')", late),
    ] {
        let name = filter.split('(').next().unwrap();
        let error = show(filter, x).unwrap_err();
        assert!(error.contains(&format!("`{name}`")), "{filter} of {x}: {error}");
    }
    for (filter, x) in [("date", "Tom"), ("time", "2026-12-01"), ("date('tiny')", "2026-12-01"), ("date('%!')", late)] {
        assert!(!show(filter, x).unwrap_err().contains("Tom"), "{filter}");
    }
}

#[test]
fn numbers_percentages_and_plurals_follow_the_language() {
    assert_eq!(show("number", "1234567.50").unwrap(), "1,234,567.5");
    assert_eq!(show_as("de", "number(places=1)", 1_234_567).unwrap(), "1.234.567,0");
    assert_eq!(show_as("hi", "number", 1_234_567).unwrap(), "12,34,567");
    assert_eq!(show("percent", "0.255").unwrap(), "26%");
    assert_eq!(show_as("de", "percent(places=1)", 0.255).unwrap(), "25,5\u{a0}%");
    assert_eq!(show_as("tr", "percent", "0.5").unwrap(), "%50");
    let orders = "plural(one='one order', other='{} orders')";
    assert_eq!([1, 0, 1234].map(|n| show(orders, n).unwrap()), ["one order", "0 orders", "1,234 orders"]);
    let polish = "plural(one='{} dzień', few='{} dni (few)', many='{} dni', other='{} dnia')";
    let days: Vec<_> = [1, 2, 5, 22].iter().map(|n| show_as("pl", polish, *n).unwrap()).collect();
    assert_eq!(days, ["1 dzień", "2 dni (few)", "5 dni", "22 dni (few)"]);
    assert_eq!(show_as("pl", polish, "1.5").unwrap(), "1,5 dnia");
    assert!(show("plural(one='x')", 2).unwrap_err().contains("`other"));
    assert!(show("plural(several='x', other='y')", 2).is_err());
}

#[test]
fn what_is_missing_is_handed_on_to_default() {
    for filter in ["date", "money('EUR')", "number", "percent", "plural(other='{}')", "upper", "round", "time"] {
        for missing in [Value::from(()), Value::from("")] {
            assert_eq!(
                show(&format!("{filter} | default('none yet')"), missing).as_deref(),
                Ok("none yet"),
                "{filter}"
            );
        }
    }
    assert_eq!(show("default('you')", "").unwrap(), "you");
    assert_eq!(show("default('you')", "Tom").unwrap(), "Tom");
    let free = Value::from_object(Amount { text: "0.00".into(), currency: "EUR".into() });
    for (x, shown) in [(Value::from(0), "0"), (Value::from(false), "False"), (free, "0.00")] {
        assert_eq!(show("default('none')", x.clone()).as_deref(), Ok(shown));
        assert_eq!(show("default('none', true)", x.clone()).as_deref(), Ok("none"));
        assert_eq!(show("default('none', boolean=true)", x).as_deref(), Ok("none"));
    }
    assert_eq!(show("default('none', true)", "Tom").unwrap(), "Tom");
    assert!(show("default('none', true, 3)", "Tom").is_err());
    assert_eq!(show("upper", "Tom").unwrap(), "TOM");
    assert_eq!(show("round(1)", 1.26).unwrap(), "1.3");
}
