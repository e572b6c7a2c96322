//! Runs cases side by side, and counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fault::bed::Trouble;
use futures::StreamExt;

/// Cases at the same time. Each waits for pods, timers and the API server most of its time.
const SIDE_BY_SIDE: usize = 8;
/// No case may take longer.
const LONGEST: Duration = Duration::from_secs(420);

/// What came of a case or of several that were made in one life: how many, and each divergence in a sentence.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) cases: usize,
    pub(crate) divergences: Vec<String>,
    /// How long each case took from the end of the fault until all was as it should be.
    pub(crate) recovered: Vec<Duration>,
    /// What a reader should know besides.
    pub(crate) notes: Vec<String>,
}

/// All cases of a run.
pub(crate) struct Runner {
    full: bool,
    only: Vec<String>,
    case: Option<String>,
    classes: BTreeMap<&'static str, (Verdict, Duration)>,
}

impl Runner {
    pub(crate) fn from_environment() -> Self {
        let only = std::env::var("FAULT_ONLY").unwrap_or_default();
        Self {
            full: std::env::var("FAULT").is_ok_and(|word| word == "full"),
            case: std::env::var("FAULT_CASE").ok(),
            only: only.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            classes: BTreeMap::new(),
        }
    }

    /// The operator's program.
    pub(crate) fn program(&self) -> PathBuf {
        std::env::var_os("FAULT_OPERATOR").map_or_else(|| target().join("operator"), PathBuf::from)
    }

    /// Where logs go.
    pub(crate) fn folder(&self) -> PathBuf {
        std::env::var_os("FAULT_LOGS").map_or_else(|| target().join("fault-logs"), PathBuf::from)
    }

    pub(crate) fn full(&self) -> bool {
        self.full
    }

    pub(crate) fn wants(&self, class: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == class)
    }

    /// Whether nothing but this class is wanted.
    pub(crate) fn wants_only(&self, class: &str) -> bool {
        self.only.len() == 1 && self.wants(class)
    }

    /// Runs cases side by side. A case that cannot be judged is a divergence.
    pub(crate) async fn run<F>(&mut self, class: &'static str, cases: Vec<(String, F)>)
    where
        F: Future<Output = Result<Verdict, Trouble>>,
    {
        let start = Instant::now();
        let cases = cases.into_iter().filter(|(name, _)| self.case.as_ref().is_none_or(|case| name.contains(case)));
        let timed = cases.map(async |(name, case)| (name, tokio::time::timeout(LONGEST, case).await));
        let mut running = std::pin::pin!(futures::stream::iter(timed).buffer_unordered(SIDE_BY_SIDE));
        let mut all = Verdict::default();
        while let Some(ended) = running.next().await {
            let broken = |why: String| Verdict { cases: 1, divergences: vec![why], ..Verdict::default() };
            let verdict = match ended {
                (name, Ok(Ok(verdict))) => verdict.named(&name),
                (name, Ok(Err(trouble))) => broken(format!("{name}: {trouble}")),
                (name, Err(_)) => broken(format!("{name}: it took longer than {LONGEST:?}")),
            };
            for line in &verdict.divergences {
                println!("divergence: {class}: {line}");
            }
            all.add(verdict);
        }
        all.recovered.sort();
        println!("{}", all.text(class, start.elapsed()));
        let (sum, took) = self.classes.entry(class).or_default();
        sum.add(all);
        *took += start.elapsed();
    }

    /// Keeps something that a reader of the class should know.
    pub(crate) fn note(&mut self, class: &'static str, note: String) {
        self.classes.entry(class).or_default().0.notes.push(note);
    }

    /// Prints what came of all, and says whether all went well.
    pub(crate) fn report(&self) -> bool {
        let (mut cases, mut divergences) = (0, 0);
        println!();
        for (class, (verdict, took)) in &self.classes {
            println!("{}", verdict.text(class, *took));
            for note in &verdict.notes {
                println!("    {note}");
            }
            cases += verdict.cases;
            divergences += verdict.divergences.len();
        }
        println!("fault: {cases} cases, {divergences} divergences");
        // As cargo's own tests end, so that `cargo xtask test` counts these, too.
        let (passed, failed) = (cases.saturating_sub(divergences), divergences);
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
        divergences == 0 && cases > 0
    }
}

impl Verdict {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.divergences.extend(other.divergences);
        self.recovered.extend(other.recovered);
        self.notes.extend(other.notes);
        self.recovered.sort();
    }

    fn named(mut self, name: &str) -> Self {
        for line in &mut self.divergences {
            *line = format!("{name}: {line}");
        }
        self
    }

    fn text(&self, class: &str, took: Duration) -> String {
        let at =
            |part: usize| self.recovered.get((self.recovered.len() * part / 100).min(self.recovered.len().max(1) - 1));
        let recovery = match (at(50), at(99)) {
            (Some(half), Some(most)) => {
                format!(
                    ", as it should be after {:.1} s (median), {:.1} s (99 %)",
                    half.as_secs_f64(),
                    most.as_secs_f64()
                )
            }
            _ => String::new(),
        };
        let (cases, divergences, took) = (self.cases, self.divergences.len(), took.as_secs());
        format!("{class}: {cases} cases, {divergences} divergences in {took} s{recovery}")
    }
}

fn target() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.ancestors().nth(2).map_or_else(PathBuf::new, PathBuf::from)
}
