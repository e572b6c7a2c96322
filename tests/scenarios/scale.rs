//! Load makes a pool grow by the HorizontalPodAutoscaler, and its end makes it shrink, without a failed request.

use e2e::{Chat, Namespace, PATIENCE, under_load, wait_for};

/// Clients that keep one request each in flight: three times what one replica of the sample should carry.
const CLIENTS: usize = 24;

#[test]
fn load_takes_a_pool_from_one_to_three_replicas_and_back() {
    let ns = Namespace::new("scale");
    ns.pool("scaler", "scale-model", str::to_owned);
    ns.wait_replicas("scaler", 1);
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || chat.stream("scale-model", 2).map(|_| ()));

    under_load(&chat, "scale-model", CLIENTS, || ns.wait_replicas("scaler", 3));
    ns.wait_replicas("scaler", 1);
}
