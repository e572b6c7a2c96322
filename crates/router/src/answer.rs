//! The path of one request.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use router_core::{Overload, Refusal};

use crate::live::Live;
use crate::respond;
use crate::stage::authenticate::{authenticate, turn_away};
use crate::stage::body::RequestBody;
use crate::stage::parse::parse;
use crate::stage::pass;
use crate::stage::send::Reply;
use crate::stage::settle::Record;
use crate::stage::stream::{Body, stream};
use crate::surface::{Route, Surface};
use crate::worker::Worker;

/// Answers one request. The record that it opens goes with the answer's body and settles when that ends, or right here
/// when the client leaves before there is one.
pub(crate) async fn answer(worker: &Rc<Worker>, request: Request<RequestBody<'_>>) -> Response<Body> {
    let live = worker.live();
    let path = request.uri().path();
    let mut record = Record::begin(worker, request.headers(), Surface::dialect_at(path));
    if !record.admitted() {
        return respond::refuse(Refusal::Overloaded(Overload::Requests), record);
    }
    if worker.sheds() {
        return respond::refuse(Refusal::Overloaded(Overload::Work), record);
    }
    match Surface::of(request.method(), path) {
        Route::Refuse(refusal) => respond::refuse(refusal, record),
        Route::Methods(allow) => respond::methods(allow, record),
        Route::Serve(_) if !live.synced => respond::refuse(Refusal::Starting, record),
        Route::Serve(surface) => {
            record.asked_at(surface);
            match surface {
                Surface::Models => respond::models(worker, &live, request.headers(), record).await,
                Surface::Model => respond::model(worker, &live, &request, record).await,
                _ => match pass(worker, &live, request, surface, &mut record).await {
                    Ok(reply) => stream(worker, reply, record),
                    Err(refusal) => respond::refuse(refusal, record),
                },
            }
        }
    }
}

/// The steps up to the point where somebody has begun an answer.
async fn pass(
    worker: &Rc<Worker>,
    live: &Arc<Live>,
    request: Request<RequestBody<'_>>,
    surface: Surface,
    record: &mut Record,
) -> Result<Reply, Refusal> {
    let (parts, body) = request.into_parts();
    turn_away(worker, live, &parts.headers, body.announced()).await?;
    let (ask, _held) = parse(surface, parts, body, worker).await?;
    record.understood(&ask);
    record.called_by(authenticate(worker, live, &ask.parts.headers, &ask.model).await?);
    pass::pass(worker, live, surface, &ask, record).await
}
