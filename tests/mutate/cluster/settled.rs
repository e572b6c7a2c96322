//! Whether a pool has come to rest, and how.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api_server::{ApiServer, pools};
use crate::wait::within;

/// How a pool came to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is as its spec asks.
    Converged,
    /// It says why it is not, and that does not change.
    Conditioned { reason: String, message: String },
}

/// Reasons with which a pool may rest without being Ready. All others are on the way to somewhere.
const RESTING: [&str; 16] = [
    "InvalidSpec",
    "Refused",
    "Blocked",
    "ReplicaFailure",
    "ProgressDeadlineExceeded",
    "ImagePullFailed",
    "CreateContainerFailed",
    "CrashLooping",
    "OutOfMemory",
    "StartTimedOut",
    "Unschedulable",
    "ProbeFailing",
    "NodeLost",
    "Evicted",
    "Preempted",
    "Loading",
];

/// How long a status must have been the same: shorter than that, a replica that starts would be taken for one that cannot.
const STILL_READY: Duration = Duration::from_secs(1);
const STILL_NOT: Duration = Duration::from_secs(4);

/// Waits until the pool rests. The error says what it was doing instead.
pub(crate) async fn settle(server: &ApiServer, namespace: &str, pool: &str, limit: Duration) -> Result<End, String> {
    let path = format!("{}/{pool}?resourceVersion=0", pools(namespace));
    let last = std::sync::Mutex::new((String::new(), Instant::now()));
    within(limit, async || {
        let seen = server.get(&path).await.ok_or("it is gone")?;
        let version = seen["metadata"]["resourceVersion"].to_string();
        let since = {
            let mut last = last.lock().unwrap();
            if last.0 != version {
                *last = (version, Instant::now());
            }
            last.1.elapsed()
        };
        let end = end(&seen)?;
        let still = if end == End::Converged { STILL_READY } else { STILL_NOT };
        if since < still { Err(format!("{end:?}, which has changed {since:?} ago")) } else { Ok(end) }
    })
    .await
}

fn end(pool: &Value) -> Result<End, String> {
    let (status, generation) = (&pool["status"], &pool["metadata"]["generation"]);
    if status["observedGeneration"] != *generation {
        return Err(format!("generation {generation} has not been looked at: {status}"));
    }
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    let ready = find("Ready").ok_or("there is no condition Ready")?;
    if ready["status"] == "True" {
        return match (find("Reconciling"), find("Stalled")) {
            (None, None) => Ok(End::Converged),
            _ => Err(format!("Ready, and also Reconciling or Stalled: {status}")),
        };
    }
    let reason = ready["reason"].as_str().unwrap_or_default();
    let message = ready["message"].as_str().unwrap_or_default();
    if RESTING.contains(&reason) && !message.is_empty() {
        return Ok(End::Conditioned { reason: reason.to_owned(), message: message.to_owned() });
    }
    Err(format!("Ready is {}: {reason}: {message}", ready["status"]))
}
