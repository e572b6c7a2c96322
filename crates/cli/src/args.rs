//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::{Outcome, surface};

/// Explains what Quartermaster would do.
#[derive(Parser)]
#[command(name = "quartermaster", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Say which policy, rule and target a request would get, why, and what it would cost. Nothing is sent.
    Explain(Explain),
}

#[derive(Args)]
pub(crate) struct Explain {
    /// The request's body, as JSON; `-` reads it from standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A YAML file with RoutePolicies, or a folder of such; may be given several times. Default: the policies of the cluster that
    /// the kubeconfig's current context is for.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    /// A header of the request, as in `X-Batch: true`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The API that the client speaks, by the names that `request.surface` has. Default: what the body looks like.
    #[arg(short, long, value_name = "SURFACE")]
    surface: Option<String>,
    /// The model, for Bedrock's surfaces, whose requests name it in their path: /model/MODEL/converse.
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Who sends the request.
    #[arg(long, default_value = "")]
    pub(crate) caller: String,
    /// The region of the router.
    #[arg(long, default_value = "")]
    pub(crate) region: String,
    /// The hour of the day in UTC.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(0..24))]
    pub(crate) hour: u8,
    /// Requests that the policy is taken to have had today.
    #[arg(long, default_value_t = 0)]
    pub(crate) requests_today: u64,
    /// Tokens that the policy is taken to have had today.
    #[arg(long, default_value_t = 0)]
    pub(crate) tokens_today: u64,
    /// Of a cluster, read this namespace only; default: all. Of files, the namespace of objects that name none; default: default.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig's context to use in place of the current one.
    #[arg(long, conflicts_with = "policy")]
    pub(crate) context: Option<String>,
    /// How to say it.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Explain {
    /// The headers that were given.
    pub(crate) fn headers(&self) -> Outcome<HeaderMap> {
        let mut headers = HeaderMap::new();
        for line in &self.header {
            let bad = || format!("--header {line:?} is not NAME: VALUE");
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            let value: HeaderValue = value.trim().parse().map_err(|_| bad())?;
            headers.append(name, value);
        }
        Ok(headers)
    }

    /// The surface that was given, or the one that a body like this is for.
    pub(crate) fn surface(&self, body: &[u8]) -> Outcome<String> {
        let Some(given) = &self.surface else { return Ok(guessed(body).to_owned()) };
        if surface::operation(given).is_none() {
            return Err(format!("--surface {given}: there is no such surface; there are {}", surface::names()).into());
        }
        Ok(given.clone())
    }
}

/// The surface that a body like this is for.
fn guessed(body: &[u8]) -> &'static str {
    let members: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let has = |key: &str| members.contains_key(key);
    // Bedrock has the model in the path.
    let in_path = !has("model");
    if in_path && has("anthropic_version") {
        "invoke"
    } else if in_path && (["inferenceConfig", "toolConfig"].into_iter().any(has) || has_parts_without_type(&members)) {
        "converse"
    } else if has("messages") && (has("system") || has("anthropic_version")) {
        // Messages have their system prompt beside the list; chat completions have it within.
        "messages"
    } else if has("input") && (has("instructions") || has("max_output_tokens")) {
        "responses"
    } else if has("input") {
        "embeddings"
    } else if has("prompt") {
        "completions"
    } else {
        "chat_completions"
    }
}

/// Whether a message has parts without a type, as Converse's have none.
fn has_parts_without_type(members: &Map<String, Value>) -> bool {
    let messages = members.get("messages").and_then(Value::as_array).into_iter().flatten();
    let mut parts = messages.filter_map(|message| message.get("content")?.as_array()).flatten();
    parts.any(|part| part.is_object() && part.get("type").is_none())
}
