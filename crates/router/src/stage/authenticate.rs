//! Who calls, as far as the policy of the model asks.

use http::{HeaderMap, header};
use router_core::{Caller, Denied, Refusal, Shown};

use crate::clock;
use crate::live::Live;
use crate::reviews::Reviews;
use crate::worker::Worker;

/// Headers that carry a key alone, in the order in which they are looked for behind `Authorization`.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Lets the caller of a request for `model` in, or refuses it. A model that no policy offers is refused by who chooses, and for
/// those who prove nothing here, so that nobody finds out names by asking.
pub(crate) async fn authenticate(
    worker: &Worker,
    live: &Live,
    headers: &HeaderMap,
    model: &str,
) -> Result<Caller, Refusal> {
    let shown = shown(headers);
    if let Some(at) = live.table.policy_for(model) {
        return admit(worker, live, at, shown).await.map_err(refusal);
    }
    if live.table.policies().iter().all(|policy| policy.access.anonymous) {
        return Ok(Caller::Anonymous);
    }
    let standing = Standing::of(worker, live, headers).await;
    if standing.caller == Caller::Anonymous { Err(standing.refusal()) } else { Ok(standing.caller) }
}

/// Longest body that is read before it is known who sends it: which policy judges the caller depends on the model in it.
const READ_OF_ANYBODY: u64 = 64 * 1024;

/// Refuses a caller whom no policy would let in, whatever the model, before more of its body is read than that: the memory for bodies
/// is one for all.
pub(crate) async fn turn_away(
    worker: &Worker,
    live: &Live,
    headers: &HeaderMap,
    announced: Option<u64>,
) -> Result<(), Refusal> {
    if announced.is_some_and(|bytes| bytes <= READ_OF_ANYBODY) {
        return Ok(());
    }
    let standing = Standing::of(worker, live, headers).await;
    if standing.is_nobody() { Err(standing.refusal()) } else { Ok(()) }
}

/// What a caller may use of all that there is.
pub(crate) struct Standing {
    /// Whether each policy lets the caller in, by the policies' places in the table.
    pub(crate) may: Vec<bool>,
    /// Who it is, as far as any policy could tell.
    pub(crate) caller: Caller,
    /// Something was shown that is meant for this service.
    meant: bool,
    /// Some policy found it wrong.
    wrong: bool,
    /// Some policy could not tell.
    unread: bool,
}

impl Standing {
    /// Asks all policies.
    pub(crate) async fn of(worker: &Worker, live: &Live, headers: &HeaderMap) -> Self {
        let shown = shown(headers);
        let mut all = Self { may: Vec::new(), caller: Caller::Anonymous, meant: false, wrong: false, unread: false };
        for (at, policy) in live.table.policies().iter().enumerate() {
            let meant = !matches!(policy.access.shown(shown, audience(worker)), Shown::Nothing);
            all.meant |= meant;
            let admitted = admit(worker, live, at, shown).await;
            all.may.push(admitted.is_ok());
            match admitted {
                Ok(Caller::Anonymous) => {}
                Err(Denied::Unknown) => all.wrong |= meant,
                Ok(caller) | Err(Denied::NotAllowed(caller)) => all.caller = caller,
                Err(Denied::Unread) => all.unread = true,
            }
        }
        all
    }

    /// Why the caller gets no list: it shows what is wrong, or shows nothing where that opens nothing.
    pub(crate) fn denied(&self) -> Option<Refusal> {
        let proven = self.caller != Caller::Anonymous;
        (self.is_nobody() || (!proven && self.meant)).then(|| self.refusal())
    }

    /// Whether the caller proves nothing, where that opens nothing.
    fn is_nobody(&self) -> bool {
        self.caller == Caller::Anonymous && !self.may.is_empty() && !self.may.contains(&true)
    }

    fn refusal(&self) -> Refusal {
        // A namespace whose keys nobody may read must not make every wrong key a matter of waiting.
        if self.unread && !self.wrong { Refusal::KeysUnread } else { Refusal::Unauthorized }
    }
}

/// Lets a caller in by the policy at this place.
async fn admit(worker: &Worker, live: &Live, at: usize, shown: Option<&str>) -> Result<Caller, Denied> {
    let policy = &live.table.policies()[at];
    let caller = match policy.access.shown(shown, audience(worker)) {
        Shown::Nothing => Caller::Anonymous,
        Shown::Key(key) => return policy.access.holder(&live.callers, &policy.namespace, key),
        Shown::Account(token) => {
            let reviews = worker.settings.reviews.as_ref().ok_or(Denied::Unknown)?;
            Caller::Account(reviews.account(&token).await?.to_string())
        }
        Shown::Issued(token, oidc) => live.issuers.caller(&token, oidc, &worker.tokens, clock::seconds_since_1970())?,
    };
    policy.access.admit(&policy.namespace, caller)
}

fn audience(worker: &Worker) -> Option<&str> {
    worker.settings.reviews.as_ref().map(Reviews::audience)
}

fn refusal(denied: Denied) -> Refusal {
    match denied {
        Denied::Unknown => Refusal::Unauthorized,
        Denied::NotAllowed(caller) => Refusal::NotAllowed { caller: caller.name().unwrap_or_default().to_owned() },
        Denied::Unread => Refusal::KeysUnread,
    }
}

/// The key that a request shows. The headers it comes in go no further than here.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let told = |text: &&str| !text.is_empty();
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.filter(told).or_else(|| KEY_HEADERS.into_iter().find_map(|name| text(name).filter(told)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_clients_put_it() {
        for (given, expected) in [
            (&[("authorization", "Bearer qm_a_1")][..], Some("qm_a_1")),
            (&[("authorization", "bearer  qm_a_1 ")], Some("qm_a_1")),
            (&[("authorization", "Basic eA=="), ("x-api-key", "qm_a_2")], Some("qm_a_2")),
            (&[("authorization", "Bearer qm_a_1"), ("x-api-key", "qm_a_2")], Some("qm_a_1")),
            (&[("api-key", "qm_a_3")], Some("qm_a_3")),
            (&[("x-api-key", "")], None),
            (&[("authorization", "Bearer "), ("x-api-key", "qm_a_4")], Some("qm_a_4")),
            (&[("x-api-key", ""), ("api-key", "qm_a_5")], Some("qm_a_5")),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.insert(*name, value.parse().unwrap());
            }
            assert_eq!(shown(&headers), expected, "{given:?}");
        }
    }
}
