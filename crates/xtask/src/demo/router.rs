//! Reaching the router from this machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::SYSTEM;
use crate::Outcome;
use crate::cluster::Cluster;

/// The router's address, and what keeps it reachable.
pub(super) struct Router {
    /// Base URL, without a slash at the end.
    pub(super) url: String,
    forward: Option<Child>,
}

impl Router {
    /// Finds the router's Service: by its own address where that is routed, else through a port-forward.
    pub(super) fn reach(cluster: &Cluster) -> Outcome<Self> {
        if cluster.routed() {
            let service = ["get", "service", "quartermaster-router", "--namespace", SYSTEM];
            let address = cluster.ask(&[&service[..], &["--output", "jsonpath={.spec.clusterIP}"]].concat())?;
            return Ok(Self { url: format!("http://{address}"), forward: None });
        }
        let mut forward = cluster
            .kubectl(&["port-forward", "--namespace", SYSTEM, "service/quartermaster-router", ":80"])
            .stdout(Stdio::piped())
            .spawn()?;
        let said = forward.stdout.take().ok_or("kubectl port-forward has no output")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        // It says "Forwarding from 127.0.0.1:PORT -> 8080".
        let port = line.split([' ', ':']).find_map(|word| word.parse::<u16>().ok());
        let port = port.ok_or_else(|| format!("kubectl port-forward said {line:?}"))?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), forward: Some(forward) })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(forward) = &mut self.forward {
            // It ends with us either way; nothing is lost if it is gone already.
            let _ = forward.kill();
            let _ = forward.wait();
        }
    }
}
