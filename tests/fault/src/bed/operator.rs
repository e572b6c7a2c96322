//! An operator as a process, which is started again whenever a rule has killed it.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Bed, Trouble};
use crate::apifault::Proxy;

/// How often it is looked whether the process still runs.
const LOOK: Duration = Duration::from_millis(20);

/// An operator for one namespace, behind its proxy. It ends when this is dropped.
pub struct Operator {
    /// What stands between it and the API server.
    pub proxy: Proxy,
    state: Arc<State>,
    watcher: tokio::task::JoinHandle<()>,
}

struct State {
    child: Mutex<Option<Child>>,
    /// Whether a process that ended is to be started again.
    wanted: Mutex<bool>,
    kills: AtomicUsize,
    /// How often it ended without having been killed.
    ends: AtomicUsize,
    program: PathBuf,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    log: PathBuf,
}

impl Operator {
    /// Starts one that looks after `namespace`, with the rights of `token`, or else the administrator's.
    ///
    /// # Errors
    /// When proxy or process cannot be started.
    pub async fn start(bed: &Bed, namespace: &str, token: Option<&str>) -> Result<Self, Trouble> {
        Self::launch(bed, namespace, token, vec![format!("--namespace={namespace}")]).await
    }

    /// Starts one that looks after `namespace` only while it holds the Lease there, which it does under this name with
    /// something random added.
    ///
    /// # Errors
    /// When proxy or process cannot be started.
    pub async fn candidate(bed: &Bed, namespace: &str, name: &str) -> Result<Self, Trouble> {
        let arguments = vec![
            format!("--namespace={namespace}"),
            format!("--lease-namespace={namespace}"),
            format!("--identity={name}"),
        ];
        Self::launch(bed, &format!("{namespace}-{name}"), None, arguments).await
    }

    /// `name` is that of its files.
    async fn launch(bed: &Bed, name: &str, token: Option<&str>, arguments: Vec<String>) -> Result<Self, Trouble> {
        let proxy = Proxy::start(&bed.server).await?;
        let (kubeconfig, log) = (bed.folder.join(format!("{name}.kubeconfig")), bed.folder.join(format!("{name}.log")));
        let io = |path: &PathBuf| {
            let what = path.display().to_string();
            |source| Trouble::Io { what, source }
        };
        std::fs::write(&kubeconfig, proxy.kubeconfig(token)).map_err(io(&kubeconfig))?;
        File::create(&log).map_err(io(&log))?;
        let state = Arc::new(State {
            child: Mutex::default(),
            wanted: Mutex::new(true),
            kills: AtomicUsize::new(0),
            ends: AtomicUsize::new(0),
            program: bed.program.clone(),
            arguments,
            kubeconfig,
            log,
        });
        *lock(&state.child) = Some(state.spawn().map_err(io(&bed.program))?);
        let victim = Arc::clone(&state);
        proxy.on_kill(Arc::new(move || victim.kill()));
        let watcher = tokio::spawn(watch(Arc::clone(&state)));
        Ok(Self { proxy, state, watcher })
    }

    /// Kills it as `kill -9` does; it is started again.
    pub fn kill(&self) {
        self.state.kill();
    }

    /// Kills it, and leaves it dead until [`Self::resume`].
    pub fn stop(&self) {
        *lock(&self.state.wanted) = false;
        self.state.kill();
    }

    /// Tells it to end, as Kubernetes does; it is not started again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn retire(&self) -> Result<(), Trouble> {
        *lock(&self.state.wanted) = false;
        self.signal("TERM")
    }

    /// Sends it a signal, such as `STOP` or `CONT`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<(), Trouble> {
        let trouble = |why: String| Trouble::Other(format!("SIG{name} cannot be sent: {why}"));
        let pid =
            lock(&self.state.child).as_ref().map(Child::id).ok_or_else(|| trouble("it does not run".to_owned()))?;
        let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(trouble(status.to_string())),
            Err(error) => Err(trouble(error.to_string())),
        }
    }

    /// Lets it run again.
    pub fn resume(&self) {
        *lock(&self.state.wanted) = true;
    }

    /// How often it was killed.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.state.kills.load(Relaxed)
    }

    /// How often it ended by itself, which it never should.
    #[must_use]
    pub fn ends(&self) -> usize {
        self.state.ends.load(Relaxed)
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.state.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.watcher.abort();
        self.stop();
        if let Some(mut child) = lock(&self.state.child).take() {
            // It was killed; without the wait it would stay in the list of processes.
            drop(child.wait());
        }
    }
}

impl State {
    fn spawn(&self) -> std::io::Result<Child> {
        let log = OpenOptions::new().append(true).open(&self.log)?;
        Command::new(&self.program)
            .args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"])
            .args(&self.arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    fn kill(&self) {
        if let Some(child) = lock(&self.child).as_mut() {
            self.kills.fetch_add(1, Relaxed);
            // The only error is that it has ended already.
            drop(child.kill());
        }
    }
}

async fn watch(state: Arc<State>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut child = lock(&state.child);
        if let Some(running) = child.as_mut() {
            let Ok(Some(status)) = running.try_wait() else { continue };
            *child = None;
            // Killed by a signal has no code.
            if status.code().is_some() {
                state.ends.fetch_add(1, Relaxed);
            }
        }
        if *lock(&state.wanted) {
            *child = state.spawn().ok();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
