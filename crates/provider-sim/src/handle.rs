//! The path of one request: key, body, faults, answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::Value;

use crate::answer::{Usage, answers, prompt_tokens};
use crate::app::{App, keep, lock};
use crate::ask::{Ask, anthropic, bedrock, chat, responses};
use crate::faults::{Fault, Faults, Kind};
use crate::key;
use crate::misbehave::{self, Hit, Outcome};
use crate::play::{Meter, play};
use crate::refusal::{Api, Cause, Refusal};
use crate::script::{Script, Step};
use crate::shape::bedrock::{SERVICE_LATENCY, SERVICE_TIER};
use crate::shape::{About, Surface, Told, embeddings, models};
use crate::signature::{self, Signed};
use crate::text::quoted;
use crate::wire::Wire;

/// Largest body that is taken: Anthropic's limit.
const LARGEST: usize = 32 * 1024 * 1024;
/// Longest prompt, in tokens: the context of Anthropic's models.
const LONGEST_PROMPT: u64 = 200_000;
/// Of a request's body, what is kept to be looked at.
const KEPT: usize = 64 * 1024;
/// The header that brings faults for one request.
const FAULT: &str = "x-sim-fault";

/// What a route is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    /// An answer; for Bedrock with the model and whether it streams, for Azure with the model.
    Answer(Surface, Option<(String, bool)>),
    Embeddings(Option<String>),
    /// The tokens of a prompt of Anthropic's.
    Count,
    Models,
    Model(String),
    /// A response that was given before.
    Stored(String),
    /// There is nothing here.
    Nothing,
}

/// Answers a request to `api`.
pub(crate) async fn handle(app: Arc<App>, api: Api, task: Task, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(wire) = parts.extensions.get::<Wire>().cloned() else { return Response::default() };
    let id = request_id(api, &app.unique());
    let body = to_bytes(body, LARGEST).await;
    note(&app, &parts, body.as_ref().map_or(&[][..], |bytes| bytes));
    let body = body.map_err(|_| Refusal::new(Cause::TooLarge, "Request exceeds the maximum size"));
    let found = match body {
        Ok(body) => prepare(&app, api, &task, &parts, &body),
        Err(refusal) => Err(refusal),
    };
    let (key, model) = found.as_ref().map_or(("", ""), |ready| (ready.key.as_str(), ready.model()));
    let surface = if let Task::Answer(surface, _) = &task { Some(*surface) } else { None };
    let hit = Hit { api, surface, request: &id, now: app.now() };
    let faults = match struck(&app, &parts, model, key) {
        Ok(faults) => faults,
        Err(problem) => return play(Script::plain(400, "text/plain", problem), None, wire).await,
    };
    let (script, meter) = match (faults.iter().find_map(|fault| misbehave::refusal(fault, &hit)), found) {
        (Some(script), _) => (script, None),
        (None, Err(refusal)) => (refusal.script(api, &id), None),
        (None, Ok(ready)) => answer(&app, api, ready, &faults),
    };
    send(&app, script, meter, &faults, &hit, wire).await
}

/// Sends the answer, once the faults have had it.
async fn send(
    app: &App,
    mut script: Script,
    meter: Option<Meter>,
    faults: &[Fault],
    hit: &Hit<'_>,
    wire: Wire,
) -> Response {
    dress(app, &mut script, hit);
    if meter.is_some() && !app.first_token.is_zero() {
        script.before.push(Step::Wait(app.first_token));
    }
    for fault in faults {
        match misbehave::change(script, fault, hit) {
            Outcome::Script(changed) => script = changed,
            Outcome::Raw(bytes) => {
                wire.say(&bytes).await;
                return std::future::pending().await;
            }
        }
    }
    play(script, meter, wire).await
}

/// What is ready to be answered.
struct Ready {
    key: String,
    what: What,
}

enum What {
    Ask(Surface, Ask),
    Embed(embeddings::Inputs),
    Count(Ask),
    /// A page that costs nothing.
    Page(String),
}

