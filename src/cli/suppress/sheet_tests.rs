use super::*;

fn defaults() -> Defaults {
    let now = "2026-11-27T10:00:00Z".parse().unwrap();
    Defaults { channel: None, reason: SuppressionReason::Manual, country: "AT".parse().ok(), now }
}

fn opened(text: &[u8], separator: u8, channel: Option<Channel>) -> Result<Vec<Line>, String> {
    let mut sheet = Sheet::open(text, separator, Defaults { channel, ..defaults() }).unwrap()?;
    Ok(std::iter::from_fn(|| sheet.next().unwrap()).collect())
}

/// Every line as it is told.
fn told(text: impl AsRef<[u8]>) -> Vec<String> {
    let of = |(number, row): Line| match row {
        Ok(row) => format!("{number} {} {} {} {}", row.channel.as_str(), row.address, row.reason.as_str(), row.since),
        Err(why) => format!("{number} {why}"),
    };
    opened(text.as_ref(), b',', None).unwrap().into_iter().map(of).collect()
}

#[test]
fn a_full_list_is_read_with_bom_quotes_blank_lines_and_windows_line_ends() {
    let lines = told(
        "\u{feff}address,channel,reason,since\r\n\r\n\"a\"\"b,c\"@x.example,email,BOUNCED,2026-01-02T03:04:05.123456Z\r\n\
         ,,,\r\n  0664 1234567 ,SMS,,2026-01-02 03:04:05\r\n\"c@x.example\",,complained,2026-01-02",
    );
    assert_eq!(
        lines,
        [
            "3 email a\"b,c@x.example bounced 2026-01-02T03:04:05.123456Z",
            "5 sms +436641234567 manual 2026-01-02T03:04:05Z",
            "6 email c@x.example complained 2026-01-02T00:00:00Z",
        ]
    );
}

#[test]
fn exports_of_others_name_their_columns_otherwise() {
    let now = "2026-11-27T10:00:00Z";
    assert_eq!(
        told("First Name,Email Address,Last Name\nAnna,a@x.example,Gruber\n"),
        [format!("2 email a@x.example manual {now}")]
    );
    assert_eq!(told("id,phone\n7,+43 664 1234567\n"), [format!("2 sms +436641234567 manual {now}")]);
    let both = b"email,phone\na@x.example,+436641234567\n";
    assert!(opened(both, b',', None).unwrap_err().contains("--channel email"));
    let phones = opened(both, b',', Some(Channel::Sms)).unwrap();
    assert_eq!(phones[0].1.as_ref().unwrap().address, "+436641234567");
}

#[test]
fn every_wrong_line_is_told_with_its_number() {
    let lines = told(
        &b"address,channel,reason,since\nanna,email,,\n664,sms,,\nnobody,,,\n,email,,\na@x.example,fax,,\na@x.example,,angry,\n\
           a@x.example,,,soon\na@x.example,,,2030-01-01\na@x.example\n\"a@x.example,,,\nb@\xff,,,\nok@x.example,,,"[..],
    );
    let says = [
        "2 `anna` is not an email address",
        "3 `664` is not a phone number",
        "4 `nobody` is not a phone number",
        "5 it has no address",
        "6 `fax` is not a channel",
        "7 `angry` is not a reason",
        "8 `soon` is not a time",
        "9 `2030-01-01` has not come yet",
        "10 it has 1 column, the header has 4",
        "11 a quote is not closed in its line",
        "12 it is not in UTF-8",
        "13 email ok@x.example",
    ];
    assert_eq!(lines.len(), says.len(), "{lines:#?}");
    lines.iter().zip(says).for_each(|(line, says)| assert!(line.starts_with(says), "{line}"));
}

#[test]
fn a_line_without_an_end_is_refused_and_does_not_fill_the_memory() {
    let mut text = b"address\n".to_vec();
    text.resize(text.len() + 3 * LONGEST as usize, b'x');
    text.extend(b"\na@x.example\n");
    let mut sheet = Sheet::open(&text[..], b',', defaults()).unwrap().ok().unwrap();
    let (number, long) = sheet.next().unwrap().unwrap();
    assert!(number == 2 && long.unwrap_err().contains("longer than 64 KiB"));
    assert!(sheet.line.capacity() <= 2 * LONGEST as usize, "{}", sheet.line.capacity());
    assert!(matches!(sheet.next().unwrap(), Some((3, Ok(_)))));
}

#[test]
fn a_header_that_says_nothing_says_what_to_do() {
    let why = |text: &[u8]| opened(text, b',', None).unwrap_err();
    assert!(why(b"address;reason\na@x.example;manual\n").contains("--separator ';'"));
    assert!(why(b"email\tname\n").contains("--separator tab"));
    assert!(why(b"a@x.example\n").contains("its first line names the columns"));
    assert!(why(b"").contains("empty"));
    assert!(why(b"address,address\n").contains("several columns"));
    assert!(why(b"address,reason,Reason\n").contains("two columns are called `Reason`"));
    assert!(why(b"\xff\xfea\0d\0").contains("UTF-8"));
    assert!(why(b"address\ra@x.example\r").contains("carriage return"));
    assert_eq!(opened(b"address;reason\na@x.example;\n", b';', None).unwrap().len(), 1);
}
