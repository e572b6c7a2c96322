//! Routers as the chart runs them, with settings of their own: HTTP/2, TLS, and a start while the API server is away.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use e2e::{
    Authority, Chat, Namespace, PATIENCE, Shown, Trust, Way, certificate, image_values, kill, must_helm, page,
    processes, routed, skip, unscaled, wait_for,
};
use serde_json::{Value, json};

const CHATS: &str = "/v1/chat/completions";
/// How long the API server is away at most: a node is given up after 50 s without a word to it.
const AWAY: Duration = Duration::from_secs(30);

/// Installs one router for the namespace, as the chart makes it with these values, or changes the one that is there. The
/// cluster's operator looks after the namespace's pools.
fn install(ns: &Namespace, values: &str) {
    let parts = ["serviceaccount", "rbac", "deployment", "service"];
    let parts = parts.map(|part| format!("--show-only templates/router/{part}.yaml")).join(" ");
    ns.must_apply(&must_helm(&format!(
        "template own charts/quartermaster --namespace {ns} {parts} --set {images},watchNamespace={ns},\
         metricsApi.enabled=false,router.replicas=1,router.drain.delaySeconds=1,{values}",
        ns = ns.name,
        images = image_values()
    )));
    ns.kubectl("rollout status deployment/quartermaster-router --timeout=120s");
}

/// Where the namespace's router is reached.
fn service(ns: &Namespace) -> SocketAddr {
    let service = ns.get("service quartermaster-router").unwrap();
    format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap()).parse().unwrap()
}

/// The one pod of the namespace's router that is not leaving.
fn pod(ns: &Namespace) -> Result<Value, String> {
    let pods = ns.get("pods --selector app.kubernetes.io/component=router")?;
    let all = pods["items"].as_array().cloned().unwrap_or_default();
    let mut stay = all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    match (stay.next(), stay.next()) {
        (Some(pod), None) => Ok(pod),
        _ => Err("there is not one router".to_owned()),
    }
}

fn restarts(pod: &Value) -> Option<u64> {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64()
}

fn question(model: &str, tokens: u32, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "max_tokens": tokens, "messages": [{"role": "user", "content": "Hello"}]})
}

#[test]
fn http2_and_tls_are_spoken_and_a_new_certificate_is_taken_live() {
    if !routed() {
        return skip("a router of one's own with TLS: its Service's address is not routed here");
    }
    let ns = Namespace::new("tls");
    ns.pool("local", "tls-model", unscaled);
    install(&ns, "router.http2=true");
    ns.wait_replicas("local", 1);

    let clear = |http2: bool| Way { at: service(&ns), trust: None, http2 };
    wait_for("HTTP/2 without asking in clear text", PATIENCE, || answers(&clear(true)));
    answers(&clear(false)).unwrap();

    let (authority, host) = (Authority::new(), format!("quartermaster-router.{}.svc", ns.name));
    let (secret, first) = authority.secret("router-tls", &host);
    ns.must_apply(&secret);
    install(&ns, "router.http2=true,router.tls.secretName=router-tls");
    let stored = ns.get("secret router-tls").unwrap();
    let pem = BASE64.decode(stored["data"]["ca.crt"].as_str().unwrap()).unwrap();
    let trust = Trust { authority: certificate(&String::from_utf8(pem).unwrap()), host };
    let way = |http2: bool| Way { at: service(&ns), trust: Some(trust.clone()), http2 };
    for http2 in [false, true] {
        let shown = wait_for("an answer over TLS", PATIENCE, || shown(&way(http2)));
        assert_eq!(shown, first, "HTTP/2: {http2}");
        let refused = clear(http2).post(CHATS, &question("tls-model", 2, false));
        assert!(refused.is_err(), "clear text is not answered: {refused:?}");
    }
    let (_, stranger) = Authority::new().secret("x", "x");
    let wary = Way { trust: Some(Trust { authority: stranger, ..trust.clone() }), ..way(false) };
    assert!(wary.post(CHATS, &question("tls-model", 2, false)).is_err(), "another authority has not signed it");

    renewed(&ns, &authority, &way);
}

/// A stream that began under the old certificate goes on while new connections are shown the new one.
fn renewed(ns: &Namespace, authority: &Authority, way: &(impl Fn(bool) -> Way + Sync)) {
    let before = pod(ns).unwrap();
    let (seen, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            way(false).stream(CHATS, &question("tls-model", 1000, true), |_| {
                seen.fetch_add(1, Relaxed);
                !enough.load(Relaxed)
            })
        });
        let streams = || {
            let have = seen.load(Relaxed);
            wait_for("the stream goes on", PATIENCE, || {
                assert!(!stream.is_finished(), "the stream has ended");
                if seen.load(Relaxed) >= have + 10 { Ok(()) } else { Err("it rests".to_owned()) }
            });
        };
        streams();
        let (secret, second) = authority.secret("router-tls", &way(false).trust.unwrap().host);
        ns.must_apply(&secret);
        // A node looks after a changed Secret within a minute, and at once when the pod changes.
        ns.kubectl(&format!(
            "annotate pod {} quartermaster.test/look=now",
            before["metadata"]["name"].as_str().unwrap()
        ));
        wait_for("new connections are shown the new certificate", PATIENCE, || {
            if shown(&way(false))? == second { Ok(()) } else { Err("the old one".to_owned()) }
        });
        assert_eq!(shown(&way(true)).unwrap(), second);
        streams();
        enough.store(true, Relaxed);
        let streamed = stream.join().unwrap().unwrap();
        assert!(streamed.status == 200 && !streamed.body.contains("\"error\""), "{}", streamed.body);
    });
    let after = pod(ns).unwrap();
    assert_eq!(
        (&after["metadata"]["uid"], restarts(&after)),
        (&before["metadata"]["uid"], Some(0)),
        "nothing restarted"
    );
}

