//! First step: the request's body, bounded in size and time, and the few fields of it that routing needs.

use super::ask::Ask;
use crate::settings::Settings;
use crate::surface::Surface;
use bytes::{Bytes, BytesMut};
use http::header;
use http::request::Parts;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use router_core::Refusal;

/// Reads the body and looks it through once.
pub(crate) async fn parse(surface: Surface, parts: Parts, body: Incoming, settings: &Settings) -> Result<Ask, Refusal> {
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Refusal::EncodedBody);
    }
    let whole = tokio::time::timeout(settings.body_timeout, read(body, settings.max_body));
    let body = whole.await.map_err(|_| Refusal::SlowBody { seconds: settings.body_timeout.as_secs() })??;
    Ask::read(surface, parts, body, settings.count_stream_tokens)
}

/// The whole body. One that comes in a single piece, as most do, is not copied.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refusal::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing that an engine was promised.
        let Ok(data) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(announced.max(first.len() + data.len()));
            whole.extend_from_slice(&first);
            first = Bytes::new();
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
