//! Which paths are served, with which method.

use http::Method;
use router_core::{Operation, Refusal};
use wire::Dialect;

/// A part of an API that the router serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    ChatCompletions,
    Completions,
    Responses,
    Messages,
    CountTokens,
    Embeddings,
    Rerank,
    Score,
    Classify,
    Pooling,
    Tokenize,
    Detokenize,
    Transcriptions,
    Translations,
    Converse,
    Invoke,
    Models,
    Model,
}

/// What is to be done with a request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Serve it.
    Serve(Surface),
    /// Say which methods there are.
    Methods(&'static str),
    /// Refuse it.
    Refuse(Refusal),
}

/// The form in which a request says what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Multipart,
    /// JSON, with the model and whether there is to be a stream in the path, as Bedrock has it.
    InPath,
}

/// Why what vLLM serves below this path is not served here.
const STORED: &str = "A stored response lies with the one replica that made it, and no request names that replica; keep \
                      what is needed of the answer itself";

impl Surface {
    /// Every surface that targets answer, in the order of [`Surface::index`].
    pub(crate) const ENGINE: [Self; 16] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::CountTokens,
        Self::Embeddings,
        Self::Rerank,
        Self::Score,
        Self::Classify,
        Self::Pooling,
        Self::Tokenize,
        Self::Detokenize,
        Self::Transcriptions,
        Self::Translations,
        Self::Converse,
        Self::Invoke,
    ];

    /// What is at a path. All that is not listed here does not exist for clients, above all the engines' own
    /// administration: sleep, adapters, weights, profiles, metrics.
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::ChatCompletions,
            "/v1/completions" => Self::Completions,
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/embeddings" => Self::Embeddings,
            "/rerank" | "/v1/rerank" | "/v2/rerank" => Self::Rerank,
            "/score" | "/v1/score" => Self::Score,
            "/classify" => Self::Classify,
            "/pooling" => Self::Pooling,
            "/tokenize" => Self::Tokenize,
            "/detokenize" => Self::Detokenize,
            "/v1/audio/transcriptions" => Self::Transcriptions,
            "/v1/audio/translations" => Self::Translations,
            "/v1/models" => Self::Models,
            _ if path.strip_prefix("/v1/models/").is_some_and(|id| !id.is_empty()) => Self::Model,
            _ => return Self::of_bedrock(path).map(|(surface, ..)| surface),
        })
    }

    /// Bedrock's surfaces: with the model, percent-encoded, and whether the answer is to be a stream.
    pub(crate) fn of_bedrock(path: &str) -> Option<(Self, &str, bool)> {
        let (model, what) = path.strip_prefix("/model/")?.split_once('/')?;
        let (surface, stream) = match what {
            "converse" => (Self::Converse, false),
            "converse-stream" => (Self::Converse, true),
            "invoke" => (Self::Invoke, false),
            "invoke-with-response-stream" => (Self::Invoke, true),
            _ => return None,
        };
        (!model.is_empty()).then_some((surface, model, stream))
    }

    /// What a request line asks for.
    pub(crate) fn of(method: &Method, path: &str) -> Route {
        let Some(surface) = Self::at(path) else {
            let stored = path.strip_prefix("/v1/responses/").is_some_and(|id| !id.is_empty());
            return Route::Refuse(if stored { Refusal::not_routed(path, STORED) } else { Refusal::unknown_path(path) });
        };
        let allow = surface.methods();
        let served = match surface {
            Self::Models | Self::Model => method == Method::GET || method == Method::HEAD,
            _ => method == Method::POST,
        };
        match (served, method) {
            (true, _) => Route::Serve(surface),
            (false, &Method::OPTIONS) => Route::Methods(allow),
            (false, _) => Route::Refuse(Refusal::WrongMethod { allow }),
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Models | Self::Model => "GET, HEAD, OPTIONS",
            _ => "POST, OPTIONS",
        }
    }

    /// The dialect of what is refused at a path, whether it is served or not.
    pub(crate) fn dialect_at(path: &str) -> Dialect {
        match path.strip_prefix("/v1/") {
            Some(rest) if rest.starts_with("messages") => Dialect::Anthropic,
            Some("responses") => Dialect::Responses,
            None if path.starts_with("/model/") => Dialect::Bedrock,
            _ => Dialect::OpenAi,
        }
    }

    /// The dialect of what a target answers, where that differs from how the client is told of errors: InvokeModel carries
    /// what the model's maker defines.
    pub(crate) fn target_dialect(self) -> Option<Dialect> {
        (self == Self::Invoke).then_some(Dialect::Anthropic)
    }

    /// How requests say what they want.
    pub(crate) fn form(self) -> Form {
        match self {
            Self::Transcriptions | Self::Translations => Form::Multipart,
            Self::Converse | Self::Invoke => Form::InPath,
            _ => Form::Json,
        }
    }

    /// What a target must be able to do for it.
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::ChatCompletions => Operation::Chat,
            Self::Completions | Self::Embeddings => Operation::OpenAi,
            Self::Responses => Operation::Responses,
            Self::Messages => Operation::Messages,
            Self::CountTokens => Operation::CountTokens,
            Self::Transcriptions | Self::Translations => Operation::Audio,
            Self::Converse => Operation::Converse,
            Self::Invoke => Operation::Invoke,
            Self::Rerank
            | Self::Score
            | Self::Classify
            | Self::Pooling
            | Self::Tokenize
            | Self::Detokenize
            | Self::Models
            | Self::Model => Operation::Engine,
        }
    }

    /// Whether an answer is text that a model writes token by token.
    pub(crate) fn generates(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages | Self::Converse)
    }

    /// The member of a plain answer that clients read without asking whether it is there.
    pub(crate) fn holds(self) -> Option<&'static str> {
        match self {
            Self::ChatCompletions | Self::Completions => Some("choices"),
            Self::Responses | Self::Converse => Some("output"),
            Self::Messages => Some("content"),
            Self::Embeddings => Some("data"),
            _ => None,
        }
    }

    /// Whether a stream tells the count of its tokens only to those who ask for it in `stream_options`.
    pub(crate) fn counts_on_request(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// The label of metrics and the field of log lines.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Score => "score",
            Self::Classify => "classify",
            Self::Pooling => "pooling",
            Self::Tokenize => "tokenize",
            Self::Detokenize => "detokenize",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::Converse => "converse",
            Self::Invoke => "invoke",
            Self::Models => "models",
            Self::Model => "model",
        }
    }

    /// Place among [`Surface::ENGINE`]; what the router answers itself has none.
    pub(crate) fn index(self) -> Option<usize> {
        let place = self as usize;
        (place < Self::ENGINE.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_these_and_no_others() {
        let post = || Route::Refuse(Refusal::WrongMethod { allow: "POST, OPTIONS" });
        let get = || Route::Refuse(Refusal::WrongMethod { allow: "GET, HEAD, OPTIONS" });
        let cases = [
            ("POST", "/v1/chat/completions", Route::Serve(Surface::ChatCompletions)),
            ("POST", "/v1/completions", Route::Serve(Surface::Completions)),
            ("POST", "/v1/responses", Route::Serve(Surface::Responses)),
            ("POST", "/v1/messages", Route::Serve(Surface::Messages)),
            ("POST", "/v1/messages/count_tokens", Route::Serve(Surface::CountTokens)),
            ("POST", "/v1/embeddings", Route::Serve(Surface::Embeddings)),
            ("POST", "/rerank", Route::Serve(Surface::Rerank)),
            ("POST", "/v2/rerank", Route::Serve(Surface::Rerank)),
            ("POST", "/v1/score", Route::Serve(Surface::Score)),
            ("POST", "/classify", Route::Serve(Surface::Classify)),
            ("POST", "/pooling", Route::Serve(Surface::Pooling)),
            ("POST", "/tokenize", Route::Serve(Surface::Tokenize)),
            ("POST", "/detokenize", Route::Serve(Surface::Detokenize)),
            ("POST", "/v1/audio/transcriptions", Route::Serve(Surface::Transcriptions)),
            ("POST", "/v1/audio/translations", Route::Serve(Surface::Translations)),
            ("POST", "/model/alias/converse", Route::Serve(Surface::Converse)),
            ("POST", "/model/arn%3Aaws%2Fx/converse-stream", Route::Serve(Surface::Converse)),
            ("POST", "/model/a%3A0/invoke", Route::Serve(Surface::Invoke)),
            ("POST", "/model/a/invoke-with-response-stream", Route::Serve(Surface::Invoke)),
            ("GET", "/model/a/invoke", post()),
            ("POST", "/model//invoke", Route::Refuse(Refusal::unknown_path("/model//invoke"))),
            ("POST", "/model/a/b/invoke", Route::Refuse(Refusal::unknown_path("/model/a/b/invoke"))),
            ("GET", "/v1/models", Route::Serve(Surface::Models)),
            ("HEAD", "/v1/models", Route::Serve(Surface::Models)),
            ("GET", "/v1/models/org/name", Route::Serve(Surface::Model)),
            ("OPTIONS", "/v1/models", Route::Methods("GET, HEAD, OPTIONS")),
            ("OPTIONS", "/v1/messages", Route::Methods("POST, OPTIONS")),
            ("GET", "/v1/completions", post()),
            ("HEAD", "/v1/completions", post()),
            ("DELETE", "/v1/chat/completions", post()),
            ("POST", "/v1/models", get()),
            ("GET", "/v1/responses", post()),
            ("GET", "/v1/responses/resp_1", Route::Refuse(Refusal::not_routed("/v1/responses/resp_1", STORED))),
            (
                "POST",
                "/v1/responses/resp_1/cancel",
                Route::Refuse(Refusal::not_routed("/v1/responses/resp_1/cancel", STORED)),
            ),
        ];
        for (method, path, want) in cases {
            assert_eq!(Surface::of(&Method::from_bytes(method.as_bytes()).unwrap(), path), want, "{method} {path}");
        }
    }

    /// vLLM's other routes, from its list at start: for its administrators, or for a peer of its own.
    #[test]
    fn an_engine_s_administration_is_out_of_reach() {
        let paths = "/ /health /ping /version /load /metrics /docs /openapi.json /invocations /kv_event_sources \
                     /tokenizer_info /server_info /sleep /wake_up /is_sleeping /release_kv_cache_memory \
                     /reset_prefix_cache /reset_mm_cache /reset_encoder_cache /collective_rpc /start_profile \
                     /stop_profile /scale_elastic_ep /is_scaling_elastic_ep /pause /resume /is_paused /abort_requests \
                     /update_weights /weight_info /init_weight_transfer_engine /fault_tolerance/apply \
                     /fault_tolerance/status /inference/v1/generate /v1/load_lora_adapter /v1/unload_lora_adapter \
                     /v1/chat/completions/ /v1/chat/completions/render /V1/models //v1/models /v1/../sleep \
                     /v1/models/ /v1/responses/ /v1/messages/render /v1/classify /v1/tokenize";
        for path in paths.split_ascii_whitespace() {
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert_eq!(Surface::of(&method, path), Route::Refuse(Refusal::unknown_path(path)), "{method} {path}");
            }
        }
    }

    #[test]
    fn places_are_those_of_the_list() {
        for (place, surface) in Surface::ENGINE.into_iter().enumerate() {
            assert_eq!(surface.index(), Some(place), "{surface:?}");
        }
        assert_eq!((Surface::Models.index(), Surface::Model.index()), (None, None));
    }
}
