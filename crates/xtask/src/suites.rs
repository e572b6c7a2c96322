//! Every check and test of the repository, counted in one line at the end.

mod count;
mod fault;
mod fuzz;
mod sdk;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::cluster::{self, Cluster, Platform};
use crate::steps::{Steps, UnderWay, tail};
use crate::{Outcome, demo, images, places, tool};
use count::Count;

/// Name of the cluster that the scenarios run on; it does not touch a demo that is up.
const NAME: &str = "test";
/// How often a step gives a sign of life when its output is a file.
const TICK: Duration = Duration::from_secs(15);

/// A part of `make test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Formats, clippy, docs, tidiness, dependency policy.
    Lint,
    /// Rust and Go tests that need no cluster.
    Unit,
    /// Random bytes to everything that reads what a stranger wrote; a minute each, or FUZZ_SECONDS.
    Fuzz,
    /// The engine contract, against the real vLLM; the unit tests run it against the simulator.
    Contract,
    /// The official SDKs of OpenAI, Anthropic and AWS, against the provider stand-ins and the router.
    Sdk,
    /// What Flux and Argo CD make of the statuses, by their own libraries.
    Gitops,
    /// Scenarios on a real cluster.
    E2e,
    /// The way between operator and API server breaks, on a real cluster.
    Fault,
}

/// Runs the suites in `only`, or all, and fails if anything failed. `keep` leaves the test cluster up.
pub(crate) fn run(kind: Option<Platform>, only: &[Suite], keep: bool) -> Outcome {
    let mut steps = Steps::new(places::state().join("logs/test"), TICK)?;
    let mut total = Count::default();
    let wanted = |suite| only.is_empty() || only.contains(&suite);
    if wanted(Suite::Lint) {
        total += lint(&mut steps)?;
    }
    if wanted(Suite::Unit) {
        total += unit(&mut steps)?;
    }
    if wanted(Suite::Fuzz) {
        total += fuzz::run(&mut steps)?;
    }
    if wanted(Suite::Contract) {
        total += contract(&mut steps)?;
    }
    if wanted(Suite::Sdk) {
        total += sdk::run(&mut steps)?;
    }
    if wanted(Suite::Gitops) {
        total += gitops(&mut steps)?;
    }
    if wanted(Suite::E2e) {
        total += end_to_end(kind.unwrap_or_else(Platform::detect), keep, &mut steps)?;
    }
    if wanted(Suite::Fault) {
        total += fault::run(kind.unwrap_or_else(Platform::detect), keep, &mut steps)?;
    }
    println!("\n{}", steps.summary());
    for note in &total.notes {
        println!("{note}");
    }
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    if total.failed > 0 { Err("something failed, see above".into()) } else { Ok(()) }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(places::root());
    command
}

fn lint(steps: &mut Steps) -> Outcome<Count> {
    let mut count = Count::default();
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    count += one(steps, "Rust is formatted", 2, &mut cargo(&["fmt", "--all", "--check"]))?;
    let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    count += one(steps, "The fuzz targets are formatted", 1, &mut cargo(&fuzz))?;
    count += one(steps, "clippy finds nothing", 150, &mut cargo(&clippy))?;
    count += one(steps, "The documentation builds without warnings", 60, &mut doc)?;
    count += one(steps, "The repository is tidy", 2, Command::new(std::env::current_exe()?).arg("tidy"))?;
    let go = places::root().join("tests/cluster");
    let mut formatted = Command::new("bash");
    formatted.args(["-c", "found=$(gofmt -l . ../gitops); echo \"$found\"; test -z \"$found\""]).current_dir(&go);
    count += one(steps, "Go is formatted", 1, &mut formatted)?;
    let mut vet = Command::new("go");
    vet.env("CGO_ENABLED", "0").args(["vet", "./cmd/cluster", "./internal/..."]).current_dir(&go);
    count += one(steps, "go vet finds nothing", 20, &mut vet)?;
    let tools = places::cache().join("tools");
    let mut install = Command::new("bash");
    install.arg(places::root().join("tests/tools/install.sh")).arg(&tools);
    steps.attempt("Install cargo-deny and promtool, unless they are there", Duration::from_secs(240), &mut install)?;
    count += alerts(&tools, steps)?;
    let deny = tools.join("cargo-deny");
    if deny.exists() {
        let mut check = Command::new(deny);
        check.args(["check", "bans", "licenses", "sources"]).current_dir(places::root());
        count += one(steps, "Dependencies keep the policy of deny.toml", 5, &mut check)?;
    } else {
        count.skip(1, "the dependency policy: cargo-deny could not be built from the registry's source");
    }
    Ok(count)
}

