//! The routing table: an immutable view of policies, pools and endpoints, built in one go from plain inputs.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ledger::prices::Rates;
use serde::{Deserialize, Serialize};

use crate::remote::{Remote, RemoteInput, Rest};
use crate::rules::{BadRule, RuleInput, Rules};
use crate::{Access, Health, Load, Moment, Price, Resilience, session_key};

/// A RoutePolicy, as far as routing needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInput {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// When it was created, in seconds since 1970. The older of two policies that list the same name wins.
    pub created: i64,
    /// Names that clients ask for; a trailing `*` stands for any rest.
    pub models: Vec<String>,
    /// Where requests go, in order of preference.
    pub targets: Vec<TargetInput>,
    /// The header whose value names a request's session.
    pub session_header: Option<String>,
    /// Who may call.
    pub access: Access,
    /// What is done about targets that fail.
    pub resilience: Resilience,
    /// Which targets a request may go to.
    #[serde(default)]
    pub rules: Vec<RuleInput>,
    /// Whether a request may name its target.
    #[serde(default)]
    pub allows_target_header: bool,
    /// Who says how hard a request is, before the points do.
    #[serde(default)]
    pub classifier: Option<ClassifierInput>,
}

/// A pool whose model says how hard a request is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierInput {
    /// Namespace of the pool.
    pub namespace: String,
    /// Name of the pool.
    pub pool: String,
    /// It does not admit the policy's namespace: it is as if there were no such pool.
    pub withheld: bool,
    /// Name by which its engines are asked; `None` for the pool's own.
    pub model: Option<String>,
    /// How long it has for its word.
    pub deadline: Duration,
}

impl PolicyInput {
    /// Whether every rule can be used.
    ///
    /// # Errors
    ///
    /// At the first one that cannot.
    pub fn check(&self) -> Result<(), BadRule> {
        self.read_rules(None).map(|_| ())
    }

    fn read_rules(&self, before: Option<&Rules>) -> Result<Rules, BadRule> {
        let names = self.targets.iter().map(|target| target.name.clone()).collect();
        Rules::build(self.rules.clone(), names, before)
    }
}

/// A target of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetInput {
    /// Name of the target within its policy.
    pub name: String,
    /// What it is.
    pub to: ToInput,
    /// What the policy says that its tokens cost.
    #[serde(default)]
    pub price: Option<Rates>,
}

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInput {
    /// A pool.
    Pool {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// It does not admit the policy's namespace: the target is as if there were no such pool.
        withheld: bool,
    },
    /// Something else.
    Remote(Box<RemoteInput>),
}

impl TargetInput {
    /// The target `name`: the pool of this namespace and name.
    #[must_use]
    pub fn new(name: impl Into<String>, namespace: impl Into<String>, pool: impl Into<String>) -> Self {
        let to = ToInput::Pool { namespace: namespace.into(), name: pool.into(), withheld: false };
        Self { name: name.into(), to, price: None }
    }

    /// The target `name`, which is no pool.
    #[must_use]
    pub fn remote(name: impl Into<String>, remote: RemoteInput) -> Self {
        Self { name: name.into(), to: ToInput::Remote(Box::new(remote)), price: None }
    }
}

/// An InferencePool, as far as routing needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolInput {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Name that its engines answer to.
    pub served_model: String,
}

/// The address of one replica of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInput {
    /// Namespace of the pool.
    pub namespace: String,
    /// Name of the pool.
    pub pool: String,
    /// Where the engine listens.
    pub address: SocketAddr,
    /// Whether it may be sent to. An endpoint that may not only counts towards the explanation of a refusal.
    pub ready: bool,
}

/// A policy in the table.
#[derive(Debug)]
pub struct Policy {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Where requests go, in order of preference.
    pub targets: Vec<Target>,
    /// The header whose value names a request's session.
    pub session_header: Option<HeaderName>,
    /// Who may call.
    pub access: Access,
    /// What is done about targets that fail.
    pub resilience: Resilience,
    /// Which targets a request may go to.
    pub rules: Rules,
    /// Whether a request may name its target.
    pub allows_target_header: bool,
    /// Who says how hard a request is, before the points do.
    pub classifier: Option<Classifier>,
}

/// A pool whose model says how hard a request is.
#[derive(Debug)]
pub struct Classifier {
    /// Namespace and name of the pool.
    pub name: Box<str>,
    /// Its place in [`Table::pools`]; `None` when no such pool exists for the policy.
    pub at: Option<usize>,
    /// Name by which its engines are asked; `None` for the pool's own.
    pub model: Option<Box<str>>,
    /// How long it has for its word.
    pub deadline: Duration,
}

