//! The bytes of answers: the fields of vLLM's, in its order. Everything put in is a number, already JSON, or made-up text
//! that needs no escaping, so bodies are written rather than serialised.

use std::fmt::Write as _;

use crate::metrics::Finish;
use crate::request::{Kind, Refusal};

/// Stands in `system_fingerprint`, where vLLM tells its release and configuration.
const FINGERPRINT: &str = "vllm-sim";
/// The event that ends a stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// What all parts of one answer carry.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    /// The id, as a JSON string.
    id: String,
    /// Seconds since 1970.
    created: u64,
    /// The served model, as a JSON string.
    model: String,
    /// Whether usage tells about the prompt cache.
    details: bool,
}

/// Tokens of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
}

impl Reply {
    /// `unique` becomes the id, behind a word for the kind.
    pub(crate) fn new(kind: Kind, unique: &str, created: u64, model: &str, details: bool) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        Self { kind, id: quoted(&format!("{prefix}-{unique}")), created, model: quoted(model), details }
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(&self, answers: &[(String, Finish)], usage: Usage) -> String {
        let mut choices = String::new();
        for (index, (text, finish)) in answers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let finish = finish.word();
            // Writing to a string cannot fail.
            let _ = match self.kind {
                Kind::Chat => write!(
                    choices,
                    r#"{comma}{{"index":{index},"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null}},"logprobs":null,"finish_reason":"{finish}","stop_reason":null,"token_ids":null,"routed_experts":null}}"#
                ),
                Kind::Completion => write!(
                    choices,
                    r#"{comma}{{"index":{index},"text":"{text}","logprobs":null,"finish_reason":"{finish}","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}}"#
                ),
            };
        }
        let (object, tail) = match self.kind {
            Kind::Chat => ("chat.completion", r#","prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null"#),
            Kind::Completion => ("text_completion", ""),
        };
        let Usage { prompt, completion } = usage;
        let details = match (self.details, self.kind) {
            (false, _) => "null",
            (true, Kind::Chat) => r#"{"cached_tokens":0,"created_cache_tokens":0,"multimodal_tokens":null}"#,
            (true, Kind::Completion) => r#"{"cached_tokens":0,"created_cache_tokens":null,"multimodal_tokens":null}"#,
        };
        format!(
            r#"{{{head},"choices":[{choices}],"service_tier":null,"system_fingerprint":"{FINGERPRINT}","usage":{{"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion},"prompt_tokens_details":{details},"completion_tokens_details":null}}{tail},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#,
            head = self.head(object),
            total = prompt + completion,
        )
    }

    /// The event that opens each answer of a streamed chat; a completion has none.
    pub(crate) fn push_opening(&self, out: &mut String, index: usize) {
        if self.kind == Kind::Chat {
            let head = self.head(self.chunk_object());
            let _ = write!(
                out,
                "data: {{{head},\"choices\":[{{\"index\":{index},\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\
                 \"logprobs\":null,\"finish_reason\":null}}],\"prompt_token_ids\":null,\"prompt_text\":null}}\n\n"
            );
        }
    }

    /// The event of one token. The last one tells why the answer ends, and, unless the usage follows, who answered.
    pub(crate) fn push_token(
        &self,
        out: &mut String,
        index: usize,
        text: &str,
        end: Option<Finish>,
        usage_follows: bool,
    ) {
        let head = self.head(self.chunk_object());
        let word = end.map_or_else(|| "null".to_owned(), |finish| format!("\"{}\"", finish.word()));
        let tail = match end {
            Some(_) if !usage_follows => format!(r#","system_fingerprint":"{FINGERPRINT}""#),
            _ => String::new(),
        };
        let choice = match self.kind {
            Kind::Chat => {
                let stop = if end.is_some() { r#""stop_reason":null,"# } else { "" };
                format!(
                    r#""delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":{word},{stop}"token_ids":null"#
                )
            }
            Kind::Completion => format!(
                r#""text":"{text}","logprobs":null,"finish_reason":{word},"stop_reason":null,"prompt_token_ids":null,"token_ids":null"#
            ),
        };
        let _ = write!(out, "data: {{{head},\"choices\":[{{\"index\":{index},{choice}}}]{tail}}}\n\n");
    }

    /// The event with the usage of a whole stream.
    pub(crate) fn push_usage(&self, out: &mut String, usage: Usage) {
        let Usage { prompt, completion } = usage;
        let details = match (self.details, self.kind) {
            (false, _) => "",
            (true, Kind::Chat) => r#","prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0}"#,
            (true, Kind::Completion) => r#","prompt_tokens_details":{"cached_tokens":0}"#,
        };
        let _ = write!(
            out,
            "data: {{{head},\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"total_tokens\":{total},\
             \"completion_tokens\":{completion}{details}}},\"system_fingerprint\":\"{FINGERPRINT}\"}}\n\n",
            head = self.head(self.chunk_object()),
            total = prompt + completion,
        );
    }

    fn head(&self, object: &str) -> String {
        let Self { id, created, model, .. } = self;
        format!(r#""id":{id},"object":"{object}","created":{created},"model":{model}"#)
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        }
    }
}

/// The body of a refusal.
pub(crate) fn error(refusal: &Refusal) -> String {
    let Refusal { status, kind, message, param } = refusal;
    let param = param.as_deref().map_or_else(|| "null".to_owned(), quoted);
    format!(r#"{{"error":{{"message":{},"type":"{kind}","param":{param},"code":{status}}}}}"#, quoted(message))
}

/// A refusal within a stream. vLLM writes this one with spaces.
pub(crate) fn error_event(refusal: &Refusal) -> String {
    let Refusal { status, kind, message, param } = refusal;
    let param = param.as_deref().map_or_else(|| "null".to_owned(), quoted);
    format!(
        "data: {{\"error\": {{\"message\": {}, \"type\": \"{kind}\", \"param\": {param}, \"code\": {status}}}}}\n\n",
        quoted(message)
    )
}

/// The list of models: one entry for each served name. `unique` gives an id for each permission.
pub(crate) fn models(names: &[String], root: &str, longest: u32, created: u64, unique: impl Fn() -> String) -> String {
    let entries: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                r#"{{"id":{},"object":"model","created":{created},"owned_by":"vllm-sim","root":{},"parent":null,"max_model_len":{longest},"permission":[{{"id":"modelperm-{}","object":"model_permission","created":{created},"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}}]}}"#,
                quoted(name),
                quoted(root),
                unique(),
            )
        })
        .collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, entries.join(","))
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
