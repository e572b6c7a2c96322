//! What would become of a request, by the same functions that the router asks.

use api::RoutePolicy;
use http::HeaderMap;
use router_core::{Circumstances, Costs, Moment, Policy, Table, To, Work};
use rules::{Outline, Request, Today};
use serde::Serialize;
use wire::openai::scan;

use crate::Outcome;

/// A request, and what is known of it besides its body.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) surface: String,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) caller: &'a str,
    pub(crate) region: &'a str,
    pub(crate) hour: u8,
    /// What the policy is taken to have had today.
    pub(crate) today: Today,
}

/// Everything that can be said.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    pub(crate) model: String,
    /// Namespace and name.
    pub(crate) policy: String,
    /// The rules that were asked, up to the one that decided.
    pub(crate) rules: Vec<Judged>,
    /// The rule that decided; without one, the targets are asked in the policy's order.
    pub(crate) rule: Option<String>,
    pub(crate) complexity: String,
    /// The pool whose word the router would take in place of these points, if a rule asked.
    pub(crate) classifier: Option<String>,
    pub(crate) prompt_tokens: u64,
    /// Tokens of the answer that the cost is reckoned with.
    pub(crate) answer_tokens: u64,
    /// In the order in which they are asked.
    pub(crate) targets: Vec<Asking>,
    /// Who gets a copy of how many of a hundred such requests.
    pub(crate) mirror: Option<Copies>,
    /// Of the built-in prices.
    pub(crate) prices_of: &'static str,
}

/// A rule, and whether it holds; `None` where that cannot be said.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) when: Option<String>,
    pub(crate) holds: Option<bool>,
}

/// Copies for a mirror.
#[derive(Debug, Serialize)]
pub(crate) struct Copies {
    #[serde(flatten)]
    pub(crate) to: Asking,
    pub(crate) percent: u8,
}

/// A target in its turn.
#[derive(Debug, Serialize)]
pub(crate) struct Asking {
    pub(crate) name: String,
    pub(crate) what: String,
    /// Dollars that the request is expected to cost there; `None` where the price is unknown.
    pub(crate) dollars: Option<String>,
}

/// What each target is expected to charge.
#[derive(Debug)]
struct Expected<'a> {
    policy: &'a Policy,
    work: Work,
}

impl Costs for Expected<'_> {
    fn at(&self, target: usize) -> Option<ledger::Money> {
        self.policy.targets[target].price.expected(self.work)
    }
}

pub(crate) fn explain(policies: &[RoutePolicy], asked: &Asked<'_>) -> Outcome<Explanation> {
    let mut inputs = Vec::new();
    for policy in policies {
        let input = router_core::read::policy(policy);
        let bad = |error| format!("RoutePolicy {}/{}: {error}", input.namespace, input.name);
        input.check().map_err(bad)?;
        inputs.push(input);
    }
    // Which replicas there are has no part in this: a pool is asked in its turn, and answers if it can.
    let table = Table::build(inputs, Vec::new(), Vec::new(), &Table::default(), Moment(0));
    let mut fields = scan(asked.body).map_err(|error| format!("the request is not well-formed: {error}"))?;
    let model = fields.model.take().ok_or("the request names no model")?.name.into_owned();
    let Some(at) = table.policy_for(&model) else {
        let models: Vec<&str> = table.models().into_iter().map(|(model, _)| model).collect();
        return Err(format!("no policy lists the model {model:?}; listed are {}", models.join(", ")).into());
    };
    let policy = &table.policies()[at];
    let outline = Outline::of(&fields);
    let work = Work::estimate(fields.prompt_bytes, fields.most_tokens());
    let request = Request {
        model: &model,
        surface: &asked.surface,
        stream: fields.stream.unwrap_or(false),
        message_count: outline.message_count,
        estimated_tokens: work.prompt,
        max_tokens: fields.max_tokens,
        images: outline.images,
        schema: outline.schema,
        headers: asked.headers,
        caller: asked.caller,
        user: fields.user.as_deref().unwrap_or_default(),
        namespace: &policy.namespace,
        region: asked.region,
        hour: asked.hour,
        today: asked.today,
        body: outline.parts(asked.body),
        read: rules::Read::default(),
    };
    let expected = Expected { policy, work };
    let session = fields.session.as_deref().or(fields.user.as_deref());
    let session = session.map(|session| router_core::session_key(session.as_bytes()));
    let decision = policy.rules.decide(&request, &Circumstances { session, luck: 0, costs: &expected });
    let order = decision.as_ref().map_or_else(|| (0..policy.targets.len()).collect(), |d| d.order.to_vec());
    let until = decision.as_ref().map_or(usize::MAX, |decision| decision.rule);
    let judged = |(at, rule): (usize, &router_core::RuleInput)| Judged {
        name: rule.name.clone(),
        when: rule.when.clone(),
        holds: policy.rules.holds(at, &request),
    };
    // Whether a rule asked is known before the complexity is told here, which asks too.
    let asks = request.complexity_if_judged().is_some();
    let classifier = policy.classifier.as_ref().filter(|_| asks).map(|classifier| classifier.name.to_string());
    let mirror = decision.as_ref().and_then(|decision| policy.rules.mirror(decision.rule));
    let copies = |(at, percent): (usize, u8)| Copies { to: asking(policy, at, work), percent };
    Ok(Explanation {
        classifier,
        mirror: mirror.map(copies),
        policy: format!("{}/{}", policy.namespace, policy.name),
        rules: policy.rules.source().iter().enumerate().take_while(|(at, _)| *at <= until).map(judged).collect(),
        rule: decision.and_then(|decision| policy.rules.name(decision.rule).map(str::to_owned)),
        complexity: request.complexity().to_string(),
        prompt_tokens: work.prompt,
        answer_tokens: work.output,
        targets: order.into_iter().map(|at| asking(policy, at, work)).collect(),
        prices_of: ledger::prices::date(),
        model,
    })
}

fn asking(policy: &Policy, at: usize, work: Work) -> Asking {
    let target = &policy.targets[at];
    let what = match &target.to {
        To::Pool { namespace, name, .. } => format!("pool {namespace}/{name}"),
        To::Remote(remote) => {
            let model = remote.input.model.as_deref().unwrap_or("the model asked for");
            format!("{model} at {}", remote.input.authority)
        }
    };
    let dollars = target.price.expected(work).map(|cost| cost.to_string());
    Asking { name: target.name.to_string(), what, dollars }
}
