//! A target that is no pool: the API of a provider, or a Service with engines that others run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use api::AWS_KEYS;
use serde::{Deserialize, Serialize};
use wire::translate::Shape;

use crate::{Endpoint, Moment, NoDial};

/// Whose API a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Api {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's.
    OpenAi,
    /// OpenAI's chat completions, completions and embeddings, and no more for certain.
    OpenAiCompatible,
    /// All that vLLM speaks.
    Engine,
    /// Amazon Bedrock's Converse and InvokeModel.
    Bedrock,
}

/// A part of an API, as far as targets differ in whether they have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Chat completions.
    Chat,
    /// Completions, embeddings: what OpenAI has and those who follow it.
    OpenAi,
    /// Audio, which OpenAI has.
    Audio,
    /// Responses.
    Responses,
    /// Messages.
    Messages,
    /// Counting the tokens of messages.
    CountTokens,
    /// What only engines have: rerank, score, tokenize.
    Engine,
    /// Bedrock's Converse, also streamed.
    Converse,
    /// Bedrock's InvokeModel, also streamed: what the model itself takes.
    Invoke,
}

/// Whether a target can serve an operation, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As it comes.
    Same,
    /// By translation into this shape.
    Translated(Shape),
    /// As it comes, within InvokeModel.
    Invoked,
    /// Not at all.
    Unfit,
}

impl Api {
    /// Whether this API has the operation.
    #[must_use]
    pub fn fit(self, operation: Operation) -> Fit {
        use Operation::{Audio, Chat, Converse, CountTokens, Invoke, Messages, OpenAi, Responses};
        match (self, operation) {
            (Self::Bedrock, Converse | Invoke) => Fit::Same,
            (_, Converse | Invoke) => Fit::Unfit,
            (Self::Bedrock, Chat | Responses | Messages) => Fit::Translated(Shape::Converse),
            (Self::Engine, _)
            | (Self::Anthropic, Messages | CountTokens)
            | (Self::OpenAi | Self::OpenAiCompatible, Chat | OpenAi)
            | (Self::OpenAi, Responses | Audio) => Fit::Same,
            (Self::Anthropic, Chat | Responses) => Fit::Translated(Shape::Messages),
            // Its newer models call tools there only.
            (Self::OpenAi, Messages) => Fit::Translated(Shape::Responses),
            (Self::OpenAiCompatible, Messages | Responses) => Fit::Translated(Shape::Chat),
            _ => Fit::Unfit,
        }
    }
}

/// The key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretKey {
    /// Namespace of the Secret: the policy's own.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

impl Operation {
    /// Whether the engines of a pool have it.
    #[must_use]
    pub fn is_for_engines(self) -> bool {
        Api::Engine.fit(self) == Fit::Same
    }
}

/// What it takes to ask AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aws {
    /// The region.
    pub region: String,
    /// Requests are signed with an AWS access key; otherwise they carry an API key.
    pub signs: bool,
}

/// A target that is no pool, as far as routing needs it. No secret is in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteInput {
    /// Whose API it is.
    pub api: Api,
    /// Spoken to over TLS.
    pub secure: bool,
    /// Host: a name in lower case, or an address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Host, and the port if it does not go without saying: the header `Host`.
    pub authority: String,
    /// What stands before the API's paths; no slash at its end.
    pub path: String,
    /// The name by which it knows the model; `None` for the one that the client asked for.
    pub model: Option<String>,
    /// Where its key is, if it needs one; of an AWS access key, its id.
    pub secret: Option<SecretKey>,
    /// What it takes to ask AWS, for targets there.
    #[serde(default)]
    pub aws: Option<Aws>,
    /// The host comes from the policy, not from the provider's kind, so the Secret has a say in it.
    pub host_is_chosen: bool,
    /// Version of Azure's API.
    pub api_version: Option<String>,
    /// Who is billed.
    pub organization: Option<String>,
    /// Which project is billed.
    pub project: Option<String>,
    /// Tells two values of the key apart. A new key begins with a clean record.
    #[serde(skip)]
    pub key_version: u64,
}

/// Why a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It came too often.
    Pace,
    /// The money behind it is spent.
    Money,
}

