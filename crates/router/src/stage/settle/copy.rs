//! The record of a copy that goes to a mirror.

use std::time::Instant;

use super::attempts::Attempts;
use super::cost::ToldTier;
use super::{Outcome, Purpose, Record};
use router_core::Refusal;
use wire::usage::UsageReader;

impl Record {
    /// The record of a copy of this request. It is counted and logged apart from those that clients sent, and never as part of
    /// a policy's volume.
    pub(crate) fn of_copy(&self) -> Self {
        Self {
            worker: self.worker.clone(),
            // What the process may take on is for clients.
            admitted: None,
            started: Instant::now(),
            request_id: self.request_id.clone(),
            dialect: self.dialect,
            surface: self.surface,
            status: None,
            outcome: Outcome::Left,
            route: None,
            model: self.model.clone(),
            caller: self.caller.clone(),
            user: self.user.clone(),
            session: self.session.clone(),
            feature: self.feature.clone(),
            stream: self.stream,
            max_tokens: self.max_tokens,
            n: self.n,
            prompt_bytes: self.prompt_bytes,
            hides_usage: self.hides_usage,
            usage: UsageReader::default(),
            retries: 0,
            attempts: Attempts::default(),
            tier: ToldTier::default(),
            decided: self.decided.clone(),
            trace: None,
            first_token: None,
            last_token: None,
            bytes: 0,
            hedge: None,
            purpose: Purpose::Mirror,
        }
    }

    /// Counts a copy by what became of it.
    pub(super) fn count_copy(&self, status: u16) {
        let Some(route) = self.handles() else { return };
        let outcome = match &self.outcome {
            Outcome::Answered if status < 400 => "answered",
            Outcome::Refused(Refusal::UpstreamEndless { .. }) => "late",
            Outcome::Answered | Outcome::Refused(_) => "failed",
            // The process ended before it did.
            Outcome::Left => "dropped",
        };
        let metrics = &self.worker.metrics.rules;
        metrics.count_mirror(route, outcome);
        metrics.count_mirrored(route, &self.usage.usage());
    }

    /// Adds what the request used to the volume of its policy.
    pub(super) fn count_volume(&self) {
        let Some((live, choice)) = &self.route else { return };
        if let Some(volume) = &live.volumes[choice.policy] {
            volume.used(crate::clock::today(), self.usage.usage().all());
        }
    }
}
