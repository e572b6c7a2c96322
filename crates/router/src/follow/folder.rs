//! Serves without a cluster: the same objects from the files of a folder, read again when they change.
//!
//! What cannot be read leaves its object as it was, and is told with file, line and field. Files are looked at once a second by
//! what they hold, not by their times: that works the same for an editor that replaces a file, a ConfigMap whose links are
//! swapped, and a folder on a network.

mod files;
mod read;
mod secret;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{KEYS_SECRET, POOL_LABEL, RoutePolicy};
use k8s_openapi::api::core::v1::Service;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use router_core::{Api, Keys, Reach, RemoteInput, SecretKey, Table, To, ToInput};
use schema::Kinds;
use telemetry::admin::Readiness;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::files::Files;
use self::read::{Reading, Said};
use self::secret::Outside;
use super::world::{Kept, Key, World};
use super::{Follower, callers, read as objects, secrets};
use crate::clock;
use crate::issuers::{self, Issuers};
use crate::live::Shared;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::secrets::{KeyFault, Secrets};
use crate::volume::Volumes;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A change is taken in once two looks so far apart see the same: a file that is being written is seen half.
const SETTLE: Duration = Duration::from_millis(100);
/// How many such looks are waited for at most.
const PATIENCE: usize = 20;
/// The namespace of objects that name none, as with kubectl.
const NAMESPACE: &str = "default";

/// Why a folder cannot be served from.
#[derive(Debug)]
pub struct BadFolder {
    folder: PathBuf,
    mistakes: Vec<String>,
}

impl fmt::Display for BadFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration in {} cannot be used:", self.folder.display())?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for BadFolder {}

/// A folder with objects, read once.
pub struct Folder {
    path: PathBuf,
    namespace: Option<String>,
    reach: Reach,
    kinds: Kinds,
    files: Files,
    said: Said,
    /// Why the files cannot be looked at now.
    away: Option<String>,
}

/// What a look at the folder found.
enum Seen {
    /// Other files than before.
    Files(Files),
    /// They cannot be looked at, for a new reason; or can be again, and are as they were.
    Away(Option<String>),
}

impl Folder {
    /// Reads the folder. Objects that name no namespace are in `namespace`, and those of others are then left out; without it they
    /// are in `default`. `reach` says which addresses of replicas may be sent to.
    ///
    /// # Errors
    ///
    /// When there is no policy in it that can be used; all mistakes are told.
    pub fn open(path: &Path, namespace: Option<&str>, reach: &Reach) -> Result<Self, BadFolder> {
        let bad = |mistakes| BadFolder { folder: path.to_owned(), mistakes };
        let kinds = Kinds::new().map_err(|fault| bad(vec![format!("{}: {}", fault.path, fault.message)]))?;
        let files = Files::read(path, &BTreeSet::new()).map_err(|error| bad(vec![error.to_string()]))?;
        let mut folder = Self {
            path: path.to_owned(),
            namespace: namespace.map(str::to_owned),
            reach: reach.clone(),
            kinds,
            files: Files::default(),
            said: Said::default(),
            away: None,
        };
        folder.take(files);
        if let Ok(files) = Files::read(path, &folder.outside()) {
            folder.files = files;
        }
        if !folder.said.serves() {
            let mut mistakes = folder.mistakes();
            if mistakes.is_empty() {
                mistakes.push("it holds no RoutePolicy (*.yaml, *.yml, *.json)".to_owned());
            }
            return Err(bad(mistakes));
        }
        Ok(folder)
    }

