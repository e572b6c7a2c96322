//! An answer that comes in Amazon's frames, on its way through: as it came, or as the events that its client reads.

use bytes::Bytes;
use router_core::is_claude;
use wire::Dialect;
use wire::frames::{Frames, Holds};
use wire::sse::WholeEvents;
use wire::translate::Stream;

/// What becomes of the frames.
#[derive(Debug)]
pub(crate) struct Framed {
    frames: Frames,
    /// The client gets the frames themselves; these became whole last.
    keeps: Option<Bytes>,
    /// What tells whether the stream is whole; nothing does where only the model's maker knows its events.
    watched: Option<Dialect>,
    /// Turns the events into the client's shape.
    pub(crate) translator: Option<Box<Stream>>,
}

impl Framed {
    /// For a client that reads frames itself, of a target that answers in this dialect for this model.
    pub(super) fn as_it_came(dialect: Dialect, model: &str) -> Self {
        let watched = Some(dialect).filter(|dialect| *dialect == Dialect::Bedrock || is_claude(model));
        Self { frames: Frames::new(Holds::of(dialect)), keeps: Some(Bytes::new()), watched, translator: None }
    }

    /// For a client that reads the model's own events.
    pub(super) fn unpacked(dialect: Dialect) -> Self {
        Self { frames: Frames::new(Holds::Chunks), keeps: None, watched: Some(dialect), translator: None }
    }

    /// For a client of another shape.
    pub(super) fn translated(translator: Box<Stream>) -> Self {
        Self { frames: Frames::new(Holds::Events), keeps: None, watched: None, translator: Some(translator) }
    }

    /// What looks after the events for their end, if anything can.
    pub(super) fn watcher(&self) -> Option<WholeEvents> {
        self.watched.map(WholeEvents::new)
    }

    /// Takes a piece, and gives the events in it.
    pub(super) fn unpack(&mut self, piece: &[u8]) -> Bytes {
        let taken = self.frames.push(piece);
        if let Some(kept) = &mut self.keeps {
            *kept = taken.frames;
        }
        taken.events
    }

    /// What the client gets of the piece, for which `events` are left to pass.
    pub(super) fn pack(&mut self, events: Bytes) -> Bytes {
        self.keeps.as_mut().map_or(events, std::mem::take)
    }

    /// Whether the target threw an exception.
    pub(super) fn threw(&self) -> bool {
        self.frames.threw()
    }

    /// Whether a frame was damaged.
    pub(super) fn damaged(&self) -> bool {
        self.frames.damaged()
    }
}
