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
use crate::surface::{Route, Surface};
use crate::worker::Worker;

/// Answers one request. The record that it opens goes with the answer's body and settles when that ends, or right here
/// when the client leaves before there is one.
pub(crate) async fn answer(worker: Rc<Worker>, client: Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    let live = worker.live();
    let path = request.uri().path();
    let mut record = Record::begin(&worker, request.headers(), Surface::dialect_at(path));
    let mut response = match Surface::of(request.method(), path) {
        Route::Refuse(refusal) => respond::refuse(refusal, record),
        Route::Methods(allow) => respond::methods(allow, record),
        Route::Serve(_) if !live.synced => respond::refuse(Refusal::Starting, record),
        Route::Serve(surface) => {
            record.asked_at(surface);
            match surface {
                Surface::Models => respond::models(&live, record),
                Surface::Model => respond::model(&live, path, record),
                _ => match pass(&worker, &client, &live, request, surface, &mut record).await {
                    Ok(reply) => stream(&worker, reply, record),
                    Err(refusal) => respond::refuse(refusal, record),
                },
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
    surface: Surface,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let (parts, body) = request.into_parts();
    let ask = parse(surface, parts, body, &worker.settings).await.inspect_err(|_| client.left_unread())?;
    record.understood(&ask);
    let choice = choose(&live.table, &ask.model)?;
    record.chosen(live, choice);
    send(worker, live, choice, &ask, record).await
}
