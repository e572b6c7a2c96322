//! A TLS proxy in front of an API server. It passes every request on, writes down each in the order of arrival, and breaks
//! those that a [`Rule`] picks.
//!
//! A client is led to it by [`Proxy::kubeconfig`]. The proxy talks to the API server with the certificate of the kubeconfig
//! it was made from, unless the client brings a token of its own, which is then the only proof of who asks.

mod call;
mod relay;
mod rule;
mod serve;
mod tls;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::server::Server;

pub use call::{Ask, Call, Verb};
pub use rule::{Fault, Match, Rule};

/// What ends the process behind the proxy at once, as SIGKILL does.
pub type Kill = Arc<dyn Fn() + Send + Sync>;

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No certificate of its own could be made.
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate made is refused by the TLS library.
    #[error("the proxy's certificate is of no use: {0}")]
    Tls(#[from] rustls::Error),
    /// There was no free port.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// A running proxy. It ends with the runtime it was started on.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: Arc<str>,
}

/// What all connections of a proxy have in common.
struct Shared {
    server: Server,
    began: Instant,
    calls: Mutex<Vec<Call>>,
    rules: Mutex<Vec<rule::Armed>>,
    kill: Mutex<Option<Kill>>,
    /// Resources whose watches stand still; `*` stands for all.
    held: watch::Sender<BTreeSet<String>>,
    /// Watches begun before this number was reached are cut off.
    cut: watch::Sender<u64>,
    /// Bytes of events so far, to tell whether a watch is alive.
    relayed: AtomicU64,
}

impl Proxy {
    /// Starts a proxy to this API server, on a free port of this machine.
    ///
    /// # Errors
    /// When there is no port, or the certificates cannot be used.
    pub async fn start(server: &Server) -> Result<Self, StartError> {
        let identity = tls::Identity::make()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: server.clone(),
            began: Instant::now(),
            calls: Mutex::default(),
            rules: Mutex::default(),
            kill: Mutex::default(),
            held: watch::Sender::new(BTreeSet::new()),
            cut: watch::Sender::new(0),
            relayed: AtomicU64::new(0),
        });
        let authority = identity.authority().into();
        tokio::spawn(serve::serve(listener, identity.acceptor()?, Arc::clone(&shared)));
        Ok(Self { shared, address, authority })
    }

    /// A kubeconfig that leads to this proxy, with a bearer token if one is given.
    #[must_use]
    pub fn kubeconfig(&self, token: Option<&str>) -> String {
        let authority = BASE64.encode(self.authority.as_bytes());
        let user = token.map_or_else(|| "{}".to_owned(), |token| format!("{{token: {token}}}"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n\
             clusters: [{{name: proxy, cluster: {{server: \"https://{}\", certificate-authority-data: {authority}}}}}]\n\
             contexts: [{{name: proxy, context: {{cluster: proxy, user: proxy}}}}]\n\
             users: [{{name: proxy, user: {user}}}]\n",
            self.address
        )
    }

    /// Sets what ends the process behind the proxy.
    pub fn on_kill(&self, kill: Kill) {
        *lock(&self.shared.kill) = Some(kill);
    }

    /// Adds a rule. Of several that match a request the one added first is followed, and only that one counts it.
    pub fn add(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule::Armed::new(rule));
    }

    /// Takes all rules away. Requests that hang stay hanging until their client gives up.
    pub fn clear(&self) {
        lock(&self.shared.rules).clear();
    }

    /// How many requests the rules of now have broken.
    #[must_use]
    pub fn broken(&self) -> usize {
        lock(&self.shared.rules).iter().map(rule::Armed::hits).sum()
    }

    /// Holds back all that watches of this resource (a plural such as `pods`, or `*`) have to say, begun or to be begun.
    pub fn hold(&self, resource: &str) {
        self.shared.held.send_modify(|held| {
            held.insert(resource.to_owned());
        });
    }

    /// Lets all watches go on.
    pub fn release(&self) {
        self.shared.held.send_modify(BTreeSet::clear);
    }

    /// Breaks off every watch that is open now, in the middle of a chunk.
    pub fn cut_watches(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// How many calls have come in so far. Later calls have this or a higher number.
    #[must_use]
    pub fn mark(&self) -> usize {
        lock(&self.shared.calls).len()
    }

    /// The calls from number `from` on, in the order in which they came in.
    #[must_use]
    pub fn calls(&self, from: usize) -> Vec<Call> {
        lock(&self.shared.calls).get(from..).unwrap_or_default().to_vec()
    }

    /// How long a call took, or has been under way.
    #[must_use]
    pub fn lasted(&self, call: &Call) -> Duration {
        call.took.unwrap_or_else(|| self.shared.began.elapsed().saturating_sub(call.at))
    }

    /// How long ago the last call came in that changes something, or the proxy was started. A call under way is now.
    #[must_use]
    pub fn quiet_for(&self) -> Duration {
        let calls = lock(&self.shared.calls);
        let last = calls.iter().rev().find(|call| call.ask.mutates());
        let now = self.shared.began.elapsed();
        match last {
            None => now,
            Some(call) => call.took.map_or(Duration::ZERO, |took| now.saturating_sub(call.at + took)),
        }
    }

    /// How long ago the last call with this verb came in, of those numbered `from` and on; nothing if there was none.
    #[must_use]
    pub fn since(&self, from: usize, verb: Verb) -> Duration {
        let calls = lock(&self.shared.calls);
        let last = calls.iter().skip(from).rev().find(|call| call.ask.verb == verb);
        last.map_or(Duration::ZERO, |call| self.shared.began.elapsed().saturating_sub(call.at))
    }

    /// Bytes that watches have delivered so far.
    #[must_use]
    pub fn relayed(&self) -> u64 {
        self.shared.relayed.load(Relaxed)
    }
}

/// A lock whose holder panicked guards nothing that could be half-written here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
