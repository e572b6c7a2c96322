//! Whose token it is that says it is a ServiceAccount's: the API server knows, by a TokenReview, and its word is kept a while.
//!
//! Workers ask here; one task talks to the API server. However many requests come with one token, it is asked about once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use router_core::{ACCOUNT, Denied, Digest, Finding, Findings, Jwt, digest};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::clock::seconds_since_1970 as now;

/// Most tokens whose finding is kept: some 200 bytes each.
const MOST: usize = 8192;
/// Most tokens that wait for their turn with the API server; who comes with a further one is told to come again.
const QUEUE: usize = 256;
/// Most of them that it is asked about at once.
const AT_ONCE: usize = 16;
/// How long it may take for one.
const DEADLINE: Duration = Duration::from_secs(3);
/// How long a request waits for a finding, its turn included.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how many seconds a good token is not asked about again: as long as one goes on whose ServiceAccount or pod was deleted.
const GOOD_FOR: i64 = 300;
/// The same of a bad one, so that who repeats it costs the API server little.
const BAD_FOR: i64 = 10;
/// For how many seconds the API server is not asked again about a token that it did not answer about.
const AWAY_FOR: i64 = 2;

/// The name of whose token it is; `None` for a token that is no good.
type Found = Option<Arc<str>>;
/// What those who wait for one finding watch: nothing yet, or what they are to be told.
type Awaited = watch::Receiver<Option<Result<Found, Denied>>>;

/// What is known of tokens, and the way to ask for more. Its clones are the same.
#[derive(Clone)]
pub struct Reviews {
    audience: Arc<str>,
    known: Arc<Mutex<Known>>,
    questions: mpsc::Sender<Question>,
}

struct Known {
    findings: Findings<Result<Found, Denied>>,
    awaited: HashMap<Digest, Awaited>,
}

/// What a look at a token finds.
enum Look {
    /// What was found lately.
    Known(Result<Found, Denied>),
    /// It is being asked about; beside that, whose it was when that was asked last, if it may still be.
    Awaited(Awaited, Found),
}

/// One token to ask about.
struct Question {
    token: String,
    digest: Digest,
    /// When the token ends, by its own word.
    ends: i64,
    /// Whose it was when that was asked last, if it may still be.
    before: Found,
    tell: watch::Sender<Option<Result<Found, Denied>>>,
}

/// The tokens to ask about, for [`Reviews::answer`].
pub struct Questions(mpsc::Receiver<Question>);

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Questions")
    }
}

impl Reviews {
    /// For tokens of this audience.
    #[must_use]
    pub fn new(audience: &str) -> (Self, Questions) {
        let known = Known { findings: Findings::new(MOST), awaited: HashMap::new() };
        let (questions, asked) = mpsc::channel(QUEUE);
        (Self { audience: audience.into(), known: Arc::new(Mutex::new(known)), questions }, Questions(asked))
    }

    /// What tokens must be for.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The ServiceAccount whose token this is.
    ///
    /// # Errors
    ///
    /// When it is nobody's, or the API server cannot say.
    pub(crate) async fn account(&self, token: &Jwt<'_>) -> Result<Arc<str>, Denied> {
        let now = now();
        let ends = token.expires().filter(|ends| *ends > now).ok_or(Denied::Unknown)?;
        let (mut finding, before) = match self.look(token, now, ends) {
            Look::Known(known) => return known?.ok_or(Denied::Unknown),
            Look::Awaited(finding, before) => (finding, before),
        };
        let said = timeout(PATIENCE, finding.wait_for(Option::is_some)).await;
        let said = said.ok().and_then(Result::ok).and_then(|said| (*said).clone());
        said.unwrap_or_else(|| as_before(before))?.ok_or(Denied::Unknown)
    }

    /// What is known of a token, or what to wait for until it is.
    fn look(&self, token: &Jwt<'_>, now: i64, ends: i64) -> Look {
        let digest = digest(&[token.text()]);
        let mut known = self.known();
        let finding = known.findings.get(&digest);
        if let Some(finding) = finding.as_ref().filter(|finding| finding.fresh_until > now) {
            return Look::Known(finding.found.clone());
        }
        let before =
            finding.filter(|finding| finding.good_until > now).and_then(|finding| finding.found.ok().flatten());
        if let Some(awaited) = known.awaited.get(&digest) {
            return Look::Awaited(awaited.clone(), before);
        }
        let (tell, awaited) = watch::channel(None);
        let question = Question { token: token.text().to_owned(), digest, ends, before: before.clone(), tell };
        if self.questions.try_send(question).is_err() {
            return Look::Known(as_before(before));
        }
        known.awaited.insert(digest, awaited.clone());
        Look::Awaited(awaited, before)
    }

