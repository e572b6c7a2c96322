//! How much an endpoint carries right now, counted by those who send to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Endpoint;

/// Requests that this router has under way at one endpoint. Shared by all threads, and by every table that knows the
/// endpoint, so that a new table does not forget what an old one sent.
#[derive(Debug, Default)]
pub struct Load(AtomicU32);

impl Load {
    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        // The figure steers choices and publishes nothing else, so no ordering with other memory is needed.
        self.0.load(Ordering::Relaxed)
    }
}

/// One request under way at an endpoint; it counts until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// Counts one more request at `endpoint`.
    #[must_use]
    pub fn enter(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.load.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// The endpoint that carries it.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_until_dropped() {
        let endpoint = Arc::new(Endpoint::new("10.0.0.1:8000".parse().unwrap()));
        let (one, two) = (InFlight::enter(&endpoint), InFlight::enter(&endpoint));
        assert_eq!(endpoint.load.in_flight(), 2);
        drop(one);
        assert_eq!(endpoint.load.in_flight(), 1);
        assert!(Arc::ptr_eq(two.endpoint(), &endpoint));
        drop(two);
        assert_eq!(endpoint.load.in_flight(), 0);
    }
}
