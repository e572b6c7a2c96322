//! The routes beside the answers: pages about the engine, tokens, adapters.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;

use crate::answer::body_of;
use crate::app::App;
use crate::metrics::CONTENT_TYPE;
use crate::reply::{self, Listed, messages, quoted};
use crate::request::{Kind, Refusal, object, read, read_detokenize, read_tokenize};
use crate::response::{dressed, json, respond};
use crate::text::{text_of, tokens_of};

/// Well, for as long as the process answers at all: vLLM looks neither at its GPU nor, soon enough, at its engine.
pub(crate) async fn well() -> Response {
    dressed(Response::new(Body::empty()))
}

/// The served names and the adapters.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response {
    let args = &app.args;
    let adapters = app.adapter_places();
    let parent = args.served_names.first().map(String::as_str);
    let names = args.served_names.iter().map(|name| Listed {
        name,
        root: &args.model,
        parent: None,
        longest: Some(args.max_model_len),
    });
    let adapters = adapters.iter().map(|(name, path)| Listed { name, root: path, parent, longest: None });
    json(200, reply::models(names.chain(adapters), app.now(), || app.unique()))
}

/// Requests that are being answered, or 0 when they are not counted.
pub(crate) async fn load(State(app): State<Arc<App>>) -> Response {
    let count = if app.args.track_load { app.in_flight() } else { 0 };
    json(200, format!(r#"{{"server_load":{count}}}"#))
}

/// The metrics page.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.engine.page(|number| app.adapter_name(number)) {
        Ok(page) => respond(200, CONTENT_TYPE, Body::from(page)),
        Err(error) => respond(500, "text/plain", Body::from(error.to_string())),
    }
}

fn answered(result: Result<String, Refusal>) -> Response {
    match result {
        Ok(body) => json(200, body),
        Err(refusal) => json(refusal.status, reply::error(&refusal)),
    }
}

