//! What exists in the cluster, as far as the watches have told.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use router_core::{ClassifierInput, EndpointInput, Moment, Oidc, PolicyInput, SecretKey, Source, Table, ToInput};
use serde::{Deserialize, Serialize, Serializer};

use super::read::Known;
use crate::secrets::Secrets;

/// All that a routing table is built from.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) policies: Kept<PolicyInput>,
    pub(crate) pools: Kept<Known>,
    pub(crate) slices: Kept<Vec<EndpointInput>>,
    /// Labels of the namespaces; where one namespace is followed, `None`: there is nothing to be let into.
    pub(crate) namespaces: Option<Kept<BTreeMap<String, String>>>,
}

impl World {
    /// Whether all kinds were read once.
    pub(crate) fn synced(&self) -> bool {
        self.policies.synced
            && self.pools.synced
            && self.slices.synced
            && self.namespaces.as_ref().is_none_or(|namespaces| namespaces.synced)
    }

    /// The keys that policies name.
    pub(crate) fn secrets(&self) -> BTreeSet<SecretKey> {
        let targets = self.policies.objects.values().flat_map(|policy| &policy.targets);
        let named = targets.flat_map(|target| match &target.to {
            ToInput::Remote(remote) => remote.secret_keys(),
            ToInput::Pool { .. } => Vec::new(),
        });
        named.collect()
    }

    /// The namespaces that have policies. A caller may show a key to any policy, also to one that asks for none.
    pub(crate) fn gated(&self) -> BTreeSet<String> {
        self.policies.objects.values().map(|policy| policy.namespace.clone()).collect()
    }

    /// The issuers whose tokens policies take.
    pub(crate) fn issuers(&self) -> BTreeSet<Source> {
        self.policies.objects.values().filter_map(|policy| policy.access.oidc.as_ref()).map(Oidc::source).collect()
    }

    /// The table of what exists.
    pub(crate) fn table(&self, before: &Table, secrets: &Secrets, now: Moment) -> Table {
        let slices = self.slices.objects.values().flatten().cloned().collect();
        Table::build(
            self.policies.objects.values().map(|policy| self.admitted(policy, secrets)).collect(),
            self.pools.objects.values().map(|pool| pool.input.clone()).collect(),
            slices,
            before,
            now,
        )
    }
}

impl World {
    /// The policy, with the pools withheld from it that do not admit its namespace, and with the versions of its keys.
    fn admitted(&self, policy: &PolicyInput, secrets: &Secrets) -> PolicyInput {
        let labels =
            self.namespaces.as_ref().and_then(|all| all.objects.get(&(String::new(), policy.namespace.clone())));
        let mut policy = policy.clone();
        for target in &mut policy.targets {
            match &mut target.to {
                ToInput::Pool { namespace, name, withheld } if *namespace != policy.namespace => {
                    let pool = self.pools.objects.get(&(namespace.clone(), name.clone()));
                    let admits = |pool: &Known| pool.exposure.admits(namespace, &policy.namespace, labels);
                    *withheld = !pool.is_some_and(admits);
                }
                ToInput::Pool { .. } => {}
                ToInput::Remote(remote) => {
                    remote.key_version = secrets.version(remote);
                }
            }
        }
        if let Some(ClassifierInput { namespace, pool, withheld, .. }) = &mut policy.classifier {
            let known = self.pools.objects.get(&(namespace.clone(), pool.clone()));
            let admits = |pool: &Known| pool.exposure.admits(namespace, &policy.namespace, labels);
            *withheld = *namespace != policy.namespace && !known.is_some_and(admits);
        }
        policy
    }
}

/// Namespace and name.
pub(crate) type Key = (String, String);

/// The objects of one kind, each in its last readable state.
#[derive(Debug, Deserialize)]
#[serde(from = "Vec<(Key, T)>")]
pub(crate) struct Kept<T> {
    objects: BTreeMap<Key, T>,
    /// Objects whose present state cannot be read.
    broken: BTreeSet<Key>,
    /// While a list is coming in: what it named so far.
    listed: Option<BTreeSet<Key>>,
    synced: bool,
}

/// What was known before this process began: in use until the first list says what is left of it.
impl<T> From<Vec<(Key, T)>> for Kept<T> {
    fn from(objects: Vec<(Key, T)>) -> Self {
        Self { objects: objects.into_iter().collect(), ..Self::default() }
    }
}

impl<T: Serialize> Serialize for Kept<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.objects)
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), broken: BTreeSet::new(), listed: None, synced: false }
    }
}

