//! What would become of a request, by the same functions that the router asks.

use http::{HeaderMap, HeaderValue};
use router_core::{Circumstances, Costs, Fit, HowInput, Policy, Reason, Table, To, Work};
use rules::{Outline, Request, Today};
use serde::Serialize;
use wire::openai::scan;
use wire::translate;

use crate::objects::Objects;
use crate::{Outcome, surface};

/// Header by which a client names its target.
const TARGET: &str = "x-quartermaster-target";

/// A request, and what is known of it besides its body.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) surface: String,
    /// The model that the path names, where it does.
    pub(crate) model: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) caller: &'a str,
    pub(crate) region: &'a str,
    pub(crate) hour: u8,
    /// What the policy is taken to have had today.
    pub(crate) today: Today,
}

/// Everything that can be said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) model: String,
    pub(crate) surface: String,
    /// Namespace and name.
    pub(crate) policy: String,
    /// Who may call.
    pub(crate) access: String,
    /// Whether the caller is let in, as far as that is known of one who is only named.
    pub(crate) admitted: bool,
    /// The rules in their order.
    pub(crate) rules: Vec<Judged>,
    /// What the asked rules read that the request does not say, and what it was taken to be.
    pub(crate) taken: Vec<String>,
    /// The rule that decided; without one, the targets are asked in the policy's order.
    pub(crate) rule: Option<String>,
    /// How the rule chooses, or why there is none.
    pub(crate) because: String,
    /// How hard the request is, with the points.
    pub(crate) complexity: String,
    /// The pool whose word the router would take in place of these points, if a rule asked.
    pub(crate) classifier: Option<String>,
    pub(crate) prompt_tokens: u64,
    /// Tokens of the answer that the cost is reckoned with.
    pub(crate) answer_tokens: u64,
    /// The target that the request would be sent to first; `None` where none can answer.
    pub(crate) target: Option<String>,
    /// In the order in which they are asked.
    pub(crate) targets: Vec<Asking>,
    /// Who gets a copy of how many of a hundred such requests.
    pub(crate) mirror: Option<Copies>,
    /// Who is asked beside the target, where that takes long.
    pub(crate) hedge: Option<Beside>,
    /// Those of the policy that are not asked.
    pub(crate) others: Vec<Other>,
    /// Of the built-in prices.
    pub(crate) prices_of: &'static str,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// A rule, and whether it holds; `None` where it was not asked, or that cannot be said.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) when: Option<String>,
    pub(crate) asked: bool,
    pub(crate) holds: Option<bool>,
}

/// Who is asked beside a target that takes long, and when.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Beside {
    pub(crate) target: String,
    pub(crate) after_milliseconds: u128,
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
    /// Why it would be passed over; `None` where it can answer, as far as that is known.
    pub(crate) unable: Option<String>,
}

/// A target that is not asked.
#[derive(Debug, Serialize)]
pub(crate) struct Other {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) why: String,
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

