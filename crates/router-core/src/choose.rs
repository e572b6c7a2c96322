//! From a model name to the pool that answers.

use crate::{Idle, Refusal, Table};

/// The pool that answers, by its places in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Place of the policy in [`Table::policies`].
    pub policy: usize,
    /// Place of the target within the policy.
    pub target: usize,
    /// Place of the pool in [`Table::pools`].
    pub pool: usize,
}

/// The first target, in the policy's order, whose pool has a ready replica.
///
/// # Errors
///
/// When no policy knows the model, or no pool of its policy has a ready replica; the refusal says why for each.
pub fn choose(table: &Table, model: &str) -> Result<Choice, Refusal> {
    let at = table.policy_for(model).ok_or_else(|| Refusal::unknown_model(model))?;
    let policy = &table.policies()[at];
    let ready = |at: Option<usize>| at.filter(|at| !table.pools()[*at].ready.is_empty());
    let found = policy.targets.iter().enumerate().find_map(|(target, t)| Some((target, ready(t.at)?)));
    if let Some((target, pool)) = found {
        return Ok(Choice { policy: at, target, pool });
    }
    let idle = |at: Option<usize>| match at.map(|at| table.pools()[at].not_ready) {
        None => Idle::Missing,
        Some(0) => Idle::Empty,
        Some(starting) => Idle::Starting(starting),
    };
    let pools = policy.targets.iter().map(|t| (format!("{}/{}", policy.namespace, t.pool), idle(t.at))).collect();
    Err(Refusal::no_replica(model, pools))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use crate::table::tests::{endpoint, policy, pool};

    #[test]
    fn takes_the_first_that_is_ready() {
        let build = |ready: &[&str]| {
            let mut endpoints: Vec<_> =
                ready.iter().enumerate().map(|(i, path)| endpoint(path, &format!("10.0.0.{i}:1"), true)).collect();
            endpoints.push(endpoint("a/one", "10.0.1.1:1", false));
            let policies = vec![policy("a/r", 1, &["m"], &["gone", "one", "two"])];
            Table::build(
                policies,
                vec![pool("a/one"), pool("a/two"), pool("b/one")],
                endpoints,
                &Table::default(),
                Moment(0),
            )
        };
        let idle = |name: &str, why: Idle| (format!("a/{name}"), why);
        let nothing = vec![idle("gone", Idle::Missing), idle("one", Idle::Starting(1)), idle("two", Idle::Empty)];
        let cases = [
            (&["a/one", "a/two"][..], Ok(Choice { policy: 0, target: 1, pool: 0 })),
            (&["a/two"], Ok(Choice { policy: 0, target: 2, pool: 1 })),
            (&["b/one"], Err(Refusal::no_replica("m", nothing.clone()))),
            (&[], Err(Refusal::no_replica("m", nothing))),
        ];
        for (ready, want) in cases {
            assert_eq!(choose(&build(ready), "m"), want, "{ready:?}");
        }
        assert_eq!(choose(&build(&[]), "x"), Err(Refusal::unknown_model("x")));
    }
}
