//! Clients that keep a pool busy.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
