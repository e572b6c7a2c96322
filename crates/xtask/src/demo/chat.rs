//! A chat with the router, as an application has it.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;

/// Longest that one answer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What one streamed answer was like.
pub(super) struct Answer {
    /// From the request to the first token.
    pub(super) first_token: Duration,
    /// Tokens with text.
    pub(super) tokens: usize,
}

/// A client for many chats over kept connections.
pub(super) struct Chat {
    agent: ureq::Agent,
    url: String,
    model: String,
}

impl Chat {
    /// A client of the router at `url` that asks for `model`.
    pub(super) fn new(url: &str, model: &str) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build();
        Self { agent: config.into(), url: format!("{url}/v1/chat/completions"), model: model.to_owned() }
    }

    /// Streams one answer of at most `tokens` tokens, giving each piece of text to `heard` when it arrives.
    pub(super) fn stream(&self, prompt: &str, tokens: u32, mut heard: impl FnMut(&str)) -> Outcome<Answer> {
        let body = json!({
            "model": self.model, "stream": true, "max_tokens": tokens,
            "messages": [{"role": "user", "content": prompt}],
        });
        let asked = Instant::now();
        let answer = self.agent.post(&self.url).header("content-type", "application/json").send(body.to_string())?;
        let mut first_token = None;
        let mut count = 0;
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line?;
            let Some(data) = line.strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                return Ok(Answer { first_token: first_token.unwrap_or_else(|| asked.elapsed()), tokens: count });
            }
            let event: Value = serde_json::from_str(data)?;
            if let Some(error) = event.get("error") {
                return Err(format!("the stream ended with an error: {error}").into());
            }
            if let Some(text) = event["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
                first_token.get_or_insert_with(|| asked.elapsed());
                count += 1;
                heard(text);
            }
        }
        Err("the stream ended without [DONE]".into())
    }
}

/// Asks once and prints the answer as it streams.
pub(super) fn show(url: &str, model: &str) -> Outcome {
    let prompt = "What does a quartermaster do?";
    println!("    POST {url}/v1/chat/completions  model={model} stream=true  {prompt:?}");
    print!("    > ");
    let start = Instant::now();
    let answer = Chat::new(url, model).stream(prompt, 40, |text| {
        print!("{}", text.replace('\n', " "));
        // A terminal that cannot be written to is noticed by the next line printed.
        let _ = std::io::stdout().flush();
    })?;
    println!(
        "\n    {} tokens in {:.2} s, the first after {:.0} ms",
        answer.tokens,
        start.elapsed().as_secs_f64(),
        answer.first_token.as_secs_f64() * 1000.0
    );
    Ok(())
}
