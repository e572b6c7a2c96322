//! The rules of a policy: which of its targets a request may go to, and in which order.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PoolRef;

/// Sends the requests that meet a condition to some of the policy's targets.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.mirror) || !((has(self.use.ordered) && self.mirror.target in self.use.ordered) || (has(self.use.cheapest) && self.mirror.target in self.use.cheapest) || (has(self.use.weighted) && self.use.weighted.exists(w, w.target == self.mirror.target)))")
        .message("spec.rules[].mirror.target is one of the rule's own targets, which get its requests already; name another target")
)]
pub struct RouteRule {
    /// Name of the rule within the policy; it stands in the log and in the header `x-quartermaster-rule` of answers.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A CEL expression over the request, for example `request.complexity == "complex" || size(request.tools) > 0`;
    /// docs/routes.md lists what a request has. Default: the rule is for every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub when: Option<String>,
    /// Where the requests go. When the first target cannot answer, the next one of the rule is asked, as `fallbackOn` has
    /// it; targets that the rule does not name are not.
    #[serde(rename = "use")]
    pub targets: RuleTargets,
    /// Sends a copy of some of the rule's requests to one more target, to see how that does under real traffic. Its answers go
    /// nowhere; what they used and cost is in the log and the metrics. Default: nothing is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// Where copies of requests go.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Name of the target; none of those that the rule itself sends to.
    #[schemars(length(min = 1, max = 63))]
    pub target: String,
    /// How many of a hundred requests are copied. A router with much to do copies fewer.
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
}

/// A pool whose model says how hard requests are.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Complexity {
    /// The pool.
    pub pool: PoolRef,
    /// Name by which its engines are asked, for example of an adapter. Default: the pool's first served name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub model: Option<String>,
    /// How long it has for its word, in milliseconds. Requests that need it wait for that long at most; then the points decide.
    #[serde(default = "deadline_milliseconds")]
    #[schemars(range(min = 10, max = 10000))]
    pub deadline_milliseconds: i32,
}

fn deadline_milliseconds() -> i32 {
    300
}

/// How a rule chooses among its targets.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.ordered) ? 1 : 0) + (has(self.weighted) ? 1 : 0) + (has(self.cheapest) ? 1 : 0) == 1")
        .message("each of spec.rules needs exactly one of use.ordered, use.weighted and use.cheapest; set one and remove the others")
)]
pub struct RuleTargets {
    /// Names of targets, the first one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub ordered: Option<Vec<String>>,
    /// Shares of the requests, for tests of one model against another and for canaries. Requests of one session go to the
    /// same target, as long as the weights stay as they are.
    #[x_kube(validation = Rule::new("self.exists(t, t.weight > 0)").message("spec.rules[].use.weighted needs a weight above 0; raise one"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub weighted: Option<Vec<Weighted>>,
    /// Names of targets, of which the one is asked first that is expected to cost least: by the prices of the tokens that the
    /// request has and its answer may have. A pool costs nothing more than it costs already, unless its target has a `price`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub cheapest: Option<Vec<String>>,
}

/// A target and its share.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Weighted {
    /// Name of the target.
    #[schemars(length(min = 1, max = 63))]
    pub target: String,
    /// Its share of the sum of all weights. With 0 it is only asked when others fail.
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
}

/// What tokens cost at a target, in dollars per million. Default: what the built-in table has for the provider's model.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// Tokens of prompts.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"))]
    pub input_per_million: String,
    /// Tokens of answers.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"))]
    pub output_per_million: String,
    /// Tokens of prompts that were cached. Default: as `inputPerMillion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"))]
    pub cached_input_per_million: Option<String>,
}

impl RouteRule {
    /// The names of the targets that the rule may send to, in the order in which it has them.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let RuleTargets { ordered, weighted, cheapest } = &self.targets;
        let listed = ordered.iter().chain(cheapest).flatten().map(String::as_str);
        listed.chain(weighted.iter().flatten().map(|share| share.target.as_str())).collect()
    }
}