    /// What is wrong with the files, each with its place.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        self.said.mistakes.iter().map(|mistake| mistake.said.clone()).collect()
    }

    /// What there is to say of the folder, if all of it can be used: how much it holds, and what its policies name that is not
    /// there.
    ///
    /// # Errors
    ///
    /// When not all of it can be used; all mistakes are told.
    pub fn check(mut self, metrics: &Metrics) -> Result<String, BadFolder> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(BadFolder { folder: self.path, mistakes });
        }
        let (policies, pools) = (self.said.policies.len(), self.said.pools.len());
        let mut verdict = format!("{} can be used; policies: {policies}, pools: {pools}", self.path.display());
        let mut world = world();
        put(&mut world, &mut self.said, metrics);
        let keys = provider_keys(&world, &self.said, &Secrets::default());
        for missing in unresolved(&world, &keys, &self.said) {
            verdict += "\n  ";
            verdict += &missing;
        }
        Ok(verdict)
    }

    fn take(&mut self, files: Files) {
        let outside = |place: &Outside| match place {
            Outside::Env(name) => std::env::var(name).map(String::into_bytes).map_err(|error| error.to_string()),
            Outside::File(path) => files::bytes(&self.path.join(path)),
        };
        let how = Reading {
            kinds: &self.kinds,
            namespace: self.namespace.as_deref().unwrap_or(NAMESPACE),
            only: self.namespace.is_some(),
            reach: &self.reach,
            outside: &outside,
        };
        let said = Said::read(&files, &how, &self.said);
        (self.files, self.said) = (files, said);
    }

    /// Files elsewhere that Secrets refer to.
    fn outside(&self) -> BTreeSet<PathBuf> {
        self.said.outside.iter().map(|file| self.path.join(file)).collect()
    }

    /// The files as they are now.
    async fn look(&self) -> Result<Files, String> {
        let (path, outside) = (self.path.clone(), self.outside());
        // A folder on a network may take its time.
        let looked = tokio::task::spawn_blocking(move || Files::read(&path, &outside)).await;
        looked.map_err(|ended| ended.to_string())?.map_err(|error| error.to_string())
    }

    /// Waits for a change. A SIGHUP brings the next look forward.
    async fn changed(&self, hangup: &mut Option<Signal>) -> Seen {
        loop {
            let told = tokio::time::timeout(EVERY, hung_up(hangup)).await.is_ok();
            match self.settled().await {
                Ok(files) if files != self.files => return Seen::Files(files),
                Ok(_) if self.away.is_some() => return Seen::Away(None),
                Ok(_) if told => {
                    let (folder, mistakes) = (self.path.display(), self.said.mistakes.len());
                    tracing::info!(%folder, mistakes, "SIGHUP: the configuration is as it was");
                }
                Err(why) if self.away.as_ref() != Some(&why) => return Seen::Away(Some(why)),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// What the files hold, once it is the same twice.
    async fn settled(&self) -> Result<Files, String> {
        let mut files = self.look().await?;
        if files == self.files {
            return Ok(files);
        }
        for _ in 0..PATIENCE {
            tokio::time::sleep(SETTLE).await;
            let again = self.look().await?;
            if again == files {
                break;
            }
            files = again;
        }
        Ok(files)
    }
}

/// Waits for a SIGHUP; for ever where there is nothing to hear it by.
async fn hung_up(hangup: &mut Option<Signal>) {
    let heard = match hangup {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Follows the folder for as long as it is polled. `ready` is set at once: it has been read.
pub async fn follow_folder(
    mut folder: Folder,
    outbound: Outbound,
    volumes: &Volumes,
    live: &Shared,
    metrics: &Metrics,
    ready: &Readiness,
) {
    let (keys, known_keys) = watch::channel(Arc::new(Secrets::default()));
    let (callers, known_callers) = watch::channel(Arc::new(Keys::default()));
    let (named, issuers_named) = watch::channel(BTreeSet::new());
    let (again, asked_again) = mpsc::channel(issuers::QUEUE);
    let (read, issuers) = watch::channel(Arc::new(Issuers::asking(again)));
    let reading_issuers = issuers::keep(outbound, issuers_named, asked_again, read);
    let follower = Follower {
        live,
        metrics,
        ready,
        cache: None,
        texts: watch::channel(Vec::new()).0,
        wanted: watch::channel(BTreeSet::new()).0,
        secrets: known_keys,
        gated: watch::channel(BTreeSet::new()).0,
        callers: known_callers,
        named,
        issuers,
        volumes,
        world: world(),
        mistakes: Arc::default(),
        said: false,
        failed: None,
    };
    tokio::select! {
        () = reading_issuers => {}
        () = run(&mut folder, follower, &keys, &callers) => {}
    }
}

/// Puts the folder to use, now and whenever it changes.
async fn run(
    folder: &mut Folder,
    mut follower: Follower<'_>,
    keys: &watch::Sender<Arc<Secrets>>,
    callers: &watch::Sender<Arc<Keys>>,
) {
    // Without it a SIGHUP would end the process.
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        put(&mut follower.world, &mut folder.said, follower.metrics);
        keys.send_modify(|keys| *keys = Arc::new(provider_keys(&follower.world, &folder.said, keys)));
        callers.send_replace(Arc::new(caller_keys(&follower.world, &folder.said)));
        let unresolved = unresolved(&follower.world, &keys.borrow(), &folder.said);
        let told = folder.said.mistakes.iter().filter(|mistake| !mistake.kept).map(|mistake| &mistake.said);
        for mistake in told.chain(&unresolved).filter(|mistake| !follower.mistakes.contains(mistake)) {
            tracing::warn!(folder = %folder.path.display(), "{mistake}");
        }
        let mut mistakes = folder.mistakes();
        mistakes.extend(unresolved);
        follower.mistakes = mistakes.clone().into();
        follower.put_to_use(false);
        let files = loop {
            let seen = tokio::select! {
                seen = folder.changed(&mut hangup) => seen,
                // The keys of an issuer came, or changed.
                Ok(()) = follower.issuers.changed() => {
                    follower.put_to_use(false);
                    continue;
                }
            };
            match seen {
                Seen::Files(files) => break files,
                Seen::Away(why) => {
                    let told = why.as_ref().map(|why| away(&folder.path, why));
                    follower.mistakes = mistakes.iter().cloned().chain(told).collect();
                    follower.put_to_use(false);
                    folder.away = why;
                }
            }
        };
        folder.away = None;
        folder.take(files);
    }
}

/// Tells that the files cannot be looked at.
fn away(folder: &Path, why: &str) -> String {
    let told = format!("{} cannot be read: {why}; its last state stays in use", folder.display());
    tracing::warn!("{told}");
    told
}

/// Nothing yet.
fn world() -> World {
    World { namespaces: Some(Kept::default()), ..World::default() }
}

/// Makes the world as the files have it. They say everything anew, as a watch does that begins again: what they do not name is
/// gone, and what cannot be read stays as it was.
fn put(world: &mut World, said: &mut Said, metrics: &Metrics) {
    let policy = |policy: &RoutePolicy| {
        let mut input = objects::policy(policy);
        for target in &mut input.targets {
            if let ToInput::Remote(remote) = &mut target.to {
                lead(remote, said.services.get(&service(remote)));
            }
        }
        input
    };
    feed(&mut world.policies, std::mem::take(&mut said.policies), policy);
    feed(&mut world.pools, std::mem::take(&mut said.pools), objects::pool);
    feed(&mut world.slices, std::mem::take(&mut said.slices), objects::slice);
    metrics.broken("RoutePolicy", world.policies.broken());
    metrics.broken("InferencePool", world.pools.broken());
    metrics.broken("EndpointSlice", world.slices.broken());
    if let Some(namespaces) = &mut world.namespaces {
        feed(namespaces, std::mem::take(&mut said.namespaces), objects::labels);
        metrics.broken("Namespace", namespaces.broken());
    }
}

fn feed<K, T: PartialEq>(kept: &mut Kept<T>, objects: Vec<DeserializeGuard<K>>, read: impl Fn(&K) -> T)
where
    K: Resource<DynamicType = ()>,
{
    kept.take(Event::Init, &read);
    for object in objects {
        kept.take(Event::InitApply(object), &read);
    }
    kept.take(Event::InitDone, &read);
}

/// Namespace and name of the Service that a target is, by its name in a cluster's DNS.
fn service(remote: &RemoteInput) -> Key {
    let name = remote.host.strip_suffix(".svc").filter(|_| remote.api == Api::Engine);
    let (name, namespace) = name.and_then(|name| name.split_once('.')).unwrap_or_default();
    (namespace.to_owned(), name.to_owned())
}

/// Sends what is meant for the Service to the host that it names.
fn lead(remote: &mut RemoteInput, service: Option<&Service>) {
    let host = service.and_then(|service| service.spec.as_ref()?.external_name.as_deref());
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        remote.host = host.to_ascii_lowercase();
        remote.authority = format!("{}:{}", remote.host, remote.port);
    }
}

/// The keys of providers that the policies name.
fn provider_keys(world: &World, said: &Said, before: &Secrets) -> Secrets {
    let held = |key: &SecretKey| match said.secrets.get(&(key.namespace.clone(), key.name.clone())) {
        Some(secret) => secrets::held(secret, key, before.0.get(key).and_then(|old| old.as_ref().ok())),
        None => Err(KeyFault::Missing),
    };
    Secrets::new(world.secrets().into_iter().map(|key| (key.clone(), held(&key))))
}

/// What is kept of the keys of those who call.
fn caller_keys(world: &World, said: &Said) -> Keys {
    let mut keys = Keys::default();
    for namespace in world.gated() {
        let secret = said.secrets.get(&(namespace.clone(), KEYS_SECRET.to_owned()));
        keys.set(&namespace, secret.map(|secret| callers::keys(&namespace, secret)).unwrap_or_default());
    }
    keys
}

/// What policies name that is not there for them.
fn unresolved(world: &World, keys: &Secrets, said: &Said) -> Vec<String> {
    let table = world.table(&Table::default(), keys, clock::now());
    let mut all = said.notes.clone();
    for policy in table.policies() {
        for target in &policy.targets {
            let missing = match &target.to {
                To::Pool { namespace, name, at: None } => {
                    format!("there is no InferencePool {namespace}/{name} for it")
                }
                To::Pool { at: Some(at), .. } => {
                    let pool = &table.pools()[*at];
                    if !pool.ready.is_empty() {
                        continue;
                    }
                    format!(
                        "the InferencePool {}/{} has no address; add an EndpointSlice with the label {POOL_LABEL}: {}",
                        pool.namespace, pool.name, pool.name
                    )
                }
                To::Remote(remote) => {
                    let (namespace, name) = service(&remote.input);
                    match keys.for_target(&remote.input) {
                        Err(fault) => fault.to_string(),
                        Ok(_)
                            if !name.is_empty() && !said.services.contains_key(&(namespace.clone(), name.clone())) =>
                        {
                            format!("there is no Service {namespace}/{name} of the type ExternalName")
                        }
                        Ok(_) => continue,
                    }
                }
            };
            all.push(format!("RoutePolicy {}/{}: target {}: {missing}", policy.namespace, policy.name, target.name));
        }
    }
    all
}
