//! Helpers of the scenarios in `scenarios/`: a namespace of one's own, calls of kubectl, requests to the router, waiting for
//! a condition.
//!
//! The scenarios run against a cluster on which the charts are installed, found by `KUBECONFIG`; `make e2e` prepares one.
//! Helpers panic when something is off, because a scenario cannot go on then.

#![expect(clippy::panic, clippy::expect_used, reason = "a helper of tests fails the test")]

mod chat;
mod direct;
mod helm;
mod kubectl;
mod load;
mod namespace;

pub use chat::{Chat, Reply, Streamed, page, post_page};
pub use direct::{Authority, Direct, Shown, Trust, Way, certificate};
pub use helm::{helm, must_helm, objects, rendered};
pub use kubectl::{Kubectl, kubectl, try_kubectl, warnings};
pub use load::{Asker, Ending, Told, Watched, load_on_new_connections, tallied_load, under_load, watched_load};
pub use namespace::Namespace;

use std::time::{Duration, Instant};

/// Namespace of operator and router.
pub const SYSTEM: &str = "quartermaster-system";

/// Longest wait for pods of the simulator to come or go on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Looks every 200 ms until `look` gives something, and panics with `what` and its last word after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(word) if start.elapsed() > limit => panic!("{what}: not within {limit:?}: {word}"),
            Err(_) => pause(Duration::from_millis(200)),
        }
    }
}

/// Rests between two looks, or between two blows of a scenario that goes on for a set time.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks, not a wait for luck")]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Whether addresses of the cluster are routed to this machine. Elsewhere the router is reached through a port-forward, which
/// holds on to one pod.
#[must_use]
pub fn routed() -> bool {
    std::env::var("E2E_ROUTED").is_ok_and(|word| word == "yes")
}

/// Says that the scenario that calls this does not run here, and why; `make e2e` counts it as skipped.
#[expect(clippy::print_stdout, reason = "the count reads it from the output")]
pub fn skip(why: &str) {
    println!("skipped: {why}");
}

/// A file of the checkout.
#[must_use]
pub fn read(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the checkout");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A manifest of the checkout, with images from where this cluster has them.
#[must_use]
pub fn manifest(path: &str) -> String {
    read(path).replace("localhost/quartermaster", &registry())
}

/// The chart's values for images from where this cluster has them, for `--set`.
#[must_use]
pub fn image_values() -> String {
    format!("image.registry={},image.tag=dev", registry())
}

fn registry() -> String {
    std::env::var("E2E_REGISTRY").unwrap_or_else(|_| "localhost/quartermaster".to_owned())
}

/// The processes of a pod's programs, where its node is on this machine.
#[must_use]
pub fn processes(pod: &str) -> Vec<String> {
    let name = format!("HOSTNAME={pod}");
    let of_pod = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
    };
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let all = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    all.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())).filter(of_pod).collect()
}

/// Ends a process without a word, as a crash would; whether there was one.
#[must_use]
pub fn kill(pid: &str) -> bool {
    std::process::Command::new("kill").args(["-9", pid]).status().expect("kill starts").success()
}

/// The sample pool without its autoscaler, for scenarios that set the number of replicas themselves.
#[must_use]
pub fn unscaled(pool: &str) -> String {
    let keep = |line: &&str| {
        !["scaling:", "minReplicas:", "maxReplicas:", "target:", "inFlightPerReplica:", "scaleDownStabilization:"]
            .iter()
            .any(|field| line.trim_start().starts_with(field))
    };
    pool.lines().filter(keep).fold(String::new(), |text, line| text + line + "\n")
}
