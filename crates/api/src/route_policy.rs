//! RoutePolicy: which requests go where.

mod access;
mod resilience;
mod rule;
mod target;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{Access, KEYS_SECRET, Oidc};
pub use resilience::{Breaker, FallbackReason, Hedge, Retries, Timeouts};
pub use rule::{Complexity, Mirror, Price, RouteRule, RuleTargets, Weighted};
pub use target::{AWS_KEYS, Destination, PoolRef, Provider, ProviderKind, ProviderSecretRef, ServiceRef, Target};

/// The names that applications ask for, and what answers: pools, other engines, APIs of providers.
///
/// Two policies that list the same name: the older one wins, then the one that comes first by namespace and name.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "quartermaster.dev",
    version = "v1alpha1",
    kind = "RoutePolicy",
    plural = "routepolicies",
    namespaced,
    status = "RoutePolicyStatus",
    shortname = "qroute",
    category = "quartermaster",
    doc = "The model names that applications ask for, and the pools, engines and providers that answer.",
    printcolumn(
        name = "MODELS",
        type_ = "string",
        json_path = ".spec.models",
        description = "Names that applications ask for."
    ),
    printcolumn(name = "ACCEPTED", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].status"),
    printcolumn(
        name = "RESOLVED",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ResolvedRefs')].status"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.targets.all(t, self.targets.exists_one(o, o.name == t.name))")
        .message("spec.targets has two entries with the same name; give each its own"),
    validation = Rule::new("!has(self.rules) || self.rules.all(r, !has(r.use.ordered) || r.use.ordered.all(n, self.targets.exists(t, t.name == n)))")
        .message("spec.rules[].use.ordered names a target that spec.targets does not have; correct the name or add the target"),
    validation = Rule::new("!has(self.rules) || self.rules.all(r, !has(r.use.cheapest) || r.use.cheapest.all(n, self.targets.exists(t, t.name == n)))")
        .message("spec.rules[].use.cheapest names a target that spec.targets does not have; correct the name or add the target"),
    validation = Rule::new("!has(self.rules) || self.rules.all(r, !has(r.use.weighted) || r.use.weighted.all(w, self.targets.exists(t, t.name == w.target)))")
        .message("spec.rules[].use.weighted names a target that spec.targets does not have; correct the name or add the target"),
    validation = Rule::new("!has(self.rules) || self.rules.all(r, !has(r.mirror) || self.targets.exists(t, t.name == r.mirror.target))")
        .message("spec.rules[].mirror.target names a target that spec.targets does not have; correct the name or add the target")
)]
pub struct RoutePolicySpec {
    /// Model names that applications ask for. A trailing `*` stands for any rest: `gpt-4o*`. An exact name wins over a
    /// pattern, and a longer pattern over a shorter one.
    #[x_kube(
        validation = Rule::new("self.all(m, !m.contains('*') || m.indexOf('*') == size(m) - 1)")
            .message("spec.models may hold '*' only as the last character of a name, for example gpt-4o*")
    )]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub models: Vec<String>,
    /// Where requests go: the first target that can answer. A pool can while it has a ready replica. Where a target fails,
    /// `fallbackOn` says whether the next one is asked.
    #[schemars(length(min = 1, max = 16))]
    pub targets: Vec<Target>,
    /// Which of the targets a request may go to, by what it is: the first rule that holds decides. Where none holds, all targets
    /// are asked in their order. A rule that cannot be read is told in the condition Accepted, and the policy stays in use as it
    /// was before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rules: Vec<RouteRule>,
    /// A small model that says how hard a request is, in place of the points that docs/routes.md lists. It is asked only when a
    /// rule asks for `request.complexity`. Default: the points decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complexity: Option<Complexity>,
    /// Lets a request name its target in the header `x-quartermaster-target`; it then goes there and nowhere else. Default:
    /// a request with that header is refused.
    #[serde(default)]
    pub allow_target_header: bool,
    /// For which failures of a target the next one is asked. Only as long as the client has got nothing of an answer, and
    /// never for what the client itself did wrong.
    #[x_kube(
        validation = Rule::new("self.all(r, self.exists_one(o, o == r))")
            .message("spec.fallbackOn holds a reason twice; remove one")
    )]
    #[serde(default = "FallbackReason::all")]
    #[schemars(length(max = 6))]
    pub fallback_on: Vec<FallbackReason>,
    /// How long a target may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How often a request is sent again.
    #[serde(default)]
    pub retries: Retries,
    /// Asks the next target, too, where the first one takes long. Whoever begins an answer first gives it, and the other one is
    /// cancelled. Both may charge for the request; the second counts in `retries.budgetPercent`. Default: one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    /// When a provider or a service that fails is left alone. The replicas of a pool are judged one by one, by the router's
    /// own rule.
    #[serde(default)]
    pub breaker: Breaker,
    /// Keeps the requests of one session on one replica, where what the engine computed for the session's earlier prompts
    /// can be used again. A replica that carries more than 1.25 times its part is passed over. Default: each request goes
    /// where least is to be done.
    #[x_kube(
        validation = Rule::new("!(self.header.lowerAscii() in ['content-length', 'content-type', 'host', 'x-request-id'])")
            .message("spec.sessionAffinity.header must be one whose value is the same in all requests of a session and in no others, for example x-session-id")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<SessionAffinity>,
    /// Who may call. Default: who shows a token of a ServiceAccount of the policy's namespace, or an API key of it; the Secret
    /// `quartermaster-api-keys` of that namespace holds what is kept of the keys. Nobody else, unless `anonymous` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// What tells the requests of one session from others.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SessionAffinity {
    /// The request header whose value names the session. Requests without it go by what their body says: `prompt_cache_key`,
    /// `conversation` or `session_id`, else `user`; where it says nothing, they are spread like any others.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?$"))]
    pub header: String,
}

/// What the operator saw last.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RoutePolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, ResolvedRefs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
