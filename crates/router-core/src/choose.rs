//! From a model name to the targets that may answer, one after the other.

use std::sync::Arc;

use crate::table::To;
use crate::{Idle, Reason, Refusal, Table};

/// A target that can be asked, by its places in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Place of the policy in [`Table::policies`].
    pub policy: usize,
    /// Place of the target within the policy.
    pub target: usize,
    /// Place of the pool in [`Table::pools`]; `None` for a target that is no pool.
    pub pool: Option<usize>,
}

/// The targets of a policy in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Course {
    policy: usize,
    /// Places of the targets in their turn; `None` for all of the policy in their order.
    order: Option<Arc<[usize]>>,
    next: usize,
    /// A pool was passed over, or ended the course, because none of its replicas is ready.
    cold: bool,
    /// Places of the pools that were passed over since somebody asked.
    passed_over: Vec<usize>,
}

impl Course {
    /// The course of a request for `model`, from its beginning.
    ///
    /// # Errors
    ///
    /// When no policy knows the model.
    pub fn of(table: &Table, model: &str) -> Result<Self, Refusal> {
        let policy = table.policy_for(model).ok_or_else(|| Refusal::unknown_model(model))?;
        Ok(Self { policy, order: None, next: 0, cold: false, passed_over: Vec::new() })
    }

    /// Place of the policy in [`Table::policies`].
    #[must_use]
    pub fn policy(&self) -> usize {
        self.policy
    }

    /// Only these targets are asked, in this order.
    pub fn follow(&mut self, order: Arc<[usize]>) {
        self.order = Some(order);
    }

    /// The place of the target whose turn it is.
    fn place(&self) -> Option<usize> {
        match &self.order {
            None => Some(self.next),
            Some(order) => order.get(self.next).copied(),
        }
    }

    /// The next target that can be asked: a pool with a ready replica, or whatever is no pool. A pool without one is passed
    /// over if the policy says so; else it ends the course.
    pub fn next(&mut self, table: &Table) -> Option<Choice> {
        let policy = &table.policies()[self.policy];
        while let Some(place) = self.place() {
            let Some(target) = policy.targets.get(place) else { break };
            self.next += 1;
            match &target.to {
                To::Remote(_) => return Some(Choice { policy: self.policy, target: place, pool: None }),
                To::Pool { at, .. } => {
                    if let Some(pool) = at.filter(|at| !table.pools()[*at].ready.is_empty()) {
                        return Some(Choice { policy: self.policy, target: place, pool: Some(pool) });
                    }
                    self.cold = true;
                    self.passed_over.push(place);
                    if !policy.resilience.falls_back_on(Reason::Cold) {
                        self.next = usize::MAX;
                    }
                }
            }
        }
        None
    }

    /// The places of the targets that were passed over because they are pools without a ready replica; each is told once.
    pub fn passed_over(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.passed_over)
    }

    /// Whether another target may be asked after the last one that was given.
    #[must_use]
    pub fn goes_on(&self, table: &Table) -> bool {
        self.clone().next(table).is_some()
    }

    /// Whether a pool had no ready replica.
    #[must_use]
    pub fn cold(&self) -> bool {
        self.cold
    }

    /// Why none of the policy's pools answers for `model`.
    #[must_use]
    pub fn no_replica(&self, table: &Table, model: &str) -> Refusal {
        let idle = |at: Option<usize>| match at.map(|at| table.pools()[at].not_ready) {
            None => Idle::Missing,
            Some(0) => Idle::Empty,
            Some(starting) => Idle::Starting(starting),
        };
        let targets = table.policies()[self.policy].targets.iter().enumerate();
        let asked = |place: usize| self.order.as_ref().is_none_or(|order| order.contains(&place));
        let targets = targets.filter(|(place, _)| asked(*place));
        let pools = targets.filter_map(|(_, target)| match &target.to {
            To::Pool { namespace, name, at } => Some((format!("{namespace}/{name}"), idle(*at))),
            To::Remote(_) => None,
        });
        Refusal::no_replica(model, pools.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::remote;
    use crate::table::tests::{endpoint, policy, pool};
    use crate::{Moment, TargetInput};

    /// The first choice, or why there is none.
    fn choose(table: &Table, model: &str) -> Result<Choice, Refusal> {
        let mut course = Course::of(table, model)?;
        course.next(table).ok_or_else(|| course.no_replica(table, model))
    }

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
            (&["a/one", "a/two"][..], Ok(Choice { policy: 0, target: 1, pool: Some(0) })),
            (&["a/two"], Ok(Choice { policy: 0, target: 2, pool: Some(1) })),
            (&["b/one"], Err(Refusal::no_replica("m", nothing.clone()))),
            (&[], Err(Refusal::no_replica("m", nothing))),
        ];
        for (ready, want) in cases {
            assert_eq!(choose(&build(ready), "m"), want, "{ready:?}");
        }
        assert_eq!(choose(&build(&[]), "x"), Err(Refusal::unknown_model("x")));
    }

    #[test]
    fn goes_on_to_the_next() {
        let places = |ready: bool, on_cold: bool| {
            let mut policy = policy("a/r", 1, &["m"], &["one"]);
            policy.targets.push(TargetInput::remote("far", remote("a.example", None)));
            policy.targets.push(TargetInput::new("again", "a", "one"));
            if !on_cold {
                policy.resilience.fallback_on.retain(|reason| *reason != Reason::Cold);
            }
            let endpoints = vec![endpoint("a/one", "10.0.0.1:1", ready)];
            let table = Table::build(vec![policy], vec![pool("a/one")], endpoints, &Table::default(), Moment(0));
            let mut course = Course::of(&table, "m").unwrap();
            let mut places = Vec::new();
            while let Some(choice) = course.next(&table) {
                places.push((choice.target, course.goes_on(&table)));
            }
            assert_eq!(course.passed_over().is_empty(), ready);
            assert!(course.passed_over().is_empty(), "each is told once");
            (places, course.cold())
        };
        assert_eq!(places(true, true), (vec![(0, true), (1, true), (2, false)], false));
        assert_eq!(places(false, true), (vec![(1, false)], true));
        assert_eq!(places(false, false), (vec![], true));
    }
}
