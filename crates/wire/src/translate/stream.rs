//! A stream on its way back: events of the target's shape in, events of the client's shape out, each as it comes.

use http::StatusCode;

use super::events::{Events, MOST_OF_A_PIECE, MOST_OF_AN_ANSWER};
use super::told::{Call, Problem, Told};
use super::{Asked, Failure, Shape, chat, converse, messages, responses};
use crate::openai::ErrorBody;
use crate::unified::{Event, Stop, Tokens};

/// How the target's stream ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// In good order, as far as the connection tells.
    Closed,
    /// It broke off, or its time was over: this is what the client is to be told.
    Broken {
        /// What happened.
        error: &'a ErrorBody<'a>,
        /// The status that the answer would have had, had it not begun.
        status: StatusCode,
    },
}

#[derive(Debug)]
enum Reader {
    Chat(chat::stream::Reader),
    Messages(messages::stream::Reader),
    Responses(responses::stream::Reader),
    Converse,
}

#[derive(Debug)]
enum Writer {
    Chat(chat::stream_out::Writer),
    Messages(messages::stream_out::Writer),
    Responses(Box<responses::stream_out::Writer>),
}

impl Writer {
    fn event(&mut self, event: &Event<'_>, told: &Told, out: &mut Vec<u8>) -> Result<(), Problem> {
        match self {
            Self::Chat(writer) => writer.event(event, told, out),
            Self::Messages(writer) => writer.event(event, told, out),
            Self::Responses(writer) => return writer.event(event, told, out),
        }
        Ok(())
    }
}

#[derive(Debug)]
enum State {
    Open,
    Done,
    Failed(Failure),
}

/// Translates a stream as it comes.
///
/// What leaves depends on the bytes that came, not on how they were cut. Nothing is held back but an unfinished event and
/// the end, which leaves when the target's terminal event has come: a client is never told that an answer is finished
/// when the target did not say so.
#[derive(Debug)]
pub struct Stream {
    events: Events,
    side: Side,
    state: State,
}

/// What the events go through; apart from what splits them.
#[derive(Debug)]
struct Side {
    reader: Reader,
    writer: Writer,
    told: Told,
    to: Shape,
    request_id: String,
}

impl Stream {
    /// For a stream of `from`'s shape and a client of `to`'s; `None` where one of them carries no conversation, for which
    /// [`super::request`] refuses before.
    #[must_use]
    pub fn new(from: Shape, to: Shape, asked: Asked) -> Option<Self> {
        let reader = match from {
            Shape::Chat => Reader::Chat(chat::stream::Reader::new(&asked.id)),
            Shape::Messages => Reader::Messages(messages::stream::Reader::default()),
            Shape::Responses => Reader::Responses(responses::stream::Reader::default()),
            Shape::Converse => Reader::Converse,
            Shape::Completions | Shape::Embeddings => return None,
        };
        let writer = match to {
            Shape::Chat => Writer::Chat(chat::stream_out::Writer::new(&asked)),
            Shape::Messages => Writer::Messages(messages::stream_out::Writer::new(&asked)),
            Shape::Responses => Writer::Responses(Box::new(responses::stream_out::Writer::new(&asked))),
            Shape::Completions | Shape::Embeddings | Shape::Converse => return None,
        };
        let told =
            Told { model: asked.model, stop: Stop::End, stopped: false, tokens: None, begun: false, call: Call::No };
        let most = if from == Shape::Responses { MOST_OF_AN_ANSWER } else { MOST_OF_A_PIECE };
        let side = Side { reader, writer, told, to, request_id: asked.id };
        Some(Self { events: Events::new(most), side, state: State::Open })
    }

    /// Takes bytes of server-sent events and appends what leaves to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !matches!(self.state, State::Open) {
            return;
        }
        let (side, state) = (&mut self.side, &mut self.state);
        let taken = self.events.push(bytes, |name, data| side.event(name, data, state, out));
        if taken.is_err() && matches!(state, State::Open) {
            side.fail(Problem::TooLong.failure(), state, out);
        }
    }

    /// Takes one event that is decoded already: its `:event-type` or `:exception-type`, and its payload.
    pub fn push_event(&mut self, kind: &str, payload: &[u8], out: &mut Vec<u8>) {
        if matches!(self.state, State::Open) {
            self.side.event(kind.as_bytes(), payload, &mut self.state, out);
        }
    }

    /// The target's stream is over. A client whose answer is not finished gets an error event.
    pub fn finish(&mut self, end: End<'_>, out: &mut Vec<u8>) {
        let (side, state) = (&mut self.side, &mut self.state);
        if matches!(state, State::Open) && matches!(end, End::Closed) {
            self.events.finish(|name, data| side.event(name, data, state, out));
        }
        if !matches!(state, State::Open) {
            return;
        }
        let failure = match end {
            End::Closed => Problem::Unfinished.failure(),
            End::Broken { error, status } => {
                side.error(error, status, out);
                let mut failure = Failure::server(error.message.to_owned(), error.code.unwrap_or("upstream_cut"));
                failure.status = status;
                *state = State::Failed(failure);
                return;
            }
        };
        side.fail(failure, state, out);
    }

    /// Whether the model has said something. Before that, what [`Stream::push`] gave can be withheld and thrown away when
    /// the target fails, and another target be asked.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.side.told.begun
    }

    /// Whether the terminal event has come and left. Nothing follows it.
    #[must_use]
    pub fn done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Why the stream has failed, if it has. Its error event has been given out; nothing follows it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            State::Open | State::Done => None,
        }
    }

    /// What the target has told of its tokens so far.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        self.side.told.tokens
    }
}

impl Side {
    /// Gives whether the stream goes on.
    fn event(&mut self, name: &[u8], data: &[u8], state: &mut State, out: &mut Vec<u8>) -> bool {
        let (told, writer) = (&mut self.told, &mut self.writer);
        let mut ended = false;
        let mut emit = |event: Event<'_>| {
            // A call without arguments has an empty object of them; some targets write nothing instead.
            if told.call == Call::Named && !matches!(event, Event::Arguments(_) | Event::Tokens(_)) {
                writer.event(&Event::Arguments("{}".into()), told, out)?;
            }
            told.note(&event)?;
            ended |= event == Event::End;
            writer.event(&event, told, out)
        };
        let read = match &mut self.reader {
            Reader::Chat(reader) => reader.event(data, &mut emit),
            Reader::Messages(reader) => reader.event(data, &mut emit),
            Reader::Responses(reader) => reader.event(data, &mut emit),
            Reader::Converse => converse::stream::event(name, data, &mut emit),
        };
        match read {
            Ok(()) if ended => *state = State::Done,
            Ok(()) => return true,
            Err(problem) => self.fail(problem.failure(), state, out),
        }
        false
    }

    fn fail(&mut self, failure: Failure, state: &mut State, out: &mut Vec<u8>) {
        self.error(&failure.error(), failure.status_for(self.to), out);
        *state = State::Failed(failure);
    }

    fn error(&mut self, error: &ErrorBody<'_>, status: StatusCode, out: &mut Vec<u8>) {
        match &mut self.writer {
            Writer::Responses(writer) => writer.error(error, out),
            Writer::Chat(_) | Writer::Messages(_) => {
                // Only the events of a response have numbers.
                out.extend_from_slice(&self.to.dialect().error_event(error, status, &self.request_id, 0));
            }
        }
    }
}
