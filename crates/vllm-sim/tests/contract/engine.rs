//! The engines that are checked.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use vllm_sim::args::{self, Wish};
use vllm_sim::{server, settings::Settings};

use crate::differences::Difference;
use crate::http::{Answer, ask};

/// How the engine at `ENGINE_URL` must have been started, besides its port: the checks count on it.
pub(crate) const ARGUMENTS: &str =
    "--served-model-name tiny tiny-alias --max-model-len 2048 --max-num-seqs 4 --host 127.0.0.1";

/// How the engine at `ENGINE_URL_FULL` must have been started as well, with the adapter `fixed`, with development mode, and
/// with adapters that can be changed at run time.
pub(crate) const FULL_ARGUMENTS: &str = "--served-model-name tiny tiny-alias --max-model-len 2048 --max-num-seqs 4 \
     --host 127.0.0.1 --block-size 128 --enable-lora --max-lora-rank 8 --enable-prompt-tokens-details \
     --enable-server-load-tracking --max-num-queued-reqs 12 --enable-auto-tool-choice --tool-call-parser hermes";

/// Address of the engine: the one that `ENGINE_URL` names, or a simulator in this process.
pub(crate) fn engine() -> &'static str {
    static ENGINE: OnceLock<String> = OnceLock::new();
    ENGINE.get_or_init(|| match std::env::var("ENGINE_URL") {
        Ok(url) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        Err(_) => start_simulator(ARGUMENTS, false),
    })
}

/// How the engine at `ENGINE_URL_POOLING` must have been started: its model answers with embeddings.
pub(crate) const POOLING_ARGUMENTS: &str = "--served-model-name tiny tiny-alias --max-model-len 2048 --max-num-seqs 4 \
     --host 127.0.0.1 --runner pooling --convert embed";

/// An engine whose model answers with embeddings.
pub(crate) fn pooling() -> &'static str {
    static ENGINE: OnceLock<String> = OnceLock::new();
    ENGINE.get_or_init(|| match std::env::var("ENGINE_URL_POOLING") {
        Ok(url) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        Err(_) if is_real() => panic!("ENGINE_URL_POOLING must name an engine as well"),
        Err(_) => start_simulator(POOLING_ARGUMENTS, false),
    })
}

/// An engine with adapters and development mode, for one check at a time: they change what the others would see.
pub(crate) struct Full {
    at: &'static str,
    _alone: MutexGuard<'static, ()>,
}

impl Full {
    pub(crate) fn engine() -> Self {
        static ENGINE: OnceLock<String> = OnceLock::new();
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ENGINE.get_or_init(|| match std::env::var("ENGINE_URL_FULL") {
            Ok(url) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            Err(_) if is_real() => panic!("ENGINE_URL_FULL must name an engine as well"),
            Err(_) => start_simulator(&format!("{FULL_ARGUMENTS} --lora-modules fixed={}", adapter()), true),
        });
        Self { at, _alone: alone }
    }

    pub(crate) fn at(&self) -> &'static str {
        self.at
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        ask(self.at, "GET", path, "").unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        ask(self.at, "POST", path, body).unwrap()
    }
}

/// A folder with an adapter that fits the model.
pub(crate) fn adapter() -> String {
    std::env::var("ENGINE_ADAPTER").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned())
}

fn start_simulator(arguments: &str, open: bool) -> String {
    let Ok(Wish::Serve(args)) = args::parse(arguments.split_whitespace().map(str::to_owned)) else {
        panic!("the arguments are understood")
    };
    // About as fast as the real engine with a tiny model.
    let settings = |name: &str| match name {
        "VLLM_SIM_TOKENS_PER_SECOND" => Some("400".to_owned()),
        "VLLM_SERVER_DEV_MODE" | "VLLM_ALLOW_RUNTIME_LORA_UPDATING" if open => Some("1".to_owned()),
        _ => None,
    };
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
pub(crate) fn expected(what: &Difference) -> &'static str {
    if is_real() { what.vllm } else { what.simulator }
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
