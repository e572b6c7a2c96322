//! Arguments and environment variables of the engine that a pool must not set, and those that it should think about.

use super::catalogue;

/// Arguments that a field of the pool stands for.
pub(super) const FIELDS: [(&str, &str); 22] = [
    ("--chat-template", "spec.engine.chatTemplate"),
    ("--dtype", "spec.engine.dtype"),
    ("--enable-auto-tool-choice", "spec.engine.toolCallParser"),
    ("--enable-chunked-prefill", "spec.engine.enableChunkedPrefill"),
    ("--enable-prefix-caching", "spec.engine.enablePrefixCaching"),
    ("--enforce-eager", "spec.engine.enforceEager"),
    ("--gpu-memory-utilization", "spec.engine.gpuMemoryUtilization"),
    ("--hf-token", "spec.model.credentialsSecretRef"),
    ("--kv-cache-dtype", "spec.engine.kvCacheDtype"),
    ("--max-model-len", "spec.engine.maxModelLen"),
    ("--max-num-batched-tokens", "spec.engine.maxNumBatchedTokens"),
    ("--max-num-seqs", "spec.engine.maxNumSeqs"),
    ("--model", "spec.model.source"),
    ("--pipeline-parallel-size", "spec.engine.pipelineParallelSize"),
    ("--quantization", "spec.engine.quantization"),
    ("--reasoning-parser", "spec.engine.reasoningParser"),
    ("--revision", "spec.model.revision"),
    ("--served-model-name", "spec.model.servedNames"),
    ("--shutdown-timeout", "spec.drain.timeout"),
    ("--tensor-parallel-size", "spec.engine.tensorParallelSize"),
    ("--tool-call-parser", "spec.engine.toolCallParser"),
    ("--download-dir", "spec.model.cache"),
];

const ADDRESS: &str = "the operator decides where the engine listens: the router, the probes and the Service go there";
const TLS: &str =
    "the router and the probes speak plain HTTP to the engine, inside what the pool's NetworkPolicy allows";
const NODES: &str = "it makes one engine of several pods, and each replica of a pool is an engine of its own";

/// Arguments that no pool may set, each with the reason, to be read after "because".
pub(super) const REFUSED: [(&str, &str); 37] = [
    (
        "--allowed-local-media-path",
        "it lets callers read files of the engine's file system by putting their path in a request",
    ),
    (
        "--api-key",
        "the router calls the engine without a key and would be locked out; keys of callers belong to the router",
    ),
    ("--config", "arguments from a file would get past every check of this list"),
    ("--data-parallel-address", NODES),
    ("--data-parallel-external-lb", NODES),
    ("--data-parallel-hybrid-lb", NODES),
    (
        "--data-parallel-multi-port-external-lb",
        "the replicas it starts listen on ports of their own, which nobody routes to",
    ),
    ("--data-parallel-rank", NODES),
    ("--data-parallel-rpc-port", NODES),
    ("--data-parallel-start-rank", NODES),
    ("--data-parallel-supervisor-port", "it belongs to a way of listening on several ports, which nobody routes to"),
    ("--device-ids", "Kubernetes gives each replica its GPUs"),
    ("--disable-log-stats", "the engine's load figures would be gone, which scaling and the router's choice live on"),
    ("--enable-elastic-ep", "it lets whoever reaches the engine change its size through /scale_elastic_ep"),
    ("--enable-fault-tolerance", "it lets whoever reaches the engine command it through /fault_tolerance/apply"),
    (
        "--enable-scale-out",
        "it lets whoever reaches the engine abort the requests of others through /inference/v1/abort_requests",
    ),
    ("--enable-ssl-refresh", TLS),
    (
        "--fault-tolerance-config",
        "it switches on /fault_tolerance/apply, through which whoever reaches the engine can command it",
    ),
    ("--grpc", "the engine would no longer speak HTTP"),
    ("--grpc-port", "it opens a second way to the engine, past the router and its limits"),
    ("--headless", "the engine would answer no requests"),
    ("--help", "the engine would print its help and end"),
    ("--host", ADDRESS),
    ("--master-addr", NODES),
    ("--master-port", NODES),
    ("--nnodes", NODES),
    ("--node-rank", NODES),
    ("--port", ADDRESS),
    ("--profiler-config", "it lets whoever reaches the engine slow it down and fill its disk through /start_profile"),
    ("--root-path", ADDRESS),
    ("--ssl-ca-certs", TLS),
    ("--ssl-cert-reqs", TLS),
    ("--ssl-certfile", TLS),
    ("--ssl-ciphers", TLS),
    ("--ssl-keyfile", TLS),
    ("--tokens-only", "the engine would answer none of the requests that the router sends"),
    ("--uds", ADDRESS),
];

/// Arguments that are legal but that a team should know the price of, each with what to know, as a sentence's end.
pub(super) const UNWISE: [(&str, &str); 12] = [
    ("--enable-log-outputs", "writes the answers of the model into the pod's log"),
    ("--enable-log-requests", "writes what callers ask into the pod's log"),
    ("--enable-mm-embeds", "lets callers send ready-made embeddings, and one of a wrong shape ends the engine"),
    ("--enable-prompt-embeds", "lets callers send ready-made embeddings, and one of a wrong shape ends the engine"),
    ("--enable-sleep-mode", "costs memory and does nothing here: the routes that put an engine to sleep stay closed"),
    (
        "--enable-tokenizer-info-endpoint",
        "shows the chat template and the tokenizer's settings to everybody who reaches the engine",
    ),
    ("--logits-processors", "runs code that is not part of vLLM for every token"),
    ("--middleware", "runs code that is not part of vLLM in front of every request, the health check and the metrics"),
    ("--tool-server", "lets the engine call other servers, and with `demo` run code that the model wrote"),
    (
        "--trust-remote-code",
        "runs code that comes with the model; name a commit in spec.model.revision, so that it cannot change",
    ),
    ("--trust-request-chat-template", "lets callers send templates that the engine runs"),
    ("--trust-request-mm-kwargs", "lets callers decide how much work an image or a video is"),
];

