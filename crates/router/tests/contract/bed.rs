//! Two engines, a tap in front of each, and a router in front of both.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use router::live::Live;
use router::metrics::Metrics;
use router::settings::Settings;
use router::workers::Workers;
use router_core::{
    Access, ClassifierInput, EndpointInput, HowInput, Moment, PolicyInput, PoolInput, Resilience, RuleInput, Table,
    TargetInput,
};
use vllm_sim::args::{self, Wish};
use vllm_sim::server;

use crate::http::Answer;

/// The model that makes text, and its engine's own name for it.
pub(crate) const TINY: &str = "tiny";
/// What clients call the model that answers with embeddings. Its engine calls it `tiny`, too, so its name is replaced.
pub(crate) const EMBED: &str = "embed";
/// What clients call the first model where the same model is asked before how hard the request is.
pub(crate) const JUDGED: &str = "judged";

/// No answer takes longer, even where real engines share two busy processors.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Bed {
    workers: Workers,
    taps: [Tap; 2],
}

impl Bed {
    pub(crate) fn new() -> Self {
        let arguments = "--served-model-name tiny tiny-alias --max-model-len 2048 --max-num-seqs 4 --host 127.0.0.1";
        let pooling = format!("{arguments} --runner pooling --convert embed");
        let taps = [Tap::new(engine("ENGINE_URL", arguments)), Tap::new(engine("ENGINE_URL_POOLING", &pooling))];
        let metrics = Metrics::new().unwrap();
        let live = Live::new(table(&[(TINY, taps[0].at), (EMBED, taps[1].at)]), &metrics).shared();
        let settings = Settings { first_byte_timeout: PATIENCE, silence_timeout: PATIENCE, ..Settings::default() };
        let workers =
            Workers::start("127.0.0.1:0".parse().unwrap(), 1, &settings, &live, &metrics, Duration::ZERO).unwrap();
        Self { workers, taps }
    }

    fn tap(&self, model: &str) -> &Tap {
        &self.taps[usize::from(model == EMBED)]
    }

    /// What the engine of this model answers to a client of its own.
    pub(crate) fn direct(&self, model: &str, path: &str, body: &str) -> Answer {
        ask(self.tap(model).engine, path, body)
    }

    /// What the router answers.
    pub(crate) fn answered(&self, path: &str, body: &str) -> Answer {
        ask(self.workers.address(), path, body)
    }

    /// What the router answers, and the request that it made of it and the engine's answer to that.
    pub(crate) fn routed(&self, model: &str, path: &str, body: &str) -> (Answer, (Answer, Answer)) {
        let tap = self.tap(model);
        *tap.kept.lock().unwrap() = Kept::default();
        let answer = ask(self.workers.address(), path, body);
        let kept = tap.kept.lock().unwrap();
        assert!(!kept.asked.is_empty(), "{path}: the engine was not asked: {answer:?}");
        (answer, (Answer::read(&*kept.asked), Answer::read(&*kept.said)))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.workers.close();
    }
}

fn ask(at: SocketAddr, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    Answer::read(BufReader::new(stream))
}

fn table(models: &[(&str, SocketAddr)]) -> Table {
    let name = |name: &str| name.to_owned();
    let policy = |(model, _): &(&str, SocketAddr)| PolicyInput {
        namespace: name("ml"),
        name: name(model),
        created: 1_700_000_000,
        models: vec![name(model)],
        targets: vec![TargetInput::new(*model, "ml", *model)],
        session_header: None,
        access: Access::anyone(),
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    };
    let pool = |(model, _): &(&str, SocketAddr)| PoolInput {
        namespace: name("ml"),
        name: name(model),
        served_model: name(TINY),
    };
    let endpoint = |(model, address): &(&str, SocketAddr)| EndpointInput {
        namespace: name("ml"),
        pool: name(model),
        address: *address,
        ready: true,
    };
    let (mut policies, pools): (Vec<_>, _) = (models.iter().map(policy).collect(), models.iter().map(pool).collect());
    let rule = |when: Option<&str>, how: &str| RuleInput {
        name: how.to_owned(),
        when: when.map(str::to_owned),
        how: HowInput::Ordered(vec![name(TINY)]),
        mirror: None,
    };
    policies.push(PolicyInput {
        name: name(JUDGED),
        models: vec![name(JUDGED)],
        rules: vec![rule(Some("request.complexity == 'complex'"), "hard"), rule(None, "others")],
        classifier: Some(ClassifierInput {
            namespace: name("ml"),
            pool: name(TINY),
            withheld: false,
            model: None,
            deadline: PATIENCE,
        }),
        ..policies[0].clone()
    });
    Table::build(policies, pools, models.iter().map(endpoint).collect(), &Table::default(), Moment(0))
}

/// The engine that this variable names, or a simulator in this process with these arguments.
fn engine(variable: &str, arguments: &str) -> SocketAddr {
    match std::env::var(variable) {
        Ok(url) => url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap(),
        Err(_) if std::env::var_os("ENGINE_URL").is_some() => panic!("{variable} must name an engine as well"),
        Err(_) => simulator(arguments),
    }
}

fn simulator(arguments: &str) -> SocketAddr {
    let Ok(Wish::Serve(args)) = args::parse(arguments.split_whitespace().map(str::to_owned)) else {
        panic!("the arguments are understood")
    };
    let settings = vllm_sim::settings::Settings::read(|_| None).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            server::serve(listener, *args, settings, started, std::future::pending()).await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// What went through a tap since it was emptied last.
#[derive(Default)]
struct Kept {
    asked: Vec<u8>,
    said: Vec<u8>,
}

/// Passes bytes between router and engine, and keeps them before it does.
struct Tap {
    at: SocketAddr,
    engine: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Tap {
    fn new(engine: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, kept) = (listener.local_addr().unwrap(), Arc::<Mutex<Kept>>::default());
        let keeps = Arc::clone(&kept);
        // Its threads end with the process.
        std::thread::spawn(move || {
            for router in listener.incoming() {
                let (router, engine) = (router.unwrap(), TcpStream::connect(engine).unwrap());
                let (asks, says) = (router.try_clone().unwrap(), engine.try_clone().unwrap());
                let (asked, said) = (Arc::clone(&keeps), Arc::clone(&keeps));
                std::thread::spawn(move || pass(asks, engine, |bytes| asked.lock().unwrap().asked.extend(bytes)));
                std::thread::spawn(move || pass(says, router, |bytes| said.lock().unwrap().said.extend(bytes)));
            }
        });
        Self { at, engine, kept }
    }
}

/// Passes bytes on until a side closes, and then tells the other.
fn pass(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut some = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut some) {
        keep(&some[..count]);
        if to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    // Gone already is as good.
    let _ = to.shutdown(std::net::Shutdown::Write);
}
