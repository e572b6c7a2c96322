//! Lines on their way to standard error.
//!
//! A thread of its own writes them. Who logs only puts a line into a buffer, so that nobody ever waits for whoever reads
//! standard error: a pipe that is full would otherwise stop the program, piece by piece. When the buffer is full as well,
//! lines are lost, which is said as soon as there is room to say it.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that may wait to be written: some ten thousand lines.
const ROOM: usize = 2 << 20;
/// How long the end of the process may be held up by lines that are not written yet.
const FAREWELL: Duration = Duration::from_millis(250);

/// The process's lines, once their thread has started.
static LINES: OnceLock<Lines> = OnceLock::new();

#[derive(Debug, Default)]
struct Lines {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// All has been written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether the thread is writing what it took.
    busy: bool,
    /// Writes that found no room since the last that were taken.
    lost: u64,
}

/// Puts whole lines among those to be written.
pub fn put(lines: &[u8]) {
    match LINES.get() {
        Some(all) => all.put(lines),
        // Nobody has started logging, as in a test. There is nothing to be done about an error.
        None => drop(io::stderr().write_all(lines)),
    }
}

/// Waits until all lines are written, but not for long. For the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FAREWELL);
    }
}

/// Starts the thread.
pub(super) fn start() -> io::Result<()> {
    LINES.get_or_init(Lines::default);
    let write = || {
        if let Some(lines) = LINES.get() {
            loop {
                lines.write(&mut io::stderr());
            }
        }
    };
    thread::Builder::new().name("log".to_owned()).spawn(write).map(|_| ())
}

/// What the subscriber writes a line to.
pub(super) struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, lines: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + lines.len() > ROOM {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.filled.notify_one();
    }

    /// Waits for lines and writes them to `to`. Those that it does not take are gone: there is nowhere else to put them.
    fn write(&self, to: &mut impl Write) {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let lines = mem::take(&mut state.waiting);
        state.busy = true;
        drop(state);
        let taken = to.write_all(&lines).is_ok();
        let mut state = self.lock();
        state.busy = false;
        let lost = if taken { mem::take(&mut state.lost) } else { 0 };
        drop(state);
        self.written.notify_all();
        if lost > 0 {
            tracing::warn!(lost, "lines of the log were lost, because standard error was not read fast enough");
        }
    }

    fn flush(&self, limit: Duration) {
        let pending = |state: &mut State| state.busy || !state.waiting.is_empty();
        // Whether it was in time or not, this is all there is to do.
        drop(self.written.wait_timeout_while(self.lock(), limit, pending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stops_holds_nobody_up() {
        let lines = Lines::default();
        let (reader, mut writer) = io::pipe().unwrap();
        let line = [b'x'; 1023];
        let block = [&line[..], b"\n"].concat();
        thread::scope(|scope| {
            // More than a pipe holds, so that the thread waits for the reader.
            lines.put(&[0; 1 << 20]);
            let writing = scope.spawn(|| lines.write(&mut writer));
            for _ in 0..2 * ROOM / block.len() {
                lines.put(&block);
            }
            let state = lines.lock();
            assert!(state.lost > 0, "{} waiting", state.waiting.len());
            assert!(state.waiting.len() <= ROOM);
            drop(state);
            lines.flush(Duration::from_millis(1));
            // The reader goes away: what it did not take is gone, and the thread goes on.
            drop(reader);
            writing.join().unwrap();
        });
        lines.put(b"to nobody\n");
        let lost = lines.lock().lost;
        lines.write(&mut writer);
        assert_eq!(lines.lock().lost, lost, "not told to somebody who does not listen");
        lines.put(b"again\n");
        let mut heard = Vec::new();
        lines.write(&mut heard);
        assert_eq!((heard.as_slice(), lines.lock().lost), (&b"again\n"[..], 0));
        lines.flush(Duration::from_secs(60));
    }
}