impl Ready {
    fn model(&self) -> &str {
        match &self.what {
            What::Ask(_, ask) | What::Count(ask) => &ask.model,
            What::Embed(inputs) => &inputs.model,
            What::Page(_) => "",
        }
    }
}

/// Checks key, version, body and model.
fn prepare(app: &App, api: Api, task: &Task, parts: &Parts, body: &Bytes) -> Result<Ready, Refusal> {
    let key = admit(app, api, parts, body)?;
    let json = || -> Result<Value, Refusal> {
        serde_json::from_slice(body).map_err(|_| Refusal::new(Cause::Invalid, bad_json(api)))
    };
    if api == Api::Anthropic && !parts.headers.contains_key("anthropic-version") {
        return Err(Refusal::new(Cause::Invalid, "anthropic-version: header is required"));
    }
    if api == Api::Azure && parts.uri.path().contains("/deployments/") {
        let query = parts.uri.query().unwrap_or_default();
        if !query.split('&').any(|pair| pair.starts_with("api-version=")) {
            return Err(Refusal::new(Cause::Route, "Resource not found"));
        }
    }
    let what = match task {
        Task::Answer(surface, path) => {
            let mut ask = ask(api, *surface, path.as_ref(), json()?)?;
            if *surface == Surface::Invoke {
                let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
                bedrock::served(text(SERVICE_TIER), text(SERVICE_LATENCY), &mut ask)?;
            }
            What::Ask(*surface, ask)
        }
        Task::Embeddings(model) => What::Embed(embeddings::Inputs::read(api, &with_model(json()?, model.as_deref()))?),
        Task::Count => What::Count(anthropic::read_count(&json()?)?),
        Task::Models => What::Page(models::all(api)),
        Task::Model(model) => {
            known(api, model)?;
            What::Page(models::one(api, model))
        }
        Task::Stored(id) => What::Page(stored(app, id, Cause::Route)?),
        Task::Nothing => return Err(Refusal::new(Cause::Route, "Invalid URL: there is nothing here.")),
    };
    let ready = Ready { key, what };
    if let What::Ask(..) | What::Embed(_) | What::Count(_) = ready.what {
        known(api, ready.model())?;
    }
    if let What::Ask(surface, ask) = &ready.what {
        fits(api, ask)?;
        let before = ask.fields.get("previous_response_id").and_then(Value::as_str);
        if let (Surface::Responses, Some(before)) = (surface, before) {
            stored(app, before, Cause::PreviousResponse)?;
        }
    }
    Ok(ready)
}

fn ask(api: Api, surface: Surface, path: Option<&(String, bool)>, body: Value) -> Result<Ask, Refusal> {
    let (model, stream) = path.map_or((None, false), |(model, stream)| (Some(model.as_str()), *stream));
    match surface {
        Surface::Chat => chat::read(api, &with_model(body, model)),
        Surface::Completion => chat::read_completion(api, &with_model(body, model)),
        Surface::Responses => responses::read(api, &body),
        Surface::Messages => anthropic::read(&body, None),
        Surface::Converse => bedrock::read(&body, model.unwrap_or_default(), stream),
        Surface::Invoke => {
            // Bedrock's own word is bedrock-2023-05-31; Anthropic's SDK sends the version of Anthropic's API.
            if body.get("anthropic_version").and_then(Value::as_str).is_none() {
                return Err(Refusal::new(Cause::Invalid, "anthropic_version: Field required"));
            }
            Ok(Ask { stream, ..anthropic::read(&body, model)? })
        }
    }
}

/// Where the model stands in the path, the body need not name it.
fn with_model(mut body: Value, model: Option<&str>) -> Value {
    if let (Some(model), Some(fields)) = (model, body.as_object_mut()) {
        fields.insert("model".to_owned(), model.into());
    }
    body
}

