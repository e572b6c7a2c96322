//! Which requests are broken, and how: rules as data.

use std::ops::Range;
use std::time::Duration;

use super::call::{Ask, Verb};

/// What is done to the requests that match, and to which of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which requests.
    pub when: Match,
    /// Of the matching requests, counted from 0, the ones that are broken.
    pub nth: Range<usize>,
    /// Of those, how many in a hundred; which ones follows from their number alone.
    pub percent: usize,
    /// How.
    pub then: Fault,
}

/// Which requests a rule is about. What is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// Only requests with one of these verbs; empty stands for all.
    pub verbs: Vec<Verb>,
    /// Only requests that change something stored (true), or that do not (false).
    pub mutates: Option<bool>,
    /// Only this plural.
    pub resource: Option<String>,
    /// Only this subresource; an empty text stands for the object itself.
    pub subresource: Option<String>,
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only the object of this name; an empty text stands for collections.
    pub name: Option<String>,
    /// Only requests whose query has this in it (true) or has it not (false).
    pub query: Option<(String, bool)>,
}

/// What can happen to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The process behind the proxy is killed, and the API server never sees the request.
    KillBefore,
    /// The API server does what is asked; the process is killed before it hears of it.
    KillAfterCommit,
    /// The process is killed just after it was answered.
    KillAfterAnswer,
    /// The connection breaks before the API server sees the request.
    LoseRequest,
    /// The API server does what is asked, and the connection breaks without an answer.
    LoseAnswer,
    /// The API server never sees it, and nothing comes back.
    Hang,
    /// The API server does what is asked, and nothing comes back.
    HangAfterCommit,
    /// The proxy answers with this status in the API server's place.
    Status {
        /// The HTTP status.
        code: u16,
        /// Seconds for the header Retry-After.
        retry_after: Option<u32>,
    },
    /// It is passed on after this long.
    Delay(Duration),
    /// A list is answered as it was at this revision.
    Stale {
        /// The resource version.
        revision: String,
    },
    /// A watch is told that the revision it wants to go on from is forgotten.
    Gone,
    /// A watch breaks off in the middle of its next line.
    Truncate,
}

impl Rule {
    /// Breaks every request that matches.
    #[must_use]
    pub fn all(when: Match, then: Fault) -> Self {
        Self { when, nth: 0..usize::MAX, percent: 100, then }
    }

    /// Breaks the `nth` request that matches, counted from 0, and no other.
    #[must_use]
    pub fn nth(when: Match, nth: usize, then: Fault) -> Self {
        Self { when, nth: nth..nth + 1, percent: 100, then }
    }
}

impl Match {
    /// Requests that change what is stored.
    #[must_use]
    pub fn writes() -> Self {
        Self { mutates: Some(true), ..Self::default() }
    }

    /// Requests with one of these verbs.
    #[must_use]
    pub fn verbs(verbs: &[Verb]) -> Self {
        Self { verbs: verbs.to_vec(), ..Self::default() }
    }

    /// Whether the rule is about this request.
    #[must_use]
    pub fn fits(&self, ask: &Ask) -> bool {
        let same = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|want| want == have);
        (self.verbs.is_empty() || self.verbs.contains(&ask.verb))
            && self.mutates.is_none_or(|mutates| mutates == ask.mutates())
            && same(&self.resource, &ask.resource)
            && same(&self.subresource, &ask.subresource)
            && same(&self.namespace, &ask.namespace)
            && same(&self.name, &ask.name)
            && self.query.as_ref().is_none_or(|(part, there)| ask.query.contains(part) == *there)
    }
}

impl Fault {
    /// Its name in the log.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::KillBefore => "killed before",
            Self::KillAfterCommit => "killed after the commit",
            Self::KillAfterAnswer => "killed after the answer",
            Self::LoseRequest => "request lost",
            Self::LoseAnswer => "answer lost",
            Self::Hang => "hung",
            Self::HangAfterCommit => "hung after the commit",
            Self::Status { .. } => "refused",
            Self::Delay(_) => "delayed",
            Self::Stale { .. } => "stale",
            Self::Gone => "gone",
            Self::Truncate => "truncated",
        }
    }
}

/// A rule with its counts.
#[derive(Debug)]
pub(super) struct Armed {
    rule: Rule,
    seen: usize,
    hits: usize,
}

impl Armed {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, seen: 0, hits: 0 }
    }

    pub(super) fn hits(&self) -> usize {
        self.hits
    }

    /// What happens to this request, if the rule is about it: a fault, or none because it is not its turn.
    pub(super) fn judge(&mut self, ask: &Ask) -> Option<Option<Fault>> {
        if !self.rule.when.fits(ask) {
            return None;
        }
        let number = self.seen;
        self.seen += 1;
        // A stride through the hundred spreads the broken ones evenly.
        let drawn = number * 37 % 100 < self.rule.percent;
        let hit = self.rule.nth.contains(&number) && drawn;
        self.hits += usize::from(hit);
        Some(hit.then(|| self.rule.then.clone()))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn rules_pick_by_what_is_asked_and_by_number() {
        let patch = Ask::of(&Method::PATCH, "/api/v1/namespaces/a/services/s", "fieldManager=q");
        let list = Ask::of(&Method::GET, "/api/v1/namespaces/a/services", "fieldSelector=metadata.name%3Ds");
        let some = |text: &str| Some(text.to_owned());
        let check = |when: Match, want: [bool; 2]| assert_eq!([when.fits(&patch), when.fits(&list)], want, "{when:?}");
        check(Match::default(), [true, true]);
        check(Match::writes(), [true, false]);
        check(Match { mutates: Some(false), ..Match::default() }, [false, true]);
        check(Match::verbs(&[Verb::List, Verb::Watch]), [false, true]);
        check(Match { resource: some("pods"), ..Match::default() }, [false, false]);
        check(Match { name: some("s"), namespace: some("a"), ..Match::default() }, [true, false]);
        check(Match { name: some(""), subresource: some(""), ..Match::default() }, [false, true]);
        check(Match { query: Some(("fieldSelector".to_owned(), false)), ..Match::default() }, [true, false]);

        let mut second = Armed::new(Rule::nth(Match::writes(), 1, Fault::Hang));
        let judged: Vec<_> = [&patch, &list, &patch, &patch].map(|ask| second.judge(ask)).into();
        assert_eq!(judged, [Some(None), None, Some(Some(Fault::Hang)), Some(None)]);
        assert_eq!(second.hits(), 1);

        let mut half = Armed::new(Rule { percent: 50, ..Rule::all(Match::default(), Fault::LoseAnswer) });
        let hit = (0..1000).filter(|_| half.judge(&list) == Some(Some(Fault::LoseAnswer))).count();
        assert_eq!((hit, half.hits()), (500, 500));
    }
}
