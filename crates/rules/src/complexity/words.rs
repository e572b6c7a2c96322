//! The words that give points. English; of other languages only what looks the same counts: length, code, lists, figures.

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

/// The class of a word in lower case.
pub(super) fn class(word: &str) -> Option<Class> {
    let lists = [
        (&LIGHT[..], Class::Light),
        (&MIDDLE, Class::Middle),
        (&HEAVY, Class::Heavy),
        (&MATHS, Class::Maths),
        (&CONSTRAINTS, Class::Constraint),
    ];
    lists.into_iter().find(|(words, _)| words.binary_search(&word).is_ok()).map(|(_, class)| class)
}

/// How many of these phrases a text holds.
pub(super) fn phrases(text: &str, phrases: &[&str]) -> u64 {
    u64::try_from(phrases.iter().filter(|phrase| text.contains(**phrase)).count()).unwrap_or(u64::MAX)
}

// Each list is in order, so that a word is found by halving.

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

pub(super) const LIGHT_PHRASES: [&str; 12] = [
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

pub(super) const MIDDLE_PHRASES: [&str; 6] =
    ["pros and cons", "step by step", "cover letter", "key points", "tl;dr", "should i"];

pub(super) const HEAVY_PHRASES: [&str; 15] = [
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

pub(super) const MATHS_PHRASES: [&str; 12] =
    ["\\frac", "\\sum", "\\int", "∫", "∑", "√", "≤", "≥", "∀", "x^2", "n^2", "dx"];

pub(super) const CONSTRAINT_PHRASES: [&str; 6] =
    ["at most", "at least", "no more than", "do not ", "don't ", "as long as"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order() {
        for list in [&LIGHT[..], &MIDDLE, &HEAVY, &MATHS, &CONSTRAINTS] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }
}
