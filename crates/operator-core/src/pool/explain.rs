//! Why a pool is not as its spec asks, in one sentence: how far it is, what keeps it, and what goes on meanwhile.

use api::conditions::reason;

use super::causes::{Cause, Headline, Settings, Survey};
use super::rollout::Decision;

/// A reason in CamelCase, and a message for people.
pub(super) type Because = (&'static str, String);

/// What is said of a pool that is not as its spec asks.
pub(super) struct Told {
    pub(super) because: Because,
    /// Whether it will stay so unless somebody does something.
    pub(super) stuck: bool,
}

/// Adds to `base`, which says how far the pool is, what its replicas and its rollout say.
pub(super) fn why(base: Because, rolling: bool, serving: i32, survey: &Survey, rollout: &Decision) -> Told {
    let special = rollout.special.clone();
    let Some(head) = survey.headline() else {
        let because = match special {
            Some((reason, message)) => (reason, format!("{}; {message}", base.1)),
            None => base,
        };
        return Told { because, stuck: false };
    };
    let reason = match &special {
        Some((reason, _)) if !head.stuck => reason,
        None if !head.stuck && !names(base.0, &head) => base.0,
        _ => head.cause.as_str(),
    };
    let special = special.map(|(_, message)| message);
    let parts = if head.stuck {
        [Some(head.message), special, Some(meanwhile(rolling, serving))]
    } else {
        [Some(base.1), special, Some(head.message)]
    };
    let message = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    Told { because: (reason, message), stuck: head.stuck }
}

/// A rollout that Kubernetes calls overdue, or pods that it cannot make: the replicas know better why, if they say anything.
pub(super) fn overdue((reason, message): Because, told: Told) -> Because {
    if told.stuck { told.because } else { (reason, format!("{message}; {}", told.because.1)) }
}

/// Whether the cause says more than the base. What every start, rollout and shrinking goes through does not; nor does what is
/// wrong with a replica that a rollout replaces.
fn names(base: &str, head: &Headline) -> bool {
    match head.cause {
        _ if base == reason::SCALING_DOWN => false,
        Cause::Terminating => false,
        Cause::Initializing | Cause::Loading => base != reason::ROLLING_OUT,
        _ => base != reason::ROLLING_OUT || head.settings == Settings::New,
    }
}

fn meanwhile(rolling: bool, serving: i32) -> String {
    let serve = match serving {
        0 => "nothing serves meanwhile".to_owned(),
        1 => "1 replica goes on serving".to_owned(),
        n => format!("{n} replicas go on serving"),
    };
    if rolling {
        format!("the rollout waits until then, or until the earlier spec is applied again; {serve}")
    } else {
        serve
    }
}

/// Whether people should hear of it when a pool that is being worked on comes to this reason.
pub(super) fn is_news(because: &str) -> bool {
    let usual = [reason::NO_REPLICA_READY, reason::SCALING_UP, reason::SCALING_DOWN, reason::ROLLING_OUT];
    let steps = [Cause::Initializing, Cause::Loading, Cause::Terminating].map(Cause::as_str);
    !usual.contains(&because) && !steps.contains(&because)
}
