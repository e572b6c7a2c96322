//! The router's data plane with a fixed table instead of a cluster, for the checks by the official SDKs: engines and providers
//! on this machine, and callers who have to show a key.
//!
//! `sdk_router LISTEN KEY_OF_PROVIDERS KEPT_KEY_OF_CALLER MODEL=TARGET@ADDRESS…`: `TARGET` is `engine` (`engine:NAME` where the
//! engine calls the model NAME), `openai`, `anthropic`, or `bedrock`, whose access key has the secret `sim-secret`; the caller is
//! called `sdk`, and KEPT_KEY_OF_CALLER is a line as docs/access.md describes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::AWS_KEYS;
use router::live::Live;
use router::metrics::Metrics;
use router::outbound::Outbound;
use router::secrets::{Held, Key, KeyFault, Secrets};
use router::settings::Settings;
use router::workers::Workers;
use router_core::{
    Access, Api, Aws, EndpointInput, KeptKey, Keys, Moment, PolicyInput, PoolInput, Reach, RemoteInput, Resilience,
    SecretKey, Table, TargetInput,
};
use telemetry::log::{LogFormat, init};

type Error = Box<dyn std::error::Error>;

const NAMESPACE: &str = "sdk";

struct Route {
    model: String,
    target: String,
    /// Name by which an engine knows the model.
    served: String,
    address: SocketAddr,
}

fn main() -> Result<(), Error> {
    init(LogFormat::Json, "info")?;
    // Only the first provider counts; that another was installed first would be as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().ok_or("no address to listen on")?.parse()?;
    let key = args.next().ok_or("no key of providers")?;
    let kept = args.next().ok_or("no kept key of the caller")?;
    let routes = args.map(|text| route(&text)).collect::<Result<Vec<_>, Error>>()?;
    let metrics = Metrics::new()?;
    let held = Held { key: Key::new(key.as_bytes())?, hosts: Vec::new(), version: 1 };
    let mut callers = Keys::default();
    callers.set(NAMESPACE, [("sdk".to_owned(), KeptKey::parse(&kept).map_err(|why| why.to_string())?)]);
    let live = Live::new(table(&routes), &metrics).with(&secrets(&held)?).with_callers(Arc::new(callers)).shared();
    let reach = Reach::new(vec!["127.0.0.1".parse()?]);
    let settings = Settings { outbound: Outbound::new(reach, Vec::new())?, ..Settings::default() };
    let workers = Workers::start(listen, 1, &settings, &live, &metrics, Duration::ZERO)?;
    workers.join();
    Ok(())
}

fn route(text: &str) -> Result<Route, Error> {
    let (model, rest) = text.split_once('=').ok_or("expected MODEL=TARGET@ADDRESS")?;
    let (target, address) = rest.split_once('@').ok_or("expected MODEL=TARGET@ADDRESS")?;
    let (target, served) = target.split_once(':').unwrap_or((target, model));
    Ok(Route {
        model: model.to_owned(),
        target: target.to_owned(),
        served: served.to_owned(),
        address: address.parse()?,
    })
}

/// The provider's key for each of them. At Bedrock it is the id of an access key.
fn secrets(held: &Held) -> Result<Secrets, Error> {
    let mut all: Vec<_> = [Api::OpenAi, Api::Anthropic].map(|api| (secret(api), Ok(held.clone()))).into();
    let sign = Held { key: Key::new(b"sim-secret")?, ..held.clone() };
    let values = [Ok(held.clone()), Ok(sign), Err(KeyFault::NoKey)];
    let names = AWS_KEYS.map(|key| SecretKey { key: key.to_owned(), ..secret(Api::Bedrock) });
    all.extend(names.into_iter().zip(values));
    Ok(Secrets::new(all))
}

fn bedrock(route: &Route) -> RemoteInput {
    let secret = SecretKey { key: AWS_KEYS[0].to_owned(), ..secret(Api::Bedrock) };
    RemoteInput {
        path: String::new(),
        secret: Some(secret),
        aws: Some(Aws { region: "eu-central-1".to_owned(), signs: true }),
        ..remote(Api::Bedrock, route)
    }
}

/// Each provider has a key of its own: one that rests keeps no other from being used.
fn secret(api: Api) -> SecretKey {
    SecretKey { namespace: NAMESPACE.to_owned(), name: format!("{api:?}").to_lowercase(), key: "api-key".to_owned() }
}

fn remote(api: Api, route: &Route) -> RemoteInput {
    RemoteInput {
        api,
        secure: false,
        host: route.address.ip().to_string(),
        port: route.address.port(),
        authority: route.address.to_string(),
        path: if api == Api::Anthropic { String::new() } else { "/v1".to_owned() },
        model: Some(route.model.clone()),
        secret: Some(secret(api)),
        aws: None,
        host_is_chosen: false,
        api_version: None,
        organization: None,
        project: None,
        key_version: 1,
    }
}

fn table(routes: &[Route]) -> Table {
    let namespace = || NAMESPACE.to_owned();
    let policies = routes.iter().map(|route| PolicyInput {
        namespace: namespace(),
        name: route.model.clone(),
        created: 0,
        models: vec![route.model.clone()],
        targets: vec![match route.target.as_str() {
            "openai" => TargetInput::remote("openai", remote(Api::OpenAi, route)),
            "anthropic" => TargetInput::remote("anthropic", remote(Api::Anthropic, route)),
            "bedrock" => TargetInput::remote("bedrock", bedrock(route)),
            _ => TargetInput::new("engine", namespace(), &route.model),
        }],
        session_header: None,
        access: Access::default(),
        resilience: Resilience { attempts: 0, breaker_failures: u16::MAX, ..Resilience::default() },
        rules: Vec::new(),
        allows_target_header: false,
        classifier: None,
    });
    let pools = routes.iter().map(|route| PoolInput {
        namespace: namespace(),
        name: route.model.clone(),
        served_model: route.served.clone(),
    });
    let endpoints = routes.iter().map(|route| EndpointInput {
        namespace: namespace(),
        pool: route.model.clone(),
        address: route.address,
        ready: true,
    });
    Table::build(policies.collect(), pools.collect(), endpoints.collect(), &Table::default(), Moment(0))
}
