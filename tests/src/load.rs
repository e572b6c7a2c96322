//! Clients that keep a pool busy.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crate::{Chat, Streamed};

/// Tokens of each answer: at the sample's speed, one and a half seconds.
const TOKENS: u32 = 30;

/// What came of all requests of a load.
#[derive(Debug, Default)]
pub struct Tally {
    /// Streams that were answered to their end.
    pub answers: u64,
    /// Streams that began, broke off, and said so by an error event.
    pub broken: u64,
    /// All else: refused, cut off without a word, or ended as if they were whole.
    pub failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, outcome: &Result<Streamed, String>) {
        match outcome {
            Ok(streamed) if streamed.told_error() => self.broken += 1,
            Ok(streamed) if streamed.done => self.answers += 1,
            other => self.failures.push(format!("{other:?}")),
        }
    }
}

/// Does `work` while `clients` clients stream from `model`, each asking again when answered. Gives the number of answers, and
/// panics when a request failed or none was answered.
pub fn under_load(chat: &Chat, model: &str, clients: usize, work: impl FnOnce()) -> u64 {
    let tally = tallied_load(chat, model, clients, work);
    let failed = tally.failures.len();
    assert_eq!((tally.broken, tally.failures.first()), (0, None), "{failed} failed beside {} answers", tally.answers);
    tally.answers
}

/// As [`under_load`], but what becomes of the requests is for the caller to judge. Panics when none was answered.
pub fn tallied_load(chat: &Chat, model: &str, clients: usize, work: impl FnOnce()) -> Tally {
    load(clients, &|| chat.stream(model, TOKENS), work)
}

/// As [`tallied_load`], with short answers, each on a connection of its own.
pub fn load_on_new_connections(chat: &Chat, model: &str, clients: usize, work: impl FnOnce()) -> Tally {
    let chat = chat.keeping_no_connection();
    load(clients, &|| chat.stream(model, 2), work)
}

fn load(clients: usize, ask: &(dyn Fn() -> Result<Streamed, String> + Sync), work: impl FnOnce()) -> Tally {
    let (stop, tally) = (AtomicBool::new(false), Mutex::new(Tally::default()));
    let ask_until_stopped = || {
        while !stop.load(Relaxed) {
            let outcome = ask();
            tally.lock().expect("no client panics").add(&outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(ask_until_stopped);
        }
        // A panic in here would wait for the clients for ever.
        let worked = catch_unwind(AssertUnwindSafe(work));
        stop.store(true, Relaxed);
        if let Err(panic) = worked {
            resume_unwind(panic);
        }
    });
    let tally = tally.into_inner().expect("no client panics");
    assert!(tally.answers > 0, "nothing was answered: {tally:?}");
    tally
}

/// A client that asks again and again.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The model that it asks for.
    pub model: &'a str,
    /// Whether it has its answers streamed.
    pub stream: bool,
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Answered to the end.
    Answered,
    /// The stream began, broke off, and said so by an error event.
    Broken,
    /// All else.
    Failed(String),
}

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was sent.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
    /// The model that was asked for.
    pub model: String,
    /// The target that the answer names.
    pub target: Option<String>,
    /// How it ended.
    pub ending: Ending,
}

/// What became of the requests of a load so far.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Vec<Told>>);

impl Watched {
    /// How many requests that ended are such.
    pub fn count(&self, such: impl Fn(&Told) -> bool) -> usize {
        self.0.lock().expect("no client panics").iter().filter(|told| such(told)).count()
    }

    /// The first request that ended and is such.
    pub fn first(&self, such: impl Fn(&Told) -> bool) -> Option<Told> {
        self.0.lock().expect("no client panics").iter().find(|told| such(told)).cloned()
    }
}

/// Does `work` while clients ask, each again when answered, and gives what became of every request.
pub fn watched_load(chat: &Chat, askers: &[Asker<'_>], work: impl FnOnce(&Watched)) -> Vec<Told> {
    let (stop, watched) = (AtomicBool::new(false), Watched::default());
    let ask_until_stopped = |asker: &Asker<'_>| {
        while !stop.load(Relaxed) {
            let told = ask(chat, asker);
            watched.0.lock().expect("no client panics").push(told);
        }
    };
    std::thread::scope(|scope| {
        for asker in askers {
            scope.spawn(|| ask_until_stopped(asker));
        }
        // A panic in here would wait for the clients for ever.
        let worked = catch_unwind(AssertUnwindSafe(|| work(&watched)));
        stop.store(true, Relaxed);
        if let Err(panic) = worked {
            resume_unwind(panic);
        }
    });
    watched.0.into_inner().expect("no client panics")
}

fn ask(chat: &Chat, asker: &Asker<'_>) -> Told {
    let began = Instant::now();
    let (target, ending) = if asker.stream {
        match chat.stream(asker.model, TOKENS) {
            Ok(streamed) if streamed.told_error() => (streamed.target, Ending::Broken),
            Ok(streamed) if streamed.done => (streamed.target, Ending::Answered),
            other => (None, Ending::Failed(format!("{other:?}"))),
        }
    } else {
        match chat.ask(asker.model, TOKENS) {
            Ok(reply) if reply.status == 200 => (reply.target, Ending::Answered),
            other => (None, Ending::Failed(format!("{other:?}"))),
        }
    };
    Told { began, ended: Instant::now(), model: asker.model.to_owned(), target, ending }
}