/// How long a key is not used, because its provider said so. Targets with the same key and host share one.
#[derive(Debug, Default)]
pub struct Rest(AtomicU64);

impl Rest {
    /// Nothing is sent with this key until then. Of several words the latest moment counts.
    pub fn until(&self, moment: Moment, why: Pause) {
        self.0.fetch_max(moment.0 << 1 | u64::from(why == Pause::Money), Ordering::Relaxed);
    }

    /// How long it still rests at `now`, and why; `None` when it does not.
    #[must_use]
    pub fn left(&self, now: Moment) -> Option<(Duration, Pause)> {
        let word = self.0.load(Ordering::Relaxed);
        let left = Moment(word >> 1).since(now);
        let why = if word & 1 == 1 { Pause::Money } else { Pause::Pace };
        (left > 0).then(|| (Duration::from_millis(left), why))
    }
}

/// Why the last connection that was wanted to a target was not made, if it was not.
#[derive(Debug, Default)]
pub struct Unreached(AtomicU8);

impl Unreached {
    /// The last one was not made for this reason, or was made.
    pub fn set(&self, why: Option<NoDial>) {
        let place = why.and_then(|why| NoDial::ALL.iter().position(|one| *one == why));
        let word = place.and_then(|place| u8::try_from(place + 1).ok());
        self.0.store(word.unwrap_or(0), Ordering::Relaxed);
    }

    /// Why the last one was not made.
    #[must_use]
    pub fn why(&self) -> Option<NoDial> {
        NoDial::ALL.get(usize::from(self.0.load(Ordering::Relaxed)).checked_sub(1)?).copied()
    }
}

/// A target that is no pool, in the table.
#[derive(Debug)]
pub struct Remote {
    /// What it is.
    pub input: RemoteInput,
    /// What it carries, and whether it is left alone for its failures.
    pub endpoint: Arc<Endpoint>,
    /// Whether its key rests.
    pub rest: Arc<Rest>,
    /// Why it cannot be connected to, if so.
    pub unreached: Arc<Unreached>,
    /// It was found to have chat completions and no responses.
    pub chat_only: Arc<AtomicBool>,
}

impl Remote {
    /// A target that nothing was sent to yet, or `before`, if that is the same.
    #[must_use]
    pub(crate) fn new(
        input: RemoteInput,
        before: Option<&Self>,
        others: &[(RemoteInput, Arc<Rest>)],
        now: Moment,
    ) -> Self {
        // A changed model or key may work where the former did not.
        let same = before.filter(|before| before.input == input);
        let endpoint =
            same.map_or_else(|| Arc::new(Endpoint::named(&input.authority, now)), |b| Arc::clone(&b.endpoint));
        let shared = others.iter().find(|(other, _)| input.shares_key_with(other)).map(|(_, rest)| Arc::clone(rest));
        let unreached = same.map(|before| Arc::clone(&before.unreached)).unwrap_or_default();
        let chat_only = same.map(|before| Arc::clone(&before.chat_only)).unwrap_or_default();
        Self { rest: shared.unwrap_or_default(), endpoint, unreached, chat_only, input }
    }

    /// As [`RemoteInput::fit`], by what was found out since.
    #[must_use]
    pub fn fit(&self, operation: Operation) -> Fit {
        match self.input.fit(operation) {
            fit if fit.asks_responses(operation) && self.chat_only.load(Ordering::Relaxed) => {
                Fit::Translated(Shape::Chat)
            }
            fit => fit,
        }
    }
}

impl Fit {
    /// Whether the target's responses are asked.
    #[must_use]
    pub fn asks_responses(self, operation: Operation) -> bool {
        self == Self::Translated(Shape::Responses) || (self == Self::Same && operation == Operation::Responses)
    }
}

/// Whether this is the error of a server that does not have what was asked for at all, rather than one about the model or the
/// request, which have codes.
#[must_use]
pub fn lacks_path(status: u16, body: &[u8]) -> bool {
    let code = || {
        serde_json::from_slice::<serde_json::Value>(body).ok()?.get("error")?.get("code")?.as_str().map(str::to_owned)
    };
    matches!(status, 404 | 405 | 501) && code().is_none_or(|code| code == "unknown_url")
}