/// Why a pool must not set an environment variable of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Env {
    /// Whatever its value.
    Always,
    /// Unless its value switches it off: `0`, `false` or nothing.
    Unless0,
}

const ENVIRONMENT: [(&str, Env, &str); 14] = [
    (
        "VLLM_ALLOW_INSECURE_SERIALIZATION",
        Env::Unless0,
        "it lets whoever reaches the engine's inner sockets run code in it",
    ),
    ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", Env::Unless0, "it lets whoever reaches the engine load and unload adapters"),
    ("VLLM_API_KEY", Env::Always, "the router calls the engine without a key and would be locked out"),
    ("VLLM_DP_MASTER_IP", Env::Always, NODES),
    ("VLLM_DP_MASTER_PORT", Env::Always, NODES),
    ("VLLM_DP_RANK", Env::Always, NODES),
    ("VLLM_DP_RANK_LOCAL", Env::Always, NODES),
    ("VLLM_DP_SIZE", Env::Always, NODES),
    ("VLLM_ENGINE_READY_TIMEOUT_S", Env::Always, "spec.engine.startTimeout stands for it"),
    ("VLLM_HOST_IP", Env::Always, ADDRESS),
    (
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
        Env::Unless0,
        "a dead engine would keep its pod, which answers every request with an error",
    ),
    ("VLLM_PORT", Env::Always, ADDRESS),
    ("VLLM_SERVER_DEV_MODE", Env::Unless0, "it opens the engine's administration to everybody who reaches the pod"),
    (
        "VLLM_TORCH_PROFILER_DIR",
        Env::Always,
        "it lets whoever reaches the engine slow it down and fill its disk through /start_profile",
    ),
];

/// What stands against an argument, by its full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// A field of the pool stands for it.
    Field(&'static str),
    /// It would break the pool or open it to callers; the reason, to be read after "because".
    Reason(&'static str),
}

/// What stands against an argument under its full name, whichever of its names was used.
pub(super) fn against(full: &str) -> Option<Against> {
    let field = FIELDS.iter().find(|(flag, _)| *flag == full).map(|(_, field)| Against::Field(field));
    field.or_else(|| REFUSED.iter().find(|(flag, _)| *flag == full).map(|(_, why)| Against::Reason(why)))
}

/// What a team should know before it sets an argument.
pub(super) fn unwise(full: &str) -> Option<&'static str> {
    UNWISE.iter().find(|(flag, _)| *flag == full).map(|(_, why)| *why)
}

/// What stands against an environment variable of the engine, as the end of a sentence that begins with its path:
/// `spec.engine.env[2] must not set VLLM_API_KEY, because …`. `None` as value stands for one that comes from a Secret.
#[must_use]
pub fn check_env(name: &str, value: Option<&str>) -> Option<String> {
    let (_, when, why) = ENVIRONMENT.iter().find(|(one, ..)| *one == name)?;
    let off = value.is_some_and(|value| matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "false"));
    (*when == Env::Always || !off).then(|| format!("must not set {name}, because {why}; remove it"))
}

/// The names of environment variables that are refused whatever their value, and those refused unless switched off.
#[must_use]
pub fn refused_env() -> (Vec<&'static str>, Vec<&'static str>) {
    let of = |wanted: Env| ENVIRONMENT.iter().filter(|one| one.1 == wanted).map(|one| one.0).collect();
    (of(Env::Always), of(Env::Unless0))
}

/// Every name under which a refused argument can be given, with the argument's full name: short ones, `--no-` forms,
/// and other ways to turn a switch off.
pub(super) fn refused_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    catalogue::all_names().filter(|(_, full)| against(full).is_some())
}

/// A regular expression (RE2) that matches an argument which sets something refused, under any of its names, and none
/// that sets something else: for the CRD, which can only compare texts.
///
/// vLLM's parser takes the beginning of a name for the name as long as no other name begins so. The pattern matches the
/// beginnings that reach into a name's last word. To match the shorter ones too would refuse arguments that future releases
/// may bring; they are left to [`check`](super::check), which refuses all of them.
#[must_use]
pub fn refused_pattern() -> String {
    let others: Vec<&str> =
        catalogue::all_names().filter(|(_, full)| against(full).is_none()).map(|(n, _)| n).collect();
    let (mut exact, mut stems) = (Vec::new(), Vec::new());
    for (name, _) in refused_names() {
        let last_word = name.rfind('-').map_or(0, |dash| dash + 2);
        let one_word = name.trim_start_matches('-').len() > 1 && !name.trim_start_matches('-').contains('-');
        let stem = (last_word..=name.len())
            .filter(|_| !one_word)
            .filter_map(|end| name.get(..end))
            .find(|stem| !others.iter().any(|other| other.starts_with(stem)));
        match stem {
            Some(stem) => stems.push(stem),
            None => exact.push(name),
        }
    }
    stems.sort_unstable();
    // A beginning covers everything that begins with it, and sorts before it.
    stems.dedup_by(|longer, shorter| longer.starts_with(*shorter));
    exact.sort_unstable();
    exact.dedup();
    format!("^(({})([=.]|$)|{})", exact.join("|"), stems.join("|"))
}
