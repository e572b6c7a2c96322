//! Faults on demand: which request is hit, and by what. No clock, no randomness: luck is an argument.
//!
//! A fault is written as its kind, then its options, with commas between: `stall=30s,after=5,every=5`.

use std::fmt;
use std::time::Duration;

/// Parts in a million.
const WHOLE: u64 = 1_000_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The answer has this status, and an error for a body.
    Status(u16),
    /// The answer stops for so long, or for ever: a stream after so many events, another before it begins.
    Stall(Option<Duration>),
    /// The connection is reset after so many bytes of the body; after none, before the answer begins.
    Reset(usize),
    /// What comes is no HTTP.
    Garbage,
    /// A stream has bytes in it that are no event, after so many that are.
    GarbageInStream,
    /// The length that is told is so many bytes more, or fewer, than come.
    Length(i64),
    /// The engine's steps take so many times as long, for all requests.
    Slow(f64),
    /// The engine ends no step for so long, or for ever, while its pages answer: a hung GPU.
    Freeze(Option<Duration>),
    /// The engine dies as of a lack of memory.
    Die,
}

/// A fault and whom it hits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Events of a stream that come before it.
    pub(crate) after: usize,
    /// It hits at once, and not by a request.
    pub(crate) now: bool,
    /// It hits one request of so many.
    every: u64,
    /// Of those, this part, in millionths.
    probability: u64,
    /// It hits at most so often.
    count: u64,
    /// It lets so many requests pass first.
    skip: u64,
    /// It hits only this path; otherwise every path that answers prompts.
    path: Option<String>,
    text: String,
    seen: u64,
    struck: u64,
}

/// A fault that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {text:?}: {problem}")]
pub struct FaultError {
    text: String,
    problem: String,
}

/// The faults of an engine, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Faults(Vec<Fault>);

impl Fault {
    fn parse(text: &str) -> Result<Self, FaultError> {
        let wrong = |problem: String| FaultError { text: text.to_owned(), problem };
        let mut words = text.trim().split(',').map(str::trim);
        let first = words.next().unwrap_or_default();
        let (name, value) = first.split_once('=').unwrap_or((first, ""));
        let kind = kind(name, value).map_err(wrong)?;
        let mut fault = Self {
            kind,
            after: usize::from(kind == Kind::GarbageInStream),
            now: false,
            every: 1,
            probability: WHOLE,
            count: u64::MAX,
            skip: 0,
            path: None,
            text: text.trim().to_owned(),
            seen: 0,
            struck: 0,
        };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a whole number, not {value:?}"));
            match name {
                "after" => fault.after = usize::try_from(number().map_err(wrong)?).unwrap_or(usize::MAX),
                "every" => fault.every = number().map_err(wrong)?.max(1),
                "count" => fault.count = number().map_err(wrong)?,
                "skip" => fault.skip = number().map_err(wrong)?,
                "probability" => fault.probability = millionths(value).map_err(wrong)?,
                "path" if value.starts_with('/') => fault.path = Some(value.to_owned()),
                "path" => return Err(wrong(format!("path needs a path that begins with /, not {value:?}"))),
                "now" if matches!(kind, Kind::Freeze(_) | Kind::Die) => fault.now = true,
                "now" => return Err(wrong("only freeze and die can hit at once".to_owned())),
                _ => {
                    let known = "after, every, probability, count, skip, path, now";
                    return Err(wrong(format!("{name:?} is no option; there are {known}")));
                }
            }
        }
        Ok(fault)
    }

    /// Whether it hits a request to `path`, which it counts.
    fn hits(&mut self, path: &str, answers: bool, luck: u64) -> bool {
        let concerned = self.path.as_deref().map_or(answers, |wanted| wanted == path);
        if !concerned || self.now || matches!(self.kind, Kind::Slow(_)) {
            return false;
        }
        self.seen += 1;
        let turn = self.seen > self.skip && (self.seen - self.skip).is_multiple_of(self.every);
        let hit = turn && self.struck < self.count && luck % WHOLE < self.probability;
        self.struck += u64::from(hit);
        hit
    }
}