fn admit(app: &App, api: Api, parts: &Parts, body: &Bytes) -> Result<String, Refusal> {
    let keys = lock(&app.keys).clone();
    if api == Api::Bedrock && signature::is_there(&parts.headers) {
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let signed = Signed { method: &parts.method, path, query, headers: &parts.headers, body };
        return signature::check(&signed, &keys, &app.aws_secret, app.seconds());
    }
    key::admit(api, &parts.headers, &keys)
}

fn known(api: Api, model: &str) -> Result<(), Refusal> {
    if models::known(api, model) {
        return Ok(());
    }
    let message = match api {
        Api::Anthropic => format!("model: {model}"),
        Api::Bedrock => "The provided model identifier is invalid.".to_owned(),
        Api::Compatible => format!("model \"{model}\" not found, try pulling it first"),
        Api::OpenAi | Api::Azure => format!("The model `{model}` does not exist or you do not have access to it."),
    };
    Err(Refusal::new(Cause::Model, message))
}

/// Refuses a prompt that is longer than any model takes.
fn fits(api: Api, ask: &Ask) -> Result<(), Refusal> {
    let tokens = prompt_tokens(ask);
    if tokens <= LONGEST_PROMPT {
        return Ok(());
    }
    let message = match api {
        Api::Anthropic => format!("prompt is too long: {tokens} tokens > {LONGEST_PROMPT} maximum"),
        Api::Bedrock => "Input is too long for requested model.".to_owned(),
        _ => format!(
            "This model's maximum context length is {LONGEST_PROMPT} tokens. However, your messages resulted in {tokens} tokens."
        ),
    };
    Err(Refusal::field(Cause::ContextLength, "messages", message))
}

fn stored(app: &App, id: &str, otherwise: Cause) -> Result<String, Refusal> {
    let found = lock(&app.responses).iter().find(|(known, _)| known == id).map(|(_, body)| body.clone());
    found.ok_or_else(|| Refusal::new(otherwise, format!("Previous response with id '{id}' not found.")))
}