impl<T: PartialEq> Kept<T> {
    /// Takes one event in; whether it changed what a table is built from. A list that comes in again only removes what
    /// it did not name once it is complete, so a relist never looks like a mass deletion.
    pub(crate) fn take<K>(&mut self, event: Event<DeserializeGuard<K>>, read: impl Fn(&K) -> T) -> bool
    where
        K: Resource<DynamicType = ()>,
    {
        match event {
            Event::Init => {
                self.listed = Some(BTreeSet::new());
                false
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key(&object));
                }
                self.apply(object, read)
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let before = self.objects.len();
                self.objects.retain(|key, _| listed.contains(key));
                self.broken.retain(|key| listed.contains(key));
                let first = !std::mem::replace(&mut self.synced, true);
                first || self.objects.len() != before
            }
            Event::Apply(object) => self.apply(object, read),
            Event::Delete(object) => {
                let key = key(&object);
                self.broken.remove(&key);
                self.objects.remove(&key).is_some()
            }
        }
    }

    /// The objects that cannot be read, by namespace and name.
    pub(crate) fn broken(&self) -> &BTreeSet<Key> {
        &self.broken
    }

    fn apply<K>(&mut self, object: DeserializeGuard<K>, read: impl Fn(&K) -> T) -> bool
    where
        K: Resource<DynamicType = ()>,
    {
        let key = key(&object);
        match object.0 {
            Ok(object) => {
                self.broken.remove(&key);
                let new = read(&object);
                if self.objects.get(&key) == Some(&new) {
                    return false;
                }
                self.objects.insert(key, new);
                true
            }
            Err(error) => {
                let (kind, known) = (K::kind(&()), self.objects.contains_key(&key));
                tracing::warn!(%kind, namespace = key.0, name = key.1, known, %error, "object cannot be read");
                self.broken.insert(key);
                false
            }
        }
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::InferencePool;
    use router_core::To;
    use serde_json::json;

    use crate::follow::read;

    fn pool(name: &str, source: &serde_json::Value, served: &str) -> DeserializeGuard<InferencePool> {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ml"},
            "spec": {"model": {"source": source, "servedNames": [served]}, "engine": {"image": "vllm:v1"}},
        }))
        .unwrap()
    }

    fn good(name: &str, served: &str) -> DeserializeGuard<InferencePool> {
        pool(name, &json!("hf://a/b"), served)
    }

    fn broken(name: &str) -> DeserializeGuard<InferencePool> {
        pool(name, &json!(["not a text"]), "x")
    }

    #[test]
    fn keeps_the_last_readable_state() {
        let mut kept = Kept::default();
        // Each event with: does it change anything, what is known after it, how many are broken.
        let story = [
            (Event::Init, false, "", 0),
            (Event::InitApply(good("a", "a1")), true, "a1", 0),
            (Event::InitApply(broken("b")), false, "a1", 1),
            (Event::InitDone, true, "a1", 1),
            (Event::Apply(good("b", "b1")), true, "a1 b1", 0),
            (Event::Apply(good("b", "b1")), false, "a1 b1", 0),
            (Event::Apply(broken("a")), false, "a1 b1", 1),
            (Event::Apply(good("a", "a2")), true, "a2 b1", 0),
            (Event::Init, false, "a2 b1", 0),
            (Event::InitApply(broken("a")), false, "a2 b1", 1),
            (Event::InitDone, true, "a2", 1),
            (Event::Init, false, "a2", 1),
            (Event::InitApply(good("a", "a2")), false, "a2", 0),
            (Event::InitDone, false, "a2", 0),
            (Event::Delete(broken("a")), true, "", 0),
        ];
        for (step, (event, changes, known, unreadable)) in story.into_iter().enumerate() {
            assert_eq!(kept.take(event, read::pool), changes, "step {step}");
            let models: Vec<&str> = kept.objects.values().map(|p| p.input.served_model.as_str()).collect();
            assert_eq!((models.join(" ").as_str(), kept.broken().len()), (known, unreadable), "step {step}");
        }
        assert!(kept.synced);
    }

    #[test]
    fn pools_are_withheld_from_namespaces_that_they_do_not_admit() {
        let policy = json!({
            "metadata": {"name": "r", "namespace": "apps"},
            "spec": {"models": ["m"], "targets": [{"name": "t", "pool": {"name": "p", "namespace": "ml"}}]},
        });
        let labelled = |team: &str| {
            serde_json::from_value(json!({"metadata": {"name": "apps", "labels": {"team": team}}})).unwrap()
        };
        let selector = json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}});
        let mut world = World { namespaces: Some(Kept::default()), ..World::default() };
        world.policies.take(Event::Apply(serde_json::from_value(policy).unwrap()), read::policy);
        let mut check = |exposure: &serde_json::Value, team: &str, answers: bool| {
            let pool = json!({
                "metadata": {"name": "p", "namespace": "ml"},
                "spec": {"model": {"source": "hf://a/b"}, "engine": {"image": "vllm:v1"}, "exposure": exposure},
            });
            world.pools.take(Event::Apply(serde_json::from_value(pool).unwrap()), read::pool);
            world.namespaces.as_mut().unwrap().take(Event::Apply(labelled(team)), read::labels);
            let table = world.table(&Table::default(), &Secrets::default(), Moment(0));
            let found = matches!(table.policies()[0].targets[0].to, To::Pool { at: Some(_), .. });
            assert_eq!(found, answers, "{exposure} {team}");
        };
        check(&json!({}), "a", false);
        check(&json!({"namespaces": {"from": "All"}}), "a", true);
        check(&selector, "a", true);
        check(&selector, "b", false);
    }
}