pub(crate) fn explain(mut objects: Objects, asked: &Asked<'_>) -> Outcome<Explanation> {
    let table = objects.table();
    let mut fields = scan(asked.body).map_err(|error| format!("the request cannot be read: {error}"))?;
    let model = model(asked, fields.model.take().map(|model| model.name.into_owned()))?;
    let Some(at) = table.policy_for(&model) else {
        return Err(unknown(&model, &table, &objects.notes).into());
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
    let by_header = policy.session_header.as_ref().and_then(|name| asked.headers.get(name));
    let by_body = fields.session.as_deref().or(fields.user.as_deref()).map(str::as_bytes);
    let session = by_header.map(HeaderValue::as_bytes).or(by_body).filter(|name| !name.is_empty());
    let session = session.map(router_core::session_key);
    let named = named(policy, asked.headers)?;
    let decision = match named {
        Some(_) => None,
        None => policy.rules.decide(&request, &Circumstances { session, luck: 0, costs: &expected }),
    };
    let rule = decision.as_ref().map(|decision| decision.rule);
    let order = match (named, &decision) {
        (Some(place), _) => vec![place],
        (None, Some(decision)) => decision.order.to_vec(),
        (None, None) => (0..policy.targets.len()).collect(),
    };
    let until = if named.is_some() { None } else { Some(rule.unwrap_or(usize::MAX)) };
    let rules = judged(policy, until, &request);
    let (access, admitted) = access(policy, asked.caller);
    let because = because(policy, named.is_some(), rule, session.is_some());
    let able = Able { asked, model: &model, table: &table, replicas_known: objects.slices.is_some() };
    let targets = able.targets(policy, &order, work);
    // A target that cannot answer says so at once, and is not slow.
    let mut can = targets.iter().filter(|target| admitted && target.unable.is_none());
    let (first, beside) = (can.next(), can.next());
    let hedge = policy
        .resilience
        .hedge_after
        .zip(beside)
        .map(|(after, target)| Beside { target: target.name.clone(), after_milliseconds: after.as_millis() });
    let missing = |at: &usize| !order.contains(at);
    let why = match (named, rule.and_then(|rule| policy.rules.name(rule))) {
        (Some(_), _) => "the request names another target".to_owned(),
        (None, Some(rule)) => format!("the rule {rule} does not name it"),
        (None, None) => String::new(),
    };
    let others = (0..policy.targets.len()).filter(missing).map(|at| Other {
        name: policy.targets[at].name.to_string(),
        what: what(policy, at),
        why: why.clone(),
    });
    // Whether a rule asked is known before the complexity is told here, which asks too.
    let asks = request.complexity_if_judged().is_some();
    let classifier = policy.classifier.as_ref().filter(|_| asks).map(|classifier| classifier.name.to_string());
    let mirror = decision.as_ref().and_then(|decision| policy.rules.mirror(decision.rule));
    let copies = |(at, percent): (usize, u8)| Copies { to: able.target(policy, at, work), percent };
    Ok(Explanation {
        classifier,
        mirror: mirror.map(copies),
        policy: format!("{}/{}", policy.namespace, policy.name),
        surface: asked.surface.clone(),
        access,
        admitted,
        taken: taken(&rules, asked),
        rules,
        rule: rule.and_then(|rule| policy.rules.name(rule)).map(str::to_owned),
        because,
        complexity: request.complexity().to_string(),
        prompt_tokens: work.prompt,
        answer_tokens: work.output,
        target: first.map(|target| target.name.clone()),
        hedge,
        targets,
        others: others.collect(),
        prices_of: ledger::prices::date(),
        notes: objects.notes,
        model,
    })
}

/// What each rule says, up to and with the one that decides.
fn judged(policy: &Policy, until: Option<usize>, request: &Request<'_>) -> Vec<Judged> {
    let rules = policy.rules.source().iter().enumerate();
    let judge = rules.map(|(at, rule)| {
        let asked = until.is_some_and(|until| at <= until);
        let holds = if asked { policy.rules.holds(at, request) } else { None };
        Judged { name: rule.name.clone(), when: rule.when.clone(), asked, holds }
    });
    judge.collect()
}

/// The model that the request asks for, where its surface has it.
fn model(asked: &Asked<'_>, in_body: Option<String>) -> Outcome<String> {
    let in_path = surface::names_model_in_path(&asked.surface);
    match (in_path, asked.model, in_body) {
        (true, Some(model), _) => Ok(model.to_owned()),
        (true, None, _) => {
            Err(format!("a request at {} names its model in the path: say it by --model", asked.surface).into())
        }
        (false, Some(_), _) => {
            Err(format!("--model: a request at {} names its model in its body", asked.surface).into())
        }
        (false, None, Some(model)) => Ok(model),
        (false, None, None) => Err("the request has no field model, or it is no text".into()),
    }
}

/// What the rules that were asked read of what is given by options, with its value: a default may not be what a router sees.
fn taken(rules: &[Judged], asked: &Asked<'_>) -> Vec<String> {
    let read = |field: &str| {
        let reads = |when: &String| when.contains(field);
        rules.iter().any(|rule| rule.asked && rule.when.as_ref().is_some_and(reads))
    };
    let fields = [
        ("request.caller", format!("{:?}", asked.caller)),
        ("request.region", format!("{:?}", asked.region)),
        ("request.hour", asked.hour.to_string()),
        ("request.requestsToday", asked.today.requests.to_string()),
        ("request.tokensToday", asked.today.tokens.to_string()),
    ];
    fields.into_iter().filter(|(field, _)| read(field)).map(|(field, value)| format!("{field} = {value}")).collect()
}

/// Who may call, and whether this caller may. What proves a caller is not looked at.
fn access(policy: &Policy, caller: &str) -> (String, bool) {
    let (access, namespace) = (&policy.access, &policy.namespace);
    if access.anonymous {
        return ("everybody may call".to_owned(), true);
    }
    if access.allow.is_empty() {
        return (format!("whoever proves to be a caller of the namespace {namespace}"), true);
    }
    let covers = |pattern: &String| {
        // A ServiceAccount has a short name and a whole one.
        let whole = match pattern.strip_prefix("sa:") {
            Some(name) if name.contains(':') => format!("system:serviceaccount:{name}"),
            Some(name) => format!("system:serviceaccount:{namespace}:{name}"),
            None => pattern.clone(),
        };
        caller == pattern || whole.strip_suffix('*').map_or(whole == caller, |start| caller.starts_with(start))
    };
    let admitted = caller.is_empty() || access.allow.iter().any(covers);
    let not = if admitted { String::new() } else { format!("; {caller} is not let in") };
    (format!("only {}{not}", access.allow.join(", ")), admitted)
}

fn unknown(model: &str, table: &Table, notes: &[String]) -> String {
    let models: Vec<&str> = table.models().into_iter().map(|(model, _)| model).collect();
    let patterns = table.patterns().map(|(start, _)| format!("{start}*"));
    let all: Vec<String> = models.into_iter().map(str::to_owned).chain(patterns).collect();
    let listed =
        if all.is_empty() { "no model is listed at all".to_owned() } else { format!("listed are {}", all.join(", ")) };
    let notes: String = notes.iter().map(|note| format!("\n  {note}")).collect();
    format!("model {model:?} is listed by no policy; {listed}{notes}")
}

/// The place of the target that the request names.
fn named(policy: &Policy, headers: &HeaderMap) -> Outcome<Option<usize>> {
    let Some(name) = headers.get(TARGET) else { return Ok(None) };
    if !policy.allows_target_header {
        return Err(format!(
            "--header {TARGET}: the policy has no allowTargetHeader: true, so that a router answers 400"
        )
        .into());
    }
    let place = policy.targets.iter().position(|target| target.name.as_bytes() == name.as_bytes());
    let names: Vec<&str> = policy.targets.iter().map(|target| &*target.name).collect();
    let none = || format!("--header {TARGET}: the policy has no such target; it has {}", names.join(", "));
    Ok(Some(place.ok_or_else(none)?))
}

fn because(policy: &Policy, named: bool, rule: Option<usize>, session: bool) -> String {
    let how = rule.and_then(|rule| policy.rules.source().get(rule)).map(|rule| &rule.how);
    match how {
        _ if named => "the request names its target".to_owned(),
        None if policy.rules.is_empty() => "the policy has no rules: the targets are asked in their order".to_owned(),
        None => "no rule holds: the targets are asked in their order".to_owned(),
        Some(HowInput::Ordered(_)) => "in the order that the rule has".to_owned(),
        Some(HowInput::Cheapest(_)) => "the rule asks the one first that is expected to cost least".to_owned(),
        Some(HowInput::Weighted(shares)) => {
            let shares: Vec<String> = shares.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
            let by = if session {
                "the request's session decides"
            } else {
                "one of many draws; without a session each request is drawn anew"
            };
            format!("by shares, {}: {by}", shares.join(", "))
        }
    }
}

fn what(policy: &Policy, at: usize) -> String {
    match &policy.targets[at].to {
        To::Pool { namespace, name, .. } => format!("pool {namespace}/{name}"),
        To::Remote(remote) => {
            let model = remote.input.model.as_deref().unwrap_or("the model asked for");
            format!("{model} at {}", remote.input.authority)
        }
    }
}

/// What decides whether a target can answer.
struct Able<'a> {
    asked: &'a Asked<'a>,
    model: &'a str,
    table: &'a Table,
    replicas_known: bool,
}

