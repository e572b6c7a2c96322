//! What each key was sold.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::answer::Usage;
use crate::text::quoted;

/// One line of the bill: a key and a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    requests: u64,
    /// Requests whose client left before the answer was whole.
    cancelled: u64,
    usage: Usage,
}

/// What was sold, by key and model.
#[derive(Debug, Default)]
pub(crate) struct Bill {
    lines: BTreeMap<(String, String), Line>,
    /// Requests that are being answered, by key.
    running: BTreeMap<String, u64>,
}

impl Bill {
    /// A request begins to be answered.
    pub(crate) fn begin(&mut self, key: &str) {
        *self.running.entry(key.to_owned()).or_default() += 1;
    }

    /// It ended: whole, or with so many tokens of the answer.
    pub(crate) fn end(&mut self, key: &str, model: &str, usage: Usage, cancelled: bool) {
        if let Some(running) = self.running.get_mut(key) {
            *running = running.saturating_sub(1);
        }
        let line = self.lines.entry((key.to_owned(), model.to_owned())).or_default();
        line.requests += 1;
        line.cancelled += u64::from(cancelled);
        let sum = &mut line.usage;
        sum.input += usage.input;
        sum.cached += usage.cached;
        sum.written += usage.written;
        sum.written_hour += usage.written_hour;
        sum.output += usage.output;
        sum.reasoning += usage.reasoning;
    }

    /// Forgets what was sold; what runs is billed when it ends.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// As JSON. The keys are whole: they open nothing but a stand-in.
    pub(crate) fn json(&self) -> String {
        let mut lines = String::new();
        for ((key, model), Line { requests, cancelled, usage }) in &self.lines {
            let comma = if lines.is_empty() { "" } else { "," };
            let Usage { input, cached, written, written_hour, output, reasoning } = usage;
            // Writing to a string cannot fail.
            let _ = write!(
                lines,
                r#"{comma}{{"key":{},"model":{},"requests":{requests},"cancelled":{cancelled},"input_tokens":{input},"cached_tokens":{cached},"cache_write_5m_tokens":{written},"cache_write_1h_tokens":{written_hour},"output_tokens":{output},"reasoning_tokens":{reasoning}}}"#,
                quoted(key),
                quoted(model),
            );
        }
        let running: u64 = self.running.values().sum();
        format!(r#"{{"running":{running},"lines":[{lines}]}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_added_up_by_key_and_model() {
        let mut bill = Bill::default();
        let usage = Usage { input: 5, output: 7, reasoning: 2, ..Usage::default() };
        for key in ["a", "a", "b"] {
            bill.begin(key);
            bill.end(key, "m", usage, key == "b");
        }
        bill.begin("b");
        let json = bill.json();
        assert!(
            json.starts_with(
                r#"{"running":1,"lines":[{"key":"a","model":"m","requests":2,"cancelled":0,"input_tokens":10,"#
            ),
            "{json}"
        );
        assert!(json.contains(r#""key":"b","model":"m","requests":1,"cancelled":1,"input_tokens":5,"#), "{json}");
        assert!(json.contains(r#""output_tokens":14,"reasoning_tokens":4"#), "{json}");
        bill.clear();
        assert_eq!(bill.json(), r#"{"running":1,"lines":[]}"#);
    }
}