/// The tokens of a text.
pub(crate) async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    let tokens = async {
        let (body, _) = body_of(request).await?;
        let adapters = app.adapters();
        let asked = read_tokenize(&body, app.served(&adapters))?;
        let tokens: Vec<u32> = tokens_of(&asked.text).collect();
        let texts = match asked.texts {
            true => serde_json::Value::from(tokens.iter().map(|token| text_of(&[*token])).collect::<Vec<_>>()),
            false => serde_json::Value::Null,
        };
        let (count, longest) = (tokens.len(), app.args.max_model_len);
        let tokens = serde_json::Value::from(tokens);
        Ok(format!(r#"{{"count":{count},"max_model_len":{longest},"tokens":{tokens},"token_strs":{texts}}}"#))
    };
    answered(tokens.await)
}

/// The text of tokens.
pub(crate) async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    let text = async {
        let (body, _) = body_of(request).await?;
        let adapters = app.adapters();
        let tokens = read_detokenize(&body, app.served(&adapters))?;
        Ok(format!(r#"{{"prompt":{}}}"#, quoted(&text_of(&tokens))))
    };
    answered(text.await)
}

/// The length of a prompt in Anthropic's shape.
pub(crate) async fn count_tokens(State(app): State<Arc<App>>, request: Request) -> Response {
    let count = async {
        let (body, _) = body_of(request).await?;
        let adapters = app.adapters();
        let mut fields = object(&body)?;
        let missing = |name: &&str| !fields.contains_key(*name);
        let missing: Vec<&str> = ["model", "messages"].into_iter().filter(missing).collect();
        if !missing.is_empty() {
            return Err(Refusal::missing(&missing, fields.len()));
        }
        fields.insert("max_tokens".to_owned(), 1.into());
        let body = serde_json::Value::from(fields).to_string();
        let ask = read(Kind::Messages, body.as_bytes(), app.served(&adapters))?;
        let tokens: u32 = ask.prompts.iter().map(|prompt| prompt.tokens).sum();
        Ok(format!(r#"{{"input_tokens":{tokens},"context_management":{{"original_input_tokens":{tokens}}}}}"#))
    };
    match count.await {
        Ok(body) => json(200, body),
        Err(refusal) => json(refusal.status, messages::error(&refusal)),
    }
}

/// Responses are not stored, so none is found.
pub(crate) async fn no_response(Path(id): Path<String>) -> Response {
    answered(Err(Refusal::no_response(&id)))
}

/// Loads an adapter. What is not there cannot be loaded; a path that is no absolute one names a repository, which is
/// believed.
pub(crate) async fn load_adapter(State(app): State<Arc<App>>, request: Request) -> Response {
    let wrong = |message: String| Refusal { kind: "InvalidUserInput", ..Refusal::bad(message, None) };
    let loaded = async {
        let (body, _) = body_of(request).await?;
        let fields = object(&body)?;
        let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
        let missing: Vec<&str> = ["lora_name", "lora_path"].into_iter().filter(|name| text(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(Refusal::missing(&missing, fields.len()));
        }
        let (name, path) = (text("lora_name").unwrap_or_default(), text("lora_path").unwrap_or_default());
        let again = fields.get("load_inplace").and_then(serde_json::Value::as_bool).unwrap_or(false);
        if name.is_empty() || path.is_empty() {
            return Err(wrong("Both 'lora_name' and 'lora_path' must be provided.".to_owned()));
        }
        if app.args.served_names.iter().any(|served| served == name) {
            return Err(wrong(format!("The lora adapter '{name}' conflicts with a served base model.")));
        }
        if !again && app.adapters().iter().any(|(known, _)| known == name) {
            return Err(wrong(format!(
                "The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set \
                 'load_inplace' to True."
            )));
        }
        if app.args.max_adapters.is_none() {
            return Err(Refusal::server("LoRA is not enabled. Use --enable-lora to enable LoRA."));
        }
        if path.starts_with('/') && !std::path::Path::new(path).exists() {
            let message = format!("Loading lora {name} failed: No adapter found for {path}");
            return Err(Refusal { status: 404, kind: "NotFoundError", ..Refusal::bad(message, None) });
        }
        app.load_adapter(name, path);
        Ok(format!("Success: LoRA adapter '{name}' added successfully."))
    };
    said(loaded.await)
}

/// Unloads an adapter.
pub(crate) async fn unload_adapter(State(app): State<Arc<App>>, request: Request) -> Response {
    let unloaded = async {
        let (body, _) = body_of(request).await?;
        let fields = object(&body)?;
        let Some(name) = fields.get("lora_name").and_then(serde_json::Value::as_str) else {
            return Err(Refusal::missing(&["lora_name"], fields.len()));
        };
        if name.is_empty() {
            let message = "'lora_name' needs to be provided to unload a LoRA adapter.".to_owned();
            return Err(Refusal { kind: "InvalidUserInput", ..Refusal::bad(message, None) });
        }
        if !app.unload_adapter(name) {
            let message = format!("The lora adapter '{name}' cannot be found.");
            return Err(Refusal { status: 404, kind: "NotFoundError", ..Refusal::bad(message, None) });
        }
        Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
    };
    said(unloaded.await)
}

/// vLLM says this without a content type.
fn said(result: Result<String, Refusal>) -> Response {
    match result {
        Ok(words) => dressed(Response::new(Body::from(words))),
        Err(refusal) => json(refusal.status, reply::error(&refusal)),
    }
}

/// A made-up transcription: as many words as the recording has tens of kilobytes, and at least one. The form is not taken
/// apart: only its size and, by its name, whether a stream is wanted count.
pub(crate) async fn transcribe(State(app): State<Arc<App>>, request: Request) -> Response {
    let text = async {
        let _in_flight = app.enter().ok_or_else(Refusal::draining)?;
        let most = 256 * 1024 * 1024;
        let body = axum::body::to_bytes(request.into_body(), most).await.map_err(|_| Refusal::too_large(most))?;
        let mut text = String::new();
        let words = u32::try_from(body.len() / 10_000).unwrap_or(u32::MAX).clamp(1, 500) + 2;
        (0..words).for_each(|at| crate::text::push_token(&mut text, crate::text::key_of(&body), at));
        let seconds = body.len().div_ceil(32_000);
        Ok(format!(r#"{{"text":"{text}","usage":{{"type":"duration","seconds":{seconds}}}}}"#))
    };
    answered(text.await)
}
