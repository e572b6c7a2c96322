//! The engine that is checked, and where the simulator is knowingly unlike vLLM.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use vllm_sim::args::{self, Wish};
use vllm_sim::{server, settings::Settings};

use crate::http::{Answer, ask};

/// How the engine at `ENGINE_URL` must have been started, besides its port: the checks count on it.
pub(crate) const ARGUMENTS: &str =
    "--served-model-name tiny tiny-alias --max-model-len 2048 --max-num-seqs 4 --host 127.0.0.1";

/// Where the two differ: what, in vLLM, in the simulator, and why.
pub(crate) const DIFFERENCES: [(&str, &str, &str, &str); 4] = [
    ("server", "uvicorn", "vllm-sim", "the simulator says who it is"),
    ("owned_by", "vllm", "vllm-sim", "the simulator says who it is"),
    ("fingerprint", "vllm-0.32.0-", "vllm-sim", "the simulator says who it is"),
    (
        "HEAD /health",
        "405",
        "200",
        "the simulator's router answers HEAD wherever it answers GET; nobody relies on the 405",
    ),
    // Not compared at all, because clients that follow the standards cannot tell: the order of headers; numbers on the
    // metrics page as 1 instead of 1.0; Python's and the process's own metrics, `_created` series, and figures of parts
    // the simulator lacks (prefix cache, adapters, speculation); the list of all alternatives that vLLM gives when a
    // message of a chat has the wrong type.
];

/// Address of the engine: the one that `ENGINE_URL` names, or a simulator in this process.
pub(crate) fn engine() -> &'static str {
    static ENGINE: OnceLock<String> = OnceLock::new();
    ENGINE.get_or_init(|| match std::env::var("ENGINE_URL") {
        Ok(url) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        Err(_) => start_simulator(),
    })
}

fn start_simulator() -> String {
    let Ok(Wish::Serve(args)) = args::parse(ARGUMENTS.split(' ').map(str::to_owned)) else {
        panic!("the arguments are understood")
    };
    // About as fast as the real engine with a tiny model.
    let settings = |name: &str| (name == "VLLM_SIM_TOKENS_PER_SECOND").then(|| "400".to_owned());
    let settings = Settings::read(settings).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            server::serve(listener, *args, settings, started, std::future::pending()).await.unwrap();
        });
    });
    told.recv().unwrap().to_string()
}

/// What the engine at hand says where the two differ.
pub(crate) fn expected(what: &str) -> &'static str {
    let (_, vllm, simulator, _) = DIFFERENCES.iter().find(|(known, ..)| *known == what).unwrap();
    if is_real() { vllm } else { simulator }
}

/// Whether the engine at hand is vLLM.
pub(crate) fn is_real() -> bool {
    std::env::var_os("ENGINE_URL").is_some()
}

pub(crate) fn get(path: &str) -> Answer {
    ask(engine(), "GET", path, "").unwrap()
}

pub(crate) fn post(path: &str, body: &str) -> Answer {
    ask(engine(), "POST", path, body).unwrap()
}

/// The sum of the series of a metric whose labels contain `labels`.
pub(crate) fn metric(name: &str, labels: &str) -> f64 {
    let page = get("/metrics").body;
    let series = page.lines().filter(|line| line.starts_with(&format!("vllm:{name}{{")) && line.contains(labels));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// Waits until `condition` holds, at most so long.
pub(crate) fn wait_within(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < deadline, "waited {deadline:?} until {what}");
        #[expect(clippy::disallowed_methods, reason = "the pause between two looks, which the deadline bounds")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds, at most two minutes: three real engines may share two processors.
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(120), what, condition);
}
