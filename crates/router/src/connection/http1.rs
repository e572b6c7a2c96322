//! HTTP/1.1 and 1.0: one request after the other, each read, answered and written by the connection's own task.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use router_core::Refusal;
use wire::Dialect;
use wire::http1::{AnswerHead, Framing, Received, write_answer};

use super::client::{Client, More, NoRequest, Unwritten};
use super::output::Output;
use super::socket::Socket;
use crate::answer::answer;
use crate::respond;
use crate::stage::body::RequestBody;
use crate::stage::settle::Record;
use crate::stage::stream::Body;
use crate::worker::{Open, Worker};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order, with nothing on its way in.
    Close,
    /// In order, while the client may still be sending.
    Linger,
    /// Without the last answer being whole.
    Abort,
}

/// Serves requests until the client leaves, a request cannot be read, or the worker closes. `read` was read before.
pub(super) async fn serve(worker: &Rc<Worker>, socket: Socket, read: BytesMut, open: &Open) {
    let client = Client::new(socket, read);
    let end = loop {
        let received = match client.next(&worker.settings, open).await {
            Ok(received) => received,
            Err(NoRequest::Ended) => break End::Close,
            Err(NoRequest::Late(deadline)) => {
                worker.metrics.count_close(deadline);
                break End::Close;
            }
            Err(NoRequest::Refused(why)) => break refuse(worker, &client, Refusal::BadHead(why)).await,
        };
        if let Some(end) = exchange(worker, &client, received).await {
            break end;
        }
    };
    match end {
        End::Close => client.close(false).await,
        End::Linger => client.close(true).await,
        End::Abort => client.abort(),
    }
}

/// One request and its answer; how the connection ends if it does so with them.
async fn exchange(worker: &Rc<Worker>, client: &Client, received: Received) -> Option<End> {
    let Received { parts, stays, .. } = received;
    let asked = Asked { old: parts.version == Version::HTTP_10, bodiless: parts.method == Method::HEAD, stays };
    let request = Request::from_parts(parts, RequestBody::Http1(client));
    let Some(response) = client.unless_left(answering(worker, request)).await else { return Some(End::Abort) };
    let unread = client.left_unread();
    write(worker, client, response, asked, unread).await
}

/// The answer, on the heap: its steps together need much more room than a connection that rests.
fn answering<'a>(
    worker: &'a Rc<Worker>,
    request: Request<RequestBody<'a>>,
) -> Pin<Box<dyn Future<Output = Response<Body>> + 'a>> {
    Box::pin(answer(worker, request))
}

async fn refuse(worker: &Rc<Worker>, client: &Client, refusal: Refusal) -> End {
    let response = respond::refuse(refusal, Record::begin(worker, &HeaderMap::new(), Dialect::default()));
    let asked = Asked { old: false, bodiless: false, stays: true };
    write(worker, client, response, asked, true).await.unwrap_or(End::Linger)
}

/// What a request says about its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// It is one of HTTP/1.0, which knows no chunks.
    old: bool,
    /// The answer's body is not wanted.
    bodiless: bool,
    /// The client may send another one.
    stays: bool,
}

/// Writes an answer; how the connection ends if it does so after it.
async fn write(worker: &Worker, client: &Client, response: Response<Body>, asked: Asked, unread: bool) -> Option<End> {
    let (parts, mut body) = response.into_parts();
    let framing = framing(&body, asked);
    let leaving = worker.leaving() || framing == Framing::UntilClose;
    let closes = leaving || unread || !asked.stays;
    let has_body = !asked.bodiless && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let head = AnswerHead {
        status: parts.status,
        headers: &parts.headers,
        framing: (has_body || asked.bodiless).then_some(framing),
        connection: if closes { Some("close") } else { asked.old.then_some("keep-alive") },
        date: &worker.date(),
    };
    let output = Output::with_head(|out| write_answer(out, &head));
    drop(parts);
    let next = |cx: &mut Context<'_>, output: &mut Output| {
        if has_body { poll_piece(&mut body, framing, cx, output) } else { Poll::Ready(Ok(More::No)) }
    };
    match client.write(worker.settings.write_timeout, output, next).await {
        Ok(()) if !closes => None,
        Ok(()) if unread || leaving => Some(End::Linger),
        Ok(()) => Some(End::Close),
        Err(Unwritten::Stalled) => {
            worker.metrics.count_close("write_timeout");
            Some(End::Abort)
        }
        // A body without a length of its own would look complete after an orderly end.
        Err(Unwritten::Cut) if framing != Framing::UntilClose => Some(End::Close),
        Err(Unwritten::Left | Unwritten::Cut) => Some(End::Abort),
    }
}

fn framing(body: &Body, asked: Asked) -> Framing {
    match body.size_hint().exact() {
        Some(length) => Framing::Length(length),
        None if asked.old => Framing::UntilClose,
        None => Framing::Chunked,
    }
}

/// Adds the next piece of the body, and its end if that is known already.
fn poll_piece(
    body: &mut Body,
    framing: Framing,
    cx: &mut Context<'_>,
    output: &mut Output,
) -> Poll<Result<More, Unwritten>> {
    Poll::Ready(match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
        Some(Ok(frame)) => {
            let last = body.is_end_stream();
            output.piece(framing, frame.into_data().unwrap_or_default(), last);
            Ok(if last { More::No } else { More::Yes })
        }
        Some(Err(_)) => Err(Unwritten::Cut),
        None => {
            output.piece(framing, bytes::Bytes::new(), true);
            Ok(More::No)
        }
    })
}
