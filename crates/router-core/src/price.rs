//! What a request costs at a target.

use ledger::Money;
use ledger::prices::{self, Model, Provider, Rates, Tier, Tokens};

use crate::{Api, RemoteInput, TargetInput, ToInput, Work};

/// The host of Gemini's API, whose OpenAI-compatible endpoint is one like any other but has prices.
const GEMINI: &str = "generativelanguage.googleapis.com";

/// What tokens cost at a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Price {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Nothing more than it costs already, as a pool's GPUs do.
    Nothing,
    /// As the policy has it.
    Set(Rates),
    /// As the built-in table has it.
    Listed(&'static Model),
}

impl Price {
    /// The price at this target.
    #[must_use]
    pub fn of(target: &TargetInput) -> Self {
        if let Some(rates) = target.price {
            return Self::Set(rates);
        }
        match &target.to {
            ToInput::Pool { .. } => Self::Nothing,
            ToInput::Remote(remote) => Self::at(remote),
        }
    }

    fn at(remote: &RemoteInput) -> Self {
        // A policy says whose API a target is. Where it is reached over another host, a gateway's say, or is served by Azure,
        // that does not make it another seller; where it does, the policy says the price.
        let provider = match remote.api {
            Api::Engine => return Self::Nothing,
            Api::Anthropic => Provider::Anthropic,
            Api::OpenAi => Provider::OpenAi,
            Api::OpenAiCompatible if remote.host == GEMINI => Provider::Gemini,
            Api::Bedrock => return Self::at_bedrock(remote),
            Api::OpenAiCompatible => return Self::Unknown,
        };
        let model = remote.model.as_deref().and_then(|model| prices::find(provider, None, model));
        model.map_or(Self::Unknown, Self::Listed)
    }

    /// The price of a foundation model at Bedrock. What a profile of an application's own leads to is not known.
    fn at_bedrock(remote: &RemoteInput) -> Self {
        let region = remote.aws.as_ref().map(|aws| aws.region.as_str());
        let model = remote.model.as_deref().unwrap_or_default();
        let name = if model.starts_with("arn:") { model.rsplit('/').next().unwrap_or_default() } else { model };
        prices::find(Provider::Bedrock, region, name).map_or(Self::Unknown, Self::Listed)
    }

    /// Whether the provider charges by how soon it answers, so that it matters what an answer says of that.
    #[must_use]
    pub fn has_tiers(&self) -> bool {
        matches!(self, Self::Listed(model) if model.tiers.iter().flatten().count() > 1)
    }

    /// What these tokens cost at this tier, if anybody knows.
    #[must_use]
    pub fn cost(&self, tier: Tier, tokens: &Tokens) -> Option<Money> {
        match self {
            Self::Unknown => None,
            Self::Nothing => Some(Money::ZERO),
            Self::Set(rates) => Some(rates.cost(tokens)),
            Self::Listed(model) => model.cost(tier, tokens),
        }
    }

    /// What this work is expected to cost.
    #[must_use]
    pub fn expected(&self, work: Work) -> Option<Money> {
        self.cost(Tier::Standard, &Tokens { input: work.prompt, output: work.output, ..Tokens::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Aws;
    use crate::remote::tests::remote;

    #[test]
    fn a_kind_says_whose_prices_count() {
        let cases = [
            (Api::OpenAi, "api.openai.com", "gpt-4o-mini", Some(150)),
            (Api::OpenAi, "gateway.example", "gpt-4o-mini", Some(150)),
            (Api::OpenAi, "gateway.example", "gpt-none", None),
            (Api::Anthropic, "gateway.example", "claude-haiku-4-5", Some(1_000)),
            (Api::OpenAiCompatible, "gateway.example", "gpt-4o-mini", None),
            (Api::OpenAiCompatible, GEMINI, "gemini-2.5-flash", Some(300)),
            (Api::Engine, "10.0.0.1", "gpt-4o-mini", Some(0)),
        ];
        for (api, host, model, want) in cases {
            let input = RemoteInput { api, model: Some(model.to_owned()), ..remote(host, Some("s")) };
            let cost = Price::at(&input).cost(Tier::Standard, &Tokens { input: 1, ..Tokens::default() });
            assert_eq!(cost.map(Money::as_nanos), want, "{host} {model}");
        }
    }

    #[test]
    fn bedrock_has_the_prices_of_its_models_in_its_regions() {
        let eu = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
        let profile = format!("arn:aws:bedrock:eu-central-1:1:inference-profile/{eu}");
        let own = "arn:aws:bedrock:eu-central-1:1:application-inference-profile/a1";
        let host = "bedrock-runtime.eu-central-1.amazonaws.com";
        let cases = [
            (host, eu, Some(3_300)),
            (host, profile.as_str(), Some(3_300)),
            (host, "anthropic.claude-v2:1", Some(8_000)),
            ("vpce-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com", eu, Some(3_300)),
            (host, own, None),
            ("gateway.example", eu, Some(3_300)),
        ];
        for (host, model, want) in cases {
            let input = RemoteInput {
                api: Api::Bedrock,
                model: Some(model.to_owned()),
                aws: Some(Aws { region: "eu-central-1".to_owned(), signs: true }),
                ..remote(host, Some("s"))
            };
            let cost = Price::at(&input).cost(Tier::Standard, &Tokens { input: 1, ..Tokens::default() });
            assert_eq!(cost.map(Money::as_nanos), want, "{host} {model}");
        }
    }
}
