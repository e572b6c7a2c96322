//! Last step: what became of a request, counted and logged exactly once, however it ended.

mod attempts;
mod copy;
mod cost;
mod hedge;
mod tell;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};
use router_core::{Caller, Choice, EjectionRules, Endpoint, Policy, Reason, Refusal, Target, Upstream};
use wire::Dialect;
use wire::usage::UsageReader;

use self::attempts::Attempts;
use self::cost::ToldTier;
pub(crate) use self::hedge::Hedge;
use super::ask::Ask;
use super::decided::Decided;
use crate::live::Live;
use crate::load::Admitted;
use crate::metrics::RouteHandles;
use crate::surface::Surface;
use crate::traces::Trace;
use crate::worker::Worker;

/// Status in the log of a request whose client left before any answer. Nobody ever receives it.
const CLIENT_LEFT: u16 = 499;
/// Most characters of a name in the log that whoever sends requests chooses: of a model, a user, a session.
const MOST_NAME: usize = 128;
/// Header of the id that a request is known by on both sides.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a client.
const MOST_ID: usize = 128;

/// What is known of a request so far. Dropping it counts and logs the request; what nobody said by then did not happen,
/// so a record that is dropped early is one of a client that left.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    /// Counts the request for as long as this record lives; `None` when it is one too many.
    admitted: Option<Admitted>,
    started: Instant,
    request_id: HeaderValue,
    dialect: Dialect,
    surface: Option<Surface>,
    status: Option<StatusCode>,
    outcome: Outcome,
    route: Option<(Arc<Live>, Choice)>,
    model: String,
    /// Who calls, by the name of a key.
    caller: Option<String>,
    /// Whom the caller asks for, what the request continues, and which part of the application asks, as the request says.
    user: Option<String>,
    session: Option<String>,
    feature: Option<String>,
    stream: bool,
    max_tokens: Option<u32>,
    n: Option<u32>,
    prompt_bytes: usize,
    hides_usage: bool,
    usage: UsageReader,
    /// The tier that the target says it answered at, where it says so outside the usage.
    tier: ToldTier,
    retries: u32,
    attempts: Attempts,
    /// What the policy's rules said, or the client.
    decided: Option<Box<Decided>>,
    trace: Option<Box<Trace>>,
    /// When the first bytes of the answer's body came, and the last ones.
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    bytes: u64,
    /// What came of asking a second target beside a slow one, if that may be.
    hedge: Option<Rc<Cell<Hedge>>>,
    purpose: Purpose,
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A client's request.
    Client,
    /// A copy, whose answer nobody gets.
    Mirror,
    /// The second of two ways that a client's request goes at once. The request has a record of its own.
    Hedge,
}

#[derive(Debug)]
enum Outcome {
    /// The client left, or nothing was said yet.
    Left,
    /// Answered to the end.
    Answered,
    /// Not answered by an engine, or not to the end.
    Refused(Refusal),
}

impl Record {
    /// Begins the record of a request that came with these headers.
    pub(crate) fn begin(worker: &Rc<Worker>, headers: &HeaderMap, dialect: Dialect) -> Self {
        Self {
            worker: Rc::clone(worker),
            admitted: worker.load.admit(worker.settings.max_in_flight),
            started: Instant::now(),
            request_id: request_id(headers),
            dialect,
            surface: None,
            status: None,
            outcome: Outcome::Left,
            route: None,
            model: String::new(),
            caller: None,
            user: None,
            session: None,
            feature: None,
            stream: false,
            max_tokens: None,
            n: None,
            prompt_bytes: 0,
            hides_usage: false,
            usage: UsageReader::default(),
            tier: ToldTier::default(),
            retries: 0,
            attempts: Attempts::default(),
            decided: None,
            trace: worker.settings.traces.as_ref().and_then(|traces| Trace::begin(traces, headers)),
            first_token: None,
            last_token: None,
            bytes: 0,
            hedge: None,
            purpose: Purpose::Client,
        }
    }

    /// Whether the process may take this request on.
    pub(crate) fn admitted(&self) -> bool {
        self.admitted.is_some()
    }

    pub(crate) fn asked_at(&mut self, surface: Surface) {
        self.surface = Some(surface);
    }

    pub(crate) fn understood(&mut self, ask: &Ask) {
        self.model = shortened(&ask.model);
        self.user = ask.user.as_deref().map(shortened);
        self.feature = ask.feature().map(shortened);
        (self.stream, self.max_tokens, self.n) = (ask.stream, ask.max_tokens, ask.n);
        (self.hides_usage, self.prompt_bytes) = (ask.hides_usage(), ask.wants.prompt_bytes);
    }

