//! The bytes of answers: the fields of vLLM's, in its order. Made-up text needs no escaping, and most of the rest are
//! numbers or JSON already, so bodies are written rather than serialised.

use std::fmt::Write as _;

use crate::core::Finish;
use crate::request::{Kind, Refusal, Usages};

pub(crate) mod messages;
pub(crate) mod pooling;
pub(crate) mod probabilities;
pub(crate) mod responses;

use probabilities::Probabilities;

/// Stands in `system_fingerprint`, where vLLM tells its release and configuration.
const FINGERPRINT: &str = "vllm-sim";
/// The event that ends a stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// What all parts of one answer carry.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    /// The id, as a JSON string.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The served model, as a JSON string.
    pub(crate) model: String,
    /// Whether usage tells about the prompt cache.
    pub(crate) details: bool,
    pub(crate) usages: Usages,
    /// The fields of a response that repeat its request.
    pub(crate) asked: responses::Asked,
}

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
    /// Of the prompt, tokens that were in the cache, and tokens that now are.
    pub(crate) cached: u64,
    pub(crate) created: u64,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) finish: Finish,
    /// The word or token that ended it, as JSON; `null` when none did.
    pub(crate) stop: String,
}

/// One whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// Ready to stand in a JSON string.
    pub(crate) text: String,
    pub(crate) ending: Ending,
    /// As JSON; `null` when it was not asked for.
    pub(crate) logprobs: String,
}

/// The next piece of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) index: usize,
    /// Ready to stand in a JSON string.
    pub(crate) text: &'a str,
    pub(crate) end: Option<&'a Ending>,
    pub(crate) logprobs: Option<Probabilities<'a>>,
    /// So far.
    pub(crate) usage: Usage,
}