/// A target in the table.
#[derive(Debug)]
pub struct Target {
    /// Name of the target within its policy.
    pub name: Box<str>,
    /// What it is.
    pub to: To,
    /// What its tokens cost.
    pub price: Price,
}

/// What a target in the table is.
#[derive(Debug)]
pub enum To {
    /// A pool.
    Pool {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
        /// Its place in [`Table::pools`]; `None` when no such pool exists.
        at: Option<usize>,
    },
    /// Something else.
    Remote(Box<Remote>),
}

impl Target {
    /// What it is, if it is no pool.
    #[must_use]
    pub fn remote(&self) -> Option<&Remote> {
        if let To::Remote(remote) = &self.to { Some(remote) } else { None }
    }
}

/// A pool in the table.
#[derive(Debug)]
pub struct Pool {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Name that its engines answer to.
    pub served_model: Box<str>,
    /// Replicas that may be sent to, by address.
    pub ready: Vec<Arc<Endpoint>>,
    /// How many more replicas there are that may not.
    pub not_ready: usize,
}

/// A replica's address with its load and its standing; or a host's name with the same.
#[derive(Debug)]
pub struct Endpoint {
    /// Where the engine listens. Unspecified for a host, whose addresses are asked for with each connection.
    pub address: SocketAddr,
    /// The same as text, for `Host` and logs.
    pub authority: Box<str>,
    /// When it became ready, as far as this router has seen.
    pub ready_since: Moment,
    /// Tells it apart from others where sessions are spread.
    pub(crate) seed: u64,
    /// What it carries.
    pub load: Load,
    /// Whether it is left alone for its failures.
    pub health: Health,
}

impl Endpoint {
    /// An endpoint that became ready just now and carries nothing yet.
    #[must_use]
    pub fn new(address: SocketAddr, now: Moment) -> Self {
        let authority: Box<str> = address.to_string().into();
        let seed = session_key(authority.as_bytes());
        Self { address, authority, ready_since: now, seed, load: Load::default(), health: Health::default() }
    }

    /// A host that nothing was sent to yet.
    #[must_use]
    pub fn named(authority: &str, now: Moment) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { authority: authority.into(), ..Self::new(nowhere, now) }
    }
}

/// The routing table. A request takes one at its start and sees no other, so it never meets half of a change.
#[derive(Debug, Default)]
pub struct Table {
    policies: Vec<Policy>,
    pools: Vec<Pool>,
    /// Exact model names, with when they were offered first and the policy that has them.
    exact: HashMap<Box<str>, (i64, usize)>,
    /// What stands before the `*` of a pattern, longest first.
    patterns: Vec<(Box<str>, usize)>,
}

impl Table {
    /// Builds the table. Endpoints that `before` knew keep their load and their standing; the others became ready `now`. The
    /// order of the inputs does not matter.
    #[must_use]
    pub fn build(
        mut policies: Vec<PolicyInput>,
        pools: Vec<PoolInput>,
        endpoints: Vec<EndpointInput>,
        before: &Self,
        now: Moment,
    ) -> Self {
        let pools = build_pools(pools, endpoints, before, now);
        let places: HashMap<(&str, &str), usize> =
            pools.iter().enumerate().map(|(at, pool)| ((&*pool.namespace, &*pool.name), at)).collect();
        // In the order in which policies win, the first to name a model has it.
        policies.sort_by(|a, b| (a.created, &a.namespace, &a.name).cmp(&(b.created, &b.namespace, &b.name)));
        let (mut exact, mut patterns) = (HashMap::new(), HashMap::new());
        let mut rests = before.rests();
        let mut built = Vec::with_capacity(policies.len());
        // Rules that cannot be read come only from a table that another version kept. Such a policy is left out: without its
        // rules it would send requests where they must not go.
        let known = |p: &PolicyInput| before.policies.iter().find(|b| *b.namespace == p.namespace && *b.name == p.name);
        let readable = |policy: PolicyInput| {
            let rules = policy.read_rules(known(&policy).map(|before| &before.rules)).ok()?;
            Some((policy, rules))
        };
        for (at, (policy, rules)) in policies.into_iter().filter_map(readable).enumerate() {
            let known = known(&policy);
            for model in policy.models {
                match model.strip_suffix('*') {
                    Some(start) => {
                        patterns.entry(start.into()).or_insert(at);
                    }
                    None => {
                        exact.entry(model.into()).or_insert((policy.created, at));
                    }
                }
            }
            let targets = policy.targets.into_iter().map(|target| {
                let price = Price::of(&target);
                let to = match target.to {
                    ToInput::Pool { namespace, name, withheld } => {
                        let at = places.get(&(namespace.as_str(), name.as_str())).copied().filter(|_| !withheld);
                        To::Pool { namespace: namespace.into(), name: name.into(), at }
                    }
                    ToInput::Remote(input) => {
                        let known = known.and_then(|p| p.targets.iter().find(|t| *t.name == target.name)?.remote());
                        let remote = Remote::new(*input, known, &rests, now);
                        rests.push((remote.input.clone(), Arc::clone(&remote.rest)));
                        To::Remote(Box::new(remote))
                    }
                };
                Target { name: target.name.into(), to, price }
            });
            let targets = targets.collect();
            // The API takes only names that are valid.
            let session_header = policy.session_header.and_then(|name| name.parse().ok());
            let classifier = policy.classifier.map(|input| {
                let at = places.get(&(input.namespace.as_str(), input.pool.as_str())).copied();
                Classifier {
                    name: format!("{}/{}", input.namespace, input.pool).into(),
                    at: at.filter(|_| !input.withheld),
                    model: input.model.map(Into::into),
                    deadline: input.deadline,
                }
            });
            let (namespace, name) = (policy.namespace.into(), policy.name.into());
            built.push(Policy {
                namespace,
                name,
                targets,
                session_header,
                access: policy.access,
                resilience: policy.resilience,
                rules,
                allows_target_header: policy.allows_target_header,
                classifier,
            });
        }
        let mut patterns: Vec<(Box<str>, usize)> = patterns.into_iter().collect();
        patterns.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Self { policies: built, pools, exact, patterns }
    }

