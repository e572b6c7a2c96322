//! From a RoutePolicy and what it names to the plain inputs of the routing table.

mod replicas;

use std::time::Duration;

use api::{
    AWS_KEYS, Complexity, Destination, FallbackReason, Price, Provider, ProviderKind, RoutePolicy, RoutePolicySpec,
    RouteRule, RuleTargets, ServiceRef, Weighted,
};
use ledger::prices::{Rate, Rates};

pub use replicas::{pool, slice};

use crate::{
    Access, Api, Aws, ClassifierInput, HowInput, MirrorInput, Oidc, PolicyInput, Reason, RemoteInput, Resilience,
    RuleInput, SecretKey, TargetInput,
};

/// A policy, as far as routing needs it.
#[must_use]
pub fn policy(policy: &RoutePolicy) -> PolicyInput {
    let RoutePolicy { metadata, spec, .. } = policy;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    PolicyInput {
        targets: spec.targets.iter().filter_map(|t| target(t, &namespace)).collect(),
        resilience: resilience(spec),
        rules: spec.rules.iter().map(rule).collect(),
        classifier: spec.complexity.as_ref().map(|complexity| classifier(complexity, &namespace)),
        allows_target_header: spec.allow_target_header,
        access: spec.access.as_ref().map(access).unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second()),
        models: spec.models.clone(),
        session_header: spec.session_affinity.as_ref().map(|affinity| affinity.header.clone()),
        namespace,
    }
}

fn access(access: &api::Access) -> Access {
    let oidc = access.oidc.as_ref().map(|oidc| Oidc {
        issuer: oidc.issuer.clone(),
        audiences: oidc.audiences.clone(),
        jwks: oidc.jwks_uri.clone(),
        claim: oidc.caller_claim.clone(),
    });
    Access { anonymous: access.anonymous, allow: access.allow.clone(), oidc }
}

/// A rule. Of several ways to choose, or none, which only an object from before the kind's own rule can have, nothing is
/// taken; reading the rule says so.
fn rule(rule: &RouteRule) -> RuleInput {
    let RuleTargets { ordered, weighted, cheapest } = &rule.targets;
    let share = |share: &Weighted| (share.target.clone(), u32::try_from(share.weight).unwrap_or(0));
    let how = match (ordered, weighted, cheapest) {
        (Some(ordered), None, None) => HowInput::Ordered(ordered.clone()),
        (None, Some(shares), None) => HowInput::Weighted(shares.iter().map(share).collect()),
        (None, None, Some(cheapest)) => HowInput::Cheapest(cheapest.clone()),
        _ => HowInput::Ordered(Vec::new()),
    };
    let mirror = rule.mirror.as_ref().map(|mirror| MirrorInput {
        target: mirror.target.clone(),
        percent: u8::try_from(mirror.percent).unwrap_or(100).min(100),
    });
    RuleInput { name: rule.name.clone(), when: rule.when.clone(), how, mirror }
}

fn classifier(complexity: &Complexity, namespace: &str) -> ClassifierInput {
    ClassifierInput {
        namespace: complexity.pool.namespace_in(namespace).to_owned(),
        pool: complexity.pool.name.clone(),
        withheld: false,
        model: complexity.model.clone(),
        deadline: Duration::from_millis(u64::from(complexity.deadline_milliseconds.unsigned_abs())),
    }
}

/// What a policy says that tokens cost. The kind takes only amounts that can be read.
fn rates(price: &Price) -> Option<Rates> {
    Some(Rates {
        input: Rate::per_million(&price.input_per_million).ok()?,
        output: Rate::per_million(&price.output_per_million).ok()?,
        cached: price.cached_input_per_million.as_deref().and_then(|text| Rate::per_million(text).ok()),
        ..Rates::default()
    })
}

