//! New settings reach the replicas of a pool that is in use.

use std::sync::Mutex;
use std::time::Duration;

use e2e::{Chat, Kubectl, Namespace, PATIENCE, kubectl, try_kubectl, under_load, unscaled, wait_for};
use serde_json::{Value, json};

/// Clients that stream while settings change.
const CLIENTS: usize = 4;
/// A scarce resource that stands for GPUs, on clusters with and without any.
const SCARCE: &str = "quartermaster.test/accelerator";

/// Gives one node two of the scarce resource, until it is dropped.
struct TwoOfThem {
    node: String,
}

impl TwoOfThem {
    fn new() -> Self {
        let two = Self { node: kubectl("get nodes --output jsonpath={.items[0].metadata.name}") };
        two.patch("add").unwrap();
        two
    }

    fn patch(&self, op: &str) -> Kubectl {
        let change = ["capacity", "allocatable"].map(
            |part| json!({"op": op, "path": format!("/status/{part}/{}", SCARCE.replace('/', "~1")), "value": "2"}),
        );
        let change = json!(change);
        try_kubectl(&format!("patch node {} --subresource=status --type=json --patch={change}", self.node), "")
    }
}

impl Drop for TwoOfThem {
    fn drop(&mut self) {
        if let Err(error) = self.patch("remove") {
            eprintln!("the node keeps its {SCARCE}: {error}");
        }
    }
}

fn scarce(ns: &Namespace, pool: &str, model: &str, replicas: i64) {
    ns.pool(pool, model, |sample| {
        let gpu = format!("  resources:\n    gpu: {{resourceName: {SCARCE}, count: 1}}");
        unscaled(sample).replacen("  resources:", &gpu, 1).replacen("    timeout: 20s", "    timeout: 5s", 1)
    });
    ns.kubectl(&format!("scale inferencepools.quartermaster.dev/{pool} --replicas={replicas}"));
    ns.wait_replicas(pool, replicas);
}

fn answers(chat: &Chat, model: &str) {
    wait_for("the router knows the model", PATIENCE, || chat.stream(model, 2).map(|_| ()));
}

fn pods(ns: &Namespace, pool: &str) -> Vec<String> {
    let list = ns.get(&format!("pods --selector quartermaster.dev/pool={pool}")).unwrap();
    let mut names: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p["metadata"]["name"].as_str())
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn strategy(ns: &Namespace, pool: &str) -> (Value, Value) {
    let deployment = ns.get(&format!("deployment/{pool}")).unwrap();
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    (rolling["maxSurge"].clone(), rolling["maxUnavailable"].clone())
}

/// All GPUs are in use, so no new replica can start before an old one has left.
#[test]
fn new_settings_need_no_spare_gpu_and_lose_no_request() {
    let _scarce = TwoOfThem::new();
    let ns = Namespace::new("rollout");
    scarce(&ns, "full", "full-model", 2);
    let before = pods(&ns, "full");
    let chat = Chat::new();
    answers(&chat, "full-model");
    let fewest = Mutex::new(i64::MAX);
    under_load(&chat, "full-model", CLIENTS, || {
        ns.patch("full", &json!({"engine": {"maxNumSeqs": 16}}));
        let limit = PATIENCE + Duration::from_secs(60);
        let mut told = Vec::new();
        wait_for("all replicas run the new settings", limit, || {
            let seen = ns.look("full")?;
            let ready = seen["status"]["readyReplicas"].as_i64().unwrap_or(0);
            let mut fewest = fewest.lock().unwrap();
            *fewest = ready.min(*fewest);
            let ready = ns.condition("full", "Ready")?;
            let reason = ready["reason"].as_str().unwrap_or_default().to_owned();
            if told.last() != Some(&reason) {
                told.push(reason);
            }
            if ready["status"] == "True" && pods(&ns, "full").iter().all(|pod| !before.contains(pod)) {
                return Ok(());
            }
            Err(ready.to_string())
        });
        assert!(told.iter().any(|reason| reason == "ReplacingOneByOne"), "it says how it gets on: {told:?}");
    });
    assert_eq!(fewest.into_inner().unwrap(), 1, "one replica was always ready, and only one was missing");
    assert_eq!(strategy(&ns, "full"), (json!(1), json!(0)), "the next rollout begins by surge again");

    // The only replica is not stopped unless the pool says so.
    scarce_single(&ns);
}

fn scarce_single(ns: &Namespace) {
    ns.patch("full", &json!({"resources": {"gpu": {"count": 2}}, "replicas": 1, "rollout": {"onShortage": "Wait"}}));
    wait_for("the pool says that it waits", PATIENCE, || {
        let ready = ns.condition("full", "Ready")?;
        if ready["reason"] == "WaitingForRoom" { Ok(()) } else { Err(ready.to_string()) }
    });
    let available = ns.condition("full", "Available").unwrap();
    assert_eq!((&available["status"], &available["reason"]), (&json!("True"), &json!("Serving")));
    ns.patch("full", &json!({"rollout": {"onShortage": "ReplaceEvenLast"}}));
    ns.wait_replicas("full", 1);
}

#[test]
fn a_bad_setting_takes_no_replica_away_and_is_undone_by_the_earlier_spec() {
    let ns = Namespace::new("rollback");
    ns.pool("kept", "kept-model", |sample| unscaled(sample).replacen("    timeout: 20s", "    timeout: 5s", 1));
    ns.kubectl("scale inferencepools.quartermaster.dev/kept --replicas=2");
    ns.wait_replicas("kept", 2);
    let before = pods(&ns, "kept");
    let spec = ns.look("kept").unwrap()["spec"].clone();
    let chat = Chat::new();
    answers(&chat, "kept-model");
    under_load(&chat, "kept-model", CLIENTS, || {
        ns.patch("kept", &json!({"engine": {"env": [{"name": "VLLM_SIM_START_DELAY", "value": "soon"}]}}));
        let stalled = wait_for("the pool says what is wrong", PATIENCE, || {
            let stalled = ns.condition("kept", "Stalled")?;
            if stalled["reason"] == "CrashLooping" { Ok(stalled) } else { Err(stalled.to_string()) }
        });
        let message = stalled["message"].as_str().unwrap_or_default();
        assert!(message.contains("VLLM_SIM_START_DELAY"), "the engine's own words: {message}");
        assert!(message.contains("2 replicas go on serving"), "{message}");
        assert_eq!(ns.condition("kept", "Available").unwrap()["status"], "True");
        assert_eq!(pods(&ns, "kept").len(), 3, "the old replicas, and the one that does not start");

        ns.patch("kept", &spec);
        wait_for("the pool is as it was", PATIENCE, || {
            let ready = ns.condition("kept", "Ready")?;
            let now = pods(&ns, "kept");
            if ready["status"] == "True" && now == before { Ok(()) } else { Err(format!("{now:?} {ready}")) }
        });
        assert!(ns.condition("kept", "Stalled").is_err());
    });
}
