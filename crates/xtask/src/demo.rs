//! From nothing to a running system, in steps that a person can follow.

mod chat;
mod load;
mod router;

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::cluster::{self, Cluster, Platform};
use crate::steps::{Steps, clock};
use crate::{Outcome, images, places, tool};
use router::Router;

/// Name of the demo's cluster.
const NAME: &str = "demo";
/// Namespace of operator and router.
pub(crate) const SYSTEM: &str = "quartermaster-system";
/// How often the steps of the demo give a sign of life.
const TICK: Duration = Duration::from_secs(3);

/// What answers in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// vllm-sim: a stand-in without a model.
    Sim,
    /// The real vLLM (CPU build) with a tiny random model.
    Vllm,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sim => "the simulator vllm-sim (no model; answers are made up)",
            Self::Vllm => "the real vLLM, CPU build, with a tiny random model (answers make no sense)",
        })
    }
}

impl Engine {
    /// The sample pool that runs this engine, below the checkout.
    fn pool_file(self) -> &'static str {
        match self {
            Self::Sim => "manifests/samples/pool-sim.yaml",
            Self::Vllm => "tests/vllm/pool.yaml",
        }
    }
}

/// Runs the demo and leaves the system up.
pub(crate) fn run(kind: Option<Platform>, engine: Engine) -> Outcome {
    let began = Instant::now();
    let kind = kind.unwrap_or_else(Platform::detect);
    println!("Quartermaster demo. Kubernetes: {kind:?}. Engine: {engine}.");
    println!("State and logs: {}. Remove everything with `make down`.\n", places::state().display());
    let mut steps = Steps::new(places::state().join("logs/demo"), TICK)?;
    let cluster = Cluster::start(kind, NAME, &mut steps)?;
    let archives = images::build_in(images::SYSTEM, &mut steps)?;
    let registry = cluster.load(&archives, &mut steps)?;
    install(&cluster, &registry, &mut steps)?;
    if engine == Engine::Vllm {
        prepare_vllm(&cluster, &mut steps)?;
    }
    apply_samples(&cluster, engine, &registry, &mut steps)?;
    let router = Router::reach(&cluster)?;
    steps.live("Ask for a streamed answer", || chat::show(&router.url, MODEL))?;
    steps.live("Put load on the pool, and watch it grow and shrink", || {
        load::show(&cluster, &router.url, MODEL, POOL)
    })?;
    println!("\n{}", steps.summary());
    println!("Up and running after {}.", clock(began.elapsed()));
    next(&cluster, &router);
    Ok(())
}

/// Removes the demo's system, its logs and its state.
pub(crate) fn down(kind: Option<Platform>) -> Outcome {
    let kind = kind.unwrap_or_else(Platform::detect);
    let logs = std::env::temp_dir().join(format!("quartermaster-down-{}", std::process::id()));
    let mut steps = Steps::new(logs.clone(), TICK)?;
    if kind == Platform::Current {
        uninstall(&mut steps)?;
    }
    cluster::remove(kind, NAME, &mut steps)?;
    std::fs::remove_dir_all(&logs)?;
    let logs = places::state().join("logs");
    for left in [logs.join("demo"), logs.join("images"), places::state().join(NAME)] {
        if left.exists() {
            std::fs::remove_dir_all(left)?;
        }
    }
    // The folders above go, too, unless a test has something in them.
    let _ = std::fs::remove_dir(logs).and_then(|()| std::fs::remove_dir(places::state()));
    println!("Nothing is left but built programs in {}, which make the next start fast.", places::cache().display());
    Ok(())
}

/// The sample pool and the name that its policy lists.
const POOL: &str = "tiny";
const MODEL: &str = "assistant";

/// Installs or upgrades both charts.
pub(crate) fn install(cluster: &Cluster, registry: &str, steps: &mut Steps) -> Outcome {
    let charts = places::root().join("charts");
    let mut crds = cluster.program("helm");
    crds.args(["upgrade", "--install", "quartermaster-crds", "--namespace", SYSTEM, "--create-namespace"]);
    crds.arg(charts.join("quartermaster-crds"));
    steps.run("Install the chart quartermaster-crds", Duration::from_secs(3), &mut crds)?;
    let mut main = cluster.program("helm");
    main.args(["upgrade", "--install", "quartermaster", "--namespace", SYSTEM, "--wait", "--timeout", "3m"]);
    main.arg(charts.join("quartermaster"));
    main.args(["--set", &format!("image.registry={registry},image.tag={}", images::TAG)]);
    // The tag stays the same when the program behind it changes, so the pods are told apart by what they run.
    main.args(["--set-string", &format!("podAnnotations.quartermaster\\.dev/build={}", build_mark()?)]);
    steps.run("Install the chart quartermaster", Duration::from_secs(15), &mut main)?;
    Ok(())
}