/// A target. One that cannot be read is left out; the operator says so in the policy's status.
fn target(target: &api::Target, namespace: &str) -> Option<TargetInput> {
    let input = match target.destination()? {
        Destination::Pool(pool) => TargetInput::new(&target.name, pool.namespace_in(namespace), &pool.name),
        Destination::Provider(provider) => TargetInput::remote(&target.name, of_provider(provider, namespace)?),
        Destination::Service(service) => TargetInput::remote(&target.name, of_service(service, namespace)?),
    };
    Some(TargetInput { price: target.price.as_ref().and_then(rates), ..input })
}

fn of_provider(provider: &Provider, namespace: &str) -> Option<RemoteInput> {
    let base = provider.base().ok()?;
    let named = provider.credentials_secret_ref.as_ref();
    let bedrock = provider.kind == ProviderKind::Bedrock;
    // Without a key only Bedrock's credentials can be read; others are as if they had none.
    let key = |r: &api::ProviderSecretRef| match (&r.key, bedrock) {
        (Some(key), _) => Some(key.clone()),
        (None, true) => Some(AWS_KEYS[0].to_owned()),
        (None, false) => None,
    };
    let secret = |r: &api::ProviderSecretRef| {
        Some(SecretKey { namespace: namespace.to_owned(), name: r.name.clone(), key: key(r)? })
    };
    let aws = |region: &String| Aws { region: region.clone(), signs: named.is_some_and(|r| r.key.is_none()) };
    Some(RemoteInput {
        api: match provider.kind {
            ProviderKind::Anthropic => Api::Anthropic,
            ProviderKind::OpenAI => Api::OpenAi,
            ProviderKind::OpenAICompatible => Api::OpenAiCompatible,
            ProviderKind::Bedrock => Api::Bedrock,
        },
        secure: base.secure,
        authority: base.authority(),
        host: base.host,
        port: base.port,
        path: base.path,
        model: Some(provider.model.clone()),
        secret: named.and_then(secret),
        aws: provider.region.as_ref().filter(|_| bedrock).map(aws),
        host_is_chosen: provider.base_url.is_some(),
        api_version: provider.api_version.clone(),
        organization: provider.organization.clone(),
        project: provider.project.clone(),
        key_version: 0,
    })
}

fn of_service(service: &ServiceRef, namespace: &str) -> Option<RemoteInput> {
    let host = format!("{}.{namespace}.svc", service.name);
    let port = u16::try_from(service.port).ok()?;
    Some(RemoteInput {
        api: Api::Engine,
        secure: false,
        authority: format!("{host}:{port}"),
        host,
        port,
        path: String::new(),
        model: service.model.clone(),
        secret: None,
        aws: None,
        host_is_chosen: false,
        api_version: None,
        organization: None,
        project: None,
        key_version: 0,
    })
}

fn resilience(spec: &RoutePolicySpec) -> Resilience {
    let length = |d: api::Duration| Duration::from_secs(u64::from(d.seconds().unsigned_abs()));
    let reason = |reason: &FallbackReason| match reason {
        FallbackReason::ConnectFailure => Reason::ConnectFailure,
        FallbackReason::Timeout => Reason::Timeout,
        FallbackReason::RateLimited => Reason::RateLimited,
        FallbackReason::Overloaded => Reason::Overloaded,
        FallbackReason::ServerError => Reason::ServerError,
        FallbackReason::Cold => Reason::Cold,
    };
    let hedge = spec.hedge.as_ref().map(|hedge| u64::from(hedge.after_milliseconds.unsigned_abs()));
    let (timeouts, retries, breaker) = (&spec.timeouts, &spec.retries, &spec.breaker);
    Resilience {
        fallback_on: spec.fallback_on.iter().map(reason).collect(),
        connect: timeouts.connect.map(length),
        first_token: timeouts.first_token.map(length),
        idle: timeouts.idle.map(length),
        total: timeouts.total.map(length),
        attempts: usize::try_from(retries.attempts).unwrap_or(0),
        budget_percent: u64::try_from(retries.budget_percent).unwrap_or(0),
        breaker_failures: u16::try_from(breaker.consecutive_failures).unwrap_or(1),
        ejection: length(breaker.ejection),
        hedge_after: hedge.map(Duration::from_millis),
    }
}
