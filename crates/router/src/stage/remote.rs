//! A target that is no pool: the request goes to it, with its key, and its answer is read up to the first token.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use router_core::{
    Api, Attempt, Fault, Fit, NoDial, Operation, Pause, Reason, Refusal, Remote, Standing, Verdict, Work, lacks_path,
    retry_after,
};
use tokio::time::{Instant, timeout_at};
use wire::Dialect;
use wire::http1::Head;
use wire::translate::{Failure, Shape};

use super::ask::Sent;
use super::asked::Asked;
use super::decided::OURS;
use super::framed::Framed;
use super::outgoing::{There, passes, request_head};
use super::send::{Passage, Reply, judge, refusal, why};
use super::settle::Record;
use super::translated::Back;
use crate::clock;
use crate::surface::Surface;
use crate::upstream::{
    AskError, Begun, Conn, DialError, EXCEPTION, HOST_REST, Hoped, dial, home, is_encoded, is_events, is_frames,
};
use crate::worker::Worker;

/// First pause before a request is sent again, and the longest. A random part of it is waited, so that those whom one failure
/// sent away do not come back as one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A provider that asks for more time than this is not waited for; the client is told when to come again.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// How one attempt ended.
struct Tried {
    outcome: Result<Reply, Refusal>,
    /// What the provider said about coming again.
    after: Option<Duration>,
    /// It was asked for a response, and does not know what that is.
    lacks_responses: bool,
}

/// Sends to the target; where no other is left, several times if that can help. One that turns out to have no responses is asked for
/// chat completions.
pub(crate) async fn send(worker: &Worker, asked: &Asked<'_>, record: &mut Record) -> Result<Reply, Refusal> {
    let there = prepare(asked, asked.target.fit(asked.surface.operation()), record)?;
    let first = rounds(worker, asked, &there, record).await;
    if !first.lacks_responses {
        return first.outcome;
    }
    let Ok(there) = prepare(asked, Fit::Translated(Shape::Chat), record) else { return first.outcome };
    let (_, status) = why(&first.outcome);
    drop(first);
    record.retried("no_responses", status);
    let second = rounds(worker, asked, &there, record).await;
    if second.outcome.as_ref().is_ok_and(|reply| reply.head.status.is_success()) {
        asked.target.chat_only.store(true, Ordering::Relaxed);
    }
    second.outcome
}

/// What is sent, in the shape that the target takes.
fn prepare<'a>(asked: &Asked<'a>, fit: Fit, record: &Record) -> Result<There<'a>, Refusal> {
    let (body, back) = match fit {
        Fit::Same => (as_it_came(asked), None),
        Fit::Translated(shape) => {
            let (changed, back) = Back::prepare(asked, shape, record)?;
            (Sent { changed, rest: &[] }, Some(back))
        }
        Fit::Invoked => {
            let (changed, back) = Back::invoke(asked, record)?;
            (Sent { changed, rest: &[] }, Some(back))
        }
        Fit::Unfit => {
            let what = format!("answer {}", asked.surface.label());
            return Err(Refusal::Unfit { upstream: record.upstream(), field: None, what });
        }
    };
    let key = asked.key.map_err(|_| Refusal::Credentials { upstream: record.upstream(), refused: false })?;
    Ok(There { body, back, key })
}

/// Attempts until one gives something, or another cannot help.
async fn rounds(worker: &Worker, asked: &Asked<'_>, there: &There<'_>, record: &mut Record) -> Tried {
    let mut tries = 0;
    loop {
        let tried = attempt(worker, asked, there, record).await;
        let pause = pause(&tried, tries, rand::random());
        let again = asked.last
            && tries < asked.limits.attempts
            && pause.is_some_and(|pause| Instant::now() + pause < asked.limits.until)
            && worker.may_retry(asked.policy.resilience.budget_percent);
        let (Some(pause), true) = (pause, again) else { return tried };
        let (reason, status) = why(&tried.outcome);
        drop(tried);
        tries += 1;
        record.retried(reason, status);
        tokio::time::sleep(pause).await;
    }
}

/// The client's own body under the target's name for the model.
fn as_it_came<'a>(asked: &Asked<'a>) -> Sent<'a> {
    let (ask, input) = (asked.ask, &asked.target.input);
    ask.body_as_it_came(asked.surface, input.api, input.model.as_deref().unwrap_or(&ask.model))
}

