//! Which of the names that a policy lists another one has.
//!
//! A name has one policy: the one that is first by age, namespace and name, as the router's table has it. Names are the same
//! for all namespaces, because a request tells none.

use std::collections::{BTreeMap, HashSet};

use api::RoutePolicy;

/// Most names that a message tells of. A policy may list 64.
const TOLD: usize = 8;

/// Names that a policy lists and another one has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Each with namespace and name of the policy that has it.
    by: BTreeMap<String, (String, String)>,
}

/// The names of `policy` that one of `all` has. It may be among them.
pub fn taken<'a>(policy: &RoutePolicy, all: impl IntoIterator<Item = &'a RoutePolicy>) -> Taken {
    let (own, place): (HashSet<&str>, _) = (names(policy).collect(), precedence(policy));
    let mut before: Vec<&RoutePolicy> = all.into_iter().filter(|other| precedence(other) < place).collect();
    before.sort_by_key(|other| precedence(other));
    let mut by = BTreeMap::new();
    for other in before {
        let (_, namespace, name) = precedence(other);
        for model in names(other).filter(|model| own.contains(model)) {
            by.entry(model.to_owned()).or_insert_with(|| (namespace.to_owned(), name.to_owned()));
        }
    }
    Taken { by }
}

/// Whether the two list a name in common, so that what becomes of one can change what the other has.
#[must_use]
pub fn share_a_name(one: &RoutePolicy, other: &RoutePolicy) -> bool {
    let listed: HashSet<&str> = names(one).collect();
    names(other).any(|name| listed.contains(name))
}

impl Taken {
    /// What a person should read, if any name is taken: which, by whom, and what to do. `None` when all are the policy's.
    pub(super) fn message(&self, policy: &RoutePolicy) -> Option<String> {
        if self.by.is_empty() {
            return None;
        }
        let own = policy.metadata.namespace.as_deref().unwrap_or_default();
        let listed = policy.spec.models.iter().enumerate();
        let lost: Vec<_> = listed.filter_map(|(i, model)| Some((i, model, self.by.get(model)?))).collect();
        let mut parts: Vec<String> = lost
            .iter()
            .take(TOLD)
            .map(|(i, model, (namespace, name))| {
                let place = if namespace == own { String::new() } else { format!(" of namespace {namespace:?}") };
                format!("spec.models[{i}] {model:?} is answered by RoutePolicy {name:?}{place}, which came first")
            })
            .collect();
        if let more @ 1.. = lost.len().saturating_sub(TOLD) {
            parts.push(format!("and so for {more} more"));
        }
        let rest = if lost.len() == policy.spec.models.len() {
            "no request comes to this policy"
        } else {
            "the other names are in effect"
        };
        parts.push(format!("list each name in one policy only; {rest}"));
        Some(parts.join("; "))
    }
}

fn names(policy: &RoutePolicy) -> impl Iterator<Item = &str> {
    policy.spec.models.iter().map(String::as_str)
}

/// Of two policies that list a name, the one with the lesser has it.
fn precedence(policy: &RoutePolicy) -> (i64, &str, &str) {
    let metadata = &policy.metadata;
    let created = metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second());
    (created, metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(namespace: &str, name: &str, second: u32, models: &[&str]) -> RoutePolicy {
        let created = format!("1970-01-01T00:00:{second:02}Z");
        serde_json::from_value(json!({
            "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
            "spec": {"models": models, "targets": [{"name": "t", "pool": {"name": "p"}}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_older_one_has_a_name() {
        let all = [
            policy("ml", "old", 1, &["a", "b*"]),
            policy("ml", "young", 5, &["a", "b*", "b", "c"]),
            policy("apps", "same-age", 5, &["c", "d"]),
            policy("ml", "zz", 5, &["d", "a"]),
        ];
        // For each policy: which of its names are lost, and to whom.
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[("a", "ml/old"), ("b*", "ml/old"), ("c", "apps/same-age")],
            &[],
            &[("a", "ml/old"), ("d", "apps/same-age")],
        ];
        for (policy, want) in all.iter().zip(cases) {
            let found = taken(policy, &all);
            let found: Vec<(&str, String)> =
                found.by.iter().map(|(m, (n, p))| (m.as_str(), format!("{n}/{p}"))).collect();
            let want: Vec<(&str, String)> = want.iter().map(|(model, by)| (*model, (*by).to_owned())).collect();
            assert_eq!(found, want, "{:?}", policy.metadata.name);
        }
        assert!(share_a_name(&all[0], &all[3]) && !share_a_name(&all[0], &all[2]));
    }

    #[test]
    fn says_by_whom_and_what_to_do() {
        let (old, other) = (policy("ml", "old", 1, &["a"]), policy("apps", "theirs", 2, &["b"]));
        let say = |models: &[&str]| {
            let young = policy("ml", "young", 9, models);
            taken(&young, [&old, &other, &young]).message(&young)
        };
        assert_eq!(say(&["c", "a*"]), None);
        assert_eq!(
            say(&["c", "a", "b"]).unwrap(),
            "spec.models[1] \"a\" is answered by RoutePolicy \"old\", which came first; spec.models[2] \"b\" is answered \
             by RoutePolicy \"theirs\" of namespace \"apps\", which came first; list each name in one policy only; the \
             other names are in effect"
        );
        assert!(say(&["a"]).unwrap().ends_with("no request comes to this policy"));
        let many: Vec<String> = (0..64).map(|i| format!("m{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (first, second) = (policy("ml", "first", 1, &many), policy("ml", "second", 2, &many));
        let message = taken(&second, [&first]).message(&second).unwrap();
        assert!(message.contains("and so for 56 more") && message.len() < 1024, "{message}");
    }
}
