//! Replicas and routers come, go and are killed while 32 clients stream.
//!
//! Each scenario goes on for `DISRUPT_SECONDS`, by default twenty.

use std::time::{Duration, Instant};

use e2e::{
    Chat, Namespace, PATIENCE, SYSTEM, kill, kubectl, load_on_new_connections, pause, processes, routed, skip,
    tallied_load, try_kubectl, under_load, unscaled, wait_for,
};
use serde_json::{Value, json};

/// Clients that stream all the time.
const CLIENTS: usize = 32;
/// Clients that connect anew for each request.
const NEWCOMERS: usize = 8;
/// From the beginning of a rollout of the routers to the next.
const TURN: Duration = Duration::from_secs(30);
/// Between a whole pool and the next kill, so that all replicas have work.
const BREATH: Duration = Duration::from_millis(1500);

fn lasts() -> Duration {
    let seconds = std::env::var("DISRUPT_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

fn busy_pool(purpose: &str, model: &str, replicas: i64) -> (Namespace, Chat) {
    let ns = Namespace::new(purpose);
    ns.pool("busy", model, |sample| unscaled(sample).replacen("    timeout: 20s", "    timeout: 10s", 1));
    ns.kubectl(&format!("scale inferencepools.quartermaster.dev/busy --replicas={replicas}"));
    ns.wait_replicas("busy", replicas);
    let chat = Chat::new();
    wait_for("the router knows the model", PATIENCE, || chat.stream(model, 2).map(|_| ()));
    (ns, chat)
}

fn pods(ns: &Namespace) -> Vec<String> {
    let names =
        ns.kubectl("get pods --selector quartermaster.dev/pool=busy --output jsonpath={.items[*].metadata.name}");
    names.split_whitespace().map(str::to_owned).collect()
}

/// Asks for a pod's eviction, as `kubectl drain` does for each pod of a node, until its disruption budget allows it.
fn evict(namespace: &str, pod: &str) {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    wait_for(&format!("{pod} may be evicted"), PATIENCE, || {
        match try_kubectl(&format!("create --raw {path} --filename -"), &eviction.to_string()) {
            Err(error) if error.contains("NotFound") => Ok(()),
            other => other.map(|_| ()),
        }
    });
}

/// Scaled in and out, rolled, and drained from the node, pod by pod.
#[test]
fn no_request_is_lost_while_replicas_come_and_go() {
    let (ns, chat) = busy_pool("come-and-go", "come-model", 3);
    let mut rounds = 0;
    let answers = under_load(&chat, "come-model", CLIENTS, || {
        let began = Instant::now();
        for round in 1.. {
            rounds = round;
            ns.kubectl("scale inferencepools.quartermaster.dev/busy --replicas=2");
            ns.wait_replicas("busy", 2);
            ns.kubectl("scale inferencepools.quartermaster.dev/busy --replicas=3");
            ns.wait_replicas("busy", 3);
            pods(&ns).iter().for_each(|pod| evict(&ns.name, pod));
            ns.wait_replicas("busy", 3);
            ns.patch("busy", &json!({"engine": {"maxNumSeqs": 32 + round}}));
            ns.wait_replicas("busy", 3);
            if began.elapsed() > lasts() {
                break;
            }
        }
    });
    println!("{rounds} rounds of scaling in and out, draining and rolling: {answers} answers, none failed");
}

#[test]
fn no_request_is_lost_while_routers_are_drained_from_their_nodes() {
    if !routed() {
        return skip("routers evicted under load: a port-forward holds on to one router");
    }
    let (_ns, chat) = busy_pool("router-drain", "router-drain-model", 2);
    under_load(&chat, "router-drain-model", CLIENTS, || {
        let began = Instant::now();
        while began.elapsed() < lasts() {
            let of_router = "app.kubernetes.io/component=router";
            let routers = kubectl(&format!(
                "get pods --namespace {SYSTEM} --selector {of_router} --output jsonpath={{.items[*].metadata.name}}"
            ));
            assert!(!routers.is_empty());
            routers.split_whitespace().for_each(|pod| evict(SYSTEM, pod));
            kubectl(&format!("rollout status deployment/quartermaster-router --namespace {SYSTEM} --timeout=120s"));
        }
    });
}

/// All routers are replaced again and again while clients connect anew for each request (RC-09).
#[test]
fn no_new_connection_fails_while_routers_are_replaced() {
    if !routed() {
        return skip("new connections while routers are replaced: a port-forward holds on to one router");
    }
    let (_ns, chat) = busy_pool("router-roll", "router-roll-model", 2);
    let mut rollouts = 0;
    let tally = load_on_new_connections(&chat, "router-roll-model", NEWCOMERS, || {
        let began = Instant::now();
        while began.elapsed() < lasts() {
            let turn = Instant::now();
            kubectl(&format!("rollout restart deployment/quartermaster-router --namespace {SYSTEM}"));
            kubectl(&format!("rollout status deployment/quartermaster-router --namespace {SYSTEM} --timeout=120s"));
            rollouts += 1;
            pause(TURN.min(lasts().saturating_sub(turn - began)).saturating_sub(turn.elapsed()));
        }
    });
    assert_eq!(tally.failures, Vec::<String>::new(), "{rollouts} rollouts, {} answers", tally.answers);
    println!("{rollouts} rollouts of all routers: {} answers, each on a connection of its own", tally.answers);
}

/// Names of the pool's pods that are ready.
fn ready(ns: &Namespace) -> Vec<String> {
    let list = ns.get("pods --selector quartermaster.dev/pool=busy").unwrap_or_default();
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let is = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    pods.iter().filter(is).filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect()
}

/// Half of the replicas at a time are killed as a crash of the machine's driver would: at once, and without a word.
#[test]
fn killed_replicas_cost_only_answers_that_had_begun_and_these_say_so() {
    if !routed() {
        return skip("engines killed with -9: their processes are on another machine");
    }
    let (ns, chat) = busy_pool("killed", "killed-model", 4);
    let mut kills = 0;
    let tally = tallied_load(&chat, "killed-model", CLIENTS, || {
        let began = Instant::now();
        while began.elapsed() < lasts() {
            let victims: Vec<String> = ready(&ns).into_iter().take(2).collect();
            // One after the other: what was tried again on the second is then tried again once more.
            for pod in &victims {
                kills += processes(pod).iter().filter(|pid| kill(pid)).count();
                pause(BREATH / 3);
            }
            // A container that is killed often is started again later and later; new pods take their places at once.
            for pod in &victims {
                ns.kubectl(&format!("delete pod {pod} --grace-period=0 --force --wait=false"));
            }
            wait_for("four replicas are ready again", PATIENCE, || {
                let now = ready(&ns);
                if now.len() == 4 && now.iter().all(|pod| !victims.contains(pod)) { Ok(()) } else { Err(now.join(" ")) }
            });
            pause(BREATH);
        }
    });
    assert!(kills > 0, "nothing was killed");
    assert_eq!(
        tally.failures,
        Vec::<String>::new(),
        "{kills} kills, {} answers, {} broken",
        tally.answers,
        tally.broken
    );
    assert!(tally.broken > 0, "{kills} kills met no answer that had begun: {} answers", tally.answers);
    println!("{kills} kills: {} answers, {} broken off with an error event", tally.answers, tally.broken);
}
