//! The last known state on a volume, for a router that starts while the API server is away.
//!
//! What is kept are the inputs of the routing table: names, addresses, labels of namespaces. No Secret is among them, no key
//! and nothing of a request.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::world::World;

/// Grows with each change of what the file holds. A file of another version is left alone: it is soon replaced.
const VERSION: u32 = 3;
/// Least time between two writes.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How often a state that has not changed is written all the same, so that its age tells how long the API server was away
/// and not how long nothing changed.
pub(super) const REFRESH: Duration = Duration::from_secs(600);

/// The first line of the file: what the rest is and whether it is whole. The rest is the state as JSON.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// The one namespace that is followed, or all. A router with another scope would be told wrongly.
    namespace: Option<String>,
    /// When the state was last known to be true, in seconds since 1970.
    written: u64,
    /// CRC-32 of the rest.
    checksum: u32,
}

/// Read ahead of the rest, which another version may have in another shape.
#[derive(Deserialize)]
struct Version {
    version: u32,
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
    /// It is not what was written: cut short, or changed since.
    #[error("its checksum does not fit: it was cut short or changed")]
    Torn,
    /// It says too little about the cluster of today.
    #[error("it is {} hours old, more than the {} that --cache-max-age allows", .age.as_secs() / 3600, .most.as_secs() / 3600)]
    Old {
        /// How old it is.
        age: Duration,
        /// How old it may be.
        most: Duration,
    },
}

/// Where the state is kept, by a router that follows `namespace`.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    namespace: Option<String>,
    max_age: Duration,
}

/// A state that was kept, and when it was last known to be true, in seconds since 1970.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) world: World,
    pub(crate) written: u64,
}

impl Cache {
    /// In this folder, which must exist. What is older than `max_age` is not used.
    pub(crate) fn within(folder: &Path, namespace: Option<&str>, max_age: Duration) -> Self {
        Self { path: folder.join("table.json"), namespace: namespace.map(str::to_owned), max_age }
    }

    /// The state that was kept; `None` when there is none yet. `now` is in seconds since 1970. A state from the future, as
    /// after a clock was set back, counts as new.
    pub(crate) fn load(&self, now: u64) -> Result<Option<Found>, CacheError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (head, rest) = text.split_at(text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len()));
        let Version { version } = serde_json::from_slice(head)?;
        if version != VERSION {
            return Err(CacheError::Version(version));
        }
        let header: Header = serde_json::from_slice(head)?;
        if header.namespace != self.namespace {
            return Err(CacheError::Scope(header.namespace));
        }
        if crc32fast::hash(rest) != header.checksum {
            return Err(CacheError::Torn);
        }
        let age = Duration::from_secs(now.saturating_sub(header.written));
        if age > self.max_age {
            return Err(CacheError::Old { age, most: self.max_age });
        }
        Ok(Some(Found { world: serde_json::from_slice(rest)?, written: header.written }))
    }

    /// The file's text for this state, which is true `now`, in seconds since 1970.
    pub(crate) fn text(&self, world: &World, now: u64) -> Result<Vec<u8>, CacheError> {
        let mut rest = vec![b'\n'];
        serde_json::to_writer(&mut rest, world)?;
        let (namespace, checksum) = (self.namespace.clone(), crc32fast::hash(&rest));
        let mut text = serde_json::to_vec(&Header { version: VERSION, namespace, written: now, checksum })?;
        text.append(&mut rest);
        Ok(text)
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

    const NOW: u64 = 1_795_263_821;
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = Folder::new("named");
        let cache = Cache::within(&folder.0, None, DAY);
        assert!(cache.load(NOW).unwrap().is_none(), "there is none yet");
        let good = String::from_utf8(cache.text(&World::default(), NOW).unwrap()).unwrap();
        replace(&cache.path, good.as_bytes()).unwrap();
        assert_eq!(cache.load(NOW).unwrap().unwrap().written, NOW);
        let other = Cache::within(&folder.0, Some("ml"), DAY);
        let why = other.load(NOW).unwrap_err().to_string();
        assert_eq!(why, "it is about all namespaces, not what this router follows");
        let newer = r#"{"version": 9, "something": "of another shape"}"#;
        let older = r#"{"version":1,"namespace":null,"world":{}}"#;
        let line = good.split_once('\n').unwrap().0;
        for (text, want) in [
            (newer, "version 9"),
            (older, "version 1"),
            ("{", "EOF"),
            ("", "EOF"),
            ("[]", ""),
            ("{}", "missing field"),
            (line, "checksum"),
            (&good[..good.len() - 1], "checksum"),
            (&format!("{good} "), "checksum"),
        ] {
            replace(&cache.path, text.as_bytes()).unwrap();
            let why = cache.load(NOW).unwrap_err().to_string();
            assert!(why.contains(want), "{text:?}: {why}");
        }
        let nowhere = Cache::within(&folder.0.join("missing"), None, DAY);
        assert!(replace(&nowhere.path, b"").is_err());
    }

    #[test]
    fn any_torn_byte_is_found() {
        let folder = Folder::new("torn");
        let cache = Cache::within(&folder.0, None, DAY);
        let good = cache.text(&World::default(), NOW).unwrap();
        let world = good.iter().position(|byte| *byte == b'\n').unwrap();
        for at in 0..good.len() {
            let mut torn = good.clone();
            torn[at] ^= 1;
            replace(&cache.path, &torn).unwrap();
            // A digit of the time is the one thing that may change unseen.
            assert!(cache.load(NOW).is_err() || at < world, "byte {at}");
            replace(&cache.path, &good[..at]).unwrap();
            assert!(cache.load(NOW).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_too_old_is_not_used() {
        let folder = Folder::new("old");
        let cache = Cache::within(&folder.0, None, DAY);
        replace(&cache.path, &cache.text(&World::default(), NOW).unwrap()).unwrap();
        for (now, good) in [(NOW, true), (NOW + 86_400, true), (NOW + 86_401, false), (NOW - 5, true), (0, true)] {
            assert_eq!(cache.load(now).is_ok(), good, "{now}");
        }
        let why = cache.load(NOW + 200_000).unwrap_err().to_string();
        assert_eq!(why, "it is 55 hours old, more than the 24 that --cache-max-age allows");
    }
}