impl Reply {
    /// An answer's id from what makes it unique.
    pub(crate) fn id(kind: Kind, unique: &str) -> String {
        let prefix = match kind {
            Kind::Chat | Kind::Messages => "chatcmpl-",
            Kind::Completion => "cmpl-",
            Kind::Responses => "resp_",
        };
        quoted(&format!("{prefix}{unique}"))
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(&self, answers: &[Whole], usage: Usage) -> String {
        let first = answers.first();
        match (self.kind, first) {
            (Kind::Messages, Some(answer)) => messages::whole(self, answer, usage),
            (Kind::Responses, Some(answer)) => responses::whole(self, answer, usage),
            _ => self.choices(answers, usage),
        }
    }

    fn choices(&self, answers: &[Whole], usage: Usage) -> String {
        let mut choices = String::new();
        for (index, Whole { text, ending, logprobs }) in answers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (finish, stop) = (ending.finish.word(), &ending.stop);
            // Writing to a string cannot fail.
            let _ = match self.kind {
                Kind::Completion => write!(
                    choices,
                    r#"{comma}{{"index":{index},"text":"{text}","logprobs":{logprobs},"finish_reason":"{finish}","stop_reason":{stop},"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}}"#
                ),
                _ => write!(
                    choices,
                    r#"{comma}{{"index":{index},"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null}},"logprobs":{logprobs},"finish_reason":"{finish}","stop_reason":{stop},"token_ids":null,"routed_experts":null}}"#
                ),
            };
        }
        let (object, tail) = match self.kind {
            Kind::Completion => ("text_completion", ""),
            _ => ("chat.completion", r#","prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null"#),
        };
        let Usage { prompt, completion, cached, created } = usage;
        let details = match (self.details, self.kind) {
            (false, _) => "null".to_owned(),
            (true, Kind::Completion) => {
                format!(r#"{{"cached_tokens":{cached},"created_cache_tokens":null,"multimodal_tokens":null}}"#)
            }
            (true, _) => {
                format!(r#"{{"cached_tokens":{cached},"created_cache_tokens":{created},"multimodal_tokens":null}}"#)
            }
        };
        format!(
            r#"{{{head},"choices":[{choices}],"service_tier":null,"system_fingerprint":"{FINGERPRINT}","usage":{{"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion},"prompt_tokens_details":{details},"completion_tokens_details":null}}{tail},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#,
            head = self.head(object),
            total = prompt + completion,
        )
    }

    /// The event that opens each answer of a streamed chat; a completion has none.
    pub(crate) fn push_opening(&self, out: &mut String, index: usize, usage: Usage) {
        if self.kind == Kind::Chat {
            let head = self.head(self.chunk_object());
            let usage = self.running_usage(usage);
            let _ = write!(
                out,
                "data: {{{head},\"choices\":[{{\"index\":{index},\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\
                 \"logprobs\":null,\"finish_reason\":null}}]{usage},\"prompt_token_ids\":null,\"prompt_text\":null}}\n\n"
            );
        }
    }

    /// The event of one token. The last one tells why the answer ends, and, unless the usage follows, who answered.
    pub(crate) fn push_piece(&self, out: &mut String, piece: &Piece<'_>) {
        let Piece { index, text, end, logprobs, usage } = piece;
        let head = self.head(self.chunk_object());
        let word = end.map_or_else(|| "null".to_owned(), |end| format!("\"{}\"", end.finish.word()));
        let stop = end.map_or("null", |end| end.stop.as_str());
        let usage = self.running_usage(*usage);
        let tail = match end {
            Some(_) if self.usages == Usages::None => format!(r#","system_fingerprint":"{FINGERPRINT}""#),
            _ => String::new(),
        };
        let logprobs = logprobs.as_ref().map_or_else(|| "null".to_owned(), |tokens| tokens.json(self.kind));
        let choice = match self.kind {
            Kind::Completion => format!(
                r#""text":"{text}","logprobs":{logprobs},"finish_reason":{word},"stop_reason":{stop},"prompt_token_ids":null,"token_ids":null"#
            ),
            _ => {
                let stop = if end.is_some() { format!(r#""stop_reason":{stop},"#) } else { String::new() };
                format!(
                    r#""delta":{{"content":"{text}"}},"logprobs":{logprobs},"finish_reason":{word},{stop}"token_ids":null"#
                )
            }
        };
        let _ = write!(out, "data: {{{head},\"choices\":[{{\"index\":{index},{choice}}}]{usage}{tail}}}\n\n");
    }

    /// The event with the usage of a whole stream.
    pub(crate) fn push_usage(&self, out: &mut String, usage: Usage) {
        let Usage { prompt, completion, cached, created } = usage;
        let details = match (self.details, self.kind) {
            (false, _) => String::new(),
            (true, Kind::Completion) => format!(r#","prompt_tokens_details":{{"cached_tokens":{cached}}}"#),
            (true, _) => {
                format!(r#","prompt_tokens_details":{{"cached_tokens":{cached},"created_cache_tokens":{created}}}"#)
            }
        };
        let _ = write!(
            out,
            "data: {{{head},\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"total_tokens\":{total},\
             \"completion_tokens\":{completion}{details}}},\"system_fingerprint\":\"{FINGERPRINT}\"}}\n\n",
            head = self.head(self.chunk_object()),
            total = prompt + completion,
        );
    }

    fn running_usage(&self, usage: Usage) -> String {
        if self.usages != Usages::Every {
            return String::new();
        }
        let Usage { prompt, completion, .. } = usage;
        let total = prompt + completion;
        let more = if self.kind == Kind::Completion { "" } else { r#","completion_tokens_details":null"# };
        format!(
            r#","usage":{{"prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{completion}{more}}}"#
        )
    }

    fn head(&self, object: &str) -> String {
        let Self { id, created, model, .. } = self;
        format!(r#""id":{id},"object":"{object}","created":{created},"model":{model}"#)
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Completion => "text_completion",
            _ => "chat.completion.chunk",
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

/// A model in the list: a served name, or an adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a str,
    pub(crate) root: &'a str,
    /// The model that an adapter adapts.
    pub(crate) parent: Option<&'a str>,
    pub(crate) longest: Option<u32>,
}

/// The list of models. `unique` gives an id for each permission.
pub(crate) fn models<'a>(
    listed: impl Iterator<Item = Listed<'a>>,
    created: u64,
    unique: impl Fn() -> String,
) -> String {
    let entries: Vec<String> = listed
        .map(|Listed { name, root, parent, longest }| {
            format!(
                r#"{{"id":{},"object":"model","created":{created},"owned_by":"vllm-sim","root":{},"parent":{},"max_model_len":{},"permission":[{{"id":"modelperm-{}","object":"model_permission","created":{created},"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}}]}}"#,
                quoted(name),
                quoted(root),
                parent.map_or_else(|| "null".to_owned(), quoted),
                longest.map_or_else(|| "null".to_owned(), |longest| longest.to_string()),
                unique(),
            )
        })
        .collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, entries.join(","))
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `text` as it stands within a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}
