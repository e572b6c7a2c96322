//! The operator: watches InferencePools and RoutePolicies, makes what they ask for, and serves the load of each pool to the
//! autoscaler.
//!
//! What to do is decided in `operator-core`; this crate reads, writes and waits. It never forces a write over somebody
//! else's, never writes when nothing differs, and asks the API server for nothing without a deadline. Start with
//! [`pool::reconcile`], then [`run`].
//!
//! The rights it needs in the cluster, or in its namespace with `--namespace`:
//!
//! * `quartermaster.dev` inferencepools, routepolicies: list, watch; their `status`: patch; inferencepools/finalizers:
//!   update (only for clusters that check it before an owner reference may block a deletion);
//! * `apps` deployments, core services, `autoscaling` horizontalpodautoscalers: list, watch, create, patch; the last also
//!   delete;
//! * core pods: list, watch;
//! * `events.k8s.io` events: create, patch;
//! * `coordination.k8s.io` its one Lease by name, in its own namespace: get, create, update (a Lease may be made by an
//!   update, which is checked for both by name);
//!
//! and for the metrics API:
//!
//! * its one Secret by name, in its own namespace: get, create, patch (an apply is checked for all three by name);
//! * ConfigMap kube-system/extension-apiserver-authentication: get, by the role extension-apiserver-authentication-reader;
//! * `apiregistration.k8s.io` apiservices v1beta1 and v1beta2.custom.metrics.k8s.io by name: get, patch.

mod args;
mod backoff;
mod call;
mod cluster;
mod context;
mod error;
mod execute;
mod guarded;
mod health;
mod lead;
mod metrics;
mod metrics_api;
mod observe;
mod overlay;
mod pool;
mod pool_figures;
mod queue;
mod relations;
mod report;
mod route;
mod run;
mod scrape;
mod start_error;
mod tasks;
mod unreadable;
mod watch;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Err(error) = telemetry::log::init(args.log_format, &args.log_level) {
        // Without logs, standard error is all there is to say why.
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let code = match run::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot go on");
            ExitCode::FAILURE
        }
    };
    telemetry::log::flush();
    code
}
