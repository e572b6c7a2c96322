//! The router's data plane with a fixed table instead of a cluster, for measuring it: metrics, request ids and the log
//! line of each request are on.
//!
//! `bench_router LISTEN WORKERS MODEL=ADDRESS…`: each model is served by one replica at that address.

use std::net::SocketAddr;
use std::time::Duration;

use router::live::Live;
use router::metrics::Metrics;
use router::settings::Settings;
use router::workers::Workers;
use router_core::{EndpointInput, Moment, PolicyInput, PoolInput, Resilience, Table, TargetInput};
use telemetry::log::{LogFormat, init};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    init(LogFormat::Json, "info")?;
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().ok_or("no address to listen on")?.parse()?;
    let count: usize = args.next().ok_or("no number of workers")?.parse()?;
    let mut models = Vec::new();
    for pair in args {
        let (model, address) = pair.split_once('=').ok_or("expected MODEL=ADDRESS")?;
        models.push((model.to_owned(), address.parse()?));
    }
    let metrics = Metrics::new()?;
    let live = Live::new(table(&models), &metrics).shared();
    let workers = Workers::start(listen, count, &Settings::default(), &live, &metrics, Duration::ZERO)?;
    workers.join();
    Ok(())
}

fn table(models: &[(String, SocketAddr)]) -> Table {
    let namespace = || "bench".to_owned();
    let policies = models.iter().map(|(model, _)| PolicyInput {
        namespace: namespace(),
        name: model.clone(),
        created: 0,
        models: vec![model.clone()],
        targets: vec![TargetInput::new(model, namespace(), model)],
        session_header: None,
        access: None,
        resilience: Resilience::default(),
        rules: Vec::new(),
        allows_target_header: false,
    });
    let pools = models.iter().map(|(model, _)| PoolInput {
        namespace: namespace(),
        name: model.clone(),
        served_model: model.clone(),
    });
    let endpoints = models.iter().map(|(model, address)| EndpointInput {
        namespace: namespace(),
        pool: model.clone(),
        address: *address,
        ready: true,
    });
    Table::build(policies.collect(), pools.collect(), endpoints.collect(), &Table::default(), Moment(0))
}
