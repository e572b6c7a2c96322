//! The life of a pool and of a policy that refers to it, step by step, and what each step must leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fault::apifault::Call;
use fault::bed::{Bed, Form, Namespace, Operator, PERSON, Trouble, read};
use fault::dump::{Dump, differences};
use fault::{Late, wait_for};
use http::Method;
use serde_json::{Value, json};

pub(crate) const POOLS: &str = "apis/quartermaster.dev/v1alpha1";
pub(crate) const POOL: &str = "inferencepools/tiny";
pub(crate) const POLICY: &str = "routepolicies/tiny";

/// Longest time from a change, or from the end of a fault, until all is as it should be: a pod of the simulator starts in
/// three seconds on an idle machine, and the cases share two processors.
pub(crate) const SETTLED: Duration = Duration::from_secs(90);
/// So long must nothing be written before a state is called settled.
pub(crate) const QUIET: Duration = Duration::from_millis(1500);
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// What happens to the pool, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Create,
    ScaleUp,
    Unscale,
    ScaleDown,
    Roll,
    Flip,
    Rescale,
    MakePolicy,
    ChangePolicy,
    DropPolicy,
    Recreate,
    Delete,
}

impl Step {
    pub(crate) const ALL: [Self; 12] = [
        Self::Create,
        Self::ScaleUp,
        Self::Unscale,
        Self::ScaleDown,
        Self::Roll,
        Self::Flip,
        Self::Rescale,
        Self::MakePolicy,
        Self::ChangePolicy,
        Self::DropPolicy,
        Self::Recreate,
        Self::Delete,
    ];
}

/// One life: a namespace and the operator that looks after it.
pub(crate) struct Life {
    pub(crate) bed: Bed,
    pub(crate) namespace: Namespace,
    pub(crate) operator: Operator,
}

/// What a step left behind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct After {
    /// Everything in the namespace.
    pub(crate) dump: Dump,
    /// How often each object was made and deleted by the operator, by resource and name.
    pub(crate) counts: BTreeMap<String, (usize, usize)>,
    /// Calls of the operator that changed something.
    pub(crate) writes: usize,
}

impl Life {
    pub(crate) async fn begin(bed: &Bed, name: &str) -> Result<Self, Trouble> {
        let namespace = bed.namespace(&format!("fault-{name}")).await?;
        let operator = Operator::start(bed, &namespace.name, None).await?;
        Ok(Self { bed: bed.clone(), namespace, operator })
    }

    /// Ends the operator and removes the namespace.
    pub(crate) async fn end(self) -> Result<(), Trouble> {
        drop(self.operator);
        Ok(self.namespace.remove().await?)
    }

