//! What is known of a cluster: the policies, and what they name. Secrets are no part of it.

use std::collections::BTreeMap;

use api::{Exposure, InferencePool, RoutePolicy};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use router_core::read;
use router_core::{EndpointInput, Moment, PolicyInput, PoolInput, Table, ToInput};

/// The objects that decide.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) policies: Vec<RoutePolicy>,
    pub(crate) pools: Vec<InferencePool>,
    /// The replicas of the pools; `None` where nobody said.
    pub(crate) slices: Option<Vec<EndpointSlice>>,
    /// Labels of namespaces by their names.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

impl Objects {
    /// The table that a router would have. A policy that cannot be used is left out; that is noted, as routers go on by what it
    /// was before, which nobody else knows.
    pub(crate) fn table(&mut self) -> Table {
        let mut policies = Vec::new();
        for policy in &self.policies {
            let mut input = read::policy(policy);
            match input.check() {
                Ok(()) => {
                    self.admit(&mut input);
                    policies.push(input);
                }
                Err(bad) => {
                    let (namespace, name) = (&input.namespace, &input.name);
                    self.notes.push(format!("RoutePolicy {namespace}/{name} is left out: {bad}"));
                }
            }
        }
        let pools: Vec<PoolInput> = self.pools.iter().map(read::pool).collect();
        let slices = self.slices.iter().flatten();
        let endpoints: Vec<EndpointInput> = slices.flat_map(read::slice).collect();
        Table::build(policies, pools, endpoints, &Table::default(), Moment(0))
    }

    /// Withholds pools of other namespaces that do not admit the policy's.
    fn admit(&self, policy: &mut PolicyInput) {
        let labels = self.namespaces.get(&policy.namespace);
        for target in &mut policy.targets {
            let ToInput::Pool { namespace, name, withheld } = &mut target.to else { continue };
            if *namespace == policy.namespace {
                continue;
            }
            let exposure = |pool: &InferencePool| -> Option<Exposure> {
                let same = pool.metadata.namespace.as_deref() == Some(namespace)
                    && pool.metadata.name.as_deref() == Some(name);
                same.then(|| pool.spec.exposure.clone())
            };
            let exposure = self.pools.iter().find_map(exposure);
            *withheld = !exposure.is_some_and(|exposure| exposure.admits(namespace, &policy.namespace, labels));
        }
    }
}