impl Able<'_> {
    fn targets(&self, policy: &Policy, order: &[usize], work: Work) -> Vec<Asking> {
        let mut ended = false;
        let mut asking = |at: usize| {
            let target = &policy.targets[at];
            let cold = self.cold(&target.to);
            let unable = if ended {
                Some("not reached: fallbackOn does not list Cold".to_owned())
            } else {
                cold.clone().or_else(|| self.unfit(&target.to))
            };
            ended |= cold.is_some() && !policy.resilience.falls_back_on(Reason::Cold);
            let dollars = target.price.expected(work).map(|cost| cost.to_string());
            Asking { name: target.name.to_string(), what: what(policy, at), dollars, unable }
        };
        order.iter().map(|at| asking(*at)).collect()
    }

    /// A target that is asked by itself.
    fn target(&self, policy: &Policy, at: usize, work: Work) -> Asking {
        let target = &policy.targets[at];
        let unable = self.cold(&target.to).or_else(|| self.unfit(&target.to));
        let dollars = target.price.expected(work).map(|cost| cost.to_string());
        Asking { name: target.name.to_string(), what: what(policy, at), dollars, unable }
    }

    /// Why a pool does not answer.
    fn cold(&self, to: &To) -> Option<String> {
        let To::Pool { at, .. } = to else { return None };
        if !self.replicas_known {
            return None;
        }
        let Some(at) = at else {
            return Some("there is no such pool, or it does not admit the policy's namespace".to_owned());
        };
        let pool = &self.table.pools()[*at];
        match (pool.ready.len(), pool.not_ready) {
            (0, 0) => Some("it has no replica".to_owned()),
            (0, starting) => Some(format!("none of its {starting} replicas is ready")),
            _ => None,
        }
    }

    /// Why a target cannot do what is asked.
    fn unfit(&self, to: &To) -> Option<String> {
        let surface = &self.asked.surface;
        let operation = surface::operation(surface)?;
        let To::Remote(remote) = to else {
            return (!operation.is_for_engines())
                .then(|| format!("it cannot answer {surface}, which only targets at Bedrock do"));
        };
        match remote.input.fit(operation) {
            Fit::Same | Fit::Invoked => None,
            Fit::Unfit => Some(format!("it cannot answer {surface}")),
            Fit::Translated(to) => {
                let model = remote.input.model.as_deref().unwrap_or(self.model);
                let compatible = remote.input.api == router_core::Api::OpenAiCompatible;
                let target = translate::Target { model, max_tokens: 1, compatible };
                let from = surface::shape(surface)?;
                let why = translate::request_at(from, to, self.asked.body, &target).err()?;
                Some(format!("it cannot take this request: {why}"))
            }
        }
    }
}
