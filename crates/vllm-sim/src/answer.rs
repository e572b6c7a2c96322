//! Answers one request: read it, line its sequences up, and write their tokens out, at once at the end or as they come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _, select_all};

use crate::app::{App, InFlight};
use crate::core::{Finish, Work};
use crate::engine::{Aborted, Batch, Sequence};
use crate::metrics::{Asked, QueueLimit};
use crate::plan::{Answer, Setting, Teller, answers};
use crate::reply::probabilities::Probabilities;
use crate::reply::{self, DONE, Ending, Piece, Reply, Usage, Whole, messages, responses};
use crate::request::{self, Ask, Kind, Pool, Refusal, Usages};
use crate::response::{json, respond};

/// Largest body that is read. vLLM sets no limit; a test that needs more than this tests something else.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// Answers a request for an answer of `kind`.
pub(crate) async fn answer(app: Arc<App>, kind: Kind, request: Request) -> Response {
    match try_answer(app, kind, request).await {
        Ok(response) => response,
        Err(refusal) => refuse(kind, &refusal),
    }
}

fn refuse(kind: Kind, refusal: &Refusal) -> Response {
    let body = if kind == Kind::Messages { messages::error(refusal) } else { reply::error(refusal) };
    json(refusal.status, body)
}

/// The body of a request that says it is JSON, and the id that its client gave it.
pub(crate) async fn body_of(request: Request) -> Result<(Bytes, Option<String>), Refusal> {
    if !is_json(&request) {
        return Err(Refusal::media_type());
    }
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let body = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await;
    Ok((body.map_err(|_| Refusal::too_large(LARGEST_BODY))?, id))
}