/// A word that changes when a built program does.
fn build_mark() -> Outcome<String> {
    let mut mark = 0u64;
    for archive in std::fs::read_dir(places::root().join("target/images"))? {
        for byte in std::fs::read(archive?.path())? {
            mark = (mark ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5);
        }
    }
    Ok(format!("{mark:016x}"))
}

fn uninstall(steps: &mut Steps) -> Outcome {
    for (program, args) in [
        (
            "kubectl",
            vec![
                "delete",
                "--ignore-not-found",
                "inferencepools.quartermaster.dev,routepolicies.quartermaster.dev",
                "--all",
                "--namespace",
                "default",
            ],
        ),
        ("helm", vec!["uninstall", "--ignore-not-found", "--namespace", SYSTEM, "quartermaster", "quartermaster-crds"]),
        ("kubectl", vec!["delete", "--ignore-not-found", "namespace", SYSTEM]),
        (
            "kubectl",
            vec![
                "delete",
                "--ignore-not-found",
                "crd",
                "inferencepools.quartermaster.dev",
                "routepolicies.quartermaster.dev",
            ],
        ),
    ] {
        let title = format!("{program} {} {}", args[0], args[args.len() - 1]);
        steps.run(&title, Duration::from_secs(10), Command::new(program).args(args))?;
    }
    Ok(())
}

fn prepare_vllm(cluster: &Cluster, steps: &mut Steps) -> Outcome {
    if !cluster.routed() {
        return Err(
            "ENGINE=vllm runs vLLM from this machine's own files and needs CLUSTER=local; on another cluster, apply \
                    manifests/samples/pool-gpu.yaml with the published vLLM image"
                .into(),
        );
    }
    let mut prepare = Command::new("bash");
    prepare.arg(places::root().join("tests/vllm/prepare.sh")).arg(NAME);
    prepare.env("KUBECONFIG", cluster.kubeconfig().unwrap_or_else(|| std::path::Path::new("")));
    prepare.env("KUBECTL", cluster.bin().map_or_else(|| "kubectl".into(), |bin| bin.join("kubectl")));
    prepare.env("CLUSTER_TOOL", tool::path());
    steps.run("Install vLLM and bring it to the node (8 GB the first time)", Duration::from_secs(240), &mut prepare)?;
    Ok(())
}

fn apply_samples(cluster: &Cluster, engine: Engine, registry: &str, steps: &mut Steps) -> Outcome {
    let file = places::root().join(engine.pool_file());
    let text = std::fs::read_to_string(&file)?.replace(images::REGISTRY, registry);
    let pool = places::state().join("logs/demo/pool.yaml");
    std::fs::write(&pool, text)?;
    for sample in [pool, places::root().join("manifests/samples/route-policy.yaml")] {
        let mut apply = cluster.kubectl(&["apply", "--server-side", "--namespace", "default", "--filename"]);
        apply.arg(&sample);
        steps.run(
            &format!("Apply {}", sample.file_name().unwrap_or_default().display()),
            Duration::from_secs(1),
            &mut apply,
        )?;
    }
    let (title, limit) = match engine {
        Engine::Sim => ("Wait until the pool is Ready", Duration::from_secs(10)),
        Engine::Vllm => {
            ("Wait until the pool is Ready (vLLM takes a minute or two on a CPU)", Duration::from_secs(120))
        }
    };
    let resource = format!("inferencepools.quartermaster.dev/{POOL}");
    let mut wait =
        cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=10m", "--namespace", "default", &resource]);
    steps.run(title, limit, &mut wait)?;
    Ok(())
}

fn next(cluster: &Cluster, router: &Router) {
    println!("\nWhat to type next:");
    if let Some(kubeconfig) = cluster.kubeconfig() {
        println!("  export KUBECONFIG={}", kubeconfig.display());
    }
    if let Some(bin) = cluster.bin() {
        println!("  export PATH={}:$PATH", bin.display());
    }
    let url = if cluster.routed() {
        router.url.clone()
    } else {
        println!("  kubectl --namespace {SYSTEM} port-forward service/quartermaster-router 8080:80 &");
        "http://127.0.0.1:8080".to_owned()
    };
    println!("  kubectl get inferencepools.quartermaster.dev,routepolicies.quartermaster.dev");
    println!("  kubectl describe inferencepools.quartermaster.dev {POOL}");
    println!("  curl -N {url}/v1/chat/completions -H 'content-type: application/json' \\");
    println!(
        "    -d '{{\"model\":\"{MODEL}\",\"stream\":true,\"max_tokens\":40,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    );
    println!("  make down");
}
