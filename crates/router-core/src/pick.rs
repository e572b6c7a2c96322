//! Which replica of a pool gets a request.

use std::sync::Arc;

use crate::Endpoint;

/// The less loaded of two endpoints drawn by `luck`, leaving out those in `tried`; `None` when none is left.
///
/// Two drawn at random spread load nearly as well as looking at all, and unlike the least loaded of all they do not send
/// every router's next request to the same replica.
#[must_use]
pub fn pick<'a>(endpoints: &'a [Arc<Endpoint>], tried: &[Arc<Endpoint>], luck: u64) -> Option<&'a Arc<Endpoint>> {
    if tried.is_empty() {
        return two_choices(endpoints.len(), luck, |at| &endpoints[at]);
    }
    let left: Vec<&Arc<Endpoint>> = endpoints.iter().filter(|e| !tried.iter().any(|t| Arc::ptr_eq(t, e))).collect();
    two_choices(left.len(), luck, |at| left[at])
}

fn two_choices<'a>(count: usize, luck: u64, at: impl Fn(usize) -> &'a Arc<Endpoint>) -> Option<&'a Arc<Endpoint>> {
    let first = draw(count, luck & 0xffff_ffff)?;
    // The second is drawn from the others, so that two endpoints are always compared with each other.
    let Some(second) = draw(count - 1, luck >> 32) else { return Some(at(first)) };
    let second = if second >= first { second + 1 } else { second };
    let (first, second) = (at(first), at(second));
    Some(if second.load.in_flight() < first.load.in_flight() { second } else { first })
}

/// A number below `count` from 32 bits of luck, without the cost of a division.
fn draw(count: usize, luck: u64) -> Option<usize> {
    let drawn = (luck * u64::try_from(count).ok()?) >> 32;
    if count == 0 { None } else { usize::try_from(drawn).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InFlight;
    use proptest::prelude::*;

    fn endpoints(count: usize) -> Vec<Arc<Endpoint>> {
        (0..count).map(|i| Arc::new(Endpoint::new(([10, 0, 0, 1], u16::try_from(i).unwrap()).into()))).collect()
    }

    fn port(picked: Option<&Arc<Endpoint>>) -> Option<u16> {
        picked.map(|e| e.address.port())
    }

    #[test]
    fn takes_the_less_loaded_of_two() {
        let all = endpoints(3);
        let _busy = [InFlight::enter(&all[0]), InFlight::enter(&all[0]), InFlight::enter(&all[1])];
        let luck = |first: u64, second: u64| (first * 0x5555_5556) | ((second * 0x8000_0000) << 32);
        let cases = [((0, 0), 1), ((0, 1), 2), ((1, 0), 1), ((1, 1), 2), ((2, 0), 2), ((2, 1), 2)];
        for ((first, second), want) in cases {
            assert_eq!(port(pick(&all, &[], luck(first, second))), Some(want), "{first} {second}");
        }
        assert_eq!(port(pick(&all, &all[1..], 0)), Some(0));
        assert_eq!(port(pick(&all, &all, 0)), None);
        assert_eq!(port(pick(&[], &[], 7)), None);
    }

    proptest! {
        #[test]
        fn never_leaves_what_there_is(count in 0usize..9, tried in 0usize..9, luck in any::<u64>()) {
            let all = endpoints(count);
            let tried = &all[..tried.min(count)];
            let picked = pick(&all, tried, luck);
            prop_assert_eq!(picked.is_none(), tried.len() == count);
            prop_assert!(picked.is_none_or(|p| !tried.iter().any(|t| Arc::ptr_eq(t, p))));
        }
    }

    #[test]
    fn spreads_evenly_over_equals() {
        let all = endpoints(4);
        let mut counts = [0; 4];
        for i in 0..4000u64 {
            let luck = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            counts[usize::from(port(pick(&all, &[], luck)).unwrap())] += 1;
        }
        assert!(counts.iter().all(|c| (900..1100).contains(c)), "{counts:?}");
    }
}
