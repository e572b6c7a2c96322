//! Sleep mode: which level, and which parts are not back yet.

/// Whether the engine sleeps, and what it waits for to be awake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sleep {
    missing: Vec<&'static str>,
}

impl Sleep {
    /// What sleep of a level takes away. Level 0 only holds the scheduler.
    pub(super) fn at(level: u8) -> Self {
        Self { missing: if level == 0 { vec!["scheduling"] } else { vec!["weights", "kv_cache"] } }
    }

    pub(super) fn is_asleep(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Brings parts back; all of them when none is named.
    pub(super) fn wake(&mut self, tags: &[String]) {
        self.missing.retain(|part| !tags.is_empty() && !tags.iter().any(|tag| tag == part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_awake_when_every_part_is_back() {
        for (level, tags, asleep) in [
            (0, &[][..], false),
            (0, &["scheduling"], false),
            (0, &["weights"], true),
            (1, &[], false),
            (1, &["weights"], true),
            (2, &["kv_cache"], true),
            (2, &["kv_cache", "nope", "weights"], false),
        ] {
            let mut sleep = Sleep::at(level);
            assert!(sleep.is_asleep());
            sleep.wake(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
            assert_eq!(sleep.is_asleep(), asleep, "level {level}, {tags:?}");
        }
    }
}
