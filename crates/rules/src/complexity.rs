//! How hard a request is: trivial, moderate or complex, by points that anyone can recount.
//!
//! A trivial request is one that any small model answers well: a greeting, a fact, a label, a short translation. A
//! moderate one takes a paragraph or a function. A complex one takes several steps that depend on each other, or an
//! expert's judgement. The points come from what the request says and how long it is, never from what it is about alone.
//! The same request always gets the same points. docs/routes.md has the table of points, and how often they are right.

pub mod evaluation;
mod words;

use std::borrow::Cow;
use std::fmt;

use words::{Class, Counts};

/// How hard a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Any small model does it.
    Trivial,
    /// Takes a paragraph or a function.
    Moderate,
    /// Takes several dependent steps, or an expert.
    Complex,
}

impl Level {
    /// All levels, the easiest first.
    pub const ALL: [Self; 3] = [Self::Trivial, Self::Moderate, Self::Complex];

    /// The level of this word, as a model may write it: in any case, with a mark behind it.
    #[must_use]
    pub fn of_word(text: &str) -> Option<Self> {
        let word = text.trim().trim_matches(|c: char| !c.is_ascii_alphabetic());
        Self::ALL.into_iter().find(|level| level.word().eq_ignore_ascii_case(word))
    }

    /// The word for it in rules, headers and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Trivial => "trivial",
            Self::Moderate => "moderate",
            Self::Complex => "complex",
        }
    }
}

/// What the points are given for.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    /// What the user said last.
    pub text: &'a str,
    /// Tokens of the whole prompt, estimated.
    pub prompt_tokens: u64,
    /// Messages or items.
    pub messages: u32,
    /// Tools offered.
    pub tools: u32,
    /// Whether there are images.
    pub images: bool,
    /// Whether the answer must be JSON.
    pub schema: bool,
}

/// A judgement with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complexity {
    /// The judgement.
    pub level: Level,
    /// The sum of the points.
    pub score: i32,
    /// What gave points, with how many, in the order of the table in docs/routes.md.
    pub reasons: Vec<(&'static str, i32)>,
    /// What became of asking a classifier; `None` where there is none, or it was not asked.
    pub classifier: Option<Classified>,
}

/// What became of asking a classifier for the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classified {
    /// The level is its word.
    Said,
    /// It said something else, or nothing in time, so the level is by the points. With why, in a word.
    Failed(&'static str),
}

impl Complexity {
    /// The same points, with what a classifier made of the request: its level, or in a word why it gave none.
    #[must_use]
    pub fn classified(self, word: Result<Level, &'static str>) -> Self {
        match word {
            Ok(level) => Self { level, classifier: Some(Classified::Said), ..self },
            Err(why) => Self { classifier: Some(Classified::Failed(why)), ..self },
        }
    }
}

/// As in the response header: `moderate; score=2; code+1,constraints+1`, with `; classifier=said` or why it did not
/// behind the level where one was asked.
impl fmt::Display for Complexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level.word())?;
        match self.classifier {
            None => {}
            Some(Classified::Said) => write!(f, "; classifier=said")?,
            Some(Classified::Failed(why)) => write!(f, "; classifier={why}")?,
        }
        write!(f, "; score={}", self.score)?;
        for (at, (reason, points)) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}{points:+}", if at == 0 { "; " } else { "," })?;
        }
        Ok(())
    }
}

/// Most points of a trivial request, and of a moderate one.
const MOST_TRIVIAL: i32 = 0;
const MOST_MODERATE: i32 = 2;
/// Bytes at the beginning and at the end of a text that are looked at: instructions stand there, documents between.
const LOOKED_AT: usize = 4096;

/// Tokens from which a prompt holds more than the request: a document, a conversation.
const LONG: u64 = 500;

/// Something that gives points, and what it is looked for in.
type Rule = (&'static str, fn(&Seen<'_>) -> i32);

