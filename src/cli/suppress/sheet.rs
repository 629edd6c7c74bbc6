//! A list of addresses as CSV: read line by line, so that each finding has its line and memory doesn't grow with the
//! file. For the same reason a quoted cell ends in the line it begins in.

use super::on_channel;
use crate::diagnostic::render::counted;
use crate::model::{Channel, Country, SuppressionReason};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::io::{self, BufRead, Read};

/// No line of a list is longer; one that is has a quote that nobody closed, or is no text.
const LONGEST: u64 = 64 * 1024;

/// What holds where a line doesn't say.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    pub channel: Option<Channel>,
    pub reason: SuppressionReason,
    pub country: Option<Country>,
    pub now: Timestamp,
}

/// One address to suppress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub channel: Channel,
    pub address: String,
    pub reason: SuppressionReason,
    pub since: Timestamp,
}

/// A line of the list, or what is wrong with it.
pub type Line = (u64, Result<Row, String>);

/// A list whose header was understood.
pub struct Sheet<R> {
    from: R,
    csv: Reader,
    separator: u8,
    number: u64,
    line: Vec<u8>,
    cells: Vec<u8>,
    ends: Vec<usize>,
    columns: Columns,
    defaults: Defaults,
}

#[derive(Debug, Default)]
struct Columns {
    count: usize,
    address: usize,
    /// What the name of the column says of its addresses.
    holds: Option<Channel>,
    channel: Option<usize>,
    reason: Option<usize>,
    since: Option<usize>,
    others: Vec<String>,
}

impl<R: BufRead> Sheet<R> {
    /// Reads the header.
    pub fn open(from: R, separator: u8, defaults: Defaults) -> io::Result<Result<Self, String>> {
        let csv = ReaderBuilder::new().delimiter(separator).build();
        let (line, cells, ends, columns) = (Vec::new(), Vec::new(), Vec::new(), Columns::default());
        let mut sheet = Self { from, csv, separator, number: 0, line, cells, ends, columns, defaults };
        Ok(match sheet.advance()? {
            None => {
                Err("the file is empty; its first line names the columns: `address,channel,reason,since`".to_owned())
            }
            Some(read) => read.and_then(|()| sheet.header()).map(|columns| Self { columns, ..sheet }),
        })
    }

    /// Columns of other names.
    pub fn others(&self) -> &[String] {
        &self.columns.others
    }