/// The alerts of the chart, by Prometheus' own tool.
fn alerts(tools: &Path, steps: &mut Steps) -> Outcome<Count> {
    let program = tools.join("promtool");
    let promtool = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).current_dir(places::root());
        command
    };
    let mut count = Count::default();
    if !program.exists() {
        count.skip(2, "the alerts: promtool could not be fetched (Debian has it in the package prometheus)");
        return Ok(count);
    }
    let mut check = promtool(&["check", "rules", "charts/quartermaster/files/alerts.yaml"]);
    count += one(steps, "The alerts are well-formed", 1, &mut check)?;
    let mut test = promtool(&["test", "rules", "tests/alerts/alerts.test.yaml"]);
    count += one(steps, "The alerts fire when they should", 1, &mut test)?;
    Ok(count)
}

fn unit(steps: &mut Steps) -> Outcome<Count> {
    let clusterless = ["--lib", "--bins", "--test", "contract", "--test", "faults", "--test", "whole"];
    let mut tests = of_workspace("test", &[&["--no-fail-fast"], &clusterless[..]].concat());
    let mut count = tests_of(steps, "Rust unit and in-process tests", 240, &mut tests, Count::of_cargo)?;
    let mut go = Command::new("go");
    go.env("CGO_ENABLED", "0")
        .args(["test", "-count=1", "-v", "./cmd/cluster/...", "./internal/..."])
        .current_dir(places::root().join("tests/cluster"));
    count += tests_of(steps, "Go tests of the cluster tool", 20, &mut go, Count::of_go)?;
    Ok(count)
}

/// Cargo's `verb` on targets of the workspace. All tests are chosen by their targets and none by its package: what a package
/// is built with depends on the packages it is built beside, and each other choice would build the dependencies anew.
fn of_workspace(verb: &str, targets: &[&str]) -> Command {
    cargo(&[&[verb, "--workspace", "--locked"], targets].concat())
}

/// The contract runs against the simulator with the unit tests; here it meets the real engine, and so do the official SDKs through
/// the router. A machine that cannot have
/// the engine (another processor, no Python, no package index) skips it and says so.
fn contract(steps: &mut Steps) -> Outcome<Count> {
    let script = |name: &str| {
        let mut command = Command::new("bash");
        command.arg(places::root().join("tests/vllm").join(name)).current_dir(places::root());
        command
    };
    let title = "Install the real vLLM, unless it is there (6.5 GB)";
    let (status, log) = steps.attempt(title, Duration::from_secs(180), &mut script("install.sh"))?;
    if !status.success() {
        let mut count = Count::default();
        let last = tail(&log, 1);
        count.skip(1, &format!("the engine contract against the real vLLM, which could not be installed: {last}"));
        return Ok(count);
    }
    let title = "The engine contract against the real vLLM";
    tests_of(steps, title, 150, &mut script("contract.sh"), |text| {
        let mut count = Count::of_cargo(text);
        if !text.contains("test router before vLLM: ") {
            count.skip(1, "the official SDKs against the real vLLM: see the log of the engine contract");
        }
        count
    })
}

/// The libraries of Flux and Argo CD are a good part of Kubernetes to compile, so they are no part of the unit tests.
fn gitops(steps: &mut Steps) -> Outcome<Count> {
    if !tool::has_go() {
        let mut count = Count::default();
        count.skip(1, "what Flux and Argo CD make of the statuses: `go` was not found");
        return Ok(count);
    }
    let go = |words: &[&str]| {
        let mut go = Command::new("go");
        // As Kubernetes is built, so that what both need is compiled once.
        go.env("CGO_ENABLED", "0").args(words).current_dir(places::root().join("tests/gitops"));
        go
    };
    // A scenario on the cluster asks it, too.
    let mut build = go(&["build", "-trimpath", "-o", "../../target/verdict", "./cmd/verdict"]);
    let mut count = one(steps, "Build what asks Flux's and Argo CD's libraries", 150, &mut build)?;
    let mut test = go(&["test", "-trimpath", "-count=1", "-v", "./..."]);
    count += tests_of(steps, "Flux and Argo CD understand the statuses", 15, &mut test, Count::of_go)?;
    Ok(count)
}