fn kind(name: &str, value: &str) -> Result<Kind, String> {
    match (name, value) {
        ("status", _) => match value.parse() {
            Ok(status @ 400..=599) => Ok(Kind::Status(status)),
            _ => Err(format!("status needs a number from 400 to 599, not {value:?}")),
        },
        ("stall", _) => span(name, value).map(Kind::Stall),
        ("freeze", _) => span(name, value).map(Kind::Freeze),
        ("reset", _) => {
            value.parse().map(Kind::Reset).map_err(|_| format!("reset needs a number of bytes, not {value:?}"))
        }
        ("garbage", "" | "answer") => Ok(Kind::Garbage),
        ("garbage", "stream") => Ok(Kind::GarbageInStream),
        ("garbage", _) => Err(format!("garbage comes as answer or in a stream, not as {value:?}")),
        ("length", _) => match value.parse() {
            Ok(0) | Err(_) => Err(format!("length needs a number of bytes such as +5 or -5, not {value:?}")),
            Ok(difference) => Ok(Kind::Length(difference)),
        },
        ("slow", _) => match value.parse() {
            Ok(factor) if (0.001..=1e6).contains(&factor) => Ok(Kind::Slow(factor)),
            _ => Err(format!("slow needs a factor from 0.001 to 1000000, not {value:?}")),
        },
        ("die", "") => Ok(Kind::Die),
        _ => Err(format!("{name:?} is no fault; there are status, stall, reset, garbage, length, slow, freeze, die")),
    }
}

/// A time such as 300ms or 1.5s; absent for `forever`.
fn span(name: &str, value: &str) -> Result<Option<Duration>, String> {
    if value == "forever" {
        return Ok(None);
    }
    let (digits, unit) = match value.strip_suffix("ms") {
        Some(digits) => (digits, 0.001),
        None => (value.strip_suffix('s').unwrap_or(value), 1.0),
    };
    let seconds = digits.parse().ok().map(|number: f64| number * unit).filter(|s| (0.0..=86_400.0).contains(s));
    let span = seconds.ok_or_else(|| format!("{name} needs a time such as 300ms, 30s or forever, not {value:?}"))?;
    Ok(Some(Duration::from_secs_f64(span)))
}

