//! Sequences of changes, as people and controllers make them over the life of an object.

use serde_json::Value;

use crate::mutation::Mutation;

/// Luck with a seed: the same seed gives the same numbers on every machine. SplitMix64.
#[derive(Clone, Debug)]
pub struct Luck(u64);

impl Luck {
    /// Luck that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `items`, or nothing when there is none.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(items.len()).ok().filter(|count| *count > 0)?;
        items.get(usize::try_from(self.draw() % count).ok()?)
    }
}

/// `steps` objects, each one of `mutations` away from the one before, back at `base` now and then, all of them `acceptable`.
pub fn walk(
    base: &Value,
    mutations: &[Mutation],
    steps: usize,
    luck: &mut Luck,
    acceptable: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    // Every try counts, so that the walk ends even if nothing is acceptable.
    for _ in 0..steps.saturating_mul(50) {
        if objects.len() == steps {
            break;
        }
        let now = objects.last().unwrap_or(base);
        let next = if luck.draw().is_multiple_of(10) {
            (now != base).then(|| base.clone())
        } else {
            luck.one_of(mutations).and_then(|mutation| mutation.apply(now))
        };
        objects.extend(next.filter(&acceptable));
    }
    objects
}
