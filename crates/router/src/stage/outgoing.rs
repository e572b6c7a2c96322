//! A request as a target that is no pool gets it: where it goes, with which headers, and with which key.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use router_core::sigv4::{ToSign, sign, step};
use router_core::{Api, Fit, Operation, Refusal};
use wire::Dialect;
use wire::http1::{BareHead, RequestHead, write_bare_head, write_head};

use super::ask::Sent;
use super::asked::Asked;
use super::settle::Record;
use super::translated::Back;
use crate::clock;
use crate::secrets::Credentials;
use crate::surface::Surface;

/// Version of Anthropic's API that is asked for where the client does not say.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// By what name providers know the router.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("quartermaster/", env!("CARGO_PKG_VERSION")));
/// What the headers begin with by which clients of Bedrock ask for guardrails, traces and tiers, and which tell of tokens.
const BEDROCK: &str = "x-amzn-bedrock-";

/// What is sent, and what it takes to understand the answer.
pub(super) struct There<'a> {
    pub(super) body: Sent<'a>,
    /// Where client and target speak different shapes.
    pub(super) back: Option<Back>,
    pub(super) key: Option<&'a Credentials>,
}

impl There<'_> {
    /// Whether it is OpenAI's responses that the target is asked for.
    pub(super) fn asks_responses(&self, asked: &Asked<'_>) -> bool {
        let fit = self.back.as_ref().map_or(Fit::Same, |back| Fit::Translated(back.from));
        asked.target.input.api == Api::OpenAi && fit.asks_responses(asked.surface.operation())
    }

    /// The dialect that the target answers in.
    pub(super) fn dialect(&self, asked: &Asked<'_>) -> Dialect {
        let own = || asked.surface.target_dialect().unwrap_or_else(|| Surface::dialect_at(asked.ask.parts.uri.path()));
        self.back.as_ref().map_or_else(own, |back| back.from.dialect())
    }
}

/// The head of the request, and as much of its body as had to be changed.
pub(super) fn request_head(asked: &Asked<'_>, there: &There<'_>, record: &Record) -> Result<BytesMut, Refusal> {
    let (input, parts, body) = (&asked.target.input, &asked.ask.parts, &there.body);
    let length = body.changed.len() + body.rest.len();
    let mut out = BytesMut::new();
    if input.api == Api::Engine {
        let traceparent = record.traceparent();
        write_head(
            &mut out,
            &RequestHead {
                method: parts.method.as_str(),
                target: parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |target| target.as_str()),
                host: &input.authority,
                request_id: record.request_id(),
                length,
                headers: &parts.headers,
                traceparent: traceparent.as_deref(),
            },
        );
    } else {
        let mut headers = provider_headers(asked, there);
        let target = match input.api {
            Api::Bedrock => bedrock_target(asked, there.back.as_ref()),
            _ => provider_target(asked, there.back.as_ref()),
        };
        signed(&mut headers, asked, there, &target, record)?;
        write_bare_head(&mut out, &BareHead { target: &target, host: &input.authority, length, headers: &headers });
    }
    out.extend_from_slice(&body.changed);
    Ok(out)
}

/// Path and query at the provider.
fn provider_target(asked: &Asked<'_>, back: Option<&Back>) -> String {
    let (input, uri) = (&asked.target.input, &asked.ask.parts.uri);
    // Base URLs of OpenAI's kind hold the version, those of Anthropic's do not, but some write it all the same.
    let own = uri.path().strip_prefix("/v1").unwrap_or_else(|| uri.path());
    let path = back.and_then(|back| back.from.path()).unwrap_or(own);
    let version = if input.api == Api::Anthropic && !input.path.ends_with("/v1") { "/v1" } else { "" };
    let base = format!("{}{version}{path}", input.path);
    match (&input.api_version, uri.query().filter(|_| back.is_none())) {
        (Some(version), _) => format!("{base}?api-version={version}"),
        (None, Some(query)) => format!("{base}?{query}"),
        (None, None) => base,
    }
}

