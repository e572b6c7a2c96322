//! First step: the request's body, bounded in size and time, and the few fields of it that routing needs.

use http::header;
use http::request::Parts;
use router_core::Refusal;

use super::ask::Ask;
use super::body::RequestBody;
use crate::load::Held;
use crate::surface::Surface;
use crate::worker::Worker;

/// Reads the body and looks it through once. The claim on memory is to be kept for as long as the body is.
pub(crate) async fn parse(
    surface: Surface,
    parts: Parts,
    body: RequestBody<'_>,
    worker: &Worker,
) -> Result<(Ask, Held), Refusal> {
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Refusal::EncodedBody);
    }
    let (body, held) = body.read(worker).await?;
    Ok((Ask::read(surface, parts, body, worker.settings.count_stream_tokens)?, held))
}
