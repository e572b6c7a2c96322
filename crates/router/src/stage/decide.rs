//! Before a target is asked: what the policy's rules say of the request.

use http::HeaderValue;
use ledger::Money;
use router_core::{Circumstances, Costs, Course, Policy, Refusal, Work};
use rules::{Request, Today};

use super::ask::Ask;
use super::classify::classify;
use super::decided::{Decided, TARGET};
use super::settle::Record;
use crate::clock;
use crate::live::Live;
use crate::surface::Surface;
use crate::worker::Worker;

/// What each target is expected to charge for a request.
#[derive(Debug)]
struct Expected<'a> {
    policy: &'a Policy,
    work: Work,
}

impl Costs for Expected<'_> {
    fn at(&self, target: usize) -> Option<Money> {
        self.policy.targets[target].price.expected(self.work)
    }
}

/// Puts the targets into the order that the client or the policy's rules want, and gives the place of the target that is to
/// have a copy. A policy without rules pays for looking whether the client names a target.
pub(crate) async fn decide(
    worker: &Worker,
    live: &Live,
    surface: Surface,
    ask: &Ask,
    course: &mut Course,
    record: &mut Record,
) -> Result<Option<usize>, Refusal> {
    let policy = &live.table.policies()[course.policy()];
    let (since_1970, mut today) = (clock::since_1970().as_secs(), Today::default());
    if let Some(volume) = &live.volumes[course.policy()] {
        let day = router_core::day(since_1970);
        today = volume.today(day);
        volume.asked(day);
    }
    if let Some(name) = ask.parts.headers.get(TARGET) {
        let place = named(policy, name)?;
        course.follow([place].into());
        record.decided(Decided::default());
        return Ok(None);
    }
    if policy.rules.is_empty() {
        return Ok(None);
    }
    let work = Work::estimate(ask.wants.prompt_bytes, ask.wants.most_tokens);
    let mut request = Request {
        model: &ask.model,
        surface: surface.label(),
        stream: ask.stream,
        message_count: ask.outline.message_count,
        estimated_tokens: work.prompt,
        max_tokens: ask.max_tokens,
        images: ask.outline.images,
        schema: ask.outline.schema,
        headers: &ask.parts.headers,
        caller: record.caller().unwrap_or_default(),
        user: ask.user.as_deref().unwrap_or_default(),
        namespace: &policy.namespace,
        region: &worker.settings.region,
        hour: hour(since_1970),
        today,
        body: ask.outline.parts(&ask.body),
        read: rules::Read::default(),
    };
    let costs = Expected { policy, work };
    let by = Circumstances { session: ask.session_key(policy), luck: rand::random(), costs: &costs };
    let mut decision = policy.rules.decide(&request, &by);
    // The points cost little, so what they say is at hand when the classifier says nothing.
    if let (Some(classifier), Some(points)) = (&policy.classifier, request.complexity_if_judged().cloned()) {
        let name = format!("{}/{}", policy.namespace, policy.name);
        let text = request.last_words();
        let asked = classify(worker, live, classifier, &name, record.request_id(), &text);
        let word = Box::pin(asked).await;
        request.read = rules::Read::knowing(points.classified(word));
        decision = policy.rules.decide(&request, &by);
    }
    let decided = Decided {
        rule: decision.as_ref().and_then(|decision| policy.rules.name(decision.rule)).map(Into::into),
        complexity: request.complexity_if_judged().map(ToString::to_string),
    };
    record.decided(decided);
    let Some(decision) = decision else { return Ok(None) };
    course.follow(decision.order.into());
    Ok(decision.mirror)
}

/// The place of the target that the client names.
fn named(policy: &Policy, name: &HeaderValue) -> Result<usize, Refusal> {
    if !policy.allows_target_header {
        return Err(Refusal::WrongTarget { targets: None });
    }
    let place = policy.targets.iter().position(|target| target.name.as_bytes() == name.as_bytes());
    place.ok_or_else(|| {
        let names: Vec<&str> = policy.targets.iter().map(|target| &*target.name).collect();
        Refusal::WrongTarget { targets: Some(names.join(", ")) }
    })
}

/// The hour of the day, so many seconds after 1970 began.
fn hour(seconds: u64) -> u8 {
    u8::try_from(seconds / 3600 % 24).unwrap_or(0)
}