async fn try_answer(app: Arc<App>, kind: Kind, request: Request) -> Result<Response, Refusal> {
    let (body, id) = body_of(request).await?;
    let unique = id.unwrap_or_else(|| app.unique());
    let adapters = app.adapters();
    let ask = request::read(kind, &body, app.served(&adapters))?;
    let in_flight = app.enter().ok_or_else(Refusal::draining)?;
    let setting = Setting { max_model_len: app.args.max_model_len, seed: app.settings.seed };
    let answers = answers(&ask, setting);
    admit(&app, &answers)?;
    let reply = reply_to(&app, &ask, &unique);
    let lined_up: Vec<(Answer, Sequence)> = answers
        .into_iter()
        .map(|answer| {
            app.engine.metrics.asked(Asked { n: ask.n, max_tokens: answer.work.tokens });
            let sequence = app.engine.queue(answer.work.clone());
            (answer, sequence)
        })
        .collect();
    let usage = Usage { prompt: prompt_tokens(&ask), ..Usage::default() };
    let full = ask.prompts.first().map_or(0, |prompt| prompt.in_full_blocks(app.args.block_size));
    if ask.stream {
        let events = events(reply, ask.logprobs, full, lined_up, usage, in_flight);
        return Ok(respond(200, "text/event-stream; charset=utf-8", Body::from_stream(events)));
    }
    let finished =
        try_join_all(lined_up.into_iter().map(|(answer, sequence)| finish(kind, ask.logprobs, answer, sequence)))
            .await
            .map_err(|Aborted| Refusal::aborted())?;
    let cached = finished.first().map_or(0, |done| done.cached);
    let usage = Usage {
        completion: finished.iter().map(|done| u64::from(done.tokens)).sum(),
        cached: cached.into(),
        created: u64::from(full.saturating_sub(cached)),
        ..usage
    };
    let wholes: Vec<Whole> = finished.into_iter().map(|done| done.whole).collect();
    Ok(json(200, reply.whole(&wholes, usage)))
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn prompt_tokens(ask: &Ask) -> u64 {
    ask.prompts.iter().map(|prompt| u64::from(prompt.tokens)).sum()
}

fn reply_to(app: &App, ask: &Ask, unique: &str) -> Reply {
    let asked = if ask.kind == Kind::Responses {
        let room = app.args.max_model_len.saturating_sub(ask.prompts.first().map_or(0, |prompt| prompt.tokens));
        responses::Asked::new(&ask.fields, &format!("msg_{}", app.unique()), room)
    } else {
        responses::Asked::default()
    };
    Reply {
        kind: ask.kind,
        id: Reply::id(ask.kind, unique),
        created: app.now(),
        model: reply::quoted(&ask.model),
        details: app.args.prompt_details,
        usages: ask.usages,
        asked,
    }
}

/// Refuses what the limits of the queue leave no room for.
fn admit(app: &App, answers: &[Answer]) -> Result<(), Refusal> {
    let (sequences, tokens) = app.engine.backlog();
    let more = u64::try_from(answers.len()).unwrap_or(u64::MAX);
    let more_tokens: u64 = answers.iter().map(|answer| u64::from(answer.work.prompt)).sum();
    let over = |limit: Option<u64>, total: u64| limit.is_some_and(|limit| total > limit);
    let limit = if over(app.args.max_queued_requests, sequences + more) {
        QueueLimit::Requests
    } else if over(app.args.max_queued_tokens, tokens + more_tokens) {
        QueueLimit::Tokens
    } else {
        return Ok(());
    };
    app.engine.metrics.reject(limit);
    Err(Refusal::busy())
}

/// A whole answer and what it took.
struct Done {
    tokens: u32,
    cached: u32,
    whole: Whole,
}

/// Waits for the end of an answer.
async fn finish(kind: Kind, logprobs: Option<u32>, answer: Answer, mut sequence: Sequence) -> Result<Done, Aborted> {
    let mut last = Batch { tokens: 0..0, finish: None };
    while let Some(batch) = sequence.next().await? {
        last = batch;
    }
    let tokens = last.tokens.end;
    let mut teller = Teller::new(answer);
    let texts: Vec<String> = (0..tokens).map(|position| teller.say(position)).collect();
    let logprobs = logprobs.map_or_else(
        || "null".to_owned(),
        |alternatives| Probabilities { tokens: &texts, alternatives, key: teller.answer.work.key }.json(kind),
    );
    let text = teller.dress(texts.concat());
    let ending = ending_of(&teller.answer, last.finish);
    Ok(Done { tokens, cached: sequence.cached, whole: Whole { text, ending, logprobs } })
}

/// An answer that was cut off ends otherwise than was planned.
fn ending_of(answer: &Answer, finish: Option<Finish>) -> Ending {
    match finish {
        Some(Finish::Abort) => Ending { finish: Finish::Abort, stop: "null".to_owned() },
        _ => answer.ending.clone(),
    }
}

type Batches = BoxStream<'static, (usize, u32, Result<Batch, Aborted>)>;

struct Writer {
    reply: Reply,
    batches: SelectAll<Batches>,
    tellers: Vec<Teller>,
    logprobs: Option<u32>,
    /// Tokens in full blocks of the prompt.
    full: u32,
    responses: responses::Events,
    /// Answers that are not finished; the stream is over at zero.
    unfinished: usize,
    opened: bool,
    /// Whether a text was sent.
    spoke: bool,
    usage: Usage,
    /// The answer's connection is to be cut.
    cut: bool,
    _in_flight: InFlight,
}

fn events(
    reply: Reply,
    logprobs: Option<u32>,
    full: u32,
    lined_up: Vec<(Answer, Sequence)>,
    usage: Usage,
    in_flight: InFlight,
) -> impl Stream<Item = io::Result<Bytes>> {
    let unfinished = lined_up.len();
    let (tellers, sequences): (Vec<Teller>, Vec<Sequence>) =
        lined_up.into_iter().map(|(answer, sequence)| (Teller::new(answer), sequence)).unzip();
    let batches = select_all(sequences.into_iter().enumerate().map(|(index, sequence)| -> Batches {
        let batches = stream::unfold(sequence, |mut sequence| async move {
            let batch = sequence.next().await.transpose()?;
            Some(((sequence.cached, batch), sequence))
        });
        Box::pin(batches.map(move |(cached, batch)| (index, cached, batch)))
    }));
    let writer = Writer {
        reply,
        batches,
        tellers,
        logprobs,
        full,
        responses: responses::Events::default(),
        unfinished,
        opened: false,
        spoke: false,
        usage,
        cut: false,
        _in_flight: in_flight,
    };
    stream::unfold(writer, |mut writer| async move {
        let bytes = writer.next().await?;
        Some((bytes, writer))
    })
}

impl Writer {
    /// The events of the tokens that are due next, in one piece.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.unfinished == 0 {
            return None;
        }
        let (index, cached, batch) = Pin::new(&mut self.batches).next().await?;
        if index == 0 {
            self.usage.cached = cached.into();
            self.usage.created = self.full.saturating_sub(cached).into();
        }
        let mut out = String::new();
        match batch {
            Ok(batch) => self.write(&mut out, index, &batch),
            Err(Aborted) => self.fail(&mut out),
        }
        if self.cut {
            return Some(Err(io::Error::other("the engine has ended")));
        }
        Some(Ok(Bytes::from(out)))
    }

    /// The engine has ended: an error event, as each surface has it. A stream of a response is cut.
    fn fail(&mut self, out: &mut String) {
        self.unfinished = 0;
        match self.reply.kind {
            Kind::Responses => self.cut = true,
            Kind::Messages => messages::push_error(out, &Refusal::aborted()),
            Kind::Chat | Kind::Completion => {
                out.push_str(&reply::error_event(&Refusal::aborted()));
                out.push_str(DONE);
            }
        }
    }

    fn open(&mut self, out: &mut String) {
        match self.reply.kind {
            Kind::Messages => messages::push_opening(&self.reply, out, self.usage),
            Kind::Responses => self.responses.push_opening(&self.reply, out),
            Kind::Chat | Kind::Completion => {
                (0..self.tellers.len()).for_each(|index| self.reply.push_opening(out, index, self.usage));
            }
        }
    }

    fn write(&mut self, out: &mut String, index: usize, batch: &Batch) {
        if !std::mem::replace(&mut self.opened, true) {
            self.open(out);
        }
        let ending = batch.finish.map(|finish| ending_of(&self.tellers[index].answer, Some(finish)));
        for position in batch.tokens.clone() {
            let end = ending.as_ref().filter(|_| position + 1 == batch.tokens.end);
            self.usage.completion += 1;
            let text = self.tellers[index].say(position);
            self.piece(out, index, text, end);
        }
        if batch.tokens.is_empty() {
            self.piece(out, index, String::new(), ending.as_ref());
        }
        let Some(ending) = ending else { return };
        self.unfinished -= 1;
        if self.unfinished == 0 {
            self.close(out, &ending);
        }
    }

    fn piece(&mut self, out: &mut String, index: usize, raw: String, end: Option<&Ending>) {
        let teller = &self.tellers[index];
        let tokens = [raw.clone()];
        let logprobs = self.logprobs.map(|alternatives| Probabilities {
            tokens: &tokens,
            alternatives,
            key: teller.answer.work.key ^ self.usage.completion,
        });
        let text = teller.dress(raw);
        let piece = Piece { index, text: &text, end, logprobs, usage: self.usage };
        match self.reply.kind {
            Kind::Chat | Kind::Completion => self.reply.push_piece(out, &piece),
            _ if text.is_empty() => {}
            Kind::Messages => messages::push_piece(out, &piece, !std::mem::replace(&mut self.spoke, true)),
            Kind::Responses => self.responses.push_text(&self.reply, out, &text),
        }
    }

    fn close(&mut self, out: &mut String, ending: &Ending) {
        match self.reply.kind {
            Kind::Messages => messages::push_end(&self.reply, out, ending, self.usage, self.spoke),
            Kind::Responses => self.responses.push_end(&self.reply, out, ending, self.usage),
            Kind::Chat | Kind::Completion => {
                if self.reply.usages != Usages::None {
                    self.reply.push_usage(out, self.usage);
                }
                out.push_str(DONE);
            }
        }
    }
}

