//! Steps that take a while: each says what it does, how long it has been at it, how long it took last time, and where its
//! log is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Outcome;

/// A run of several steps, with one log file for each.
pub(crate) struct Steps {
    logs: PathBuf,
    began: Instant,
    tick: Duration,
    begun: usize,
    took: Vec<(String, Duration)>,
    last_time: LastTime,
}

/// A step that was started.
#[derive(Debug)]
pub(crate) struct UnderWay {
    title: String,
    child: Child,
    log: PathBuf,
    start: Instant,
}

impl Steps {
    /// Starts a run whose logs go to `logs`. `tick` is the longest that a step stays silent where output is not a terminal.
    pub(crate) fn new(logs: PathBuf, tick: Duration) -> Outcome<Self> {
        fs::create_dir_all(&logs)?;
        Ok(Self { logs, began: Instant::now(), tick, begun: 0, took: Vec::new(), last_time: LastTime::load() })
    }

    /// Runs `command` as the step `title`, and fails with the end of its log if it does. `guess` is how long it takes on a
    /// machine that never did it, used until a time has been measured here. Gives the log's path.
    pub(crate) fn run(&mut self, title: &str, guess: Duration, command: &mut Command) -> Outcome<PathBuf> {
        let (status, log) = self.attempt(title, guess, command)?;
        if status.success() {
            return Ok(log);
        }
        println!("{}", indent(&tail(&log, 40)));
        Err(format!("{title}: {status}; the whole log is {}", log.display()).into())
    }

    /// Runs `command` as the step `title` and gives its status, whatever it is, and the log's path.
    pub(crate) fn attempt(
        &mut self,
        title: &str,
        guess: Duration,
        command: &mut Command,
    ) -> Outcome<(ExitStatus, PathBuf)> {
        let under_way = self.begin(title, guess, command)?;
        self.finish(under_way)
    }

    /// Starts `command` as the step `title`, beside other steps. [`Steps::finish`] waits for it.
    pub(crate) fn begin(&mut self, title: &str, guess: Duration, command: &mut Command) -> Outcome<UnderWay> {
        let number = self.begun + 1;
        let log = self.logs.join(format!("{number:02}-{}.log", slug(title)));
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let about = self.last_time.of(title).unwrap_or(guess);
        println!("[{}] {title} (about {}; log {})", clock(self.began.elapsed()), clock(about), log.display());
        let start = Instant::now();
        let child = command.spawn().map_err(|e| format!("{title}: {:?} did not start: {e}", command.get_program()))?;
        self.begun = number;
        Ok(UnderWay { title: title.to_owned(), child, log, start })
    }

    /// Waits for a step, and gives its status and the log's path.
    pub(crate) fn finish(&mut self, under_way: UnderWay) -> Outcome<(ExitStatus, PathBuf)> {
        let UnderWay { title, child, log, start } = under_way;
        let status = self.watch(child, &log, start)?;
        let took = start.elapsed();
        let verdict = if status.success() { "done" } else { "FAILED" };
        println!("[{}] {title}: {verdict} after {}", clock(self.began.elapsed()), clock(took));
        if status.success() {
            self.last_time.note(&title, took);
        }
        self.took.push((title, took));
        Ok((status, log))
    }

    /// Does `work`, a step that prints for itself.
    pub(crate) fn live<T>(&mut self, title: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        println!("[{}] {title}", clock(self.began.elapsed()));
        let start = Instant::now();
        self.begun += 1;
        let result = work();
        self.took.push((title.to_owned(), start.elapsed()));
        result
    }

    /// Where the time went, one line a step.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("Where the time went:\n");
        for (title, took) in &self.took {
            text += &format!("  {:>8}  {title}\n", clock(*took));
        }
        text + &format!("  {:>8}  in all\n", clock(self.began.elapsed()))
    }

    /// Waits for the child, showing signs of life meanwhile.
    fn watch(&self, mut child: Child, log: &Path, start: Instant) -> Outcome<ExitStatus> {
        let terminal = std::io::stdout().is_terminal();
        let tick = if terminal { Duration::from_millis(500) } else { self.tick };
        let (done, ended) = channel();
        std::thread::spawn(move || done.send(child.wait()));
        loop {
            match ended.recv_timeout(tick) {
                Ok(status) => {
                    if terminal {
                        print!("\r\x1b[K");
                    }
                    return Ok(status?);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let last = tail(log, 1);
                    let line: String = last.trim().chars().filter(|c| !c.is_control()).take(100).collect();
                    if terminal {
                        print!("\r\x1b[K    {} {line}", clock(start.elapsed()));
                        std::io::stdout().flush()?;
                    } else {
                        println!("    {} {line}", clock(start.elapsed()));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err("the step's watcher is gone".into()),
            }
        }
    }
}

/// The last `lines` lines of a file; empty when it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    const MOST: u64 = 64 * 1024;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A length of time for people: `42s`, `3m07s`.
pub(crate) fn clock(length: Duration) -> String {
    match length.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s => format!("{}m{:02}s", s / 60, s % 60),
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|l| format!("    | {l}\n")).collect()
}

fn slug(title: &str) -> String {
    let words = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
    words.collect::<String>().split_whitespace().take(5).collect::<Vec<_>>().join("-")
}

/// How long each step took when it last succeeded on this machine, in milliseconds, by title. Losing it loses only estimates.
struct LastTime {
    file: PathBuf,
    millis: BTreeMap<String, u64>,
}

impl LastTime {
    fn load() -> Self {
        let file = crate::places::cache().join("step-times.json");
        let millis = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file, millis }
    }

    fn of(&self, title: &str) -> Option<Duration> {
        self.millis.get(title).copied().map(Duration::from_millis)
    }

    fn note(&mut self, title: &str, took: Duration) {
        self.millis.insert(title.to_owned(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let Ok(text) = serde_json::to_vec_pretty(&self.millis) else { return };
        let written = self.file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&self.file, text));
        if let Err(error) = written {
            println!("    (the step's time could not be kept in {}: {error})", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_titles_read_well() {
        for (seconds, want) in [(0, "0s"), (59, "59s"), (60, "1m00s"), (3607, "60m07s")] {
            assert_eq!(clock(Duration::from_secs(seconds)), want);
        }
        assert_eq!(slug("Build the images (static, release) once more"), "build-the-images-static-release");
    }
}
