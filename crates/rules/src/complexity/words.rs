//! The words that give points. English; of other languages only what looks the same counts: length, code, lists, figures.

use std::collections::HashMap;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// What a word hints at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A task that any model does.
    Light,
    /// A task that takes a paragraph or a function.
    Middle,
    /// A task that takes several steps or an expert.
    Heavy,
    /// Mathematics.
    Maths,
    /// A condition that the answer must meet.
    Constraint,
}

/// How many words and phrases of each class a text holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([u64; 5]);

impl Counts {
    /// Those of a text in lower case.
    pub(super) fn of(lower: &str) -> Self {
        let mut counts = Self::default();
        let mut phrases = [false; PHRASES];
        for found in SEARCH.iter().flat_map(|search| search.find_overlapping_iter(lower)) {
            phrases[found.pattern()] = true;
        }
        for ((_, class), found) in PHRASES_OF.iter().flat_map(of_class).zip(phrases) {
            counts.0[class as usize] += u64::from(found);
        }
        let mut counted = Vec::new();
        for word in lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()) {
            let Some(&class) = CLASSES.get(word) else { continue };
            let distinct = !counted.contains(&word);
            if distinct {
                counted.push(word);
            }
            // Saying "design" five times makes nothing harder; five constraints do.
            if distinct || class == Class::Constraint {
                counts.0[class as usize] += 1;
            }
        }
        counts
    }

    /// Those of one class.
    pub(super) fn get(self, class: Class) -> u64 {
        self.0[class as usize]
    }
}

/// A class, and what belongs to it.
type Listed = (&'static [&'static str], Class);

fn of_class(&(all, class): &Listed) -> impl Iterator<Item = (&'static str, Class)> {
    all.iter().map(move |one| (*one, class))
}

static CLASSES: LazyLock<HashMap<&str, Class>> = LazyLock::new(|| WORDS_OF.iter().flat_map(of_class).collect());

/// Finds all phrases in one pass. They are fixed and few, so that it can always be made.
static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let phrases = PHRASES_OF.iter().flat_map(of_class).map(|(phrase, _)| phrase);
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(phrases).ok()
});

const WORDS_OF: [Listed; 5] = [
    (&LIGHT, Class::Light),
    (&MIDDLE, Class::Middle),
    (&HEAVY, Class::Heavy),
    (&MATHS, Class::Maths),
    (&CONSTRAINTS, Class::Constraint),
];

const PHRASES_OF: [Listed; 5] = [
    (&LIGHT_PHRASES, Class::Light),
    (&MIDDLE_PHRASES, Class::Middle),
    (&HEAVY_PHRASES, Class::Heavy),
    (&MATHS_PHRASES, Class::Maths),
    (&CONSTRAINT_PHRASES, Class::Constraint),
];

const PHRASES: usize =
    LIGHT_PHRASES.len() + MIDDLE_PHRASES.len() + HEAVY_PHRASES.len() + MATHS_PHRASES.len() + CONSTRAINT_PHRASES.len();

const LIGHT: [&str; 35] = [
    "bye",
    "capital",
    "capitalise",
    "capitalize",
    "category",
    "classify",
    "convert",
    "define",
    "extract",
    "goodbye",
    "hello",
    "hey",
    "hi",
    "joke",
    "label",
    "lowercase",
    "meaning",
    "plural",
    "positive",
    "pronounce",
    "remind",
    "rhyme",
    "rhymes",
    "sentiment",
    "spell",
    "spelled",
    "spelling",
    "synonym",
    "synonyms",
    "thank",
    "thanks",
    "translate",
    "uppercase",
    "weather",
    "yes",
];

const MIDDLE: [&str; 49] = [
    "article",
    "blog",
    "brainstorm",
    "checklist",
    "compare",
    "component",
    "compose",
    "contrast",
    "describe",
    "difference",
    "differences",
    "discuss",
    "draft",
    "email",
    "essay",
    "explain",
    "function",
    "generate",
    "guide",
    "how",
    "implement",
    "improve",
    "itinerary",
    "letter",
    "outline",
    "paragraph",
    "plan",
    "poem",
    "query",
    "recommend",
    "regex",
    "review",
    "rewrite",
    "script",
    "solve",
    "sql",
    "story",
    "suggest",
    "summarise",
    "summarize",
    "summary",
    "table",
    "tips",
    "tutorial",
    "unit",
    "ways",
    "why",
    "write",
    "writing",
];