/// The answer, and who counts it.
fn answer(app: &Arc<App>, api: Api, ready: Ready, faults: &[Fault]) -> (Script, Option<Meter>) {
    let Ready { key, what } = ready;
    let ignores_cancel = faults.iter().any(|fault| fault.kind == Kind::IgnoreCancel);
    match what {
        What::Page(body) => (Script::json(200, body, 0), None),
        What::Count(ask) => (Script::json(200, format!(r#"{{"input_tokens":{}}}"#, prompt_tokens(&ask)), 0), None),
        What::Embed(inputs) => {
            let usage = Usage { input: inputs.tokens(), ..Usage::default() };
            (Script::json(200, inputs.write(), 0), Some(Meter::begin(app, &key, &inputs.model, usage, false)))
        }
        What::Ask(surface, ask) => {
            let answers = answers(&ask, who(api));
            let marked = matches!(api, Api::Anthropic | Api::Bedrock);
            let owner = format!("{key}\n{}", ask.model);
            let mut usage = lock(&app.cache).look_up(&owner, &ask, marked);
            usage.output = answers.iter().map(crate::answer::Answer::tokens).sum();
            usage.reasoning = answers.iter().map(crate::answer::Answer::reasoning).sum();
            let falsity = faults
                .iter()
                .find_map(|fault| if let Kind::Usage(falsity) = fault.kind { Some(falsity) } else { None });
            let told = Told::of(usage);
            let told = falsity.map_or(Some(told), |falsity| told.falsified(falsity));
            let about = About { api, ask: &ask, unique: app.unique(), now: app.seconds(), told };
            let mut script = surface.write(&about, &answers);
            if let (Surface::Responses, Some(kept)) = (surface, crate::shape::responses::kept(&about, &answers)) {
                keep(&app.responses, kept);
            }
            script.pace(app.token_gap);
            let mut meter = Meter::begin(app, &key, &ask.model, usage, ignores_cancel);
            if !script.streams {
                meter.makes_it_first(gap_of(app, faults));
            }
            (script, Some(meter))
        }
    }
}

/// How long a token takes.
fn gap_of(app: &App, faults: &[Fault]) -> Duration {
    let slower = faults.iter().find_map(|fault| if let Kind::Pace(gap) = fault.kind { Some(gap) } else { None });
    slower.unwrap_or(app.token_gap)
}

/// The faults that hit a request: those that are set, and those that it brings.
fn struck(app: &App, parts: &Parts, model: &str, key: &str) -> Result<Vec<Fault>, String> {
    let mut faults = lock(&app.faults).strike(parts.uri.path(), model, key);
    if let Some(brought) = parts.headers.get(FAULT).and_then(|value| value.to_str().ok()) {
        let mut brought = Faults::parse(brought).map_err(|error| error.to_string())?;
        faults.extend(brought.strike(parts.uri.path(), model, key));
    }
    Ok(faults)
}

/// Keeps a request to be looked at.
fn note(app: &App, parts: &Parts, body: &[u8]) {
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("[{},{}]", quoted(name.as_str()), quoted(&value))
    });
    let body = String::from_utf8_lossy(&body[..body.len().min(KEPT)]);
    let text = format!(
        r#"{{"method":"{}","path":{},"headers":[{}],"body":{}}}"#,
        parts.method,
        quoted(parts.uri.path_and_query().map_or("", |path| path.as_str())),
        headers.collect::<Vec<_>>().join(","),
        quoted(&body)
    );
    keep(&app.received, text);
}

/// Sets the headers that each API sets on all it answers.
fn dress(app: &App, script: &mut Script, hit: &Hit<'_>) {
    match hit.api {
        Api::Anthropic => {
            script.header("request-id", hit.request);
            script.header("anthropic-organization-id", "00000000-0000-4000-8000-000000000000");
            let reset = time_of(app.seconds() + 60);
            for (limit, remaining, at, most) in [
                (
                    "anthropic-ratelimit-requests-limit",
                    "anthropic-ratelimit-requests-remaining",
                    "anthropic-ratelimit-requests-reset",
                    4000,
                ),
                (
                    "anthropic-ratelimit-tokens-limit",
                    "anthropic-ratelimit-tokens-remaining",
                    "anthropic-ratelimit-tokens-reset",
                    400_000,
                ),
            ] {
                let left = if script.status == 429 { 0 } else { most - 1 };
                script.header(limit, most.to_string());
                script.header(remaining, left.to_string());
                script.header(at, reset.clone());
            }
        }
        Api::OpenAi | Api::Azure => {
            script.header("x-request-id", hit.request);
            script.header("openai-organization", "provider-sim");
            script.header("openai-processing-ms", "1");
            script.header("openai-version", "2020-10-01");
            for (limit, remaining, at, most) in [
                ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", 10_000),
                ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", 2_000_000),
            ] {
                let left = if script.status == 429 { 0 } else { most - 1 };
                script.header(limit, most.to_string());
                script.header(remaining, left.to_string());
                script.header(at, if script.status == 429 { "1s" } else { "6ms" });
            }
        }
        Api::Bedrock => script.header("x-amzn-requestid", hit.request),
        Api::Compatible => {}
    }
}

/// A time such as `2026-01-31T12:00:00Z`, from seconds since 1970.
fn time_of(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

fn request_id(api: Api, unique: &str) -> String {
    match api {
        Api::Bedrock => format!("{}-{}-4000-8000-{}", &unique[..8], &unique[8..12], &unique[4..]),
        _ => format!("req_{unique}"),
    }
}

fn who(api: Api) -> &'static str {
    match api {
        Api::Anthropic => "Anthropic",
        Api::OpenAi => "OpenAI",
        Api::Azure => "Azure",
        Api::Bedrock => "Bedrock",
        Api::Compatible => "a compatible server",
    }
}

fn bad_json(api: Api) -> &'static str {
    match api {
        Api::Anthropic => "The request body is not valid JSON",
        Api::Bedrock => "Unable to parse the request body",
        _ => "We could not parse the JSON body of your request.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        assert_eq!(time_of(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_of(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(time_of(1_798_675_200), "2026-12-31T00:00:00Z");
    }
}
