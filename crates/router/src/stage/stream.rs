//! Third step: the answer's body, read from the engine or provider by the very task that writes it to the client.
//!
//! A frame is what one read from the engine brought. Nothing lies between the two sockets: no queue, no task, no timer
//! that is set for each token. A client that reads slowly stops the reading here, and thereby the engine's writing; a
//! client that leaves drops the body, and thereby the connection to the engine, which ends the engine's work.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use router_core::{Attempt, Refusal, Verdict};
use tokio::time::{Instant, Sleep};
use wire::http1::{BodyDecoder, BodyError, Framing, Step};
use wire::openai::ErrorBody;
use wire::sse::{WholeEvents, without_usage};
use wire::translate::{End, Stream};
use wire::vllm::{AbortReader, error_event_span, gave_up};

use super::framed::Framed;
use super::limits::Limits;
use super::send::{Passage, Reply, judge};
use super::settle::Record;
use crate::upstream::{Conn, MOST_WAITED_FOR, is_events};
use crate::worker::Worker;

/// How long the end of the framing is waited for behind the last event. With it the connection can serve another request; the
/// client, who has the whole answer, should not wait for it.
const AFTERWORD: Duration = Duration::from_secs(1);

/// The body of any answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// One that the router made itself.
    Whole(Bytes),
    /// One that an engine sends.
    Relay(Box<Relay>),
}

/// An answer was cut, in a way that only closing the connection can tell the client.
#[derive(Debug, thiserror::Error)]
#[error("the engine did not finish its answer: {0}")]
pub(crate) struct Cut(String);

/// An engine's body on its way through.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Gone once the body has ended, either way.
    conn: Option<Conn>,
    decoder: BodyDecoder,
    framing: Framing,
    reusable: bool,
    /// Present for a stream of events whose end can be told apart from a cut.
    events: Option<WholeEvents>,
    /// Turns the stream into the client's shape; then there are no `events`.
    translator: Option<Box<Stream>>,
    /// Takes the stream out of frames.
    framed: Option<Box<Framed>>,
    /// The stream's count of tokens is not for the client.
    hides_usage: bool,
    /// Runs out when the engine was silent for too long. It is moved only when it runs out, not for each token.
    silence: Pin<Box<Sleep>>,
    heard: Instant,
    /// The last event has come: until when the end of the framing is waited for.
    lingers: Option<Instant>,
    /// The client is to be told of a cut by a closed connection, once it has what came before.
    cut: Option<Cut>,
    /// The engine said within its answer that it failed. `[DONE]` may follow all the same.
    failed: bool,
    /// An error event has passed, behind which nothing does.
    over: bool,
    /// How long it may take.
    limits: Limits,
    /// Only the last event of a stream says that it is whole.
    strict: bool,
    /// Looks for that in a plain answer that was not seen as a whole before its head went out.
    long: Option<AbortReader>,
    /// What came last has passed on, and the client is to hear this next.
    last_word: Option<Refusal>,
    record: Record,
    attempt: Attempt,
    worker: Rc<Worker>,
}

