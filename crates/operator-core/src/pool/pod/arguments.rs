//! How the engine is called: the arguments of `vllm serve`, and its environment.

use api::ENGINE_PORT;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use super::CONTAINER;
use super::volumes::{CACHE, CHAT_TEMPLATE, CREDENTIALS_FILE, WEIGHTS};
use crate::engine::supports;
use crate::pool::validate::{ValidPool, Weights};

/// What follows `vllm serve`. The arguments of the spec come last.
pub(super) fn of(pool: &ValidPool) -> Vec<String> {
    let engine = &pool.spec.engine;
    let mut args = vec![model(&pool.weights), "--served-model-name".to_owned()];
    args.extend(pool.served_names.iter().cloned());
    let mut set = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            args.extend([flag.to_owned(), value]);
        }
    };
    let number = |n: Option<i32>| n.map(|n| n.to_string());
    set("--host", Some("0.0.0.0".to_owned()));
    set("--port", Some(ENGINE_PORT.to_string()));
    // Older engines end what they run at once; then only the notice before SIGTERM is left to drain in.
    let drains = pool.version.and_then(|version| supports(version, "--shutdown-timeout")).unwrap_or(true);
    set("--shutdown-timeout", drains.then(|| pool.spec.drain.timeout.seconds().to_string()));
    set("--revision", pool.spec.model.revision.clone());
    set("--tensor-parallel-size", number(pool.tensor_parallel));
    set("--pipeline-parallel-size", number(pool.pipeline_parallel));
    set("--max-model-len", number(engine.max_model_len));
    set("--max-num-seqs", number(engine.max_num_seqs));
    set("--max-num-batched-tokens", number(engine.max_num_batched_tokens));
    set("--gpu-memory-utilization", engine.gpu_memory_utilization.clone());
    set("--dtype", engine.dtype.map(|dtype| dtype.as_str().to_owned()));
    set("--quantization", engine.quantization.clone());
    set("--kv-cache-dtype", engine.kv_cache_dtype.clone());
    set("--tool-call-parser", engine.tool_call_parser.clone());
    set("--reasoning-parser", engine.reasoning_parser.clone());
    set("--chat-template", chat_template(pool));
    let streamed = matches!(pool.weights, Weights::Bucket(_));
    let chosen = engine.extra_args.iter().any(|arg| arg == "--load-format" || arg.starts_with("--load-format="));
    set("--load-format", (streamed && !chosen).then(|| "runai_streamer".to_owned()));

    let mut switch = |name: &str, on: Option<bool>| match on {
        Some(true) => args.push(format!("--{name}")),
        Some(false) => args.push(format!("--no-{name}")),
        None => {}
    };
    switch("enable-prefix-caching", engine.enable_prefix_caching);
    switch("enable-chunked-prefill", engine.enable_chunked_prefill);
    switch("enforce-eager", engine.enforce_eager);
    switch("enable-auto-tool-choice", engine.tool_call_parser.is_some().then_some(true));
    // Kubernetes puts a variable's value in the place of `$(NAME)`, and a value has not been checked as the argument was.
    args.extend(engine.extra_args.iter().map(|arg| arg.replace('$', "$$")));
    args
}

fn model(weights: &Weights) -> String {
    match weights {
        Weights::Hub(id) => id.clone(),
        Weights::Claim { path, .. } if path.is_empty() => WEIGHTS.to_owned(),
        Weights::Claim { path, .. } => format!("{WEIGHTS}/{path}"),
        Weights::Bucket(url) => url.clone(),
        Weights::Image(_) => WEIGHTS.to_owned(),
        Weights::Folder(path) => path.clone(),
    }
}

fn chat_template(pool: &ValidPool) -> Option<String> {
    let template = pool.spec.engine.chat_template.as_ref()?;
    template.path.clone().or_else(|| template.config_map_key_ref.as_ref().map(|_| CHAT_TEMPLATE.to_owned()))
}

/// Ours first, then the spec's; of two with one name the spec's holds.
pub(super) fn environment(pool: &ValidPool) -> Vec<EnvVar> {
    let plain = |(name, value): (&str, String)| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let mut ours: Vec<EnvVar> = [
        ("HOME", CACHE.to_owned()),
        ("HF_HOME", format!("{CACHE}/huggingface")),
        ("VLLM_CACHE_ROOT", format!("{CACHE}/vllm")),
        // The kernel compiler names its folder after the user, and a user without an entry in the image has no name.
        ("USER", CONTAINER.to_owned()),
        ("VLLM_NO_USAGE_STATS", "1".to_owned()),
        // The engine gives up waiting for its own parts after ten minutes by default, which big models need longer than.
        ("VLLM_ENGINE_READY_TIMEOUT_S", pool.spec.engine.start_timeout.seconds().to_string()),
    ]
    .map(plain)
    .into();
    ours.extend(credentials(pool));
    let theirs = pool.spec.engine.env.iter().map(|var| {
        let source = var.value_from.as_ref().map(|from| &from.secret_key_ref);
        match source {
            Some(secret) => from_secret(&var.name, &secret.name, &secret.key, false),
            None => plain((&var.name, var.value.clone().unwrap_or_default())),
        }
    });
    let theirs: Vec<EnvVar> = theirs.collect();
    ours.retain(|var| theirs.iter().all(|other| other.name != var.name));
    ours.extend(theirs);
    ours
}

/// What opens the source of the weights, from the Secret that the pool names.
fn credentials(pool: &ValidPool) -> Vec<EnvVar> {
    let Some(secret) = &pool.spec.model.credentials_secret_ref else { return Vec::new() };
    match (&pool.weights, &secret.key) {
        (Weights::Hub(_), Some(key)) => vec![from_secret("HF_TOKEN", &secret.name, key, false)],
        (Weights::Bucket(url), None) if url.starts_with("s3://") => {
            let needed = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
            let more = ["AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"];
            let needed = needed.map(|name| from_secret(name, &secret.name, name, false));
            needed.into_iter().chain(more.map(|name| from_secret(name, &secret.name, name, true))).collect()
        }
        (Weights::Bucket(_), Some(_)) => vec![EnvVar {
            name: "GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
            value: Some(CREDENTIALS_FILE.to_owned()),
            value_from: None,
        }],
        _ => Vec::new(),
    }
}

fn from_secret(name: &str, secret: &str, key: &str, optional: bool) -> EnvVar {
    let selector =
        SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: optional.then_some(true) };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() }),
    }
}