fn end_to_end(kind: Platform, keep: bool, steps: &mut Steps) -> Outcome<Count> {
    let cluster = Cluster::start(kind, NAME, steps)?;
    let archives = images::build_in(images::ALL, steps)?;
    let registry = cluster.load(&archives, steps)?;
    demo::install(&cluster, &registry, steps)?;
    let mut scenarios = on_cluster("scenarios", &cluster, &registry)?;
    let mut count = tests_of(steps, "Scenarios on the cluster", 90, &mut scenarios, Count::of_cargo)?;
    let mut mutations = on_cluster("mutations", &cluster, &registry)?;
    count += tests_of(steps, "Thousands of specs on the cluster", 300, &mut mutations, Count::of_cargo)?;
    if !keep {
        cluster::remove(kind, NAME, steps)?;
    }
    if kind == Platform::Local {
        let mut itself = Command::new("go");
        itself.args(["test", "-count=1", "-tags", "cluster", "-v", "./internal/selftest"]);
        itself.env("CGO_ENABLED", "0").current_dir(places::root().join("tests/cluster"));
        count += tests_of(steps, "The local Kubernetes survives what tests do to it", 90, &mut itself, Count::of_go)?;
    } else {
        count.skip(1, "the self-test of the local Kubernetes: CLUSTER is not local");
    }
    Ok(count)
}

/// The tests of a target, to be run against the cluster.
fn on_cluster(target: &str, cluster: &Cluster, registry: &str) -> Outcome<Command> {
    let mut tests = of_workspace("test", &["--test", target, "--", "--test-threads", "1", "--show-output"]);
    tests.env("E2E_REGISTRY", registry).env("E2E_ROUTED", if cluster.routed() { "yes" } else { "no" });
    tests.env("E2E_TOOL", tool::path()).env("E2E_CLUSTER", NAME);
    if let Some(kubeconfig) = cluster.kubeconfig() {
        tests.env("KUBECONFIG", kubeconfig);
    }
    if let Some(bin) = cluster.bin() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&path));
        tests.env("PATH", std::env::join_paths(folders)?);
    }
    Ok(tests)
}

/// A step that is one check.
fn one(steps: &mut Steps, title: &str, guess: u64, command: &mut Command) -> Outcome<Count> {
    tests_of(steps, title, guess, command, one_passed)
}

/// What a step without tests counts for, before its status is known.
fn one_passed(_: &str) -> Count {
    Count { passed: 1, ..Count::default() }
}

/// A step that runs tests; `read` counts them in its log.
fn tests_of(
    steps: &mut Steps,
    title: &str,
    guess: u64,
    command: &mut Command,
    read: impl Fn(&str) -> Count,
) -> Outcome<Count> {
    let under_way = steps.begin(title, Duration::from_secs(guess), command)?;
    ended(steps, title, under_way, read)
}

/// Waits for a step that runs tests, and counts them.
fn ended(steps: &mut Steps, title: &str, under_way: UnderWay, read: impl Fn(&str) -> Count) -> Outcome<Count> {
    let (status, log) = steps.finish(under_way)?;
    let mut count = read(&text_of(&log));
    if status.success() {
        if count.passed == 0 {
            count.fail(title, "it passed, but ran nothing");
        }
        return Ok(count);
    }
    println!("{}", count::failures(&text_of(&log)));
    if count.failed == 0 {
        // It broke before or beside its tests; a lint counts as passed until its status is known.
        count = Count { passed: count.passed.saturating_sub(1), ..count };
        count.fail(title, &format!("{status}; the log is {}", log.display()));
    }
    Ok(count)
}

fn text_of(log: &Path) -> String {
    std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
