//! Where the simulator is knowingly unlike vLLM 0.32. Every check reads what it expects from here, so a difference that is not
//! listed fails, and so does one that is listed and gone.

/// One difference.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) vllm: &'static str,
    pub(crate) simulator: &'static str,
    /// Why it stays.
    #[expect(dead_code, reason = "written for the reader of this table")]
    pub(crate) reason: &'static str,
}

/// The `server` header.
pub(crate) const SERVER: Difference =
    Difference { vllm: "uvicorn", simulator: "vllm-sim", reason: "the simulator says who it is" };
/// `owned_by` of a model in the list.
pub(crate) const OWNED_BY: Difference =
    Difference { vllm: "vllm", simulator: "vllm-sim", reason: "the simulator says who it is" };
/// How `system_fingerprint` begins.
pub(crate) const FINGERPRINT: Difference =
    Difference { vllm: "vllm-0.32.0-", simulator: "vllm-sim", reason: "the simulator says who it is" };
/// The status of `HEAD /health`.
pub(crate) const HEAD_OF_HEALTH: Difference = Difference {
    vllm: "405",
    simulator: "200",
    reason: "the simulator's router answers HEAD wherever it answers GET; nobody relies on the 405",
};
/// Why a chat with an output limit ends whose model would end before it.
pub(crate) const ENDS_EARLY: Difference = Difference {
    vllm: "stop",
    simulator: "length",
    reason: "with a limit the simulator always uses it up, with or without ignore_eos, so that tests can count tokens",
};
/// The status of `/v1/chat/completions/render`, which is there but disabled.
pub(crate) const RENDER: Difference = Difference {
    vllm: "403",
    simulator: "404",
    reason: "scale-out, batch, generative scoring and Cohere's routes are not simulated; the router offers none of them",
};
/// The status of `/docs`.
pub(crate) const DOCS: Difference =
    Difference { vllm: "200", simulator: "404", reason: "pages for people: nothing of ours asks for them" };
/// The status of `/metrics/`.
pub(crate) const METRICS_WITH_SLASH: Difference =
    Difference { vllm: "200", simulator: "404", reason: "the page is asked for at /metrics" };
/// Whether `/invocations`, which is SageMaker's, answers.
pub(crate) const INVOCATIONS: Difference = Difference {
    vllm: "200",
    simulator: "404",
    reason: "a second name for other routes, which the router does not offer",
};
/// Whether an answer tells its token numbers when it is asked to.
pub(crate) const TOKEN_IDS: Difference = Difference {
    vllm: "told",
    simulator: "null",
    reason: "made-up words have no numbers in a vocabulary; nobody asked for them yet",
};
/// Whether a completion tells the probabilities of its prompt's tokens when it is asked to.
pub(crate) const PROMPT_LOGPROBS: Difference =
    Difference { vllm: "told", simulator: "null", reason: "only scoring scripts use them, and they need a real model" };

/// Families of metrics that the simulator lacks, and why.
pub(crate) const LACKING: [(&str, &str); 3] = [
    ("http_request_size_bytes", "the metrics library has no summaries; no dashboard of ours uses it"),
    ("http_response_size_bytes", "the metrics library has no summaries; no dashboard of ours uses it"),
    ("vllm:tool_call_parser_invocations_total", "tool calls are not simulated"),
];

/// Labels of `vllm:cache_config_info` that the simulator tells. vLLM tells all of its cache's configuration there.
pub(crate) const CACHE_LABELS: [&str; 7] = [
    "block_size",
    "cache_dtype",
    "enable_prefix_caching",
    "engine",
    "kv_cache_max_concurrency",
    "kv_cache_size_tokens",
    "num_gpu_blocks",
];

// Not compared at all, because clients that follow the standards cannot tell: the order of headers; numbers on the metrics page
// as 1 instead of 1.0; Python's and the process's own metrics; how many tokens a text has, and which; into how many events the
// text of a stream is cut, when vLLM is busy, holds back what may become a stop word, or has half a character; the list of all
// alternatives that vLLM gives when a message of a chat has the wrong type, or when an embedding has no input; whether the race at the end of a stop is won (see
// `stopping.rs`). Not simulated: speculation, transfer of caches, images and sound in prompts, tool calls, reasoning, beam search,
// structured output, stored responses. A model that classifies and one that transcribes are simulated after vLLM's sources; the tiny
// model of the tests is neither.
