//! A pool that does not serve says why, in words that a person can act on, and recovers by itself once that is done.

use std::time::Duration;

use e2e::{Namespace, PATIENCE, manifest, unscaled, wait_for};
use serde_json::{Value, json};

/// What is wrong with a pool, what its status says, and the change that sets it right.
struct Case {
    pool: &'static str,
    /// What is added to the spec.
    spec: fn() -> Value,
    reason: &'static str,
    /// Whether a person is needed at once.
    stalled: bool,
    /// What the message says, in this order.
    words: &'static [&'static str],
    cure: fn() -> Value,
}

fn env(value: &Value) -> Value {
    json!({"engine": {"env": [value]}})
}

const CASES: [Case; 5] = [
    Case {
        pool: "no-image",
        spec: || json!({"engine": {"image": "localhost:1/nobody/has-this:v1"}}),
        reason: "ImagePullFailed",
        stalled: true,
        words: &["the image localhost:1/nobody/has-this:v1 cannot be fetched", "spec.engine.image"],
        cure: || json!({"engine": {"image": image()}}),
    },
    Case {
        pool: "no-secret",
        spec: || env(&json!({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "token"}}})),
        reason: "CreateContainerFailed",
        stalled: true,
        words: &["secret \"absent\" not found", "make it"],
        cure: || json!({"engine": {"env": []}}),
    },
    Case {
        pool: "crash",
        spec: || env(&json!({"name": "VLLM_SIM_START_DELAY", "value": "soon"})),
        reason: "CrashLooping",
        stalled: true,
        words: &["the engine ended with exit code 1", "VLLM_SIM_START_DELAY"],
        cure: || json!({"engine": {"env": []}}),
    },
    Case {
        pool: "no-node",
        spec: || json!({"placement": {"nodeSelector": {"quartermaster.test/nobody": "has-this"}}}),
        reason: "Unschedulable",
        stalled: false,
        words: &["no node may take it", "node affinity/selector"],
        cure: || json!({"placement": {"nodeSelector": null}}),
    },
    Case {
        pool: "too-large",
        spec: || json!({"resources": {"memory": "900Ti"}}),
        reason: "Unschedulable",
        stalled: false,
        words: &["no node has 900Ti memory"],
        cure: || json!({"resources": {"memory": "64Mi"}}),
    },
];

fn image() -> String {
    let sample = manifest("manifests/samples/pool-sim.yaml");
    sample.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap().to_owned()
}

#[test]
fn a_pool_that_does_not_serve_says_why_and_recovers() {
    let ns = Namespace::new("causes");
    for case in &CASES {
        ns.pool(case.pool, case.pool, unscaled);
        ns.patch(case.pool, &(case.spec)());
    }
    // A minute is given to what others have still to make, such as a Secret.
    let patience = PATIENCE + Duration::from_secs(60);
    for case in &CASES {
        let told = wait_for(&format!("{} says why", case.pool), patience, || {
            let ready = ns.condition(case.pool, "Ready")?;
            let kind = if case.stalled { "Stalled" } else { "Reconciling" };
            let known = ready["reason"] == case.reason && ns.condition(case.pool, kind)?["status"] == "True";
            if known { Ok(ready) } else { Err(ready.to_string()) }
        });
        let message = told["message"].as_str().unwrap_or_default();
        let mut rest = message;
        for word in case.words {
            let (_, after) =
                rest.split_once(word).unwrap_or_else(|| panic!("{}: {message:?} lacks {word:?}", case.pool));
            rest = after;
        }
        assert_eq!(told["status"], "False", "{}", case.pool);
    }
    quiet(&ns);
    for case in &CASES {
        ns.patch(case.pool, &(case.cure)());
    }
    for case in &CASES {
        ns.wait_replicas(case.pool, 1);
        assert!(ns.condition(case.pool, "Stalled").is_err(), "{} is past it", case.pool);
    }
}

/// Each cause is told when it comes up and when a person is needed, however often its pod was tried again since.
fn quiet(ns: &Namespace) {
    let events = ns.get("events --field-selector involvedObject.kind=InferencePool").unwrap();
    for case in &CASES {
        let of_case = |event: &&Value| event["involvedObject"]["name"] == case.pool && event["reason"] == case.reason;
        let told = events["items"].as_array().unwrap().iter().filter(of_case).count();
        assert!((1..=2).contains(&told), "{}: {events}", case.pool);
    }
}