/// The client's answer to an engine's.
pub(crate) fn stream(worker: &Rc<Worker>, reply: Reply, mut record: Record) -> Response<Body> {
    let Reply { head, conn, attempt, limits, passage, .. } = reply;
    record.answers_with(head.status);
    let mut headers = head.headers;
    record.identify(&mut headers);
    record.tell_decision(&mut headers);
    let now = Instant::now();
    let (strict, translator, framed) = match passage {
        Passage::Engine => (false, None, None),
        Passage::Remote => (true, None, None),
        Passage::Translated(translator) => (false, Some(translator), None),
        Passage::Framed(mut framed) => (true, framed.translator.take(), Some(framed)),
        Passage::Whole(body) => {
            record.passed(body.len(), now.into_std());
            record.finished();
            if let Some(conn) = Some(conn).filter(|_| head.reusable).and_then(Conn::rest) {
                worker.kept.put(conn);
            }
            let mut response = Response::new(Body::Whole(body));
            (*response.status_mut(), *response.headers_mut()) = (head.status, headers);
            return response;
        }
    };
    let counted = matches!(head.framing, Framing::Length(_));
    let events = match &framed {
        Some(framed) => framed.watcher(),
        None => {
            let events = is_events(&headers) && (strict || !counted) && translator.is_none();
            events.then(|| WholeEvents::new(record.dialect()))
        }
    };
    let rewritten = translator.is_some() || framed.is_some() || (events.is_some() && counted);
    let long = record.generates()
        && translator.is_none()
        && framed.is_none()
        && head.status == StatusCode::OK
        && !is_events(&headers)
        && !matches!(head.framing, Framing::Length(length) if length <= MOST_WAITED_FOR as u64);
    let mut relay = Relay {
        conn: Some(conn),
        decoder: BodyDecoder::new(head.framing),
        // What leaves has another length.
        framing: if rewritten { Framing::Chunked } else { head.framing },
        translator,
        framed,
        reusable: head.reusable,
        hides_usage: events.is_some() && record.hides_usage(),
        strict: strict && events.is_some(),
        events,
        silence: Box::pin(tokio::time::sleep_until(limits.until.min(now + limits.idle))),
        heard: now,
        lingers: None,
        cut: None,
        failed: false,
        over: false,
        limits,
        long: long.then(|| AbortReader::new(record.dialect())),
        last_word: None,
        record,
        attempt,
        worker: Rc::clone(worker),
    };
    if relay.decoder.ended() {
        relay.end();
    }
    let mut response = Response::new(Body::Relay(Box::new(relay)));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    response
}

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            if let Some(why) = self.last_word.take() {
                return self.break_off(&why, cx);
            }
            let Some(conn) = &mut self.conn else { return Poll::Ready(self.cut.take().map(Err)) };
            let mut step = conn.decode(&mut self.decoder);
            if let (Ok(Step::Data(data)), Some(framed)) = (&mut step, &mut self.framed) {
                *data = framed.unpack(data);
                self.failed |= framed.threw();
                if framed.damaged() {
                    // What came before it is passed on first.
                    let (upstream, why) = (self.record.upstream(), BodyError::BadFrame);
                    self.last_word = Some(Refusal::UpstreamCut { upstream, why });
                }
            }
            match step {
                Ok(Step::Data(data)) if self.translator.is_some() => {
                    let data = self.translate(&data);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(self.frame(data))));
                    }
                }
                Ok(Step::End) if self.translator.is_some() => {
                    let data = self.translate(&[]);
                    return Poll::Ready((!data.is_empty()).then(|| Ok(self.frame(data))));
                }
                Ok(Step::Data(data)) => {
                    let mut data = if let Some(events) = &mut self.events { events.pass(data) } else { data };
                    self.record.look(&data);
                    data = self.listen(data);
                    if self.hides_usage {
                        data = without_usage(data);
                    }
                    if self.over {
                        self.reusable &= self.decoder.ended();
                        self.end();
                    } else if self.decoder.ended() && self.last_word.is_none() {
                        data = self.end_with(data);
                    }
                    if let Some(framed) = &mut self.framed {
                        data = framed.pack(data);
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(self.frame(data))));
                    }
                }
                Ok(Step::End) => {
                    let data = self.end_with(Bytes::new());
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(self.frame(data))));
                    }
                }
                Ok(Step::NeedMore) => match conn.poll_read(cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.heard = Instant::now();
                        // One that always has more to say never comes to where the timer is looked at.
                        if self.heard >= self.limits.until {
                            return self.break_off(&self.overdue(), cx);
                        }
                    }
                    Poll::Ready(closed) => match self.closed(closed.is_ok()) {
                        Ok(()) => {}
                        Err(why) => return self.break_off(&why, cx),
                    },
                    Poll::Pending => {
                        if self.lingers.is_none() && self.said_all() {
                            let until = self.limits.until.min(Instant::now() + AFTERWORD.min(self.limits.idle));
                            self.silence.as_mut().reset(until);
                            self.lingers = Some(until);
                        }
                        ready!(self.poll_silence(cx));
                        return self.break_off(&self.overdue(), cx);
                    }
                },
                Err(why) => {
                    let upstream = self.record.upstream();
                    return self.break_off(&Refusal::UpstreamCut { upstream, why }, cx);
                }
            }
        }
    }

    fn frame(&mut self, data: Bytes) -> Frame<Bytes> {
        self.record.passed(data.len(), self.heard.into_std());
        self.attempt.streamed(data.len());
        Frame::data(data)
    }

    /// The engine closed the connection: in order, or by a reset.
    fn closed(&mut self, in_order: bool) -> Result<(), Refusal> {
        let cut = |why| Refusal::UpstreamCut { upstream: self.record.upstream(), why };
        if !in_order {
            return Err(cut(BodyError::Cut));
        }
        // Without another sign of its end, a stream that stops looks like one that ended.
        if self.framing == Framing::UntilClose && self.events.as_ref().is_some_and(|events| !events.done()) {
            return Err(cut(BodyError::Cut));
        }
        self.decoder.close().map_err(cut)
    }

    /// The next bytes in the client's shape. What the target says ends the answer, or what its framing says.
    fn translate(&mut self, data: &[u8]) -> Bytes {
        self.record.look(data);
        let mut out = Vec::new();
        let Some(translator) = &mut self.translator else { return Bytes::new() };
        translator.push(data, &mut out);
        let ended = self.decoder.ended() && self.last_word.is_none();
        if ended {
            translator.finish(End::Closed, &mut out);
        }
        self.failed = translator.failure().is_some();
        if ended || self.failed {
            self.reusable &= ended;
            self.end();
        }
        out.into()
    }

    /// The last of the body: what was held back as an unfinished event belongs to a stream after all that ended in order.
    fn end_with(&mut self, data: Bytes) -> Bytes {
        let Some(events) = &mut self.events else {
            self.end();
            return data;
        };
        let before = events.done();
        let mut rest = events.finish();
        if !before && events.done() {
            // A client takes an event only with the empty line behind it, which some leave out at the end.
            rest = [&rest[..], b"\n\n"].concat().into();
        }
        // A stream that only stops looks like one that ended, to a client that does not count on an ending.
        let said = if self.strict { events.done() } else { events.finished() };
        let whole = said || self.failed || self.record.status() != Some(StatusCode::OK);
        let rest = if whole { self.listen(rest) } else { Bytes::new() };
        if !whole {
            let (upstream, why) = (self.record.upstream(), BodyError::Unfinished);
            self.last_word = Some(Refusal::UpstreamCut { upstream, why });
        } else if self.last_word.is_none() {
            self.end();
        }
        if rest.is_empty() {
            data
        } else if data.is_empty() {
            rest
        } else {
            [data, rest].concat().into()
        }
    }

    /// Notes what the engine says of itself, and gives what may pass. An event is always seen whole.
    fn listen(&mut self, mut data: Bytes) -> Bytes {
        if let Some(long) = &mut self.long {
            long.look(&data);
        }
        if let Some(events) = self.events.as_mut().filter(|_| !data.is_empty()) {
            self.failed |= self.record.dialect().fails(&data);
            if let Some(error) = error_event_span(&data).filter(|_| events.between_events()) {
                // Engines write `[DONE]` behind it, others worse: nothing may look like an end to who has missed the error.
                self.failed = true;
                self.over = self.record.dialect().tells_error_event(&data[error.clone()]);
                data.truncate(if self.over { error.end } else { error.start });
                if !self.over {
                    self.last_word = Some(Refusal::UpstreamFailed { upstream: self.record.upstream() });
                }
            } else if let Some(end) = gave_up(self.record.dialect(), &data) {
                self.failed = true;
                data.truncate(end);
                events.take_back();
                self.last_word = Some(Refusal::UpstreamFailed { upstream: self.record.upstream() });
            }
        }
        data
    }

    /// The body is whole: the connection can serve another request.
    fn end(&mut self) {
        self.failed |= self.long.as_ref().is_some_and(AbortReader::aborted);
        let verdict = if self.failed { Verdict::Failed } else { Verdict::Well };
        judge(&self.worker, &self.record, &mut self.attempt, verdict);
        if self.failed {
            self.record.refused(Refusal::UpstreamFailed { upstream: self.record.upstream() });
        } else {
            self.record.finished();
        }
        if let Some(conn) = self.conn.take().filter(|_| self.reusable).and_then(Conn::rest) {
            self.worker.kept.put(conn);
        }
    }

    /// The body is not whole. A client between two events is told by one more; any other by a closed connection, because
    /// an answer that ends in good order looks complete.
    fn break_off(&mut self, why: &Refusal, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.conn = None;
        if self.said_all() {
            // The client has the whole answer; that the connection goes on, or breaks, says nothing.
            self.end();
            return Poll::Ready(None);
        }
        judge(&self.worker, &self.record, &mut self.attempt, Verdict::Failed);
        self.record.refused(why.clone());
        if let Some(translator) = &mut self.translator {
            let (message, status, mut out) = (why.to_string(), why.status_for(self.record.dialect()), Vec::new());
            let error = ErrorBody { message: &message, kind: why.kind(), param: None, code: Some(why.code()) };
            translator.finish(End::Broken { error: &error, status }, &mut out);
            return Poll::Ready(Some(Ok(Frame::data(out.into()))));
        }
        if let Some(events) = self.events.as_ref().filter(|events| events.between_events()) {
            let event = why.event(self.record.dialect(), self.record.request_id(), events.next_number());
            return Poll::Ready(Some(Ok(Frame::data(event))));
        }
        // An error makes the server drop what it has not written yet; a pause before it lets it write first.
        self.cut = Some(Cut(why.to_string()));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the client has the last event of an answer that went well.
    fn said_all(&self) -> bool {
        let done = |translator: &Stream| translator.done();
        !self.failed
            && (self.events.as_ref().is_some_and(WholeEvents::done) || self.translator.as_deref().is_some_and(done))
    }

    /// Which of the times is over.
    fn overdue(&self) -> Refusal {
        let upstream = self.record.upstream();
        if Instant::now() >= self.limits.until {
            self.record.timed_out("total");
            Refusal::UpstreamEndless { upstream, seconds: self.limits.total.as_secs() }
        } else {
            self.record.timed_out("idle");
            Refusal::UpstreamSilent { upstream, seconds: self.limits.idle.as_secs() }
        }
    }

    /// Ready when nothing came for the whole of the allowed silence, or the answer's time is over.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.silence.as_mut().poll(cx));
            let usual = || self.limits.until.min(self.heard + self.limits.idle);
            let until = self.lingers.unwrap_or_else(usual);
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            self.silence.as_mut().reset(until);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Relay(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Relay(relay) => relay.conn.is_none() && relay.cut.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relay(relay) => match relay.framing {
                Framing::Length(length) => SizeHint::with_exact(length),
                Framing::Chunked | Framing::UntilClose => SizeHint::default(),
            },
        }
    }
}
