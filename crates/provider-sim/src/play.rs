//! Does the steps of an answer, and bills what was sold.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::stream::{self, Stream};
use tokio::time::{Instant, sleep};

use crate::answer::Usage;
use crate::app::{App, lock};
use crate::script::{Script, Step};
use crate::wire::Wire;

/// How long what was written has to leave before its connection is dropped. It is written as soon as the body waits.
const LEAVE: Duration = Duration::from_millis(2);

/// Counts what one request gets, and bills it when the request ends, however it does.
pub(crate) struct Meter {
    app: Arc<App>,
    key: String,
    model: String,
    /// What the whole answer costs.
    usage: Usage,
    /// Tokens of the answer that left.
    sent: u64,
    /// When a plain answer began to be made, and how long a token takes.
    since: Option<(Instant, Duration)>,
    whole: bool,
    /// The stand-in itself broke off.
    ours: bool,
    ignores_cancel: bool,
}

impl Meter {
    /// Begins to count. `since` is for an answer that is made before its first byte leaves.
    pub(crate) fn begin(app: &Arc<App>, key: &str, model: &str, usage: Usage, ignores_cancel: bool) -> Self {
        lock(&app.bill).begin(key);
        Self {
            app: Arc::clone(app),
            key: key.to_owned(),
            model: model.to_owned(),
            usage,
            sent: 0,
            since: None,
            whole: false,
            ours: false,
            ignores_cancel,
        }
    }

    /// The answer is made before its first byte leaves, a token each `gap`.
    pub(crate) fn makes_it_first(&mut self, gap: Duration) {
        self.since = Some((Instant::now(), gap)).filter(|_| !gap.is_zero());
    }

    fn output(&self) -> u64 {
        if self.whole || self.ignores_cancel {
            return self.usage.output;
        }
        let made = self.since.map_or(0, |(began, gap)| {
            u64::try_from(began.elapsed().as_nanos() / gap.as_nanos().max(1)).unwrap_or(u64::MAX)
        });
        self.sent.max(made).min(self.usage.output)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let output = self.output();
        let usage = Usage { output, reasoning: self.usage.reasoning.min(output), ..self.usage };
        lock(&self.app.bill).end(&self.key, &self.model, usage, !self.whole && !self.ours);
    }
}

/// Answers by `script`.
pub(crate) async fn play(script: Script, mut meter: Option<Meter>, wire: Wire) -> Response {
    let promised = script.promised.unwrap_or_else(|| script.length());
    for step in script.before {
        perform(&step, &wire, &mut meter).await;
    }
    let body = Body::from_stream(body(script.steps.into(), meter, wire));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(script.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in script.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if !script.streams {
        headers.insert(header::CONTENT_LENGTH, promised.into());
    }
    headers.insert(header::SERVER, HeaderValue::from_static("provider-sim"));
    response
}

/// Does what a step says that sends nothing.
async fn perform(step: &Step, wire: &Wire, meter: &mut Option<Meter>) {
    let ours = |meter: &mut Option<Meter>| {
        if let Some(meter) = meter {
            meter.ours = true;
        }
    };
    match step {
        Step::Send(..) | Step::Repeat(..) => {}
        Step::Wait(span) => sleep(*span).await,
        Step::Hang => pending().await,
        Step::Reset => {
            ours(meter);
            sleep(LEAVE).await;
            wire.reset();
            pending::<()>().await;
        }
        Step::Close => {
            ours(meter);
            sleep(LEAVE).await;
            wire.close();
            pending::<()>().await;
        }
    }
}

fn body(steps: VecDeque<Step>, meter: Option<Meter>, wire: Wire) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((steps, meter, wire), |(mut steps, mut meter, wire)| async move {
        loop {
            let step = steps.pop_front()?;
            perform(&step, &wire, &mut meter).await;
            match step {
                Step::Send(bytes, tokens) => {
                    if let Some(meter) = &mut meter {
                        meter.sent += tokens;
                        // Who reads by the length does not ask again behind the last piece.
                        meter.whole |= steps.is_empty();
                    }
                    return Some((Ok(bytes), (steps, meter, wire)));
                }
                Step::Repeat(bytes, gap) => {
                    sleep(gap).await;
                    steps.push_front(Step::Repeat(bytes.clone(), gap));
                    if let Some(meter) = &mut meter {
                        // What never ends is billed as it is sent.
                        meter.sent += 1;
                        meter.usage.output = meter.usage.output.max(meter.sent);
                    }
                    return Some((Ok(bytes), (steps, meter, wire)));
                }
                _ => {}
            }
        }
    })
}
