//! Refusals in sentences.

use std::fmt::{self, Write as _};

use super::{Idle, Overload, Refusal, Upstream};

/// The sentence for the client. It tells nothing of other tenants, and no address of a replica.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHead(why) => write!(f, "The request is not acceptable HTTP/1.1: {why}."),
            Self::Overloaded(Overload::Requests) => {
                f.write_str("Too many requests are under way here; ask again soon.")
            }
            Self::Overloaded(Overload::Bodies) => f.write_str("Too many large bodies are held here; ask again soon."),
            Self::Overloaded(Overload::Work) => f.write_str("The router is overloaded; ask again soon."),
            Self::Malformed(why) if why.problem.field().is_some() => write!(f, "The body cannot be taken: {why}."),
            Self::Malformed(why) => write!(f, "The body is not a valid JSON object: {why}."),
            Self::BadForm(why) => write!(f, "The form cannot be taken: {why}."),
            Self::MissingModel => {
                f.write_str("The body must name a model: set \"model\" to one that GET /v1/models lists.")
            }
            Self::UnknownModel { model } => {
                write!(f, "No model named {model:?} is offered here; GET /v1/models lists those that are.")
            }
            Self::Unauthorized => f.write_str(
                "This asks who calls, and no credential came, or none that is good here: send an API key of this service \
                 (qm_...), or a token that it takes, as \"Authorization: Bearer ...\" or as \"x-api-key\".",
            ),
            Self::NotAllowed { caller } => write!(f, "The caller {caller} may not use this model."),
            Self::KeysUnread => f.write_str("Who calls cannot be found out for the moment; ask again soon."),
            Self::WrongTarget { targets: Some(targets) } => {
                write!(f, "The header x-quartermaster-target must name one of the policy's targets: {targets}.")
            }
            Self::WrongTarget { targets: None } => f.write_str(
                "The header x-quartermaster-target is not taken here: leave it out, or have the policy set allowTargetHeader.",
            ),
            Self::UnknownPath { path } => write!(f, "Nothing is served at {path:?}."),
            Self::NotRouted { path, why } => write!(f, "This router does not serve {path:?}. {why}."),
            Self::WrongMethod { allow } => write!(f, "This path takes {allow} only."),
            Self::EncodedBody => f.write_str("Encoded bodies are not taken: send it without Content-Encoding."),
            Self::TooLarge { limit } => write!(f, "The body is larger than the {limit} bytes that are taken."),
            Self::SlowBody { seconds } => write!(f, "The body did not come within {seconds} seconds."),
            Self::CrawlingBody { least } => write!(f, "The body came at less than {least} bytes a second."),
            Self::BrokenBody => f.write_str("The body broke off or is framed wrongly."),
            Self::Starting => f.write_str("The router is starting and knows no models yet."),
            Self::NoReplica { model, pools } => write_no_replica(f, model, pools),
            Self::Unreachable { upstream: Upstream::Pool(pool) } => {
                write!(f, "No replica of pool {pool} could be reached.")
            }
            Self::Unreachable { upstream } => write!(f, "{upstream} could not be reached."),
            Self::Undialed { upstream, why } => write!(f, "{upstream} could not be reached: {why}."),
            Self::Forbidden { upstream, why } => {
                write!(f, "{upstream} has {why}, which this router must not connect to.")
            }
            Self::Credentials { upstream, .. } => {
                write!(f, "{upstream} cannot be used: its credentials need an administrator's attention.")
            }
            Self::Unfit { upstream, what, .. } => write!(f, "{upstream} cannot {what}."),
            Self::UpstreamLimited { upstream, money: true, .. } => {
                write!(f, "{upstream} takes no more requests: the quota of its key is used up.")
            }
            Self::UpstreamLimited { upstream, seconds, .. } => {
                write!(f, "{upstream} takes no more requests for {seconds} seconds: its key was used too often.")
            }
            Self::UpstreamOverloaded { upstream } => write!(f, "{upstream} is overloaded; ask again soon."),
            Self::UpstreamResting { upstream, seconds } => {
                write!(f, "{upstream} failed several times in a row and is left alone for {seconds} seconds.")
            }
            Self::UpstreamRedirects { upstream } => write!(f, "{upstream} sends elsewhere, which is not followed."),
            Self::UpstreamStrange { upstream, why } => {
                write!(f, "{upstream} gave an answer that cannot be understood: {why}.")
            }
            Self::UpstreamBroke { upstream } => write!(f, "{upstream} closed the connection before it answered."),
            Self::UpstreamFailed { upstream } => write!(f, "{upstream} failed while it answered."),
            Self::UpstreamEndless { upstream, seconds } => {
                write!(f, "{upstream} did not finish its answer within {seconds} seconds.")
            }
            Self::UpstreamMalformed { upstream, why } => {
                write!(f, "{upstream} gave an answer that cannot be passed on: {why}.")
            }
            Self::UpstreamCut { upstream, why } => write!(f, "{upstream} did not finish its answer: {why}."),
            Self::UpstreamSilent { upstream, seconds } => write!(f, "{upstream} sent nothing for {seconds} seconds."),
        }
    }
}

fn write_no_replica(f: &mut fmt::Formatter<'_>, model: &str, pools: &[(String, Idle)]) -> fmt::Result {
    write!(f, "No replica can answer for {model:?}: ")?;
    for (at, (pool, idle)) in pools.iter().enumerate() {
        if at > 0 {
            f.write_str("; ")?;
        }
        match idle {
            Idle::Missing => write!(f, "pool {pool} does not exist")?,
            Idle::Empty => write!(f, "pool {pool} has no replicas")?,
            Idle::Starting(1) => write!(f, "the one replica of pool {pool} is not ready")?,
            Idle::Starting(count) => write!(f, "none of the {count} replicas of pool {pool} is ready")?,
        }
    }
    f.write_char('.')
}