fn millionths(value: &str) -> Result<u64, String> {
    let part = value.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    let part: f64 = part.ok_or_else(|| format!("probability needs a number from 0 to 1, not {value:?}"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
    Ok((part * 1e6).round() as u64)
}

impl Faults {
    /// Reads faults, one a line or a text; empty ones are passed over.
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, FaultError> {
        let texts = texts.into_iter().map(str::trim).filter(|text| !text.is_empty());
        texts.map(Fault::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The fault that hits a request to `path`. `answers` tells whether the path answers prompts; each fault takes its own
    /// draw of `luck`.
    pub(crate) fn strike(&mut self, path: &str, answers: bool, mut luck: impl FnMut() -> u64) -> Option<Fault> {
        // Each counts the request, whichever hits it.
        let hit: Vec<bool> = self.0.iter_mut().map(|fault| fault.hits(path, answers, luck())).collect();
        self.0.iter().zip(hit).find(|(_, hit)| *hit).map(|(fault, _)| fault.clone())
    }

    /// How many times as long the engine's steps take.
    pub(crate) fn slowness(&self) -> f64 {
        let factors =
            self.0.iter().filter_map(|fault| if let Kind::Slow(factor) = fault.kind { Some(factor) } else { None });
        factors.product()
    }

    /// Those that hit at once.
    pub(crate) fn immediate(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter().filter(|fault| fault.now)
    }
}

impl fmt::Display for Faults {
    /// As JSON, with how many requests each saw and hit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |fault: &Fault| {
            let text = serde_json::Value::from(fault.text.as_str());
            format!(r#"{{"fault":{text},"seen":{},"struck":{}}}"#, fault.seen, fault.struck)
        };
        write!(f, "[{}]", self.0.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(Kind, usize), &str>) {
        let read = Fault::parse(text).map(|fault| (fault.kind, fault.after));
        assert_eq!(read.map_err(|e| e.to_string()), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn faults_are_read() {
        check("status=500", Ok((Kind::Status(500), 0)));
        check("stall=30s, after=5", Ok((Kind::Stall(Some(Duration::from_secs(30))), 5)));
        check("stall=300ms", Ok((Kind::Stall(Some(Duration::from_millis(300))), 0)));
        check("stall=forever", Ok((Kind::Stall(None), 0)));
        check("reset=0", Ok((Kind::Reset(0), 0)));
        check("garbage", Ok((Kind::Garbage, 0)));
        check("garbage=stream", Ok((Kind::GarbageInStream, 1)));
        check("length=+5", Ok((Kind::Length(5), 0)));
        check("length=-5", Ok((Kind::Length(-5), 0)));
        check("slow=2.5", Ok((Kind::Slow(2.5), 0)));
        check("freeze=forever,now", Ok((Kind::Freeze(None), 0)));
        check("die", Ok((Kind::Die, 0)));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_there_is() {
        for (text, problem) in [
            ("explode", r#""explode" is no fault; there are status, stall, reset, garbage, length, slow, freeze, die"#),
            ("status=200", r#"status needs a number from 400 to 599, not "200""#),
            ("stall=soon", r#"stall needs a time such as 300ms, 30s or forever, not "soon""#),
            ("length=0", r#"length needs a number of bytes such as +5 or -5, not "0""#),
            ("slow=0", r#"slow needs a factor from 0.001 to 1000000, not "0""#),
            ("die,every=x", r#"every needs a whole number, not "x""#),
            ("die,probability=2", r#"probability needs a number from 0 to 1, not "2""#),
            ("die,path=v1", r#"path needs a path that begins with /, not "v1""#),
            ("status=500,now", "only freeze and die can hit at once"),
            ("die,often", r#""often" is no option; there are after, every, probability, count, skip, path, now"#),
        ] {
            check(text, Err(&format!("fault {text:?}: {problem}")));
        }
    }

    /// Which of ten requests are hit.
    fn hits(text: &str) -> Vec<usize> {
        let mut faults = Faults::parse([text]).unwrap();
        let mut luck = (0..10).map(|at| at * WHOLE / 10);
        let hit = |_: &usize| faults.strike("/v1/completions", true, || luck.next().unwrap()).is_some();
        (1..=10).filter(hit).collect()
    }

    #[test]
    fn faults_hit_whom_they_should() {
        for (text, expected) in [
            ("die", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..]),
            ("die,every=5", &[5, 10]),
            ("die,every=5,count=1", &[5]),
            ("die,skip=7", &[8, 9, 10]),
            ("die,skip=3,every=2,count=2", &[5, 7]),
            ("die,probability=0.3", &[1, 2, 3]),
            ("die,probability=0", &[]),
            ("die,path=/health", &[]),
            ("slow=2", &[]),
        ] {
            assert_eq!(hits(text), expected, "{text}");
        }
    }

    #[test]
    fn a_path_that_answers_nothing_is_hit_only_by_name() {
        let mut faults = Faults::parse(["status=500", "status=503,path=/health"]).unwrap();
        let mut strike = |path, answers| faults.strike(path, answers, || 0).map(|fault| fault.kind);
        assert_eq!(strike("/health", false), Some(Kind::Status(503)));
        assert_eq!(strike("/metrics", false), None);
        assert_eq!(strike("/v1/completions", true), Some(Kind::Status(500)));
        let listed =
            r#"[{"fault":"status=500","seen":1,"struck":1},{"fault":"status=503,path=/health","seen":1,"struck":1}]"#;
        assert_eq!(faults.to_string(), listed);
    }

    #[test]
    fn slowness_multiplies() {
        assert!((Faults::parse(["slow=2", "slow=3", ""]).unwrap().slowness() - 6.0).abs() < 1e-9);
        assert!((Faults::default().slowness() - 1.0).abs() < 1e-9);
    }
}
