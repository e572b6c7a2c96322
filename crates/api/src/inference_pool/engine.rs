//! How vLLM is run.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::KeyRef;
use crate::{DNS_NAME, Duration};

/// How vLLM is run. Each field stands for one argument of `vllm serve`; what has no field goes into `extraArgs`. An
/// argument that the engine's version does not know is refused before a pod is started with it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.image) || has(self.version)")
        .message("spec.engine needs image or version, for example version: 0.32.0")
)]
pub struct Engine {
    /// Container image whose entry point is `vllm serve`, with a tag or digest, for example
    /// `vllm/vllm-openai:v0.32.0`. A moving tag is refused, because replicas of one pool must run the same engine.
    /// Default: the official image of `version`.
    #[x_kube(
        validation = Rule::new("!self.endsWith(':latest') && (self.contains('@') || self.matches('.*:[^/]+$'))")
            .message("spec.engine.image needs a fixed tag or digest, for example vllm/vllm-openai:v0.32.0; 'latest' would let replicas differ"),
        validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._/:@-]*[A-Za-z0-9]$')")
            .message("spec.engine.image is not an image reference, for example vllm/vllm-openai:v0.32.0")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 512))]
    pub image: Option<String>,
    /// vLLM's version in the image, for example `0.32.0`. Default: read from the image's tag. Arguments are checked against
    /// it; where neither tells it, they are passed on unchecked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 32),
        regex(pattern = r"^v?[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?([.+-]?[A-Za-z0-9.]+)?$")
    )]
    pub version: Option<String>,
    /// Names of image pull secrets of the pool's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 253), regex(pattern = DNS_NAME)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub image_pull_secrets: Vec<String>,
    /// GPUs over which each layer is spread (`--tensor-parallel-size`). Default: the replica's GPUs, divided by
    /// `pipelineParallelSize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub tensor_parallel_size: Option<i32>,
    /// Groups of GPUs over which the layers are spread (`--pipeline-parallel-size`). Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub pipeline_parallel_size: Option<i32>,
    /// Longest prompt plus answer, in tokens (`--max-model-len`). Default: what the model allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_model_len: Option<i32>,
    /// Most requests that one replica runs at the same time; further ones wait in its queue (`--max-num-seqs`).
    /// Default: the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_num_seqs: Option<i32>,
    /// Most tokens that one step of the engine computes (`--max-num-batched-tokens`). Default: the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_num_batched_tokens: Option<i32>,
    /// Share of the GPU's memory that the engine takes, for example "0.92" (`--gpu-memory-utilization`). Default: the
    /// engine's own, which has changed between versions.
    #[x_kube(
        validation = Rule::new("self.matches('^(0[.][0-9]{1,3}|1|1[.]0{1,3})$') && !self.matches('^0[.]0+$')")
            .message("spec.engine.gpuMemoryUtilization must be a decimal above 0 and at most 1 with up to three places, for example \"0.92\"")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5))]
    pub gpu_memory_utilization: Option<String>,
    /// Number format of weights and activations (`--dtype`). Default: auto, the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Method by which the weights are quantised, for example `awq` or `fp8` (`--quantization`). Default: what the model's
    /// configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub quantization: Option<String>,
    /// Number format of the KV cache, for example `fp8` (`--kv-cache-dtype`). Default: auto, the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub kv_cache_dtype: Option<String>,
    /// Whether prompts that begin alike share their computed beginning (`--enable-prefix-caching`). Default: the engine's
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// Whether long prompts are computed in pieces between the steps of other requests (`--enable-chunked-prefill`).
    /// Default: the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// How calls of tools are read from the model's text, for example `llama3_json` (`--tool-call-parser`, with
    /// `--enable-auto-tool-choice`). Default: tools are not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub tool_call_parser: Option<String>,
    /// How reasoning is told from the answer, for example `deepseek_r1` (`--reasoning-parser`). Default: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub reasoning_parser: Option<String>,
    /// How messages become a prompt (`--chat-template`). Default: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<ChatTemplate>,
    /// Run without CUDA graphs: starts sooner and needs less memory, but answers slower (`--enforce-eager`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce_eager: Option<bool>,
    /// How long an engine may take from its start to its first healthy answer, fetching and compiling included. After that it
    /// is started again.
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('12h')")
            .message("spec.engine.startTimeout must lie between 10s and 12h")
    )]
    #[serde(default = "default_start_timeout")]
    pub start_timeout: Duration,
    /// Further arguments of `vllm serve`, passed on as they are. Arguments that have a field of their own, that the operator
    /// sets itself, or that open the engine's administration are refused.
    #[x_kube(
        validation = Rule::new("!self.exists(a, a.matches('^((--chat-template|--config|--dtype|--grpc|--headless|--help|--host|--kv-cache-dtype|--model|--nnodes|--port|--quantization|--reasoning-parser|--revision|--uds|-dpa|-dpe|-dph|-dpm|-dpn|-dpp|-dpr|-pp|-tp)([=.]|$)|--allowed-local-media-p|--api-k|--data-parallel-a|--data-parallel-external-l|--data-parallel-hybrid-l|--data-parallel-multi-port-external-l|--data-parallel-r|--data-parallel-start-r|--data-parallel-supervisor-p|--device-i|--device-memory-u|--disable-auto-tool-c|--disable-chunked-p|--disable-elastic-e|--disable-fault-t|--disable-log-s|--disable-prefix-c|--disable-scale-o|--disable-ssl-r|--download-d|--enable-auto-tool-c|--enable-chunked-p|--enable-elastic-e|--enable-fault-t|--enable-prefix-c|--enable-scale-o|--enable-ssl-r|--enforce-e|--fault-tolerance-c|--gpu-memory-u|--grpc-p|--hf-t|--master-a|--master-p|--max-model-l|--max-num-batched-t|--max-num-se|--no-data-parallel-external-l|--no-data-parallel-hybrid-l|--no-enable-auto-tool-c|--no-enable-chunked-p|--no-enable-elastic-e|--no-enable-fault-t|--no-enable-prefix-c|--no-enable-scale-o|--no-enable-ssl-r|--no-enforce-e|--no-tokens-o|--node-r|--pipeline-parallel-s|--profiler-c|--root-p|--served-model-n|--shutdown-t|--ssl-c|--ssl-k|--tensor-parallel-s|--tokens-o|--tool-call-p|-h|-n|-q|-r)'))")
            .message("spec.engine.extraArgs holds an argument that has a field of its own (spec.model.revision, spec.engine.tensorParallelSize, pipelineParallelSize, maxModelLen, maxNumSeqs, maxNumBatchedTokens, gpuMemoryUtilization, dtype, quantization, kvCacheDtype, enablePrefixCaching, enableChunkedPrefill, toolCallParser, reasoningParser, chatTemplate, enforceEager), that the operator owns (address, served names, keys, certificates, shutdown), that needs more than one pod, or that would open the engine's administration; use the field or leave it out"),
        validation = Rule::new("!self.exists(a, a.matches('^--[^=.]*_'))")
            .message("spec.engine.extraArgs must spell flags with '-', not '_': --enable-lora, not --enable_lora"),
        validation = Rule::new("!self.exists(a, a.matches('^--[^=]*[[:space:]]'))")
            .message("spec.engine.extraArgs holds a flag and its value in one item; make them two items, or put '=' between them")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024), regex(pattern = r"^[^\x00-\x08\x0b-\x1f\x7f]+$")))]
    pub extra_args: Vec<String>,
    /// Environment variables of the engine.
    #[x_kube(
        validation = Rule::new("!self.exists(e, e.name in ['VLLM_API_KEY', 'VLLM_DP_MASTER_IP', 'VLLM_DP_MASTER_PORT', 'VLLM_DP_RANK', 'VLLM_DP_RANK_LOCAL', 'VLLM_DP_SIZE', 'VLLM_ENGINE_READY_TIMEOUT_S', 'VLLM_HOST_IP', 'VLLM_PORT', 'VLLM_TORCH_PROFILER_DIR'])")
            .message("spec.engine.env must not set VLLM_API_KEY, VLLM_DP_MASTER_IP, VLLM_DP_MASTER_PORT, VLLM_DP_RANK, VLLM_DP_RANK_LOCAL, VLLM_DP_SIZE, VLLM_ENGINE_READY_TIMEOUT_S, VLLM_HOST_IP, VLLM_PORT or VLLM_TORCH_PROFILER_DIR: the operator owns the engine's address, size and start, the router calls it without a key, and the profiler opens a route to everyone who reaches the pod; remove it"),
        validation = Rule::new("!self.exists(e, e.name in ['VLLM_ALLOW_INSECURE_SERIALIZATION', 'VLLM_ALLOW_RUNTIME_LORA_UPDATING', 'VLLM_KEEP_ALIVE_ON_ENGINE_DEATH', 'VLLM_SERVER_DEV_MODE'] && (has(e.valueFrom) || (has(e.value) && !(e.value in ['', '0', 'false', 'False']))))")
            .message("spec.engine.env must not switch on VLLM_ALLOW_INSECURE_SERIALIZATION, VLLM_ALLOW_RUNTIME_LORA_UPDATING, VLLM_KEEP_ALIVE_ON_ENGINE_DEATH or VLLM_SERVER_DEV_MODE: it opens routes of the engine to everyone who reaches the pod, or keeps a dead engine up; remove it")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
}

