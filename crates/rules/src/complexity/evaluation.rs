//! How often the judgement is right, by prompts that people labelled: crates/rules/evaluation/prompts.tsv.

use super::{Features, Level, judge};

/// A prompt with its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// What a person says it is.
    pub level: Level,
    /// What kind of task it is.
    pub kind: String,
    /// Tokens of a document in front of it.
    pub document: u64,
    /// Tools offered.
    pub tools: u32,
    /// Messages of the conversation.
    pub messages: u32,
    /// What the user says.
    pub text: String,
    /// The points and words were chosen without looking at it.
    pub held_out: bool,
}

/// A line that is no prompt, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is no label, kind, context and text with tabs between")]
pub struct BadPrompt(pub usize);

/// How often each label (row) was judged to be each level (column), the easiest first.
pub type Confusion = [[u32; 3]; 3];

/// Reads prompts, of which every third is held out.
///
/// # Errors
///
/// At the first line that is none.
pub fn read(table: &str) -> Result<Vec<Labelled>, BadPrompt> {
    let lines = table.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    let prompt = |(count, (at, line)): (usize, (usize, &str))| prompt(count, line).ok_or(BadPrompt(at + 1));
    lines.enumerate().map(prompt).collect()
}

fn prompt(count: usize, line: &str) -> Option<Labelled> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [level, kind, context, text] = columns.as_slice().try_into().ok()?;
    let level = Level::ALL.into_iter().find(|known| known.word() == level)?;
    let (mut document, mut tools, mut messages) = (0, 0, 1);
    for part in context.split(',').filter(|part| *part != "-") {
        match part.split_once('=')? {
            ("doc", tokens) => document = tokens.parse().ok()?,
            ("tools", count) => tools = count.parse().ok()?,
            ("messages", count) => messages = count.parse().ok()?,
            _ => return None,
        }
    }
    let text = text.replace("\\n", "\n");
    Some(Labelled { level, kind: kind.to_owned(), document, tools, messages, text, held_out: count % 3 == 2 })
}

impl Labelled {
    /// What the scorer says.
    #[must_use]
    pub fn judged(&self) -> super::Complexity {
        let prompt_tokens = u64::try_from(self.text.len() / 4).unwrap_or(u64::MAX).saturating_add(self.document);
        let (messages, tools) = (self.messages, self.tools);
        judge(&Features { text: &self.text, prompt_tokens, messages, tools, images: false, schema: false })
    }
}

/// Counts judgements.
pub fn confusion<'p>(prompts: impl IntoIterator<Item = &'p Labelled>) -> Confusion {
    let mut counts = Confusion::default();
    for prompt in prompts {
        counts[prompt.level as usize][prompt.judged().level as usize] += 1;
    }
    counts
}

/// How many of a hundred were judged as they are labelled.
#[must_use]
pub fn accuracy(counts: &Confusion) -> u32 {
    let right: u32 = (0..3).map(|level| counts[level][level]).sum();
    let all: u32 = counts.iter().flatten().sum();
    (100 * right + all / 2) / all.max(1)
}
