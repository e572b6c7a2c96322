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
        let provider = match remote.api {
            Api::Engine => return Self::Nothing,
            Api::Anthropic if !remote.host_is_chosen => Provider::Anthropic,
            Api::OpenAi if !remote.host_is_chosen => Provider::OpenAi,
            Api::OpenAiCompatible if remote.host == GEMINI => Provider::Gemini,
            // Whoever is asked at another host sets prices of his own.
            _ => return Self::Unknown,
        };
        let model = remote.model.as_deref().and_then(|model| prices::find(provider, None, model));
        model.map_or(Self::Unknown, Self::Listed)
    }

    /// What these tokens cost, if anybody knows.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> Option<Money> {
        match self {
            Self::Unknown => None,
            Self::Nothing => Some(Money::ZERO),
            Self::Set(rates) => Some(rates.cost(tokens)),
            Self::Listed(model) => model.cost(Tier::Standard, tokens),
        }
    }

    /// What this work is expected to cost.
    #[must_use]
    pub fn expected(&self, work: Work) -> Option<Money> {
        self.cost(&Tokens { input: work.prompt, output: work.output, ..Tokens::default() })
    }
}