/// Number formats of weights and activations.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// The model's own; float32 models run as float16.
    Auto,
    /// The same as float16.
    Half,
    /// 16 bit, of which 5 for the exponent.
    Float16,
    /// 16 bit with the range of 32.
    Bfloat16,
    /// The same as float32.
    Float,
    /// 32 bit.
    Float32,
}

impl Dtype {
    /// As it is written in the spec, and as the engine takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Half => "half",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Float => "float",
            Self::Float32 => "float32",
        }
    }
}

/// A chat template, in exactly one of two places.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.path) != has(self.configMapKeyRef)")
        .message("spec.engine.chatTemplate needs exactly one of path and configMapKeyRef")
)]
pub struct ChatTemplate {
    /// A file inside the engine's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 512), regex(pattern = r"^/[A-Za-z0-9._/-]+$"))]
    pub path: Option<String>,
    /// A key of a ConfigMap of the pool's namespace. A change of its content takes effect when replicas start anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// One environment variable.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.value) && has(self.valueFrom))")
        .message("an entry of spec.engine.env has both value and valueFrom; keep one")
)]
pub struct EnvVar {
    /// Name, for example `HF_HUB_OFFLINE`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Value, in clear text. Anyone who may read the pool reads it; secrets belong into `valueFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = r"^[^\x00]*$"))]
    pub value: Option<String>,
    /// Where the value comes from instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where the value of an environment variable comes from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvSource {
    /// A key of a Secret of the pool's namespace. The operator never reads it; the engine's pod does.
    pub secret_key_ref: KeyRef,
}

pub(super) fn default_start_timeout() -> Duration {
    Duration::from_seconds(1800)
}