    /// The next line that isn't blank.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let read = self.advance()?;
        Ok(read.map(|read| (self.number, read.and_then(|()| self.row()))))
    }

    /// Takes the next line that isn't blank apart into cells.
    fn advance(&mut self) -> io::Result<Option<Result<(), String>>> {
        loop {
            self.line.clear();
            let length = (&mut self.from).take(LONGEST).read_until(b'\n', &mut self.line)?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            if length as u64 == LONGEST && self.line.last() != Some(&b'\n') {
                self.from.skip_until(b'\n')?;
                return Ok(Some(Err(format!("it is longer than {} KiB", LONGEST / 1024))));
            }
            if self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF") {
                self.line.drain(..3);
            }
            let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == self.separator;
            if !self.line.iter().all(blank) {
                return Ok(Some(self.split()));
            }
        }
    }

    fn split(&mut self) -> Result<(), String> {
        while self.line.last().is_some_and(u8::is_ascii_whitespace) && self.line.last() != Some(&self.separator) {
            self.line.pop();
        }
        if self.line.contains(&b'\r') {
            return Err("it ends with a carriage return alone; save the file with Unix or Windows line ends".to_owned());
        }
        self.line.push(b'\n');
        self.cells.resize(self.line.len(), 0);
        self.ends.resize(self.line.len() + 1, 0);
        self.csv.reset();
        let (result, _, _, count) = self.csv.read_record(&self.line, &mut self.cells, &mut self.ends);
        self.ends.truncate(count);
        if result == ReadRecordResult::Record {
            Ok(())
        } else {
            Err("a quote is not closed in its line; leave out columns whose text goes over several lines".to_owned())
        }
    }

    /// A cell without the blanks around it.
    fn cell(&self, index: usize) -> Result<&str, String> {
        let from = if index == 0 { 0 } else { self.ends[index - 1] };
        let text = std::str::from_utf8(&self.cells[from..self.ends[index]]);
        text.map(str::trim).map_err(|_| "it is not in UTF-8; save the file as UTF-8".to_owned())
    }

    fn header(&self) -> Result<Columns, String> {
        if self.line.contains(&0) || self.line.starts_with(b"\xFF\xFE") || self.line.starts_with(b"\xFE\xFF") {
            return Err("the file is not in UTF-8; save it as UTF-8".to_owned());
        }
        let names: Vec<&str> = (0..self.ends.len()).map(|index| self.cell(index)).collect::<Result<_, _>>()?;
        let mut columns = Columns { count: names.len(), ..Columns::default() };
        let mut found = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let plain = name.to_lowercase().replace(['_', '-'], " ");
            let place = match plain.as_str() {
                "address" => Ok((None, index)),
                "email" | "e mail" | "email address" => Ok((Some(Channel::Email), index)),
                "phone" | "phone number" => Ok((Some(Channel::Sms), index)),
                "channel" => Err(&mut columns.channel),
                "reason" => Err(&mut columns.reason),
                "since" => Err(&mut columns.since),
                _ => {
                    columns.others.push((*name).to_owned());
                    continue;
                }
            };
            match place {
                Ok(place) => found.push(place),
                Err(column) if column.is_none() => *column = Some(index),
                Err(_) => return Err(format!("two columns are called `{name}`; leave one out")),
            }
        }
        if let Some(asked) = self.defaults.channel.filter(|_| found.len() > 1) {
            found.retain(|(holds, _)| *holds == Some(asked));
        }
        match found[..] {
            [(holds, address)] => Ok(Columns { address, holds, ..columns }),
            [] => Err(self.no_address(&names)),
            _ => {
                Err("several columns have addresses: say `--channel email` or `--channel sms`, or leave one out"
                    .to_owned())
            }
        }
    }

    fn no_address(&self, names: &[&str]) -> String {
        let other = [';', ',', '\t', '|'].into_iter().filter(|other| *other as u8 != self.separator);
        let other = other.filter(|_| names.len() == 1).find(|other| names[0].contains(*other));
        match other {
            Some('\t') => "its columns are separated by tabs: say `--separator tab`".to_owned(),
            Some(other) => format!("its columns are separated by `{other}`: say `--separator '{other}'`"),
            None => "no column is called `address`, `email` or `phone`; its first line names the columns: \
                     `address,channel,reason,since`"
                .to_owned(),
        }
    }

    fn row(&self) -> Result<Row, String> {
        let (has, columns) = (self.ends.len(), &self.columns);
        if has != columns.count {
            return Err(format!("it has {}, the header has {}", counted(has, "column"), columns.count));
        }
        let at = |index: Option<usize>| index.map_or(Ok(""), |index| self.cell(index));
        let address = self.cell(columns.address)?;
        if address.is_empty() {
            return Err("it has no address".to_owned());
        }
        let channel = match at(columns.channel)?.to_lowercase().as_str() {
            "" => self.defaults.channel.or(columns.holds),
            "email" => Some(Channel::Email),
            "sms" => Some(Channel::Sms),
            other => return Err(format!("`{other}` is not a channel; write `email` or `sms`")),
        };
        let guessed = if address.contains('@') { Channel::Email } else { Channel::Sms };
        let channel = channel.unwrap_or(guessed);
        Ok(Row {
            channel,
            address: on_channel(channel, address, self.defaults.country)?,
            reason: reason(at(columns.reason)?, self.defaults.reason)?,
            since: since(at(columns.since)?, self.defaults.now)?,
        })
    }
}

fn reason(text: &str, default: SuppressionReason) -> Result<SuppressionReason, String> {
    use SuppressionReason::{Bounced, Complained, Manual, Unsubscribed};
    if text.is_empty() {
        return Ok(default);
    }
    let mut known = [Manual, Unsubscribed, Bounced, Complained].into_iter();
    known
        .find(|reason| reason.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("`{text}` is not a reason; write `manual`, `unsubscribed`, `bounced` or `complained`"))
}

/// An instant; a date or time without a zone is in UTC.
fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if text.is_empty() {
        return Ok(now);
    }
    let instant = text.parse::<Timestamp>().ok();
    let civil = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let instant = instant.or_else(civil);
    let instant = instant.ok_or_else(|| format!("`{text}` is not a time; write it as `2026-11-21T10:00:00Z`"))?;
    if instant > now { Err(format!("`{text}` has not come yet")) } else { Ok(instant) }
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
