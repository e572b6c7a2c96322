//! Answers one request: read it, line its sequences up, and write their tokens out, at once at the end or as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _, select_all};

use crate::engine::{Aborted, Batch, Plan, Sequence};
use crate::metrics::Finish;
use crate::reply::{self, DONE, Reply, Usage};
use crate::request::{self, Ask, Kind, Prompt, Refusal, Served};
use crate::server::{App, InFlight, json, respond};
use crate::text::{mix, natural_length, push_token};

/// Largest body that is read. vLLM sets no limit; a test that needs more than this tests something else.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// Answers a request for an answer of `kind`.
pub(crate) async fn answer(app: Arc<App>, kind: Kind, request: Request) -> Response {
    match try_answer(app, kind, request).await {
        Ok(response) => response,
        Err(refusal) => json(refusal.status, reply::error(&refusal)),
    }
}

async fn try_answer(app: Arc<App>, kind: Kind, request: Request) -> Result<Response, Refusal> {
    if !is_json(&request) {
        return Err(Refusal::media_type());
    }
    let unique = match request.headers().get("x-request-id").and_then(|id| id.to_str().ok()) {
        Some(id) => id.to_owned(),
        None => app.unique(),
    };
    let body =
        axum::body::to_bytes(request.into_body(), LARGEST_BODY).await.map_err(|_| Refusal::too_large(LARGEST_BODY))?;
    let served = Served { names: &app.args.served_names, max_model_len: app.args.max_model_len };
    let ask = request::read(kind, &body, served)?;
    let in_flight = app.enter().ok_or_else(Refusal::draining)?;
    let reply = Reply::new(kind, &unique, app.now(), &app.args.served_names[0], app.args.prompt_details);
    let answers = plans(&ask, &app);
    let prompt_tokens = ask.prompts.iter().map(|prompt| u64::from(prompt.tokens)).sum();
    let lined_up: Vec<(Answer, Sequence)> =
        answers.into_iter().map(|answer| (answer, app.engine.queue(answer.plan))).collect();
    if ask.stream {
        let events = events(reply, lined_up, ask.include_usage.then_some(prompt_tokens), in_flight);
        return Ok(respond(200, "text/event-stream; charset=utf-8", Body::from_stream(events)));
    }
    let finished = try_join_all(lined_up.into_iter().map(|(answer, sequence)| finish(answer, sequence)))
        .await
        .map_err(|Aborted| Refusal::aborted())?;
    let completion = finished.iter().map(|(tokens, ..)| u64::from(*tokens)).sum();
    let texts: Vec<(String, Finish)> = finished.into_iter().map(|(_, text, why)| (text, why)).collect();
    Ok(json(200, reply.whole(&texts, Usage { prompt: prompt_tokens, completion })))
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// One answer: what its text is drawn from, and how it goes.
#[derive(Clone, Copy)]
struct Answer {
    key: u64,
    plan: Plan,
}

impl Answer {
    /// Appends the token at `position`. The end-of-text token has no text.
    fn push(&self, out: &mut String, position: u32) {
        if self.plan.finish != Finish::Stop || position + 1 < self.plan.tokens {
            push_token(out, self.key, position);
        }
    }
}

/// Every answer that a request asks for, in the order of their indices.
fn plans(ask: &Ask, app: &App) -> Vec<Answer> {
    let one = |prompt: &Prompt, number: u32| {
        let key = mix(prompt.key ^ app.settings.seed.rotate_left(17)) ^ mix(u64::from(number));
        let room = app.args.max_model_len.saturating_sub(prompt.tokens).max(1);
        let natural = natural_length(key);
        let (tokens, finish) = match ask.max_tokens {
            Some(limit) => (limit.min(room), Finish::Length),
            None if natural > room => (room, Finish::Length),
            None => (natural, Finish::Stop),
        };
        Answer { key, plan: Plan { prompt_tokens: prompt.tokens, tokens, finish } }
    };
    ask.prompts.iter().flat_map(|prompt| (0..ask.n).map(move |number| one(prompt, number))).collect()
}

/// Waits for the end of an answer: its length, its text, and why it ended.
async fn finish(answer: Answer, mut sequence: Sequence) -> Result<(u32, String, Finish), Aborted> {
    let mut last = Batch { tokens: 0..0, finish: None };
    while let Some(batch) = sequence.next().await? {
        last = batch;
    }
    let tokens = last.tokens.end;
    let mut text = String::new();
    (0..tokens).for_each(|position| answer.push(&mut text, position));
    Ok((tokens, text, last.finish.unwrap_or(answer.plan.finish)))
}

type Batches = BoxStream<'static, (usize, Answer, Result<Batch, Aborted>)>;

struct Writer {
    reply: Reply,
    batches: SelectAll<Batches>,
    /// Answers that are not finished; the stream is over at zero.
    unfinished: usize,
    answers: usize,
    opened: bool,
    /// Tokens written so far.
    completion_tokens: u64,
    /// Tokens of the prompts, when the client wants the usage.
    usage_of: Option<u64>,
    _in_flight: InFlight,
}

fn events(
    reply: Reply,
    lined_up: Vec<(Answer, Sequence)>,
    usage_of: Option<u64>,
    in_flight: InFlight,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let answers = lined_up.len();
    let batches = select_all(lined_up.into_iter().enumerate().map(|(index, (answer, sequence))| -> Batches {
        let batches = stream::unfold(sequence, |mut sequence| async move {
            let batch = sequence.next().await.transpose()?;
            Some((batch, sequence))
        });
        Box::pin(batches.map(move |batch| (index, answer, batch)))
    }));
    let writer = Writer {
        reply,
        batches,
        unfinished: answers,
        answers,
        opened: false,
        completion_tokens: 0,
        usage_of,
        _in_flight: in_flight,
    };
    stream::unfold(writer, |mut writer| async move {
        let bytes = writer.next().await?;
        Some((Ok(bytes), writer))
    })
}

impl Writer {
    /// The events of the tokens that are due next, in one piece.
    async fn next(&mut self) -> Option<Bytes> {
        if self.unfinished == 0 {
            return None;
        }
        let (index, answer, batch) = Pin::new(&mut self.batches).next().await?;
        let mut out = String::new();
        match batch {
            Ok(batch) => self.write(&mut out, index, answer, &batch),
            Err(Aborted) => {
                self.unfinished = 0;
                out.push_str(&reply::error_event(&Refusal::aborted()));
                out.push_str(DONE);
            }
        }
        Some(Bytes::from(out))
    }

    fn write(&mut self, out: &mut String, index: usize, answer: Answer, batch: &Batch) {
        if !std::mem::replace(&mut self.opened, true) {
            (0..self.answers).for_each(|index| self.reply.push_opening(out, index));
        }
        let usage_follows = self.usage_of.is_some();
        let mut text = String::new();
        for position in batch.tokens.clone() {
            text.clear();
            answer.push(&mut text, position);
            let end = batch.finish.filter(|_| position + 1 == batch.tokens.end);
            self.reply.push_token(out, index, &text, end, usage_follows);
        }
        if batch.tokens.is_empty() {
            self.reply.push_token(out, index, "", batch.finish, usage_follows);
        }
        self.completion_tokens += u64::from(batch.tokens.end - batch.tokens.start);
        if batch.finish.is_some() {
            self.unfinished -= 1;
        }
        if self.unfinished == 0 {
            if let Some(prompt) = self.usage_of {
                self.reply.push_usage(out, Usage { prompt, completion: self.completion_tokens });
            }
            out.push_str(DONE);
        }
    }
}
