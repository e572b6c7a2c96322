//! The operator under test: a process of this machine, or the one that is installed on the cluster.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::api_server::ApiServer;
use crate::wait::wait_for;

/// Namespace of the installed operator.
const SYSTEM: &str = "quartermaster-system";
/// Port of its pages.
const ADMIN_PORT: u16 = 9090;

/// The operator under test.
pub(crate) enum Operator {
    /// Started here, and ended when dropped.
    Process { child: Mutex<Child>, admin: u16, log: PathBuf },
    /// Found on the cluster; the number of restarts of its containers when the test began.
    Installed { restarts: i64 },
}

/// Sums of the operator's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// By name and labels, summed over the operator's pods.
    counters: BTreeMap<String, f64>,
}

impl Operator {
    /// The one of the cluster when `make e2e` has installed it; else the debug build of this checkout.
    pub(crate) async fn start(server: &ApiServer) -> Self {
        let operator = if std::env::var_os("E2E_CLUSTER").is_some() {
            Self::Installed { restarts: restarts(server).await }
        } else {
            Self::spawn()
        };
        wait_for("the operator shows its figures", Duration::from_secs(30), async || {
            operator.figures(server).await.map(drop)
        })
        .await;
        operator
    }

    fn spawn() -> Self {
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("operator");
        assert!(program.exists(), "cargo build --package operator makes {}", program.display());
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = test.with_file_name("mutate-operator.log");
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new(&program)
            .args(["--admin-listen", &format!("127.0.0.1:{admin}")])
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self::Process { child: Mutex::new(child), admin, log }
    }

    /// Its counters as of now.
    pub(crate) async fn figures(&self, server: &ApiServer) -> Result<Figures, String> {
        let mut figures = Figures::default();
        match self {
            Self::Process { admin, .. } => {
                let address = format!("http://127.0.0.1:{admin}/metrics");
                let page = tokio::task::spawn_blocking(move || page(&address)).await.unwrap()?;
                figures.add(&page);
            }
            Self::Installed { .. } => {
                for pod in pods(server).await {
                    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:{ADMIN_PORT}/proxy/metrics");
                    figures.add(&server.text(&path).await?);
                }
            }
        }
        if figures.counters.is_empty() { Err("no figures".to_owned()) } else { Ok(figures) }
    }

    /// Panics when it has ended, been restarted or panicked.
    pub(crate) async fn must_be_well(&self, server: &ApiServer) {
        match self {
            Self::Process { child, log, .. } => {
                let ended = child.lock().unwrap().try_wait().unwrap();
                let text = std::fs::read_to_string(log).unwrap();
                let panicked = text.lines().find(|line| line.contains("panicked at"));
                assert!(ended.is_none() && panicked.is_none(), "{ended:?} {panicked:?}, see {}", log.display());
            }
            Self::Installed { restarts: before } => {
                assert_eq!(restarts(server).await, *before, "restarts of the operator");
            }
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Self::Process { child, .. } = self {
            let child = child.get_mut().unwrap();
            // It has ended either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Figures {
    fn add(&mut self, page: &str) {
        for line in page.lines().filter(|line| line.starts_with("quartermaster_operator_")) {
            if let Some((series, value)) = line.rsplit_once(' ') {
                *self.counters.entry(series.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
            }
        }
    }

    /// How much all series that hold `part` have grown since `before`.
    pub(crate) fn grown(&self, before: &Self, part: &str) -> f64 {
        let sum = |figures: &Self| {
            figures.counters.iter().filter(|(series, _)| series.contains(part)).map(|(_, value)| value).sum::<f64>()
        };
        sum(self) - sum(before)
    }
}

fn page(address: &str) -> Result<String, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
    let answer = agent.get(address).call().map_err(|error| error.to_string())?;
    answer.into_body().read_to_string().map_err(|error| error.to_string())
}

async fn pods(server: &ApiServer) -> Vec<Value> {
    let selector = "labelSelector=app.kubernetes.io%2Fcomponent%3Doperator";
    server.list(&format!("/api/v1/namespaces/{SYSTEM}/pods?{selector}")).await
}

async fn restarts(server: &ApiServer) -> i64 {
    let pods = pods(server).await;
    assert!(!pods.is_empty(), "no operator is installed in {SYSTEM}");
    let containers = pods.iter().flat_map(|pod| pod["status"]["containerStatuses"].as_array()).flatten();
    containers.map(|container| container["restartCount"].as_i64().unwrap_or(0)).sum()
}
