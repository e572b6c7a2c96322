//! What an answer will be, settled before its first token: how long it is, how it ends, and what its tokens say.

use std::sync::Arc;

use crate::core::{Finish, Work};
use crate::reply::{Ending, escaped};
use crate::request::{Ask, Prompt};
use crate::text::{END, mix, natural_length, push_token, text_of};

/// One answer in the words of the client.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) work: Work,
    pub(crate) ending: Ending,
    /// Bytes of its text, when a stop word ends it.
    most_text: Option<usize>,
    forced: Option<u32>,
    /// The text that it begins with.
    echo: Option<String>,
    silent: bool,
}

/// Tells the text of an answer token by token.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) answer: Answer,
    said: usize,
}

/// What is known of the engine when an answer is planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) max_model_len: u32,
    pub(crate) seed: u64,
}

/// Every answer that a request asks for, in the order of their indices.
pub(crate) fn answers(ask: &Ask, setting: Setting) -> Vec<Answer> {
    ask.prompts.iter().flat_map(|prompt| (0..ask.n).map(move |number| answer(ask, prompt, number, setting))).collect()
}

fn answer(ask: &Ask, prompt: &Prompt, number: u32, setting: Setting) -> Answer {
    let key = mix(prompt.key ^ setting.seed.rotate_left(17)) ^ mix(u64::from(number));
    let room = setting.max_model_len.saturating_sub(prompt.tokens).max(1);
    let natural = natural_length(key);
    let (tokens, finish) = match (ask.forced, ask.max_tokens) {
        (Some(END), _) => (1, Finish::Stop),
        (_, Some(limit)) => (limit.min(room), Finish::Length),
        (_, None) if natural > room => (room, Finish::Length),
        (_, None) => (natural, Finish::Stop),
    };
    let work = Work {
        prompt: prompt.tokens,
        hashes: Arc::clone(&prompt.hashes),
        tokens,
        finish,
        key,
        priority: ask.priority,
        adapter: ask.adapter,
    };
    let mut answer = Answer {
        work,
        ending: Ending { finish, stop: "null".to_owned() },
        most_text: None,
        forced: ask.forced,
        echo: ask.echo.then(|| prompt.text.clone()),
        silent: ask.only_echo,
    };
    answer.stop_early(ask);
    answer
}

impl Answer {
    /// Ends it where a stop token or a stop word comes.
    fn stop_early(&mut self, ask: &Ask) {
        if let Some(token) = self.forced.filter(|token| ask.stop_tokens.contains(token)) {
            self.end_at(1, Some(0), token.to_string());
            return;
        }
        if ask.stop.is_empty() {
            return;
        }
        let mut text = String::new();
        for position in 0..self.work.tokens {
            self.push(&mut text, position);
            let found = ask.stop.iter().filter_map(|word| text.find(word.as_str()).map(|at| (at, word)));
            if let Some((at, word)) = found.min_by_key(|(at, _)| *at) {
                let most = if ask.keep_stop { at + word.len() } else { at };
                self.end_at(position + 1, Some(most), crate::reply::quoted(word));
                return;
            }
        }
    }

    fn end_at(&mut self, tokens: u32, most_text: Option<usize>, stop: String) {
        (self.work.tokens, self.work.finish, self.most_text) = (tokens, Finish::Stop, most_text);
        self.ending = Ending { finish: Finish::Stop, stop };
    }

    /// Appends the token at `position`. The token that ends an answer by itself has no text.
    fn push(&self, out: &mut String, position: u32) {
        match self.forced {
            _ if self.silent => {}
            Some(END) => {}
            Some(token) => out.push_str(&text_of(&[token])),
            None if self.ends_by_itself() && position + 1 >= self.work.tokens => {}
            None => push_token(out, self.work.key, position),
        }
    }

    fn ends_by_itself(&self) -> bool {
        self.work.finish == Finish::Stop && self.most_text.is_none()
    }
}

impl Teller {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { answer, said: 0 }
    }

    /// The text of the token at `position`, as it is. To be asked for each position once, in their order.
    pub(crate) fn say(&mut self, position: u32) -> String {
        let mut text = String::new();
        self.answer.push(&mut text, position);
        if let Some(most) = self.answer.most_text {
            let mut left = most.saturating_sub(self.said).min(text.len());
            while !text.is_char_boundary(left) {
                left -= 1;
            }
            text.truncate(left);
        }
        self.said += text.len();
        match self.answer.echo.take() {
            Some(echo) => echo + &text,
            None => text,
        }
    }

    /// The same, ready to stand in a JSON string.
    pub(crate) fn dress(&self, text: String) -> String {
        // The words of the simulator need no escaping.
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'.' | b':')) {
            text
        } else {
            escaped(&text)
        }
    }
}