    pub(crate) fn called_by(&mut self, caller: Caller) {
        self.caller = caller.into_name();
    }

    /// The policy that answers for the request's model.
    pub(crate) fn belongs_to(&mut self, policy: &Policy, ask: &Ask) {
        self.session = ask.session_name(policy).map(|name| shortened(&String::from_utf8_lossy(name)));
    }

    pub(crate) fn chosen(&mut self, live: &Arc<Live>, choice: Choice) {
        let target = &live.table.policies()[choice.policy].targets[choice.target];
        self.tier = ToldTier::for_target(target);
        self.route = Some((Arc::clone(live), choice));
    }

    pub(crate) fn sent_to(&mut self, endpoint: &Arc<Endpoint>) {
        self.attempts.begin(endpoint);
        if let Some(mut trace) = self.trace.take() {
            trace.attempt(&endpoint.authority, self.target().map(|target| &*target.name));
            self.trace = Some(trace);
        }
    }

    /// The attempt under way has failed for this reason, and another one is made at the same target.
    pub(crate) fn retried(&mut self, reason: &'static str, status: Option<u16>) {
        self.retries += 1;
        self.attempt_failed(reason, status);
        if let Some(route) = self.handles() {
            route.retries.inc();
        }
    }

    fn attempt_failed(&mut self, reason: &'static str, status: Option<u16>) {
        let Some((_, choice)) = &self.route else { return };
        self.attempts.fail(choice.target, reason, status);
        if let Some(trace) = &mut self.trace {
            trace.attempt_failed(reason, status);
        }
    }

    /// Who sent the request, as far as that was proven.
    pub(crate) fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// What the policy's rules said, or the client.
    pub(crate) fn decided(&mut self, decided: Decided) {
        self.decided = Some(Box::new(decided));
    }

    /// Tells the client what was decided, if anything was.
    pub(crate) fn tell_decision(&self, headers: &mut HeaderMap) {
        if let Some(decided) = &self.decided {
            decided.tell(self.target().map(|target| &*target.name), headers);
        }
    }

    /// The chosen target did not answer, for this reason.
    pub(crate) fn failed(&mut self, reason: &'static str, status: Option<u16>) {
        self.attempt_failed(reason, status);
    }

    /// The targets at these places were not asked, as none of their replicas is ready.
    pub(crate) fn passed_over(&mut self, places: Vec<usize>) {
        for place in places {
            self.attempts.fail(place, Reason::Cold.name(), None);
        }
    }

    /// The next target is asked, for this reason.
    pub(crate) fn fell_back(&self, reason: Reason) {
        if let Some(route) = self.handles() {
            self.worker.metrics.count_fallback(route, reason.name());
        }
    }

    /// The chosen target was too slow, by the timeout of this name.
    pub(crate) fn timed_out(&self, timeout: &'static str) {
        if let Some(route) = self.handles() {
            self.worker.metrics.count_timeout(route, timeout);
        }
    }

    /// When the chosen target is left alone, if it is no pool.
    pub(crate) fn breaker(&self) -> Option<EjectionRules> {
        let (live, choice) = self.route.as_ref().filter(|(_, choice)| choice.pool.is_none())?;
        Some(live.table.policies()[choice.policy].resilience.breaker())
    }

    /// The endpoint was ejected for what became of this request.
    pub(crate) fn ejected(&self) {
        if let Some(route) = self.handles() {
            route.ejections.inc();
        }
    }

    pub(crate) fn answers_with(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Looks for the count of tokens in what came of the answer.
    pub(crate) fn look(&mut self, data: &[u8]) {
        self.usage.look(data);
        self.tier.look(data);
    }

    /// Bytes of the answer, which came at this time, are passed on.
    pub(crate) fn passed(&mut self, bytes: usize, came: Instant) {
        self.first_token.get_or_insert(came);
        self.last_token = Some(came);
        self.bytes += bytes as u64;
    }

    /// The answer is whole.
    pub(crate) fn finished(&mut self) {
        self.outcome = Outcome::Answered;
    }

    /// The answer is this refusal, or ended in it.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.status = self.status.or_else(|| Some(refusal.status_for(self.dialect)));
        self.outcome = Outcome::Refused(refusal);
    }

    /// The status that the client was told, if it was told one.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Whether the answer is text that a model wrote, which it may break off.
    pub(crate) fn generates(&self) -> bool {
        self.surface.is_some_and(Surface::generates)
    }

    /// How errors are told to the client.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether the count of tokens is kept from the client.
    pub(crate) fn hides_usage(&self) -> bool {
        self.hides_usage
    }

