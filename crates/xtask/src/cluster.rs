//! Which Kubernetes is used, and what differs between them: how it starts, how images get in, how the router is reached.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::steps::{Steps, tail};
use crate::{Outcome, images, places, tool};

/// Where a Kubernetes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// Built and started on this machine by tests/cluster; needs root and Go, no Docker.
    Local,
    /// Made by kind; needs a Docker engine.
    Kind,
    /// The one that the current kubeconfig names.
    Current,
}

/// A running Kubernetes and the programs to talk to it.
pub(crate) struct Cluster {
    kind: Platform,
    name: String,
    kubeconfig: Option<PathBuf>,
    bin: Option<PathBuf>,
}

impl Platform {
    /// Kind where a Docker engine answers and `kind` is installed, else local. A Docker client alone is not an engine.
    pub(crate) fn detect() -> Self {
        let answers = |program: &str, argument: &str| {
            Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
        };
        if answers("kind", "version") && answers("docker", "info") { Self::Kind } else { Self::Local }
    }
}

impl Cluster {
    /// Starts the Kubernetes called `name`, or finds it running; for `Current`, checks that it answers.
    pub(crate) fn start(kind: Platform, name: &str, steps: &mut Steps) -> Outcome<Self> {
        let mut cluster = Self { kind, name: name.to_owned(), kubeconfig: None, bin: None };
        match kind {
            Platform::Local => cluster.start_local(steps)?,
            Platform::Kind => cluster.start_kind(steps)?,
            Platform::Current => {
                steps.run("Ask the current Kubernetes", Duration::from_secs(2), &mut cluster.kubectl(&["version"]))?;
            }
        }
        Ok(cluster)
    }

    fn start_local(&mut self, steps: &mut Steps) -> Outcome {
        tool::build(steps)?;
        let title = "Build Kubernetes from its Go modules, unless it was built before";
        let log = steps.run(title, Duration::from_secs(840), Command::new(tool::path()).arg("tools"))?;
        self.bin = Some(PathBuf::from(tail(&log, 1)));
        let title = format!("Start Kubernetes ({})", self.name);
        steps.run(&title, Duration::from_secs(45), Command::new(tool::path()).args(["up", "--name", &self.name]))?;
        self.kubeconfig = Some(places::state().join(&self.name).join("kubeconfig"));
        Ok(())
    }

    fn start_kind(&mut self, steps: &mut Steps) -> Outcome {
        let kubeconfig = places::state().join(&self.name).join("kubeconfig");
        kubeconfig.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let known = Command::new("kind").args(["get", "clusters"]).output()?;
        if String::from_utf8_lossy(&known.stdout).lines().any(|line| line == self.name) {
            let mut export = Command::new("kind");
            export.args(["export", "kubeconfig", "--name", &self.name, "--kubeconfig"]).arg(&kubeconfig);
            steps.run("Find the kind cluster", Duration::from_secs(2), &mut export)?;
        } else {
            let mut create = Command::new("kind");
            create.args(["create", "cluster", "--wait", "120s", "--name", &self.name, "--kubeconfig"]);
            create.arg(&kubeconfig).arg("--config").arg(places::root().join("kind-config.yaml"));
            steps.run("Make a kind cluster", Duration::from_secs(90), &mut create)?;
        }
        self.kubeconfig = Some(kubeconfig);
        Ok(())
    }

    /// Brings the image archives to where the nodes find them, and gives the registry prefix that pods must name.
    pub(crate) fn load(&self, archives: &[PathBuf], steps: &mut Steps) -> Outcome<String> {
        match self.kind {
            Platform::Local => {
                let mut load = Command::new(tool::path());
                load.args(["load", "--name", &self.name]).args(archives);
                steps.run("Load the images into the node", Duration::from_secs(3), &mut load)?;
            }
            Platform::Kind => {
                for archive in archives {
                    let mut load = Command::new("kind");
                    load.args(["load", "image-archive", "--name", &self.name]).arg(archive);
                    steps.run(&format!("Load {} into kind", name_of(archive)), Duration::from_secs(5), &mut load)?;
                }
            }
            Platform::Current => return self.push(archives, steps),
        }
        Ok(images::REGISTRY.to_owned())
    }

    /// A cluster of somebody else's fetches images from a registry, so they are pushed to the one that REGISTRY names.
    fn push(&self, archives: &[PathBuf], steps: &mut Steps) -> Outcome<String> {
        let registry = std::env::var("REGISTRY").map_err(|_| {
            "CLUSTER=current needs REGISTRY=host/prefix, a registry that you may push to and the cluster may pull from"
        })?;
        for archive in archives {
            let reference = format!("{registry}/{}:{}", name_of(archive), images::TAG);
            let mut push = self.program("crane");
            push.arg("push").arg(archive).arg(&reference);
            steps.run(&format!("Push {reference}"), Duration::from_secs(20), &mut push)?;
        }
        Ok(registry)
    }

    /// Where pods reach the router from outside the cluster: directly on a local one, whose addresses are routed on this
    /// machine, else through `kubectl port-forward`.
    pub(crate) fn routed(&self) -> bool {
        self.kind == Platform::Local
    }

    /// The kubeconfig to export; none for the current one.
    pub(crate) fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref()
    }

    /// The folder with kubectl and helm, when they were built here.
    pub(crate) fn bin(&self) -> Option<&Path> {
        self.bin.as_deref()
    }

    /// A call of kubectl against this cluster.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = self.program("kubectl");
        command.args(args);
        command
    }

    /// What kubectl prints when called with `args`.
    pub(crate) fn ask(&self, args: &[&str]) -> Outcome<String> {
        let output = self.kubectl(args).output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(format!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
    }

    /// A program that talks to this cluster: kubectl, helm or crane.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.as_ref().map_or_else(|| PathBuf::from(name), |bin| bin.join(name)));
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }
}

/// Removes the Kubernetes called `name`, whatever state it is in. The current one is not ours to remove.
pub(crate) fn remove(kind: Platform, name: &str, steps: &mut Steps) -> Outcome {
    match kind {
        Platform::Local => {
            tool::build(steps)?;
            let title = format!("Remove Kubernetes ({name})");
            steps.run(&title, Duration::from_secs(5), Command::new(tool::path()).args(["down", "--name", name]))?;
        }
        Platform::Kind => {
            let mut delete = Command::new("kind");
            delete.args(["delete", "cluster", "--name", name]);
            steps.run("Remove the kind cluster", Duration::from_secs(10), &mut delete)?;
        }
        Platform::Current => {}
    }
    Ok(())
}

fn name_of(archive: &Path) -> String {
    archive.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
