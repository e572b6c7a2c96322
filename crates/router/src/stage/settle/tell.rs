//! What is told of a request once it has ended: its line in the log, and its span.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use ledger::Money;
use router_core::{Api, Target};
use wire::trace::SpanValue;

use super::attempts::Tried;
use super::{Outcome, Purpose, Record};
use crate::metrics::RouteHandles;
use crate::request_log::Line;
use crate::surface::Surface;

/// An attempt as the log has it.
struct Told<'a> {
    target: &'a str,
    endpoint: Option<&'a str>,
    status: Option<u16>,
    reason: Option<&'static str>,
    took: Option<Duration>,
    expected: Option<Money>,
}

impl Record {
    pub(super) fn end_trace(&mut self, status: u16) {
        let Some(trace) = self.trace.take() else { return };
        // A kind of error, not its words: the status where a target told of it.
        let failed: Option<Cow<'static, str>> = match &self.outcome {
            Outcome::Answered if status < 500 => None,
            Outcome::Answered => Some(status.to_string().into()),
            Outcome::Left => Some("client_left".into()),
            Outcome::Refused(refusal) => Some(refusal.code().into()),
        };
        let mut attributes = self.attributes(status);
        attributes.extend(failed.as_deref().map(|why| ("error.type", SpanValue::Text(why.to_owned()))));
        let answered = self.status.map(|status| status.as_u16());
        // What a client did wrong is no failure of who served it.
        let mistaken = matches!(self.outcome, Outcome::Refused(_)) && status < 500;
        let failed = failed.as_deref().filter(|_| !mistaken);
        trace.end(self.span_name(), self.started, failed, answered, attributes);
    }

    /// By the conventions: what was done and the model's name. A name that no policy has makes no span of its own.
    fn span_name(&self) -> Cow<'static, str> {
        match (self.surface.map(operation), &self.route) {
            (Some(operation), Some(_)) => format!("{operation} {}", self.model).into(),
            (operation, _) => operation.unwrap_or("request").into(),
        }
    }

    /// By OpenTelemetry's conventions for generative AI, where these have a name, else by one of ours.
    fn attributes(&self, status: u16) -> Vec<(&'static str, SpanValue)> {
        let mut all = vec![("http.response.status_code", SpanValue::Number(status.into()))];
        let usage = self.usage.usage();
        let (route, target, decided) = (self.handles(), self.target(), self.decided.as_deref());
        let answered = target.filter(|_| self.bytes > 0);
        let texts = [
            ("quartermaster.request_id", Some(self.request_id())),
            ("gen_ai.operation.name", self.surface.map(operation)),
            ("gen_ai.provider.name", target.map(provider)),
            ("gen_ai.request.model", Some(self.model.as_str()).filter(|model| !model.is_empty())),
            ("gen_ai.response.model", answered.and_then(|target| target.remote()?.input.model.as_deref())),
            ("gen_ai.conversation.id", self.session.as_deref()),
            ("quartermaster.caller", self.caller.as_deref()),
            ("quartermaster.user", self.user.as_deref()),
            ("quartermaster.feature", self.feature.as_deref()),
            ("quartermaster.policy", route.map(|route| route.policy.as_str())),
            ("quartermaster.rule", decided.and_then(|decided| decided.rule.as_deref())),
            ("quartermaster.complexity", decided.and_then(|decided| decided.complexity.as_deref())),
            ("quartermaster.target", target.map(|target| &*target.name)),
            ("quartermaster.pool", self.pool()),
            ("quartermaster.tier", self.tier_told()),
        ];
        all.extend(texts.into_iter().filter_map(|(name, text)| Some((name, SpanValue::Text(text?.to_owned())))));
        let whole = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok());
        let numbers = [
            ("gen_ai.request.max_tokens", self.max_tokens.map(i64::from)),
            ("gen_ai.request.choice.count", self.n.map(i64::from)),
            ("gen_ai.usage.input_tokens", whole(usage.read())),
            ("gen_ai.usage.cache_read.input_tokens", whole(usage.cached)),
            ("gen_ai.usage.cache_creation.input_tokens", whole(usage.written)),
            ("gen_ai.usage.output_tokens", whole(usage.completion)),
            ("gen_ai.usage.reasoning.output_tokens", whole(usage.reasoning)),
            ("quartermaster.cost.nanodollars", self.cost().map(Money::as_nanos)),
        ];
        all.extend(numbers.into_iter().filter_map(|(name, number)| Some((name, SpanValue::Number(number?)))));
        if self.stream {
            all.push(("gen_ai.request.stream", SpanValue::Flag(true)));
            let first = self.first_token.map(|first| SpanValue::Time(first - self.started));
            all.extend(first.map(|first| ("gen_ai.response.time_to_first_chunk", first)));
        }
        all
    }

    pub(super) fn write_line(&self, line: &mut Line<'_>, status: u16, total: Duration) {
        let (outcome, reason) = match &self.outcome {
            Outcome::Left => ("client_left", None),
            Outcome::Answered => ("answered", None),
            Outcome::Refused(refusal) => (refusal.code(), Some(refusal.to_string())),
        };
        line.text("request_id", Some(self.request_id()));
        line.text("surface", self.surface.map(Surface::label));
        line.number("status", Some(status));
        line.text("outcome", Some(outcome));
        line.text("reason", reason.as_deref());
        line.text("model", (!self.model.is_empty()).then_some(&self.model));
        line.text("caller", self.caller.as_deref());
        line.text("user", self.user.as_deref());
        line.text("session", self.session.as_deref());
        line.text("feature", self.feature.as_deref());
        line.text("policy", self.handles().map(|route: &RouteHandles| route.policy.as_str()));
        line.text("rule", self.decided.as_ref().and_then(|decided| decided.rule.as_deref()));
        line.text("complexity", self.decided.as_ref().and_then(|decided| decided.complexity.as_deref()));
        line.text("target", self.target().map(|target| &*target.name));
        line.text("pool", self.pool());
        line.text("endpoint", self.attempts.last.as_deref().map(|endpoint| &*endpoint.authority));
        line.number("retries", Some(self.retries));
        line.list("attempts", self.attempts_told(status), |line, attempt| {
            line.text("target", Some(attempt.target));
            line.text("endpoint", attempt.endpoint);
            line.number("status", attempt.status);
            line.text("reason", attempt.reason);
            line.millis("ms", attempt.took);
            line.number("expected_nanodollars", attempt.expected.map(Money::as_nanos));
        });
        line.text("hedge", self.hedge_told());
        if self.purpose == Purpose::Mirror {
            line.flag("mirror", true);
        }
        line.flag("stream", self.stream);
        line.number("max_tokens", self.max_tokens);
        line.number("n", self.n);
        line.number("prompt_bytes", i64::try_from(self.prompt_bytes).ok().filter(|bytes| *bytes > 0));
        let usage = self.usage.usage();
        for (name, tokens) in [
            ("prompt_tokens", usage.read()),
            ("cached_tokens", usage.cached),
            ("cache_write_tokens", usage.written),
            ("completion_tokens", usage.completion),
            ("reasoning_tokens", usage.reasoning),
        ] {
            line.number(name, tokens.and_then(|tokens| i64::try_from(tokens).ok()));
        }
        line.text("tier", self.tier_told());
        line.number("cost_nanodollars", self.cost().map(Money::as_nanos));
        line.number("bytes", i64::try_from(self.bytes).ok());
        line.millis("first_token_ms", self.first_token.map(|first| first - self.started));
        line.millis("token_gap_ms", self.token_gap());
        line.millis("total_ms", Some(total));
    }

    /// All attempts, with the one that answered as the last; none where the first one did, as the line itself tells of that.
    fn attempts_told(&self, status: u16) -> impl Iterator<Item = Told<'_>> {
        let failed = self.attempts.failed.iter();
        let several = !self.attempts.failed.is_empty();
        let last = self.attempts.under_way.as_ref().filter(|_| several).and_then(|(endpoint, began)| {
            let target = &*self.target()?.name;
            let took = Some(Instant::now() - *began);
            let (endpoint, status, reason) = (Some(&*endpoint.authority), Some(status), None);
            Some(Told { target, endpoint, status, reason, took, expected: None })
        });
        failed.filter_map(|tried| self.told(tried)).chain(last)
    }

    fn told<'a>(&'a self, tried: &'a Tried) -> Option<Told<'a>> {
        let (live, choice) = self.route.as_ref()?;
        Some(Told {
            target: &live.table.policies()[choice.policy].targets[tried.target].name,
            endpoint: tried.endpoint.as_deref().map(|endpoint| &*endpoint.authority),
            status: tried.status,
            reason: Some(tried.reason),
            took: tried.took,
            expected: tried.expected,
        })
    }

    /// The chosen target's pool, if it is one.
    fn pool(&self) -> Option<&str> {
        let is_pool = self.target().is_some_and(|target| target.remote().is_none());
        self.handles().map(|route| route.pool.as_str()).filter(|_| is_pool)
    }
}

/// What OpenTelemetry calls a surface.
fn operation(surface: Surface) -> &'static str {
    match surface {
        Surface::ChatCompletions | Surface::Responses | Surface::Messages | Surface::Converse | Surface::Invoke => {
            "chat"
        }
        Surface::Completions => "text_completion",
        other => other.label(),
    }
}

/// What OpenTelemetry calls those who answer at these hosts, by how the names of the hosts end.
const HOSTS: [(&str, &str); 8] = [
    (".openai.azure.com", "azure.ai.openai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
];

/// What OpenTelemetry calls those who answer.
fn provider(target: &Target) -> &'static str {
    let Some(remote) = target.remote() else { return "vllm" };
    let at_host = || HOSTS.iter().find(|(end, _)| remote.input.host.ends_with(end)).map(|(_, name)| *name);
    match remote.input.api {
        Api::Engine => "vllm",
        Api::Anthropic => "anthropic",
        Api::Bedrock => "aws.bedrock",
        Api::OpenAi if remote.input.api_version.is_some() => "azure.ai.openai",
        Api::OpenAi | Api::OpenAiCompatible => at_host().unwrap_or("openai"),
    }
}