    /// The id as text.
    pub(crate) fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// What the engine is told of the trace, if the request is traced here.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.trace.as_ref().map(|trace| trace.header())
    }

    /// The id as a header.
    /// Puts the request's id among an answer's headers: in ours, and for clients of messages in the one that they read, unless
    /// the provider's own id stands there.
    pub(crate) fn identify(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.request_id.clone());
        if self.dialect() == Dialect::Anthropic {
            headers.entry("request-id").or_insert_with(|| self.request_id.clone());
        }
    }

    /// The chosen target, as far as clients may know.
    pub(crate) fn upstream(&self) -> Upstream {
        let name = self.handles().map(|route| route.pool.clone()).unwrap_or_default();
        let is_pool = self.route.as_ref().is_none_or(|(_, choice)| choice.pool.is_some());
        if is_pool { Upstream::Pool(name) } else { Upstream::Target(name) }
    }

    fn target(&self) -> Option<&Target> {
        let (live, choice) = self.route.as_ref()?;
        Some(&live.table.policies()[choice.policy].targets[choice.target])
    }

    fn handles(&self) -> Option<&RouteHandles> {
        self.route.as_ref().map(|(live, choice)| &live.routes[choice.policy][choice.target])
    }

    fn count(&self, status: u16, seconds: f64) {
        if self.purpose == Purpose::Mirror {
            return self.count_copy(status);
        }
        self.count_hedge();
        self.count_volume();
        let metrics = &self.worker.metrics;
        if let Outcome::Refused(refusal) = &self.outcome {
            metrics.count_refusal(self.surface, self.handles(), refusal.code());
        }
        let (Some(surface), Some(route)) = (self.surface, self.handles()) else {
            return metrics.count_own(self.surface, status);
        };
        route.count(surface, status, seconds);
        if let (true, Some(first)) = (self.stream, self.first_token) {
            route.first_token.observe((first - self.started).as_secs_f64());
        }
        if let Some(gap) = self.token_gap() {
            route.token_gap.observe(gap.as_secs_f64());
        }
        let usage = self.usage.usage();
        for (counter, tokens) in [
            (&route.prompt_tokens, usage.prompt),
            (&route.cached_tokens, usage.cached),
            (&route.completion_tokens, usage.completion),
        ] {
            counter.inc_by(tokens.unwrap_or(0));
        }
        if self.bytes > 0 && matches!(self.outcome, Outcome::Refused(_)) {
            route.cut.inc();
        }
    }

    /// Mean time between two tokens of a whole stream. Engines may send several in one event, so events are not counted.
    fn token_gap(&self) -> Option<Duration> {
        let whole = self.stream && matches!(self.outcome, Outcome::Answered);
        let gaps = self.usage.usage().completion.filter(|_| whole)?.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some((self.last_token? - self.first_token?).div_f64(gaps as f64))
    }

    /// Whether the request ended well, as most do, so that a sample of such lines is enough for those who say so.
    fn ordinary(&self, status: u16) -> bool {
        matches!(self.outcome, Outcome::Answered) && status < 400
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.purpose == Purpose::Hedge {
            return;
        }
        let total = self.started.elapsed();
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        self.count(status, total.as_secs_f64());
        self.end_trace(status);
        let percent = self.worker.settings.request_lines_percent;
        if percent < 100 && self.ordinary(status) && rand::random_range(0..100) >= percent {
            return;
        }
        self.worker.log.line(|line| self.write_line(line, status, total));
    }
}

/// As much of a client's name for something as the log has.
fn shortened(name: &str) -> String {
    name.chars().take(MOST_NAME).collect()
}

/// The client's id for the request, if it is one that can stand in a header and a log unharmed; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |id: &HeaderValue| {
        let id = id.as_bytes();
        !id.is_empty() && id.len() <= MOST_ID && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
    };
    match headers.get(REQUEST_ID) {
        Some(id) if harmless(id) => id.clone(),
        _ => new_request_id(rand::random()),
    }
}

/// 128 bits as 32 hexadecimal digits.
fn new_request_id(luck: u128) -> HeaderValue {
    let mut digits = [0; 32];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(luck >> (4 * at)) as usize & 0xf];
    }
    // Hexadecimal digits always make a header, so the fallback is never seen.
    HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_only_harmless_ids() {
        let cases = [("abc-1.2:x", true), ("", false), ("a b", false), ("a\"b", false), ("é", false)];
        let long = "x".repeat(MOST_ID + 1);
        for (id, taken) in cases.into_iter().chain([(long.as_str(), false)]) {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            let given = request_id(&headers);
            assert_eq!(given.as_bytes() == id.as_bytes(), taken, "{id}");
            assert!(taken || given.len() == 32);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
