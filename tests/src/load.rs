//! Clients that keep a pool busy.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::Chat;

/// Tokens of each answer: at the sample's speed, one and a half seconds.
const TOKENS: u32 = 30;

/// Does `work` while `clients` clients stream from `model`, each asking again when answered. Gives the number of answers, and
/// panics when a request failed or none was answered.
pub fn under_load(chat: &Chat, model: &str, clients: usize, work: impl FnOnce()) -> u64 {
    let (stop, answers, failures) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let ask_until_stopped = || {
        while !stop.load(Relaxed) {
            match chat.stream(model, TOKENS) {
                Ok(streamed) if streamed.done => {
                    answers.fetch_add(1, Relaxed);
                }
                other => failures.lock().expect("no client panics").push(format!("{other:?}")),
            }
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
    let (answers, failures) = (answers.into_inner(), failures.into_inner().expect("no client panics"));
    assert_eq!(failures, Vec::<String>::new(), "beside {answers} answers");
    assert!(answers > 0, "nothing was answered");
    answers
}