    /// Asks the API server about each token that comes, for as long as it is polled.
    pub async fn answer(self, client: Client, questions: Questions) {
        let api: Api<TokenReview> = Api::all(client);
        let (reviews, api) = (&self, &api);
        let mut answered = futures::stream::unfold(questions.0, |mut asked| async move {
            let question = asked.recv().await?;
            Some((question, asked))
        })
        .map(|question| reviews.ask(api, question))
        .buffer_unordered(AT_ONCE)
        .boxed();
        let mut away = false;
        while let Some(failed) = answered.next().await {
            // Each time it begins, not with each token.
            if let Some(why) = failed.as_ref().filter(|_| !away) {
                tracing::warn!(why, "tokens of ServiceAccounts cannot be reviewed");
            }
            away = failed.is_some();
        }
    }

    /// Asks about one token; why there was no answer, if so.
    async fn ask(&self, api: &Api<TokenReview>, question: Question) -> Option<String> {
        let Question { token, digest, ends, before, tell } = question;
        let spec = TokenReviewSpec { token: Some(token), audiences: Some(vec![self.audience.to_string()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = timeout(DEADLINE, api.create(&PostParams::default(), &review)).await;
        let now = now();
        let (found, fresh_until, good_until, failed) = match answer {
            Ok(Ok(review)) => match review.status.and_then(|status| account(status, &self.audience)) {
                Some(name) => (Ok(Some(name.into())), ends.min(now + GOOD_FOR), ends, None),
                None => (Ok(None), now + BAD_FOR, now + BAD_FOR, None),
            },
            failed => {
                let why = failed.map_or_else(|_| "no answer in time".to_owned(), |error| why(error.err()));
                let good_until = if before.is_some() { ends } else { now };
                (as_before(before), now + AWAY_FOR, good_until, Some(why))
            }
        };
        {
            let mut known = self.known();
            known.awaited.remove(&digest);
            known.findings.put(digest, Finding { found: found.clone(), fresh_until, good_until });
        }
        tell.send_replace(Some(found));
        failed
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is in it is whole at any time: each change is one insertion or removal.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What holds while nobody answers. Whoever sends forged tokens without end can keep the API server busy with them, and is not to
/// lock those out whom it has confirmed.
fn as_before(before: Found) -> Result<Found, Denied> {
    before.map_or(Err(Denied::Unread), |name| Ok(Some(name)))
}

fn why(error: Option<kube::Error>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

/// The ServiceAccount that the API server found. It names the audiences that it has seen to; one that knows of none has not.
fn account(status: TokenReviewStatus, audience: &str) -> Option<String> {
    let good = status.authenticated == Some(true) && status.audiences.iter().flatten().any(|one| one == audience);
    let name = status.user?.username?;
    (good && name.starts_with(ACCOUNT)).then_some(name)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NAME: &str = "system:serviceaccount:ml:web";

    fn token(number: usize) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = format!(r#"{{"sub":"{NAME}","aud":"quartermaster","jti":"{number}"}}"#);
        format!("{}.{}.AAAA", part(r#"{"alg":"RS256"}"#), part(&claims))
    }

    /// Forged tokens cost their sender nothing, and each makes a question.
    #[test]
    fn a_flood_of_forged_tokens_locks_out_nobody_who_was_confirmed() {
        let (reviews, _questions) = Reviews::new("quartermaster");
        let (text, now) = (token(0), now());
        let (known, ends) = (Jwt::read(&text).unwrap(), now + 600);
        let confirmed = Finding { found: Ok(Some(NAME.into())), fresh_until: now - 1, good_until: ends };
        reviews.known().findings.put(digest(&[&text]), confirmed);
        for number in 1..=QUEUE {
            let forged = token(number);
            assert!(matches!(reviews.look(&Jwt::read(&forged).unwrap(), now, ends), Look::Awaited(_, None)));
        }
        let further = token(QUEUE + 1);
        let told = reviews.look(&Jwt::read(&further).unwrap(), now, ends);
        assert!(matches!(told, Look::Known(Err(Denied::Unread))));
        let told = reviews.look(&known, now, ends);
        assert!(matches!(told, Look::Known(Ok(Some(name))) if &*name == NAME));
    }
}