/// What gives points.
const RULES: [Rule; 13] = [
    ("light-task", |seen| -i32::from(seen.count(Class::Light) > 0 && seen.count(Class::Heavy) == 0 && seen.brief())),
    ("short", |seen| {
        -i32::from(
            seen.characters < 60 && seen.count(Class::Heavy) == 0 && seen.count(Class::Middle) == 0 && seen.brief(),
        )
    }),
    ("long-text", |seen| step(seen.characters, &[(200, 1), (1500, 2)])),
    ("long-prompt", |seen| step(seen.features.prompt_tokens, &[(LONG, 1), (5000, 2)])),
    ("task", |seen| i32::from(seen.count(Class::Middle) > 0)),
    ("expert-task", |seen| step(seen.count(Class::Heavy), &[(1, 2), (2, 3), (3, 4), (5, 5)])),
    ("code", |seen| 2 * i32::from(seen.code)),
    ("maths", |seen| step(seen.count(Class::Maths), &[(1, 1), (3, 2)])),
    ("steps", |seen| step(seen.items, &[(3, 1), (6, 2)])),
    ("questions", |seen| i32::from(seen.questions >= 3)),
    ("constraints", |seen| step(seen.count(Class::Constraint), &[(2, 1), (4, 2)])),
    ("tools", |seen| step(seen.features.tools.into(), &[(1, 1), (6, 2)])),
    ("conversation", |seen| i32::from(seen.features.messages >= 10)),
];

/// The points of the highest step that `figure` reaches.
fn step(figure: u64, steps: &[(u64, i32)]) -> i32 {
    steps.iter().take_while(|(least, _)| figure >= *least).last().map_or(0, |(_, points)| *points)
}

/// Judges a request.
#[must_use]
pub fn judge(features: &Features<'_>) -> Complexity {
    let seen = Seen::of(features);
    let given = |(reason, points): &Rule| Some((*reason, points(&seen))).filter(|(_, points)| *points != 0);
    let reasons: Vec<_> = RULES.iter().filter_map(given).collect();
    let score = reasons.iter().map(|(_, points)| points).sum();
    let level = if score <= MOST_TRIVIAL {
        Level::Trivial
    } else if score <= MOST_MODERATE {
        Level::Moderate
    } else {
        Level::Complex
    };
    Complexity { level, score, reasons, classifier: None }
}

/// What was counted in a request.
struct Seen<'a> {
    features: &'a Features<'a>,
    characters: u64,
    counts: Counts,
    items: u64,
    questions: u64,
    code: bool,
}

impl<'a> Seen<'a> {
    fn count(&self, class: Class) -> u64 {
        self.counts.get(class)
    }

    fn brief(&self) -> bool {
        self.features.prompt_tokens < LONG
    }

    fn of(features: &'a Features<'a>) -> Self {
        let text = features.text.trim();
        let (start, end) = edges(text);
        let lower = format!("{start}\n{end}").to_lowercase();
        Self {
            features,
            characters: count(text.chars()),
            counts: Counts::of(&lower),
            items: count(lower.lines().filter(|line| is_item(line))),
            questions: count(lower.matches(['?', '？'])),
            code: is_code(&lower),
        }
    }
}

fn count<T>(all: impl Iterator<Item = T>) -> u64 {
    u64::try_from(all.count()).unwrap_or(u64::MAX)
}

/// What of a text is looked at: all of a short one, of a long one its beginning and its end.
#[must_use]
pub fn excerpt(text: &str) -> Cow<'_, str> {
    match edges(text.trim()) {
        (all, "") => all.into(),
        (start, end) => format!("{start}\n[…]\n{end}").into(),
    }
}

/// The beginning and the end of a text; of a short one all, and nothing.
fn edges(text: &str) -> (&str, &str) {
    if text.len() <= 2 * LOOKED_AT {
        return (text, "");
    }
    let at = |mut place: usize| {
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    (&text[..at(LOOKED_AT)], &text[at(text.len() - LOOKED_AT)..])
}

/// An item of a list: `-`, `*`, `1.` or `a)`.
fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    let mark = line.split(' ').next().unwrap_or_default();
    let numbered = mark
        .strip_suffix(['.', ')'])
        .is_some_and(|m| m.len() <= 2 && !m.is_empty() && m.bytes().all(|b| b.is_ascii_alphanumeric()));
    line.len() > mark.len() && (numbered || ["-", "*", "•"].contains(&mark))
}

/// Whether the text holds program code: fenced, a line that declares something, or two that end as code does.
fn is_code(text: &str) -> bool {
    let declares = |line: &str| {
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        let opens = line.contains('(') && line.ends_with([':', '{', ')']);
        (opens && begins(&["def ", "fn ", "func ", "class ", "public ", "function ", "async "]))
            || (line.contains('=') && begins(&["let ", "const ", "var "]))
            || (line.contains(" from ") && line.contains(['*', ',']) && begins(&["select "]))
    };
    let weight = |line: &str| match line.trim() {
        line if declares(line) => 2,
        line if line.ends_with([';', '{', '}']) || line.ends_with("=>") => 1,
        _ => 0,
    };
    text.contains("```") || text.lines().map(weight).sum::<u32>() >= 2
}

#[cfg(test)]
mod tests;