    /// Does what a person does in this step. It says nothing of how the operator follows.
    pub(crate) async fn act(&self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::Create => self.apply(&pool(1, true)?).await,
            Step::ScaleUp => self.scale(2).await,
            Step::Unscale => self.apply(&pool(1, false)?).await,
            Step::ScaleDown => self.scale(1).await,
            Step::Roll => self.apply(&pool(2, false)?).await,
            Step::Flip => {
                self.apply(&pool(3, false)?).await?;
                // The way there and back is the same in every run only if the way there has begun.
                self.deployment_has(|seen| seed(seen) == Some("3")).await?;
                self.apply(&pool(2, false)?).await
            }
            Step::Rescale => self.apply(&pool(2, true)?).await,
            Step::MakePolicy => self.apply(&policy("tiny")).await,
            Step::ChangePolicy => self.apply(&policy("absent")).await,
            Step::DropPolicy => Ok(self.namespace.delete(POOLS, POLICY).await?),
            Step::Recreate => {
                self.namespace.delete(POOLS, POOL).await?;
                self.apply(&pool(4, true)?).await
            }
            Step::Delete => Ok(self.namespace.delete(POOLS, POOL).await?),
        }
    }

    /// Applies an object as a person.
    pub(crate) async fn apply(&self, object: &Value) -> Result<(), Trouble> {
        let plural = if object["kind"] == "InferencePool" { POOL } else { POLICY };
        self.namespace.patch(POOLS, plural, PERSON, Form::Apply, object).await?;
        Ok(())
    }

    /// Sets the pool's number of replicas as `kubectl scale` does.
    pub(crate) async fn scale(&self, replicas: i64) -> Result<(), Trouble> {
        let body = json!({"spec": {"replicas": replicas}});
        self.namespace.patch(POOLS, &format!("{POOL}/scale"), "kubectl", Form::Merge, &body).await?;
        Ok(())
    }

    pub(crate) async fn pool(&self) -> Result<Value, Trouble> {
        Ok(self.namespace.get(POOLS, POOL).await?.unwrap_or_default())
    }

    /// The Deployment of the pool, or null.
    pub(crate) async fn deployment(&self) -> Result<Value, Trouble> {
        Ok(self.namespace.get("apis/apps/v1", "deployments/tiny").await?.unwrap_or_default())
    }

    /// UIDs of the pool's pods that are not about to go.
    pub(crate) async fn pods(&self) -> Result<BTreeSet<String>, Trouble> {
        let found = self.namespace.get("api/v1", "pods").await?.unwrap_or_default();
        let stay = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let pods = found["items"].as_array().into_iter().flatten().filter(stay);
        Ok(pods.map(|pod| pod["metadata"]["uid"].to_string()).collect())
    }

    async fn deployment_has(&self, has: impl Fn(&Value) -> bool) -> Result<(), Late> {
        wait_for("the Deployment follows", SETTLED, LOOK, async || match self.deployment().await {
            Ok(seen) if has(&seen) => Ok(()),
            Ok(_) => Err("it has the settings of before".to_owned()),
            Err(trouble) => Err(trouble.to_string()),
        })
        .await
    }

    /// Waits until the pool says that it is as its spec asks, or is gone, and the operator writes nothing more.
    pub(crate) async fn settle(&self) -> Result<(), Late> {
        wait_for("the pool is settled", SETTLED, LOOK, async || {
            let quiet = self.operator.proxy.quiet_for();
            if quiet < QUIET {
                return Err(format!("the operator wrote {quiet:?} ago"));
            }
            let pool = self.pool().await.map_err(|trouble| trouble.to_string())?;
            if pool.is_null() || at_rest(&pool) { Ok(()) } else { Err(pool["status"].to_string()) }
        })
        .await
    }

    /// Waits until the namespace is as `want`, and the operator writes nothing more. The error is how it differs.
    pub(crate) async fn becomes(&self, want: &Dump) -> Result<(), Vec<String>> {
        let mut differs = Vec::new();
        let settled = wait_for("the end state", SETTLED, LOOK, async || {
            self.settle().await.map_err(|late| late.to_string())?;
            let have = self.dump().await.map_err(|trouble| trouble.to_string())?;
            differs = differences(want, &have);
            if differs.is_empty() { Ok(()) } else { Err("it differs") }.map_err(str::to_owned)
        });
        match settled.await {
            Ok(()) => Ok(()),
            Err(late) if differs.is_empty() => Err(vec![late.to_string()]),
            Err(_) => Err(differs),
        }
    }

    pub(crate) async fn dump(&self) -> Result<Dump, Trouble> {
        Ok(self.namespace.dump(&self.bed.kinds).await?)
    }

    /// What was left behind since the call number `mark`, once it is the same twice in a row: Kubernetes' own controllers
    /// may be slower than the operator.
    pub(crate) async fn after(&self, mark: usize) -> Result<After, Trouble> {
        let mut before = Dump::new();
        wait_for("the namespace comes to rest", SETTLED, QUIET, async || {
            self.settle().await.map_err(|late| late.to_string())?;
            let now = self.dump().await.map_err(|trouble| trouble.to_string())?;
            let same = differences(&before, &now);
            before = now;
            if same.is_empty() { Ok(()) } else { Err(same.join("; ")) }
        })
        .await?;
        let calls = self.operator.proxy.calls(mark);
        let writes = calls.iter().filter(|call| call.ask.mutates()).count();
        Ok(After { dump: before, counts: counts(&calls), writes })
    }
}