const HEAVY: [&str; 81] = [
    "algorithm",
    "algorithms",
    "alternatives",
    "analyse",
    "analysis",
    "analyze",
    "architect",
    "architecture",
    "argue",
    "assess",
    "assumptions",
    "asymptotic",
    "axioms",
    "bottleneck",
    "compiler",
    "concurrency",
    "concurrent",
    "confounders",
    "consensus",
    "consistency",
    "correctness",
    "counterexample",
    "counterexamples",
    "critique",
    "deadlock",
    "debug",
    "deprecations",
    "derivation",
    "derive",
    "design",
    "diagnose",
    "distributed",
    "evaluate",
    "exploit",
    "failover",
    "feasibility",
    "forecast",
    "formalise",
    "formalize",
    "hypotheses",
    "hypothesis",
    "implications",
    "invariant",
    "invariants",
    "investigate",
    "jurisdiction",
    "justify",
    "liability",
    "migrate",
    "migration",
    "milestones",
    "mitigations",
    "optimal",
    "optimise",
    "optimize",
    "partition",
    "proof",
    "propose",
    "prove",
    "quantify",
    "race",
    "reconcile",
    "refactor",
    "refute",
    "regulatory",
    "replication",
    "reproduce",
    "rigorous",
    "roadmap",
    "scalability",
    "scalable",
    "scenarios",
    "simulate",
    "soundness",
    "strategy",
    "synthesise",
    "synthesize",
    "throughput",
    "tradeoffs",
    "vulnerabilities",
    "vulnerability",
];

const MATHS: [&str; 30] = [
    "bayes",
    "bayesian",
    "convergence",
    "derivative",
    "determinant",
    "differentiable",
    "eigenvalue",
    "eigenvalues",
    "equation",
    "equations",
    "expectation",
    "integers",
    "integral",
    "integrate",
    "lemma",
    "limit",
    "logarithm",
    "matrix",
    "modulo",
    "parabola",
    "permutations",
    "polynomial",
    "prime",
    "probability",
    "quadratic",
    "rational",
    "theorem",
    "triangle",
    "variance",
    "vector",
];

const CONSTRAINTS: [&str; 17] = [
    "assume",
    "assuming",
    "avoid",
    "cannot",
    "constraint",
    "constraints",
    "ensure",
    "exactly",
    "except",
    "given",
    "must",
    "never",
    "require",
    "requirements",
    "should",
    "unless",
    "without",
];

const LIGHT_PHRASES: [&str; 12] = [
    "what is the capital",
    "what's the capital",
    "how are you",
    "how do you say",
    "how many ",
    "how old",
    "how tall",
    "what time",
    "what day",
    "what year",
    "who is",
    "who was",
];

const MIDDLE_PHRASES: [&str; 6] = ["pros and cons", "step by step", "cover letter", "key points", "tl;dr", "should i"];

const HEAVY_PHRASES: [&str; 15] = [
    "undefined behavio",
    "trade-off",
    "root cause",
    "edge cases",
    "time complexity",
    "threat model",
    "zero downtime",
    "second-order",
    "prove that",
    "show that",
    "if and only if",
    "backwards compatib",
    "memory leak",
    "state machine",
    "end to end",
];

const MATHS_PHRASES: [&str; 12] = ["\\frac", "\\sum", "\\int", "∫", "∑", "√", "≤", "≥", "∀", "x^2", "n^2", "dx"];

const CONSTRAINT_PHRASES: [&str; 6] = ["at most", "at least", "no more than", "do not ", "don't ", "as long as"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_once() {
        for lists in [WORDS_OF, PHRASES_OF] {
            let mut all: Vec<_> = lists.iter().flat_map(of_class).map(|(one, _)| one).collect();
            all.sort_unstable();
            assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        }
        assert!(SEARCH.is_some());
    }

    #[test]
    fn each_phrase_counts_once() {
        let counts = Counts::of("what is the capital? do not say \"at most\", at most. who is, who was; don't don't");
        assert_eq!(counts.get(Class::Constraint), 3);
        assert_eq!(counts.get(Class::Light), 4);
    }
}
