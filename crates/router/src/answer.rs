//! The path of one request.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use router_core::{Refusal, choose};

use crate::connection::Client;
use crate::live::Live;
use crate::respond;
use crate::stage::parse::parse;
use crate::stage::send::{Reply, send};
use crate::stage::settle::Record;
use crate::stage::stream::{Body, stream};
use crate::surface::Surface;
use crate::worker::Worker;

/// Answers one request. The record that it opens goes with the answer's body and settles when that ends, or right here
/// when the client leaves before there is one.
pub(crate) async fn answer(worker: Rc<Worker>, client: Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    let live = worker.live();
    let mut record = Record::begin(&worker, request.headers());
    let surface = Surface::of(request.method(), request.uri().path());
    let mut response = match surface {
        Err(refusal) => respond::refuse(refusal, record),
        Ok(_) if !live.synced => respond::refuse(Refusal::Starting, record),
        Ok(Surface::Models) => {
            record.asked_at(Surface::Models);
            respond::models(&live, record)
        }
        Ok(surface) => {
            record.asked_at(surface);
            match pass(&worker, &client, &live, request, &mut record).await {
                Ok(reply) => stream(&worker, reply, record),
                Err(refusal) => respond::refuse(refusal, record),
            }
        }
    };
    if worker.leaving() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The steps up to the point where an engine has begun its answer.
async fn pass(
    worker: &Worker,
    client: &Client,
    live: &Arc<Live>,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let (parts, body) = request.into_parts();
    let ask = parse(parts, body, &worker.settings).await.inspect_err(|_| client.left_unread())?;
    record.understood(&ask);
    let choice = choose(&live.table, &ask.model)?;
    record.chosen(live, choice);
    send(worker, live, choice, &ask, record).await
}
