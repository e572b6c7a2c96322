//! What is to be done to answer a request: steps that are worked out before the first of them is done.

use std::time::Duration;

use axum::body::Bytes;

/// One step of an answer's body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Bytes leave, and with them this many tokens of the answer.
    Send(Bytes, u64),
    /// Nothing happens for so long.
    Wait(Duration),
    /// Nothing happens any more.
    Hang,
    /// The connection is reset.
    Reset,
    /// The connection ends in good order before the body does.
    Close,
    /// The same bytes leave for ever, each time after so long.
    Repeat(Bytes, Duration),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Script {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// What happens before the head of the answer leaves.
    pub(crate) before: Vec<Step>,
    pub(crate) steps: Vec<Step>,
    /// Whether the body is a stream; its length is told otherwise.
    pub(crate) streams: bool,
    /// The length that is told, where less comes.
    pub(crate) promised: Option<usize>,
}

impl Script {
    /// A plain answer.
    pub(crate) fn plain(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        Self::with(status, kind, vec![Step::Send(body.into(), 0)], false)
    }

    /// A plain answer of JSON that holds `tokens` tokens.
    pub(crate) fn json(status: u16, body: String, tokens: u64) -> Self {
        Self::with(status, "application/json", vec![Step::Send(body.into(), tokens)], false)
    }

    /// A stream.
    pub(crate) fn stream(kind: &str, steps: Vec<Step>) -> Self {
        Self::with(200, kind, steps, true)
    }

    fn with(status: u16, kind: &str, steps: Vec<Step>, streams: bool) -> Self {
        let headers = vec![("content-type", kind.to_owned())];
        Self { status, headers, before: Vec::new(), steps, streams, promised: None }
    }

    /// Adds a header, or replaces the one of this name.
    pub(crate) fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
    }

    /// Bytes that the body sends if nothing stops it.
    pub(crate) fn length(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Send(bytes, _) = step { bytes.len() } else { 0 }).sum()
    }

    /// All that the body sends, in one piece.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length());
        for step in &self.steps {
            if let Step::Send(bytes, _) = step {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    /// Lets so much time pass for each token: between the pieces of a stream, or before a plain answer.
    pub(crate) fn pace(&mut self, gap: Duration) {
        if gap.is_zero() {
            return;
        }
        let mut paced = Vec::with_capacity(self.steps.len() * 2);
        for step in self.steps.drain(..) {
            if let Step::Send(_, tokens @ 1..) = step {
                let wait = gap.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
                if self.streams { &mut paced } else { &mut self.before }.push(Step::Wait(wait));
            }
            paced.push(step);
        }
        self.steps = paced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_take_their_time_where_a_client_would_see_it() {
        let gap = Duration::from_millis(2);
        let mut plain = Script::json(200, "{}".to_owned(), 5);
        plain.pace(gap);
        assert_eq!(plain.before, [Step::Wait(gap * 5)]);
        assert_eq!(plain.steps.len(), 1);

        let sent = |text: &'static str, tokens| Step::Send(Bytes::from_static(text.as_bytes()), tokens);
        let mut stream = Script::stream("text/event-stream", vec![sent("a", 0), sent("b", 1), sent("c", 0)]);
        stream.pace(gap);
        assert_eq!(stream.steps, [sent("a", 0), Step::Wait(gap), sent("b", 1), sent("c", 0)]);
        assert!(stream.before.is_empty());
        assert_eq!((stream.length(), stream.bytes()), (3, b"abc".to_vec()));
    }
}
