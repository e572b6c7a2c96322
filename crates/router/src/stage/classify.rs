//! Asks a policy's classifier how hard a request is: a small model of a pool, within a deadline.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use router_core::{Attempt, Classifier, Endpoint, Verdict, Want, Work};
use rules::complexity::{Level, excerpt};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use wire::http1::{BareHead, write_bare_head};

use super::settle::REQUEST_ID;
use crate::clock;
use crate::live::Live;
use crate::upstream::{AskError, Conn, Home};
use crate::worker::Worker;

const PATH: &str = "/v1/chat/completions";
/// What the model is told. One message, because some models take no system prompt.
const TASK: &str = "Judge how hard the request below is. Do not answer it.\n\
    trivial: any small model answers it well: a greeting, a fact, a label, a short translation.\n\
    moderate: takes a paragraph or a function.\n\
    complex: takes several steps that depend on each other, or an expert's judgement.\n\
    Answer with one word: trivial, moderate or complex.";
/// Tokens that the longest of the words fits into.
const MOST_TOKENS: u32 = 8;
/// Longest answer that is read.
const MOST_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Said {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

/// The classifier's word on a request whose user said `text` last; else, in a word, why there is none.
pub(super) async fn classify(
    worker: &Worker,
    live: &Live,
    classifier: &Classifier,
    policy: &str,
    request_id: &str,
    text: &str,
) -> Result<Level, &'static str> {
    let started = Instant::now();
    let until = started + classifier.deadline;
    let asked = ask(worker, live, classifier, request_id, text, until);
    let word = timeout_at(until, asked).await.unwrap_or(Err("deadline"));
    worker.metrics.rules.count_classification(policy, word.err().unwrap_or("said"), started.elapsed());
    word
}

async fn ask(
    worker: &Worker,
    live: &Live,
    classifier: &Classifier,
    request_id: &str,
    text: &str,
    until: Instant,
) -> Result<Level, &'static str> {
    let pool = classifier.at.map(|at| &live.table.pools()[at]).ok_or("no_pool")?;
    let body = json!({
        "model": classifier.model.as_deref().unwrap_or(&pool.served_model),
        "messages": [{"role": "user", "content": format!("{TASK}\n\n<request>\n{}\n</request>", excerpt(text))}],
        "max_tokens": MOST_TOKENS,
        "temperature": 0,
        // The answer can only be one of the words; vLLM's own field.
        "structured_outputs": {"choice": Level::ALL.map(Level::word)},
        // Models that think by habit would spend the tokens on that. Templates that do not know it pass it over.
        "chat_template_kwargs": {"enable_thinking": false},
    });
    let body = body.to_string();
    let want = Want {
        work: Work::estimate(body.len(), Some(MOST_TOKENS.into())),
        session: None,
        now: clock::now(),
        slow_start: worker.settings.slow_start,
        luck: rand::random(),
    };
    let mut attempt = Attempt::begin(&pool.ready, &[], &want).ok_or("no_replica")?;
    match exchange(worker, attempt.endpoint(), request_id, body.as_bytes(), until).await {
        Ok((status, _)) if status != StatusCode::OK => Err("error_status"),
        Ok((_, body)) => {
            attempt.answers();
            let said: Said = serde_json::from_slice(&body).map_err(|_| "no_word")?;
            let content = said.choices.into_iter().next().and_then(|choice| choice.message.content);
            content.as_deref().and_then(Level::of_word).ok_or("no_word")
        }
        Err(error) => {
            if attempt.judge(Verdict::Failed, clock::now(), &worker.settings.ejection) {
                let endpoint = &attempt.endpoint().authority;
                tracing::warn!(%endpoint, pool = &*classifier.name, %error, "replica ejected");
            }
            Err("unreachable")
        }
    }
}

/// Status and body of the replica's answer.
async fn exchange(
    worker: &Worker,
    endpoint: &Endpoint,
    request_id: &str,
    body: &[u8],
    until: Instant,
) -> Result<(StatusCode, bytes::Bytes), AskError> {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static(REQUEST_ID), id);
    }
    let mut head = BytesMut::new();
    let bare = BareHead { target: PATH, host: &endpoint.authority, length: body.len(), headers: &headers };
    write_bare_head(&mut head, &bare);
    let kept = worker.kept.take(&Home::Engine(endpoint.address), worker.settings.idle_timeout);
    let (mut conn, answer) = match kept {
        Some(mut conn) => match conn.ask(&head, body).await {
            Err(AskError::Stale) => anew(worker, endpoint, &head, body, until).await?,
            answer => (conn, answer?),
        },
        None => anew(worker, endpoint, &head, body, until).await?,
    };
    let whole = conn.whole(&answer, MOST_BYTES).await?;
    if let Some(conn) = Some(conn).filter(|_| answer.reusable && whole.is_some()).and_then(Conn::rest) {
        worker.kept.put(conn);
    }
    Ok((answer.status, whole.unwrap_or_default()))
}

async fn anew(
    worker: &Worker,
    endpoint: &Endpoint,
    head: &[u8],
    body: &[u8],
    until: Instant,
) -> Result<(Conn, wire::http1::Head), AskError> {
    let opened = Conn::open(endpoint.address, until.saturating_duration_since(Instant::now())).await;
    let mut conn = opened.map_err(|_| AskError::Closed)?;
    worker.metrics.upstream_connects.inc();
    let answer = conn.ask(head, body).await?;
    Ok((conn, answer))
}