/// Whether Bedrock has this model from Anthropic, as far as its id says: `anthropic.claude-…`, with the letters of an
/// inference profile in front or not, or an ARN with that in it. The ARN of an application's own profile does not say.
#[must_use]
pub fn is_claude(model: &str) -> bool {
    model.contains("anthropic.claude")
}

impl RemoteInput {
    /// Whether this target can serve the operation, and how. Anthropic's models at Bedrock take messages as they are, so that
    /// nothing of them is lost. Below a deployment of Azure's there are no responses.
    #[must_use]
    pub fn fit(&self, operation: Operation) -> Fit {
        let claude = self.api == Api::Bedrock && self.model.as_deref().is_some_and(is_claude);
        let deployment = self.api == Api::OpenAi && self.path.contains("/openai/deployments/");
        match operation {
            Operation::Messages if claude => Fit::Invoked,
            Operation::Messages | Operation::Responses if deployment => Fit::Translated(Shape::Chat),
            _ => self.api.fit(operation),
        }
    }

    /// The keys of Secrets that it takes to use this target: none, one, or the three of an AWS access key, of which the last
    /// need not exist.
    #[must_use]
    pub fn secret_keys(&self) -> Vec<SecretKey> {
        let Some(secret) = &self.secret else { return Vec::new() };
        if !self.signs() {
            return vec![secret.clone()];
        }
        AWS_KEYS.iter().map(|key| SecretKey { key: (*key).to_owned(), ..secret.clone() }).collect()
    }

