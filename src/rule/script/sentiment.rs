//! How a comment sounds, by the VADER lexicon: English words, emoticons and emoji. What it says of other
//! languages means nothing.

use super::engine::{Fallible, in_time};
use rhai::{Engine, FLOAT};
use std::sync::LazyLock;
use vader_sentimental::SentimentIntensityAnalyzer;

/// No comment is longer; what follows is not read.
const LONGEST: usize = 10_000;

static ANALYZER: LazyLock<SentimentIntensityAnalyzer<'static>> = LazyLock::new(SentimentIntensityAnalyzer::new);

pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("sentiment", sentiment);
    // Nobody said anything.
    engine.register_fn("sentiment", |(): ()| 0.0);
}

/// From -1 to 1, to four digits, as the lexicon's authors publish it.
fn sentiment(text: &str) -> Fallible<FLOAT> {
    in_time()?;
    let end = text.floor_char_boundary(LONGEST);
    let compound = ANALYZER.polarity_scores(&text[..end]).compound;
    Ok((compound * 10_000.0).round() / 10_000.0)
}
