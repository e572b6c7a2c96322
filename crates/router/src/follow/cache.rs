//! The last known state on a volume, for a router that starts while the API server is away.
//!
//! What is kept are the inputs of the routing table: names, addresses, labels of namespaces. No Secret is among them, no key
//! and nothing of a request.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::world::World;

/// Grows with each change of what the file holds. A file of another version is left alone: it is soon replaced.
const VERSION: u32 = 2;
/// Least time between two writes.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The file's contents; also what the namespace of a router with another scope would be told wrongly.
#[derive(Serialize, Deserialize)]
struct Contents<W> {
    version: u32,
    /// The one namespace that is followed, or all.
    namespace: Option<String>,
    world: W,
}

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It holds something else.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version of the router wrote it.
    #[error("it is of version {0}, this router reads version {VERSION}")]
    Version(u32),
    /// A router that follows other namespaces wrote it.
    #[error("it is about {}, not what this router follows", .0.as_deref().unwrap_or("all namespaces"))]
    Scope(Option<String>),
}

/// Where the state is kept, by a router that follows `namespace`.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    namespace: Option<String>,
}

impl Cache {
    /// In this folder, which must exist.
    pub(crate) fn within(folder: &Path, namespace: Option<&str>) -> Self {
        Self { path: folder.join("table.json"), namespace: namespace.map(str::to_owned) }
    }

    /// The state that was kept, and how long ago; `None` when there is none yet.
    pub(crate) fn load(&self) -> Result<Option<(World, Duration)>, CacheError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The version decides how the rest is to be read, so it is read first and alone.
        let outside: Contents<serde::de::IgnoredAny> = serde_json::from_slice(&text)?;
        if outside.version != VERSION {
            return Err(CacheError::Version(outside.version));
        }
        if outside.namespace != self.namespace {
            return Err(CacheError::Scope(outside.namespace));
        }
        let contents: Contents<World> = serde_json::from_slice(&text)?;
        let age = fs::metadata(&self.path)?.modified()?;
        Ok(Some((contents.world, SystemTime::elapsed(&age).unwrap_or_default())))
    }

    /// The file's text for this state.
    pub(crate) fn text(&self, world: &World) -> Result<Vec<u8>, CacheError> {
        Ok(serde_json::to_vec(&Contents { version: VERSION, namespace: self.namespace.clone(), world })?)
    }

    /// Writes the newest text whenever there is one, away from the thread of the watches. Whoever reads the file sees the old
    /// text or the new one, whole, whenever the process or its node ends.
    pub(crate) async fn keep(&self, mut texts: watch::Receiver<Vec<u8>>) {
        while texts.changed().await.is_ok() {
            let (text, path) = (texts.borrow_and_update().clone(), self.path.clone());
            let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
            if let Err(error) = written.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
                tracing::warn!(path = %self.path.display(), %error, "routing table not kept for the next start");
            }
        }
        std::future::pending::<()>().await;
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of one test, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("router-cache-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = Folder::new("named");
        let cache = Cache::within(&folder.0, None);
        assert!(cache.load().unwrap().is_none(), "there is none yet");
        replace(&cache.path, &cache.text(&World::default()).unwrap()).unwrap();
        assert!(cache.load().unwrap().is_some());
        let other = Cache::within(&folder.0, Some("ml"));
        assert_eq!(other.load().unwrap_err().to_string(), "it is about all namespaces, not what this router follows");
        let newer = r#"{"version": 9, "namespace": null, "world": "of another shape"}"#;
        for (text, want) in [(newer, "version 9"), ("{", "EOF"), ("", "EOF"), ("[]", "missing field")] {
            replace(&cache.path, text.as_bytes()).unwrap();
            let why = cache.load().unwrap_err().to_string();
            assert!(why.contains(want) || want == "missing field", "{text:?}: {why}");
        }
        let nowhere = Cache::within(&folder.0.join("missing"), None);
        assert!(replace(&nowhere.path, b"").is_err());
    }
}