/// The path at Bedrock, which holds the model and whether there is to be a stream.
fn bedrock_target(asked: &Asked<'_>, back: Option<&Back>) -> String {
    let (input, ask) = (&asked.target.input, asked.ask);
    let invokes = match back {
        Some(back) => back.carries,
        None => asked.surface.operation() == Operation::Invoke,
    };
    let what = match (invokes, ask.stream) {
        (false, false) => "converse",
        (false, true) => "converse-stream",
        (true, false) => "invoke",
        (true, true) => "invoke-with-response-stream",
    };
    let model = input.model.as_deref().unwrap_or(&ask.model);
    format!("{}/model/{}/{what}", input.path, step(model))
}

/// The headers of a request to a provider. Of the client's only those pass that belong to the provider's API.
fn provider_headers(asked: &Asked<'_>, there: &There<'_>) -> HeaderMap {
    let (input, key) = (&asked.target.input, there.key.and_then(Credentials::key));
    // Those of another API mean nothing here.
    let none = HeaderMap::new();
    let theirs = if there.back.is_none() { &asked.ask.parts.headers } else { &none };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    // What is compressed cannot be looked at on its way.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let json = || HeaderValue::from_static("application/json");
    // What is no text cannot be signed as it is sent, and the provider's refusal would count against the target.
    let kind = theirs.get(header::CONTENT_TYPE).filter(|kind| kind.to_str().is_ok());
    headers.insert(header::CONTENT_TYPE, kind.cloned().unwrap_or_else(json));
    let mut put = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    let own = |text: &Option<String>| text.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    match input.api {
        Api::Anthropic => {
            put("x-api-key", key.and_then(|key| key.header("")));
            let version = theirs.get("anthropic-version").cloned();
            put("anthropic-version", Some(version.unwrap_or(ANTHROPIC_VERSION)));
            for beta in theirs.get_all("anthropic-beta") {
                put("anthropic-beta", Some(beta.clone()));
            }
        }
        Api::Bedrock => {
            put("authorization", key.and_then(|key| key.header("Bearer ")));
            let ours = theirs.iter().filter(|(name, _)| name.as_str().starts_with(BEDROCK));
            headers.extend(ours.map(|(name, value)| (name.clone(), value.clone())));
        }
        Api::OpenAi if input.api_version.is_some() => put("api-key", key.and_then(|key| key.header(""))),
        Api::OpenAi | Api::OpenAiCompatible | Api::Engine => {
            put("authorization", key.and_then(|key| key.header("Bearer ")));
            put("openai-organization", own(&input.organization));
            put("openai-project", own(&input.project));
            put("openai-beta", theirs.get("openai-beta").cloned());
        }
    }
    headers
}

/// Adds the headers of a signature, where one is asked for. It holds for some minutes, so each attempt has its own.
fn signed(
    headers: &mut HeaderMap,
    asked: &Asked<'_>,
    there: &There<'_>,
    target: &str,
    record: &Record,
) -> Result<(), Refusal> {
    let (input, body) = (&asked.target.input, there.body.whole());
    let (Some(Credentials::Aws(key)), Some(aws)) = (there.key, &input.aws) else { return Ok(()) };
    let url = format!("{}://{}{target}", if input.secure { "https" } else { "http" }, input.authority);
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = ToSign { url: &url, content_type, body: &body };
    let signature = sign(key.to_sign(), &aws.region, &request, clock::since_1970())
        .map_err(|_| Refusal::Credentials { upstream: record.upstream(), refused: false })?;
    headers.extend(signature);
    Ok(())
}

/// Which headers of a provider's answer the client gets. The rest tells of our account there.
pub(super) fn passes(name: &HeaderName, operation: Operation) -> bool {
    let name = name.as_str();
    let bedrock = matches!(operation, Operation::Converse | Operation::Invoke);
    matches!(
        name,
        "content-type"
            | "content-encoding"
            | "cache-control"
            | "retry-after"
            | "retry-after-ms"
            | "x-should-retry"
            | "request-id"
            | "openai-processing-ms"
            | "openai-version"
    ) || ["x-ratelimit-", "anthropic-ratelimit-"].iter().any(|start| name.starts_with(start))
        || (bedrock && (matches!(name, "x-amzn-errortype" | "x-amzn-requestid") || name.starts_with(BEDROCK)))
}
