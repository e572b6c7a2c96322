//! What becomes of a policy that the API server accepts: operator and routers read it, agree on whether it can be used as it is
//! written, and lose nothing of it. What is left to them (expressions, names of targets, hosts) is told with its field.

use api::RoutePolicy;
use api::conditions::ACCEPTED;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use mutate::Mutation;
use operator_core::route::{self, Access, SecretState, taken};
use serde_json::Value;

/// Reads `stored`, an accepted policy, as operator and routers do. The error is what is wrong.
pub(crate) fn check(mutation: &Mutation, stored: &Value) -> Result<(), String> {
    let policy: RoutePolicy =
        serde_json::from_value(stored.clone()).map_err(|error| format!("cannot be read: {error}"))?;
    let told = fault(&policy);
    match (&told, unused(&policy)) {
        (None, None) => Ok(()),
        (Some(message), Some(_)) if is_about(mutation, message) => Ok(()),
        (Some(message), Some(_)) => Err(format!("the condition does not name the field: {message}")),
        (None, Some(why)) => Err(format!("Accepted, but routers do not use it: {why}")),
        (Some(message), None) => Err(format!("not Accepted, but routers use it: {message}")),
    }
}

/// What the operator says against the policy, if anything.
fn fault(policy: &RoutePolicy) -> Option<String> {
    let now = Time(Timestamp::UNIX_EPOCH);
    let found = |_: &str, _: &str| Access::Granted;
    let status = route::status(&now, policy, &taken(policy, []), found, |_| SecretState::Present(Vec::new()));
    let accepted = status.conditions.into_iter().find(|condition| condition.type_ == ACCEPTED)?;
    (accepted.status != "True").then_some(accepted.message)
}

/// What routers do not take of the policy, if anything.
fn unused(policy: &RoutePolicy) -> Option<String> {
    let input = router_core::read::policy(policy);
    if let Err(bad) = input.check() {
        return Some(bad.to_string());
    }
    if input.targets.len() != policy.spec.targets.len() {
        return Some(format!("of its targets they take only {:?}", input.targets));
    }
    let priced = policy.spec.targets.iter().zip(&input.targets);
    let lost = priced.filter(|(said, read)| said.price.is_some() != read.price.is_some()).map(|(said, _)| &said.price);
    let lost: Vec<_> = lost.collect();
    (!lost.is_empty()).then(|| format!("prices that they cannot read: {lost:?}"))
}

/// Whether the message names the place that was changed, or a field around it.
fn is_about(mutation: &Mutation, message: &str) -> bool {
    mutation.changes.iter().any(|(path, _)| {
        let mut at = path.clone();
        while at.0.len() > 1 {
            if message.contains(&at.to_string()) {
                return true;
            }
            at = at.parent();
        }
        false
    })
}