/// How long to wait before the request is sent again; `None` where that cannot help.
fn pause(tried: &Tried, tries: usize, luck: f64) -> Option<Duration> {
    let reason = match &tried.outcome {
        Ok(reply) => reply.failed?,
        // These say themselves when to come again, or that nothing changes by itself.
        Err(
            Refusal::UpstreamResting { .. }
            | Refusal::Credentials { .. }
            | Refusal::Forbidden { .. }
            | Refusal::UpstreamRedirects { .. }
            | Refusal::UpstreamLimited { .. },
        ) => return None,
        Err(Refusal::Undialed { why, .. }) if !why.may_pass() => return None,
        Err(refusal) => refusal.reason()?,
    };
    if !matches!(reason, Reason::ConnectFailure | Reason::RateLimited | Reason::Overloaded | Reason::ServerError) {
        return None;
    }
    let most = FIRST_PAUSE.saturating_mul(1 << tries.min(8)).min(LONGEST_PAUSE);
    let pause = most.mul_f64(luck).max(tried.after.unwrap_or_default());
    (pause <= MOST_PATIENCE).then_some(pause)
}

/// One attempt, and what it says of the target and its key.
async fn attempt(worker: &Worker, asked: &Asked<'_>, there: &There<'_>, record: &mut Record) -> Tried {
    let (target, now) = (asked.target, clock::now());
    let refused = |refusal| Tried { outcome: Err(refusal), after: None, lacks_responses: false };
    if let Some((left, why)) = target.rest.left(now) {
        let (upstream, seconds) = (record.upstream(), whole_seconds(left));
        return refused(Refusal::UpstreamLimited { upstream, seconds, money: why == Pause::Money });
    }
    let work = Work::estimate(asked.ask.wants.prompt_bytes, asked.ask.wants.most_tokens);
    let Some(mut attempt) = Attempt::alone(&target.endpoint, work, now) else {
        let left = match target.endpoint.health.standing(now) {
            Standing::Ejected(until) => Duration::from_millis(until.since(now)),
            _ => Duration::from_secs(1),
        };
        return refused(Refusal::UpstreamResting { upstream: record.upstream(), seconds: whole_seconds(left) });
    };
    record.sent_to(&target.endpoint);
    let (mut head, begun, mut conn) = match exchange(worker, asked, there, record).await {
        Ok(answer) => answer,
        Err(refusal) => {
            // An address that is not let is no fault of who lives there.
            if !matches!(refusal, Refusal::Forbidden { .. }) {
                judge(worker, record, &mut attempt, Verdict::Failed);
            }
            return refused(refusal);
        }
    };
    if target.input.api == Api::Bedrock {
        record.answered_by(&head.headers);
    }
    let after = retry_after(&head.headers, clock::since_1970());
    let (fault, body) = match &begun {
        Begun::Well | Begun::Empty | Begun::Not(_) => (None, None),
        Begun::Error(body) | Begun::Thrown(body) if target.input.api == Api::Bedrock => {
            let kind = head.headers.get(EXCEPTION).and_then(|kind| kind.to_str().ok());
            (Fault::of_bedrock(head.status, body, kind), Some(body))
        }
        Begun::Error(body) | Begun::Thrown(body) => (Fault::of_answer(head.status.as_u16(), body), Some(body)),
        Begun::Failed(text) => {
            let failure = Failure::of_success(there.dialect(asked), text);
            (Some(Fault::of_class(failure.class)), Some(text))
        }
    };
    let Some(fault) = fault else {
        let passage = match &there.back {
            _ if let Some(why) = strange(&head.headers, &begun, asked) => {
                Err(Refusal::UpstreamStrange { upstream: record.upstream(), why: why.to_owned() })
            }
            None if is_frames(&head.headers) => {
                let model = target.input.model.as_deref().unwrap_or(&asked.ask.model);
                Ok(Passage::Framed(Box::new(Framed::as_it_came(there.dialect(asked), model))))
            }
            None => Ok(Passage::Remote),
            Some(back) => back.success(&mut head, &mut conn, asked.limits, record).await,
        };
        let outcome = match passage {
            Ok(passage) => {
                if let Passage::Whole(_) = passage {
                    // Nothing of it is to come, so nobody else will say how it ended.
                    judge(worker, record, &mut attempt, Verdict::Well);
                }
                attempt.answers();
                Ok(reply(head, conn, attempt, asked, passage, None))
            }
            Err(refusal) => {
                judge(worker, record, &mut attempt, Verdict::Failed);
                Err(refusal)
            }
        };
        return Tried { outcome, after, lacks_responses: false };
    };
    let after = match fault.pause() {
        None => after,
        Some((why, usual)) => {
            let rest = after.unwrap_or(usual);
            target.rest.until(clock::now().after(rest), why);
            // Money does not come by waiting.
            Some(if why == Pause::Money { Duration::MAX } else { rest })
        }
    };
    let lacks_responses =
        there.asks_responses(asked) && body.is_some_and(|body| lacks_path(head.status.as_u16(), body));
    // An error that is the client's own shows that the target is well, as an answer does.
    judge(worker, record, &mut attempt, fault.verdict());
    let shows_key = there.key.is_some_and(|key| body.is_some_and(|body| key.is_in(body)));
    let outcome = match (body, shows_key) {
        (Some(body), false) if !matches!(fault, Fault::Credentials | Fault::Elsewhere) => {
            if fault == Fault::Money {
                // Some clients would ask again all the same.
                head.headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            let passage = words(&mut head, &begun, body, fault, asked, there, record);
            Ok(reply(head, conn, attempt, asked, passage, fault.reason()))
        }
        _ => Err(told(fault, after, shows_key, record)),
    };
    Tried { outcome, after, lacks_responses }
}

/// Why what came with a status of success is no answer to what was asked.
fn strange(headers: &HeaderMap, begun: &Begun, asked: &Asked<'_>) -> Option<&'static str> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let generates = asked.surface.generates();
    // There may be nothing to be heard in a recording.
    if matches!(begun, Begun::Empty) && asked.surface.operation() != Operation::Audio {
        return Some("it is empty");
    }
    // What stands before a provider shows pages to people.
    if kind.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html")) {
        return Some("it is a web page");
    }
    if is_encoded(headers) {
        return Some("it is compressed, which was not asked for");
    }
    match (asked.ask.stream, is_events(headers) || is_frames(headers)) {
        (true, false) if generates => Some("it is no stream"),
        (false, true) if generates => Some("it is a stream"),
        _ if let Begun::Not(why) = begun => Some(why),
        _ => None,
    }
}

