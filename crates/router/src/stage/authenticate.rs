//! Who calls, as far as the policy of the model asks.

use http::{HeaderMap, header};
use router_core::{Caller, Denied, Refusal};

use crate::live::Live;

/// Headers that carry a key alone, in the order in which they are looked for behind `Authorization`.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Lets the caller of a request for `model` in, or refuses it. A model that no policy offers is nobody's, and is refused by
/// who chooses.
pub(crate) fn authenticate(live: &Live, headers: &HeaderMap, model: &str) -> Result<Caller, Refusal> {
    let Some(policy) = live.table.policy_for(model).map(|at| &live.table.policies()[at]) else {
        return Ok(Caller::Anonymous);
    };
    policy.access.admit(&live.callers, &policy.namespace, shown(headers)).map_err(|(denied, caller)| match denied {
        Denied::Unknown => Refusal::Unauthorized,
        Denied::NotAllowed => Refusal::NotAllowed { caller: caller.to_owned() },
        Denied::Unread => Refusal::KeysUnread,
    })
}

/// The key that a request shows. The headers it comes in go no further than here.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| KEY_HEADERS.into_iter().find_map(text)).filter(|key| !key.is_empty())
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
