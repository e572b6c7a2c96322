//! The frames of an HTTP/2 client, counted as they come in: which of them are work without a request.
//!
//! A server has limits on streams, windows and heads. What is left to a client is to send a great many frames that ask for
//! nothing: pings and settings that must be answered, streams that are reset as soon as they were opened, windows that are
//! opened a byte at a time. All of them are allowed, and clients need few.

/// Bytes that every connection begins with, before its first frame.
const PREFACE: usize = 24;
/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Frames without a request that may come at once.
const BURST: u32 = 1000;
/// Such frames that may come in each second after that. A client that gives up a hundred answers a second on a single
/// connection, which has room for about as many, is none that wants answers.
const PER_SECOND: u32 = 100;
/// Bytes of answers for which a window may be opened once more: fewer than any frame of an answer has.
const BYTES_PER_WINDOW: u32 = 16;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// More frames without a request came than any client needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many frames without a request")]
pub struct Flood;

/// Counts the frames of one connection.
#[derive(Clone, Debug)]
pub struct FrameWatch {
    /// Bytes until the next frame's head.
    skip: usize,
    head: [u8; HEAD],
    /// Bytes of the head that are here.
    known: usize,
    /// Frames that may still come.
    left: u32,
    /// Up to when `left` was counted, in milliseconds.
    refilled: u64,
    /// Windows that may be opened for what was sent.
    windows: u32,
}

impl Default for FrameWatch {
    fn default() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], known: 0, left: BURST, refilled: 0, windows: BURST }
    }
}

impl FrameWatch {
    /// Looks at what came in, `millis` milliseconds after the connection began. Costs nothing for a frame's payload.
    ///
    /// # Errors
    ///
    /// When there were too many frames that ask for nothing.
    pub fn read(&mut self, mut bytes: &[u8], millis: u64) -> Result<(), Flood> {
        self.refill(millis);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let take = (HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + take].copy_from_slice(&bytes[..take]);
            self.known += take;
            bytes = &bytes[take..];
            if self.known == HEAD {
                self.known = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.count(kind, flags)?;
            }
        }
        Ok(())
    }

    /// Notes that so many bytes were sent to the client.
    pub fn wrote(&mut self, bytes: usize) {
        let windows = u32::try_from(bytes).unwrap_or(u32::MAX) / BYTES_PER_WINDOW;
        self.windows = self.windows.saturating_add(windows);
    }

    fn count(&mut self, kind: u8, flags: u8) -> Result<(), Flood> {
        let asks = match kind {
            HEADERS => true,
            DATA => self.skip > 0 || flags & END_STREAM != 0,
            _ => false,
        };
        if asks {
            return Ok(());
        }
        let from = if kind == WINDOW_UPDATE && self.windows > 0 { &mut self.windows } else { &mut self.left };
        *from = from.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }

    fn refill(&mut self, millis: u64) {
        let frames = millis.saturating_sub(self.refilled) * u64::from(PER_SECOND) / 1000;
        // What is less than a frame stays to be counted.
        if frames > 0 {
            self.refilled = millis;
            self.left = BURST.min(self.left.saturating_add(u32::try_from(frames).unwrap_or(BURST)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const RESET: u8 = 3;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], &vec![0xff; payload]].concat()
    }

    /// How many of these frames pass after the preface, all at once.
    fn passed(frame: &[u8], most: usize) -> usize {
        let mut watch = FrameWatch::default();
        watch.read(&[0; PREFACE], 0).unwrap();
        (0..most).take_while(|_| watch.read(frame, 0).is_ok()).count()
    }

    #[test]
    fn what_asks_for_nothing_has_a_limit() {
        let all = 5000;
        let burst = BURST as usize;
        let cases = [
            ("requests", frame(HEADERS, 4, 30), all),
            ("bodies", frame(DATA, 0, 1), all),
            ("ends of bodies", frame(DATA, END_STREAM, 0), all),
            ("empty bodies", frame(DATA, 0, 0), burst),
            ("pings", frame(PING, 0, 8), burst),
            ("resets", frame(RESET, 0, 4), burst),
            ("settings", frame(4, 0, 0), burst),
            ("priorities", frame(2, 0, 5), burst),
            ("continuations", frame(9, 0, 100), burst),
            ("unheard of", frame(77, 0, 100), burst),
            ("windows", frame(WINDOW_UPDATE, 0, 4), 2 * burst),
            ("streams that are reset at once", [frame(HEADERS, 5, 30), frame(RESET, 0, 4)].concat(), burst),
        ];
        for (name, frame, want) in cases {
            assert_eq!(passed(&frame, all), want, "{name}");
        }
    }

    #[test]
    fn time_and_answers_allow_more() {
        let mut watch = FrameWatch::default();
        watch.read(&[0; PREFACE], 0).unwrap();
        let ping = frame(PING, 0, 8);
        let mut seen = 0;
        // A client that pings a hundred times a second may do so for ever, however its frames are spread.
        for millis in (0..100_000).step_by(5) {
            if millis % 10 == 0 {
                watch.read(&ping, millis).unwrap();
                seen += 1;
            } else {
                watch.read(&[], millis).unwrap();
            }
        }
        assert_eq!(seen, 10_000);
        let window = frame(WINDOW_UPDATE, 0, 4);
        for _ in 0..10_000 {
            watch.wrote(40);
            watch.read(&window.repeat(2), 100_000).unwrap();
        }
    }

    #[test]
    fn any_split_counts_the_same() {
        let text = [vec![0; PREFACE], frame(HEADERS, 4, 300), frame(PING, 0, 8), frame(DATA, 0, 7), frame(RESET, 0, 4)];
        let text = text.concat();
        for size in 1..text.len() {
            let mut watch = FrameWatch::default();
            for part in text.chunks(size) {
                watch.read(part, 0).unwrap();
            }
            assert_eq!((watch.left, watch.skip, watch.known), (BURST - 2, 0, 0), "{size}");
        }
    }
}
