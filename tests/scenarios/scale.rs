//! Load makes a pool grow by the HorizontalPodAutoscaler, and its end makes it shrink, without a failed request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use e2e::{Chat, Namespace, PATIENCE, wait_for};

/// Clients that keep one request each in flight: three times what one replica of the sample should carry.
const CLIENTS: usize = 24;

#[test]
fn load_takes_a_pool_from_one_to_three_replicas_and_back() {
    let ns = Namespace::new("scale");
    ns.pool("scaler", "scale-model", str::to_owned);
    ns.wait_replicas("scaler", 1);
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || chat.stream("scale-model", 2).map(|_| ()));

    let stop = AtomicBool::new(false);
    let answers = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    match chat.stream("scale-model", 30) {
                        Ok(streamed) if streamed.done => {
                            answers.fetch_add(1, Relaxed);
                        }
                        other => failures.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            });
        }
        // A panic in here would wait for the clients for ever.
        let grown = std::panic::catch_unwind(|| ns.wait_replicas("scaler", 3));
        stop.store(true, Relaxed);
        grown.unwrap();
    });
    ns.wait_replicas("scaler", 1);
    assert_eq!(failures.into_inner().unwrap(), Vec::<String>::new(), "beside {answers:?} answers");
    assert!(answers.load(Relaxed) > 0);
}