    /// The place of the policy that answers for `model`: by exact name, else by the longest pattern.
    #[must_use]
    pub fn policy_for(&self, model: &str) -> Option<usize> {
        if let Some((_, at)) = self.exact.get(model) {
            return Some(*at);
        }
        self.patterns.iter().find(|(start, _)| model.starts_with(&**start)).map(|(_, at)| *at)
    }

    /// What stands before the `*` of each pattern, longest first, and the place of the policy that has it.
    pub fn patterns(&self) -> impl Iterator<Item = (&str, usize)> {
        self.patterns.iter().map(|(start, at)| (&**start, *at))
    }

    /// The keys of all targets, and how long they rest.
    fn rests(&self) -> Vec<(RemoteInput, Arc<Rest>)> {
        let remotes = self.policies.iter().flat_map(|policy| policy.targets.iter().filter_map(Target::remote));
        remotes.map(|remote| (remote.input.clone(), Arc::clone(&remote.rest))).collect()
    }

    /// All policies, in the order in which they win.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// All pools, by namespace and name.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Model names that clients can ask for, by name, each with when it was offered first. Patterns are left out: they
    /// name no model.
    #[must_use]
    pub fn models(&self) -> Vec<(&str, i64)> {
        self.models_of(|_| true)
    }

    /// The same of the policies that are `wanted`, by their places.
    pub fn models_of(&self, wanted: impl Fn(usize) -> bool) -> Vec<(&str, i64)> {
        let of = self.exact.iter().filter(|(_, (_, at))| wanted(*at));
        let mut models: Vec<_> = of.map(|(name, (created, _))| (&**name, *created)).collect();
        models.sort_unstable();
        models
    }
}

fn build_pools(pools: Vec<PoolInput>, endpoints: Vec<EndpointInput>, before: &Table, now: Moment) -> Vec<Pool> {
    let known: HashMap<SocketAddr, &Arc<Endpoint>> =
        before.pools.iter().flat_map(|pool| &pool.ready).map(|endpoint| (endpoint.address, endpoint)).collect();
    let new_pool = |pool: PoolInput| Pool {
        namespace: pool.namespace.into(),
        name: pool.name.into(),
        served_model: pool.served_model.into(),
        ready: Vec::new(),
        not_ready: 0,
    };
    let mut built: Vec<Pool> = pools.into_iter().map(new_pool).collect();
    built.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let mut endpoints = endpoints;
    // An address can stand in two slices while it moves between them; one that says ready is then enough.
    endpoints.sort_by_key(|endpoint| (endpoint.address, !endpoint.ready));
    let mut seen = HashSet::new();
    for endpoint in endpoints {
        let key = (endpoint.namespace.as_str(), endpoint.pool.as_str());
        let Ok(at) = built.binary_search_by(|pool| (&*pool.namespace, &*pool.name).cmp(&key)) else { continue };
        if !seen.insert((at, endpoint.address)) {
            continue;
        }
        if endpoint.ready {
            let known = known.get(&endpoint.address).map(|known| Arc::clone(known));
            built[at].ready.push(known.unwrap_or_else(|| Arc::new(Endpoint::new(endpoint.address, now))));
        } else {
            built[at].not_ready += 1;
        }
    }
    built
}

#[cfg(test)]
pub(crate) mod tests;