/// How a provider tells of its failure in the client's shape: as it came where that is this shape already.
fn words(
    head: &mut Head,
    begun: &Begun,
    body: &[u8],
    fault: Fault,
    asked: &Asked<'_>,
    there: &There<'_>,
    record: &Record,
) -> Passage {
    let client = Shape::from(record.dialect());
    let (mut own, json) = (false, matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')));
    let failure = match (begun, &there.back) {
        (Begun::Failed(text), _) => Failure::of_success(there.dialect(asked), text),
        (_, Some(back)) => return back.failure(head, body, record),
        (Begun::Thrown(exception), None) => return Passage::Whole(exception.clone()),
        // Bad requests that are about the router's own account are nothing that a client could set right.
        (_, None) if fault == Fault::Money && matches!(head.status.as_u16(), 400 | 403) => {
            Failure::read(client, head.status, body, None)
        }
        (_, None) if record.dialect().tells_error(body) => {
            // Under another name not every client reads it.
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Passage::Remote;
        }
        // No SDK finds its error in a page, in another shape, or in nothing. What is JSON is the provider's own word.
        (_, None) => {
            own = json;
            Failure::read(client, head.status, body, None)
        }
    };
    if !own {
        head.status = failure.status_for(client);
    }
    head.headers.remove(header::CONTENT_ENCODING);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Passage::Whole(failure.body(client, record.request_id()).into())
}

/// What the client is told in our own words, where it cannot have the provider's.
fn told(fault: Fault, after: Option<Duration>, shows_key: bool, record: &Record) -> Refusal {
    let upstream = record.upstream();
    match fault {
        Fault::Credentials => {
            tracing::warn!(target = upstream.name(), "the provider does not take the key, or not for this");
            Refusal::Credentials { upstream, refused: true }
        }
        Fault::Elsewhere => Refusal::UpstreamRedirects { upstream },
        Fault::Overloaded => Refusal::UpstreamOverloaded { upstream },
        Fault::Money | Fault::Pace => {
            let usual = fault.pause().map_or(Duration::ZERO, |(_, usual)| usual);
            let seconds = whole_seconds(after.filter(|after| *after < Duration::MAX).unwrap_or(usual));
            Refusal::UpstreamLimited { upstream, seconds, money: fault == Fault::Money }
        }
        _ if shows_key => Refusal::UpstreamStrange { upstream, why: "it is not fit to be shown".to_owned() },
        _ => Refusal::UpstreamFailed { upstream },
    }
}

/// Rounded up, since whoever comes too early is sent away again.
fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

fn reply(
    mut head: Head,
    conn: Conn,
    attempt: Attempt,
    asked: &Asked<'_>,
    passage: Passage,
    failed: Option<Reason>,
) -> Reply {
    let messages = Surface::dialect_at(asked.ask.parts.uri.path()) == Dialect::Anthropic;
    if head.status.as_u16() == 529 && !messages {
        head.status = StatusCode::SERVICE_UNAVAILABLE;
    }
    if asked.target.input.api == Api::Engine {
        // What was decided is for the router alone to tell.
        for ours in OURS {
            head.headers.remove(ours);
        }
    } else {
        let mut passed = HeaderMap::with_capacity(head.headers.len());
        let operation = asked.surface.operation();
        let passing = |name: &HeaderName| passes(name, operation);
        passed.extend(head.headers.drain().filter_map(|(name, value)| name.filter(passing).map(|name| (name, value))));
        head.headers = passed;
    }
    Reply { head, conn, attempt, limits: *asked.limits, passage, failed }
}

/// Sends the request and reads how its answer begins.
async fn exchange(
    worker: &Worker,
    asked: &Asked<'_>,
    there: &There<'_>,
    record: &Record,
) -> Result<(Head, Begun, Conn), Refusal> {
    let (limits, body) = (asked.limits, &there.body);
    let head = request_head(asked, there, record)?;
    // A plain answer begins when it is finished.
    let first = if asked.ask.stream { limits.until.min(Instant::now() + limits.first) } else { limits.until };
    let hoped = Hoped {
        dialect: there.dialect(asked),
        streams: asked.ask.stream && asked.surface.generates(),
        // What is translated is read as a whole anyway.
        json: there.back.is_none() && asked.surface.operation() != Operation::Audio,
        holds: asked.surface.holds(),
    };
    if let Some(conn) = worker.kept.take(&home(&asked.target.input), HOST_REST) {
        match on(conn, &head, body.rest, hoped, first).await {
            Err(AskError::Stale) => worker.metrics.stale_connections.inc(),
            other => return other.map_err(|error| refusal(&error, limits, record)),
        }
    }
    let until = limits.until.min(Instant::now() + limits.connect);
    let dialed = dial(&asked.target.input, &worker.settings.outbound, until).await;
    let conn = dialed.map_err(|error| unreached(&error, asked.target, record))?;
    asked.target.unreached.set(None);
    worker.metrics.upstream_connects.inc();
    on(conn, &head, body.rest, hoped, first).await.map_err(|error| refusal(&error, limits, record))
}

/// Tells everybody but the client that no connection was made, and gives what the client is told.
fn unreached(error: &DialError, target: &Remote, record: &Record) -> Refusal {
    let upstream = record.upstream();
    tracing::warn!(host = %target.input.authority, target = upstream.name(), %error, "target not reached");
    if let DialError::Forbidden(why) = error {
        return Refusal::Forbidden { upstream, why };
    }
    let why = error.told().unwrap_or(NoDial::Refused);
    if why == NoDial::Late {
        record.timed_out("connect");
    }
    target.unreached.set(Some(why));
    record.unreached(why);
    Refusal::Undialed { upstream, why }
}

async fn on(
    mut conn: Conn,
    head: &[u8],
    body: &[u8],
    hoped: Hoped,
    until: Instant,
) -> Result<(Head, Begun, Conn), AskError> {
    let (head, begun) = timeout_at(until, conn.begin(head, body, hoped)).await.unwrap_or(Err(AskError::Silent))?;
    Ok((head, begun, conn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    /// RU-08: nothing is won by asking a second time who it is.
    #[test]
    fn a_certificate_that_does_not_verify_is_not_tried_again() {
        let tried = |why| {
            let upstream = router_core::Upstream::Target("t".to_owned());
            Tried { outcome: Err(Refusal::Undialed { upstream, why }), after: None, lacks_responses: false }
        };
        for why in NoDial::ALL {
            let again = matches!(why, NoDial::Name | NoDial::Late | NoDial::Refused) || why.word() == "tls_broken";
            assert_eq!(pause(&tried(why), 0, 0.5).is_some(), again, "{}", why.word());
        }
    }

    #[test]
    fn pauses_grow_and_obey() {
        let tried = |outcome, after| Tried { outcome: Err(outcome), after, lacks_responses: false };
        let broke = || Refusal::UpstreamBroke { upstream: router_core::Upstream::Target("t".to_owned()) };
        let millis = |tried: &Tried, tries, luck| pause(tried, tries, luck).map(|pause| pause.as_millis());
        for (tries, after, luck, want) in [
            (0, None, 0.0, Some(0)),
            (0, None, 1.0, Some(250)),
            (1, None, 1.0, Some(500)),
            (9, None, 1.0, Some(4000)),
            (0, Some(3), 0.5, Some(3000)),
            (0, Some(6), 0.5, None),
        ] {
            let tried = tried(broke(), after.map(Duration::from_secs));
            assert_eq!(millis(&tried, tries, luck), want, "{tries} {after:?} {luck}");
        }
        let silent = Refusal::UpstreamSilent { upstream: router_core::Upstream::Target("t".to_owned()), seconds: 1 };
        assert_eq!(pause(&tried(silent, None), 0, 0.5), None, "whoever was slow once is not waited for again");
    }
}