/// Answers a request to a model that answers with numbers.
pub(crate) async fn pooled(app: Arc<App>, pool: Pool, request: Request) -> Response {
    match try_pooled(app, pool, request).await {
        Ok(response) => response,
        Err(refusal) => refuse(Kind::Chat, &refusal),
    }
}

async fn try_pooled(app: Arc<App>, pool: Pool, request: Request) -> Result<Response, Refusal> {
    let (body, id) = body_of(request).await?;
    let unique = id.unwrap_or_else(|| app.unique());
    let adapters = app.adapters();
    let asked = request::read_pooling(pool, &body, app.served(&adapters))?;
    let _in_flight = app.enter().ok_or_else(Refusal::draining)?;
    let sequences = asked.prompts.iter().map(|prompt| {
        let work = Work {
            prompt: prompt.tokens,
            hashes: Arc::clone(&prompt.hashes),
            tokens: 0,
            finish: Finish::Stop,
            key: prompt.key,
            priority: 0,
            adapter: asked.adapter,
        };
        app.engine.queue(work)
    });
    let whole = |mut sequence: Sequence| async move {
        while sequence.next().await?.is_some() {}
        Ok(())
    };
    try_join_all(sequences.map(whole)).await.map_err(|Aborted| Refusal::aborted())?;
    Ok(json(200, reply::pooling::whole(pool, &asked, &unique, app.now())))
}