    /// Whether requests are signed with an AWS access key.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.aws.as_ref().is_some_and(|aws| aws.signs)
    }

    /// Whether what a provider says of the one's key is true of the other's.
    pub(crate) fn shares_key_with(&self, other: &Self) -> bool {
        let who = |input: &Self| (input.host.clone(), input.port, input.secret.clone(), input.key_version);
        // Without a key nobody is told apart, but nobody is held back for another's model either.
        who(self) == who(other) && (self.secret.is_some() || self.model == other.model)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn remote(host: &str, secret: Option<&str>) -> RemoteInput {
        let key = |name: &str| SecretKey { namespace: "ml".to_owned(), name: name.to_owned(), key: "k".to_owned() };
        RemoteInput {
            api: Api::OpenAi,
            secure: true,
            host: host.to_owned(),
            port: 443,
            authority: host.to_owned(),
            path: "/v1".to_owned(),
            model: Some("gpt".to_owned()),
            secret: secret.map(key),
            aws: None,
            host_is_chosen: false,
            api_version: None,
            organization: None,
            project: None,
            key_version: 1,
        }
    }

    #[test]
    fn a_rest_lasts_until_the_latest_moment() {
        let rest = Rest::default();
        assert_eq!(rest.left(Moment(0)), None);
        for (until, why, left) in [(100, Pause::Pace, 100), (50, Pause::Money, 100), (300, Pause::Money, 300)] {
            rest.until(Moment(until), why);
            assert_eq!(rest.left(Moment(0)).unwrap().0.as_millis(), left);
        }
        assert_eq!(rest.left(Moment(299)), Some((Duration::from_millis(1), Pause::Money)));
        assert_eq!(rest.left(Moment(300)), None);
    }

    #[test]
    fn why_a_target_was_not_reached_is_kept_until_it_is() {
        let unreached = Unreached::default();
        assert_eq!(unreached.why(), None);
        for why in NoDial::ALL {
            unreached.set(Some(why));
            assert_eq!(unreached.why(), Some(why));
        }
        unreached.set(None);
        assert_eq!(unreached.why(), None);
    }

    #[test]
    fn a_path_that_is_not_there_is_told_from_a_model_that_is_not() {
        let cases: [(u16, &str, bool); 9] = [
            (404, r#"{"detail":"Not Found"}"#, true),
            (404, "404 page not found", true),
            (405, "", true),
            (501, "{}", true),
            (404, r#"{"error":{"message":"Unknown request URL","code":"unknown_url"}}"#, true),
            (404, r#"{"error":{"message":"no such model","code":null}}"#, true),
            (404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#, false),
            (400, r#"{"detail":"Not Found"}"#, false),
            (500, "", false),
        ];
        for (status, body, lacks) in cases {
            assert_eq!(lacks_path(status, body.as_bytes()), lacks, "{status} {body}");
        }
    }

    #[test]
    fn a_target_that_has_chat_completions_only_is_remembered() {
        let far = Remote::new(remote("far", None), None, &[], Moment(0));
        assert_eq!(far.fit(Operation::Responses), Fit::Same);
        far.chat_only.store(true, Ordering::Relaxed);
        let chat = Fit::Translated(Shape::Chat);
        assert_eq!((far.fit(Operation::Responses), far.fit(Operation::Messages)), (chat, chat));
        assert_eq!(far.fit(Operation::Chat), Fit::Same);
        let same = Remote::new(remote("far", None), Some(&far), &[], Moment(1));
        assert_eq!(same.fit(Operation::Messages), chat);
        let other = Remote::new(remote("other", None), Some(&far), &[], Moment(1));
        assert_ne!(other.fit(Operation::Messages), chat);
    }

    #[test]
    fn each_api_has_its_operations() {
        use Operation as O;
        let all = [
            O::Chat,
            O::OpenAi,
            O::Audio,
            O::Responses,
            O::Messages,
            O::CountTokens,
            O::Engine,
            O::Converse,
            O::Invoke,
        ];
        let letter = |fit| match fit {
            Fit::Same => '=',
            Fit::Translated(_) => '~',
            Fit::Invoked => 'i',
            Fit::Unfit => '-',
        };
        let cases = [
            (Api::Anthropic, "~--~==---"),
            (Api::OpenAi, "====~----"),
            (Api::OpenAiCompatible, "==-~~----"),
            (Api::Engine, "=======--"),
            (Api::Bedrock, "~--~~--=="),
        ];
        for (api, want) in cases {
            assert_eq!(all.map(|operation| letter(api.fit(operation))).iter().collect::<String>(), want, "{api:?}");
        }
    }

    #[test]
    fn openai_answers_messages_by_responses_where_it_has_them() {
        let at = |path: &str| RemoteInput { path: path.to_owned(), ..remote("h", None) };
        for (path, messages, responses) in [
            ("/v1", Fit::Translated(Shape::Responses), Fit::Same),
            ("/openai/v1", Fit::Translated(Shape::Responses), Fit::Same),
            ("/openai/deployments/d", Fit::Translated(Shape::Chat), Fit::Translated(Shape::Chat)),
        ] {
            let input = at(path);
            assert_eq!(input.fit(Operation::Messages), messages, "{path}");
            assert_eq!(input.fit(Operation::Responses), responses, "{path}");
            assert_eq!(input.fit(Operation::Chat), Fit::Same, "{path}");
        }
    }

    #[test]
    fn claude_at_bedrock_takes_messages_as_they_are() {
        for (model, want) in [
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Fit::Invoked),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Fit::Invoked),
            ("arn:aws:bedrock:eu-central-1:1:inference-profile/eu.anthropic.claude-haiku-4-5-v1:0", Fit::Invoked),
            ("arn:aws:bedrock:eu-central-1:1:application-inference-profile/abc", Fit::Translated(Shape::Converse)),
            ("amazon.nova-lite-v1:0", Fit::Translated(Shape::Converse)),
        ] {
            let input = RemoteInput { api: Api::Bedrock, model: Some(model.to_owned()), ..remote("b", None) };
            assert_eq!(input.fit(Operation::Messages), want, "{model}");
            assert_eq!(input.fit(Operation::Chat), Fit::Translated(Shape::Converse), "{model}");
        }
    }

    #[test]
    fn an_access_key_is_three_keys_of_one_secret() {
        let aws = |signs| Some(Aws { region: "eu-central-1".to_owned(), signs });
        let names = |input: &RemoteInput| input.secret_keys().into_iter().map(|key| key.key).collect::<Vec<_>>();
        assert!(names(&remote("a", None)).is_empty());
        assert_eq!(names(&remote("a", Some("s"))), ["k"]);
        assert_eq!(names(&RemoteInput { aws: aws(false), ..remote("a", Some("s")) }), ["k"]);
        let signed = RemoteInput { aws: aws(true), ..remote("a", Some("s")) };
        assert_eq!(names(&signed), AWS_KEYS);
        assert!(signed.secret_keys().iter().all(|key| key.name == "s"));
    }
}
