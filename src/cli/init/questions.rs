//! Questions to the person at the terminal. Every one has a flag, and flags answer first.

use crate::cli::{Exit, Failure, Output};
use std::io::BufRead;

/// Where answers come from.
pub(super) struct Questions<'a> {
    input: Box<dyn BufRead + 'a>,
    /// Nobody is to be asked: what no flag answers has its default.
    settled: bool,
}

/// One question.
pub(super) struct Question<'a> {
    pub text: &'a str,
    pub flag: &'a str,
    /// What no answer means; `None`: it can't be left open.
    pub default: Option<&'a str>,
}

impl<'a> Questions<'a> {
    pub fn new(input: Box<dyn BufRead + 'a>, settled: bool) -> Self {
        Self { input, settled }
    }

    /// The flag's value, or what is answered. `fits` says what is wrong with an answer; a wrong flag is an error, a
    /// wrong answer is asked again.
    pub fn ask<T>(
        &mut self,
        question: &Question<'_>,
        given: Option<&str>,
        output: &mut Output,
        mut fits: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let unusable = |problem: String| Failure::other(Exit::Usage, format!("{}: {problem}", question.flag));
        if let Some(given) = given {
            return fits(given).map_err(unusable);
        }
        if self.settled {
            let nothing = || unusable("no answer was given, and there is no default".to_owned());
            return question.default.ok_or_else(nothing).and_then(|default| fits(default).map_err(unusable));
        }
        loop {
            match question.default {
                Some(default) if !default.is_empty() => output.prompt(&format!("{} [{default}] ", question.text)),
                _ => output.prompt(&format!("{} ", question.text)),
            }
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                let message = format!("the answers ended here; answer by {} or run it in a terminal", question.flag);
                return Err(Failure::other(Exit::Usage, message));
            }
            let answer = line.trim();
            let answer = if answer.is_empty() { question.default.unwrap_or("") } else { answer };
            match fits(answer) {
                Ok(value) => return Ok(value),
                Err(problem) => output.talk(&format!("  {problem}")),
            }
        }
    }
}