fn answers(way: &Way) -> Result<(), String> {
    let answer = way.post(CHATS, &question("tls-model", 2, false)).map_err(|error| error.to_string())?;
    let whole = answer.status == 200 && answer.body.contains("chat.completion");
    if whole { Ok(()) } else { Err(format!("{answer:?}")) }
}

/// The certificate that is shown to a client that is answered.
fn shown(way: &Way) -> Result<Shown, String> {
    let answer = way.post(CHATS, &question("tls-model", 2, false)).map_err(|error| error.to_string())?;
    if answer.status == 200 { answer.certificate.ok_or_else(|| "none".to_owned()) } else { Err(format!("{answer:?}")) }
}

/// A part of the local cluster that stands still until this is dropped.
struct Paused(&'static str);

impl Paused {
    fn new(component: &'static str) -> Self {
        assert!(tool("pause", component), "{component} is paused");
        Self(component)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if !tool("resume", self.0) {
            // Panicking here could end the whole run; the next scenario fails and this says why.
            eprintln!("{} was not resumed", self.0);
        }
    }
}

fn tool(verb: &str, component: &str) -> bool {
    let (tool, cluster) = (std::env::var("E2E_TOOL").unwrap(), std::env::var("E2E_CLUSTER").unwrap());
    Command::new(tool).args([verb, component, "--name", &cluster]).status().unwrap().success()
}

/// The container is what starts again, in its old pod: that is what finds its volume as it left it.
#[test]
fn a_router_that_starts_while_the_api_server_is_away_serves_by_the_table_it_kept() {
    if !routed() {
        return skip("a router that starts without API server: the node is not on this machine");
    }
    let ns = Namespace::new("kept");
    ns.pool("known", "kept-model", unscaled);
    install(&ns, "router.cache.sizeLimit=8Mi");
    ns.wait_replicas("known", 1);
    let chat = Chat::within(&ns.name).keeping_no_connection();
    let served = |model: &str| match chat.ask(model, 2)? {
        reply if reply.status == 200 => Ok(()),
        reply => Err(format!("{reply:?}")),
    };
    wait_for("the router knows the model", PATIENCE, || served("kept-model"));
    let before = pod(&ns).unwrap();
    let name = before["metadata"]["name"].as_str().unwrap();
    let admin = format!("http://{}:9090", before["status"]["podIP"].as_str().unwrap());
    let endpoint = ns.get("pods --selector quartermaster.dev/pool=known").unwrap();
    let endpoint = endpoint["items"][0]["status"]["podIP"].as_str().unwrap();
    let ready = format!("\"{endpoint}:8000\",\"ready\":true");
    let process = processes(name).pop().unwrap();
    let table = Path::new("/proc").join(&process).join("root").join("var/cache/quartermaster/table.json");
    wait_for("the table is kept", PATIENCE, || {
        let kept = std::fs::read_to_string(&table);
        kept.map_err(|e| e.to_string()).and_then(|text| text.contains(&ready).then_some(()).ok_or(text))
    });
    let figure = |want: &str| {
        let page = page(&format!("{admin}/metrics"))?;
        let line = page.lines().find(|line| line.starts_with("quartermaster_router_table_from_cache "));
        if line.is_some_and(|line| line.ends_with(want)) { Ok(()) } else { Err(format!("{line:?}")) }
    };
    figure(" 0").unwrap();
    {
        let _away = Paused::new("kube-apiserver");
        assert!(kill(&process), "the router is killed");
        wait_for("it starts again and serves what it kept", AWAY, || served("kept-model"));
        assert!(!processes(name).contains(&process), "another process answers");
        figure(" 1").unwrap();
        let ready = page(&format!("{admin}/readyz")).unwrap();
        assert!(ready.contains("the routing table that was kept"), "{ready}");
    }
    wait_for("it reads the cluster again", PATIENCE, || figure(" 0"));
    ns.must_apply(
        "apiVersion: quartermaster.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: later}\n\
         spec: {models: [kept-later], targets: [{name: local, pool: {name: known}}], access: {anonymous: true}}\n",
    );
    wait_for("it follows the cluster again", PATIENCE, || served("kept-later"));
    let after = wait_for("the node tells of the restart", PATIENCE, || {
        let pod = pod(&ns)?;
        if restarts(&pod) == Some(1) { Ok(pod) } else { Err(format!("{:?}", restarts(&pod))) }
    });
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "the pod is the same");
}
