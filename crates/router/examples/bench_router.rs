//! The router's data plane with a fixed table instead of a cluster, for measuring it: metrics, request ids and the log
//! line of each request are on.
//!
//! `bench_router LISTEN WORKERS MODEL=[KIND@]ADDRESS…`: each model is served at that address, by one replica of a pool. Of the kind
//! `ruled`, five rules are asked before, of which the last one holds; of the kind `remote`, it is the API of a provider that is
//! compatible with OpenAI's.

use std::net::SocketAddr;
use std::time::Duration;

use router::live::Live;
use router::metrics::Metrics;
use router::outbound::Outbound;
use router::settings::Settings;
use router::workers::Workers;
use router_core::{
    Access, Api, EndpointInput, HowInput, Moment, PolicyInput, PoolInput, Reach, RemoteInput, Resilience, RuleInput,
    Table, TargetInput,
};
use telemetry::log::{LogFormat, init};

type Error = Box<dyn std::error::Error>;

/// What the rules of the kind `ruled` ask.
const CONDITIONS: [Option<&str>; 5] = [
    Some("request.headers['x-batch'] == 'true'"),
    Some("request.estimatedTokens > 4000 && request.model.startsWith('llama')"),
    Some("size(request.tools) > 5"),
    Some("request.complexity == 'complex'"),
    None,
];

struct Served {
    model: String,
    kind: String,
    address: SocketAddr,
}

fn main() -> Result<(), Error> {
    init(LogFormat::Json, "info")?;
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().ok_or("no address to listen on")?.parse()?;
    let count: usize = args.next().ok_or("no number of workers")?.parse()?;
    let mut models = Vec::new();
    for pair in args {
        let (model, place) = pair.split_once('=').ok_or("expected MODEL=[KIND@]ADDRESS")?;
        let (kind, address) = place.split_once('@').unwrap_or(("pool", place));
        models.push(Served { model: model.to_owned(), kind: kind.to_owned(), address: address.parse()? });
    }
    let metrics = Metrics::new()?;
    let live = Live::new(table(&models), &metrics).shared();
    let reach = Reach::new(vec!["127.0.0.1".parse()?]);
    let settings = Settings { outbound: Outbound::new(reach, Vec::new())?, ..Settings::default() };
    let workers = Workers::start(listen, count, &settings, &live, &metrics, Duration::ZERO)?;
    workers.join();
    Ok(())
}

fn rules(served: &Served) -> Vec<RuleInput> {
    let rule = |(at, when): (usize, Option<&str>)| RuleInput {
        name: format!("rule-{at}"),
        when: when.map(str::to_owned),
        how: HowInput::Ordered(vec![served.model.clone()]),
        mirror: None,
    };
    if served.kind == "ruled" { CONDITIONS.into_iter().enumerate().map(rule).collect() } else { Vec::new() }
}

fn target(served: &Served) -> TargetInput {
    if served.kind != "remote" {
        return TargetInput::new(&served.model, "bench".to_owned(), &served.model);
    }
    let input = RemoteInput {
        api: Api::OpenAiCompatible,
        secure: false,
        host: served.address.ip().to_string(),
        port: served.address.port(),
        authority: served.address.to_string(),
        path: "/v1".to_owned(),
        model: Some(served.model.clone()),
        secret: None,
        aws: None,
        host_is_chosen: false,
        api_version: None,
        organization: None,
        project: None,
        key_version: 0,
    };
    TargetInput::remote(&served.model, input)
}

fn table(models: &[Served]) -> Table {
    let namespace = || "bench".to_owned();
    let policies = models.iter().map(|served| PolicyInput {
        namespace: namespace(),
        name: served.model.clone(),
        created: 0,
        models: vec![served.model.clone()],
        targets: vec![target(served)],
        session_header: None,
        access: Access::anyone(),
        resilience: Resilience::default(),
        rules: rules(served),
        allows_target_header: false,
        classifier: None,
    });
    let pools = models.iter().map(|served| PoolInput {
        namespace: namespace(),
        name: served.model.clone(),
        served_model: served.model.clone(),
    });
    let endpoints = models.iter().map(|served| EndpointInput {
        namespace: namespace(),
        pool: served.model.clone(),
        address: served.address,
        ready: true,
    });
    Table::build(policies.collect(), pools.collect(), endpoints.collect(), &Table::default(), Moment(0))
}
