//! What a request cost, by the tokens that were counted and the tier that the target says it answered at.

use http::HeaderMap;
use ledger::Money;
use ledger::prices::{Tier, Tokens};
use router_core::{Api, Price, Target};
use wire::usage::{ServiceTier, TierReader};

use super::Record;

/// By which headers Bedrock tells the tier, and the latency, of what InvokeModel answers.
const TIER: &str = "x-amzn-bedrock-service-tier";
const LATENCY: &str = "x-amzn-bedrock-performanceconfig-latency";
/// And how many tokens were read and written: of most makers' models nothing else tells it.
const READ: &str = "x-amzn-bedrock-input-token-count";
const WRITTEN: &str = "x-amzn-bedrock-output-token-count";

/// The tier as the target tells it outside the usage.
#[derive(Debug, Default)]
pub(super) struct ToldTier {
    by_head: Option<ServiceTier>,
    in_body: Option<TierReader>,
}

impl ToldTier {
    /// What is looked for in the answers of this target.
    pub(super) fn for_target(target: &Target) -> Self {
        let in_body = match target.remote().map(|remote| remote.input.api) {
            Some(Api::OpenAi) if target.price.has_tiers() => Some(TierReader::openai()),
            // Whatever the table knows: a tier without a price there may have one of its own.
            Some(Api::Bedrock) => Some(TierReader::converse()),
            _ => None,
        };
        Self { by_head: None, in_body }
    }

    pub(super) fn look(&mut self, data: &[u8]) {
        if let Some(reader) = &mut self.in_body {
            reader.look(data);
        }
    }

    fn tier(&self) -> Option<ServiceTier> {
        self.by_head.or_else(|| self.in_body.as_ref()?.tier())
    }
}

impl Record {
    /// The chosen target, which is at Bedrock, begins an answer with these headers.
    pub(crate) fn answered_by(&mut self, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        self.tier.by_head = ServiceTier::of_bedrock(text(TIER), text(LATENCY));
        let count = |name| text(name)?.parse::<u64>().ok();
        self.usage.told_by_head(count(READ), count(WRITTEN));
    }

    /// The tier that the target says it answered at.
    fn tier(&self) -> ServiceTier {
        self.tier.tier().or_else(|| self.usage.usage().tier).unwrap_or(ServiceTier::Standard)
    }

    /// The word for the tier in logs and traces; `None` for the usual one.
    pub(super) fn tier_told(&self) -> Option<&'static str> {
        match self.tier() {
            ServiceTier::Standard => None,
            // The table has no such tier, so it has no word for it either.
            ServiceTier::Optimized => Some("optimized"),
            tier => priced(tier).map(Tier::word),
        }
    }

    /// What the request cost by what was counted; `None` where nobody knows the price, or nothing was counted.
    pub(super) fn cost(&self) -> Option<Money> {
        let usage = self.usage.usage();
        let output = usage.completion?;
        let (written, written_1h) = (usage.written.unwrap_or(0), usage.written_1h.unwrap_or(0));
        let tokens = Tokens {
            input: usage.uncached(),
            cached: usage.cached.unwrap_or(0),
            write_5m: written.saturating_sub(written_1h),
            write_1h: written_1h,
            output,
        };
        let price = &self.target()?.price;
        match (priced(self.tier()), price) {
            (Some(tier), _) => price.cost(tier, &tokens),
            // The usual rates would be too low, and the table has no others.
            (None, Price::Listed(_)) => None,
            (None, _) => price.cost(Tier::Standard, &tokens),
        }
    }
}

/// The tier in the table of prices, if it is there.
fn priced(tier: ServiceTier) -> Option<Tier> {
    match tier {
        ServiceTier::Standard => Some(Tier::Standard),
        ServiceTier::Priority => Some(Tier::Priority),
        ServiceTier::Flex => Some(Tier::Flex),
        ServiceTier::Batch => Some(Tier::Batch),
        ServiceTier::Optimized => None,
    }
}