/// How often each object was made and deleted, by resource and name. Events do not count: they may be lost.
pub(crate) fn counts(calls: &[Call]) -> BTreeMap<String, (usize, usize)> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for call in calls.iter().filter(|call| !call.ask.is_event()) {
        let key = || format!("{}/{}", call.ask.full_resource(), call.ask.name);
        if call.created() {
            counts.entry(key()).or_default().0 += 1;
        }
        if call.deleted() {
            counts.entry(key()).or_default().1 += 1;
        }
    }
    counts
}

/// Whether the pool's status says, about the spec of now, that nothing is left to do.
pub(crate) fn at_rest(pool: &Value) -> bool {
    let status = &pool["status"];
    status["observedGeneration"] == pool["metadata"]["generation"] && condition(pool, "Ready")["status"] == "True"
}

/// A condition of an object, or null.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    const NONE: &Value = &Value::Null;
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|condition| condition["type"] == kind)).unwrap_or(NONE)
}

fn seed(deployment: &Value) -> Option<&str> {
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    env.iter().find(|var| var["name"] == "VLLM_SIM_SEED")?["value"].as_str()
}

/// The sample pool of the simulator, which starts at once and drains in a second. `seed` stands for any setting of the
/// engine; without `scaled` nothing but people set the number of replicas.
pub(crate) fn pool(seed: u32, scaled: bool) -> Result<Value, Trouble> {
    let registry = std::env::var("E2E_REGISTRY").unwrap_or_else(|_| "localhost/quartermaster".to_owned());
    let sample = read("manifests/samples/pool-sim.yaml")?.replace("localhost/quartermaster", &registry);
    let mut pool: Value = serde_saphyr::from_str(&sample)?;
    pool["spec"]["engine"]["env"] = json!([
        {"name": "VLLM_SIM_START_DELAY", "value": "0"},
        {"name": "VLLM_SIM_SEED", "value": seed.to_string()},
    ]);
    pool["spec"]["drain"] = json!({"timeout": "1s"});
    pool["spec"]["resources"] = json!({"cpu": "10m", "memory": "32Mi"});
    if !scaled && let Some(spec) = pool["spec"].as_object_mut() {
        spec.remove("scaling");
    }
    Ok(pool)
}

fn policy(pool: &str) -> Value {
    json!({
        "apiVersion": "quartermaster.dev/v1alpha1", "kind": "RoutePolicy", "metadata": {"name": "tiny"},
        "spec": {"models": ["tiny-model"], "targets": [{"name": "local", "pool": {"name": pool}}],
                 "access": {"anonymous": true}},
    })
}

/// Applies the CRDs as they are in the checkout, and waits until they are served.
pub(crate) async fn install(bed: &Bed) -> Result<(), Trouble> {
    let base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let apply = "application/apply-patch+yaml";
    for file in ["inferencepools", "routepolicies"] {
        let crd: Value = serde_saphyr::from_str(&read(&format!("crds/{file}.yaml"))?)?;
        let path = format!("{base}/{file}.quartermaster.dev?fieldManager={PERSON}&force=true");
        bed.server.ask(Method::PATCH, &path, apply, &crd).await?;
    }
    wait_for("the CRDs are served", SETTLED, LOOK, async || {
        for plural in ["inferencepools", "routepolicies"] {
            bed.server.ask(Method::GET, &format!("/{POOLS}/{plural}"), apply, &Value::Null).await?;
        }
        Ok::<_, fault::server::Failure>(())
    })
    .await?;
    Ok(())
}
