//! What policies have had today: this router's own counts, and what it has heard of the others'.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use router_core::{Book, Counts, Day, Policy, Volume};

use crate::clock;

/// Largest file, and largest page of another router, that is read.
pub(crate) const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The counts of one process. Cheap to clone; clones count into the same figures.
#[derive(Clone, Debug)]
pub struct Volumes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// By namespace and name of the policy. A policy that was deleted and made again goes on where it was.
    counted: Mutex<BTreeMap<String, Arc<Volume>>>,
    book: Mutex<Book>,
    /// The text that was kept last.
    kept: Mutex<Vec<u8>>,
}

impl Default for Volumes {
    fn default() -> Self {
        Self::of_router(rand::random())
    }
}

impl Volumes {
    /// Those of the router that others know by this number.
    fn of_router(number: u64) -> Self {
        let book = Book::new(format!("{number:016x}"));
        Self(Arc::new(Shared { counted: Mutex::default(), book: Mutex::new(book), kept: Mutex::default() }))
    }

    /// The counts of a policy, if one of its rules asks for them.
    pub(crate) fn of(&self, policy: &Policy) -> Option<Arc<Volume>> {
        if !policy.rules.ask_for_today() {
            return None;
        }
        let name = format!("{}/{}", policy.namespace, policy.name);
        let today = clock::today();
        let others = self.noted(today).others(&name);
        let mut counted = lock(&self.0.counted);
        let volume = counted.entry(name).or_insert_with(|| {
            let volume = Volume::default();
            volume.learn(today, others);
            Arc::new(volume)
        });
        Some(Arc::clone(volume))
    }

    /// Whether any policy asks for its counts.
    pub(crate) fn are_wanted(&self) -> bool {
        !lock(&self.0.counted).is_empty()
    }

    /// What this router knows, as other routers read it.
    #[must_use]
    pub fn page(&self) -> Vec<u8> {
        // Such a book always serializes, so the fallback is never seen.
        serde_json::to_vec(&*self.noted(clock::today())).unwrap_or_default()
    }

    /// Takes in what another router knows; whether that was another one.
    ///
    /// # Errors
    ///
    /// When the text is not what [`Volumes::page`] gives.
    pub fn learn(&self, page: &[u8]) -> serde_json::Result<bool> {
        let theirs: Book = serde_json::from_slice(page)?;
        let today = clock::today();
        let mut book = self.noted(today);
        if theirs.router == book.router {
            return Ok(false);
        }
        book.merge(&theirs);
        let counted = lock(&self.0.counted);
        for (policy, volume) in counted.iter() {
            volume.learn(today, book.others(policy));
        }
        Ok(true)
    }

    /// The book of this day, with this router's own counts in it.
    fn noted(&self, today: Day) -> MutexGuard<'_, Book> {
        let own: Vec<(String, Counts)> = {
            let mut counted = lock(&self.0.counted);
            // Those of policies that are gone, and were not asked today.
            counted.retain(|_, volume| Arc::strong_count(volume) > 1 || volume.own(today) != Counts::default());
            counted.iter().map(|(policy, volume)| (policy.clone(), volume.own(today))).collect()
        };
        let mut book = lock(&self.0.book);
        book.turn_to(today);
        for (policy, counts) in own {
            book.count(&policy, counts);
        }
        book
    }

    /// Takes in what a router before this one kept in the folder. What is not there, or of another day, counts as nothing.
    pub fn restore(&self, folder: &Path) {
        let path = file(folder);
        match fs::read(&path) {
            Ok(text) if text.len() <= MOST_BYTES => {
                if let Err(error) = self.learn(&text) {
                    tracing::warn!(path = %path.display(), %error, "what policies had today cannot be read");
                }
            }
            Ok(_) => tracing::warn!(path = %path.display(), "what policies had today is too large to be read"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "what policies had today cannot be read"),
        }
    }

    /// Keeps what this router knows in the folder, if that is anything new. A reader sees the old text or the new one, whole.
    pub(crate) fn keep(&self, folder: &Path) {
        let (path, text) = (file(folder), self.page());
        let mut kept = lock(&self.0.kept);
        if !self.are_wanted() || *kept == text {
            return;
        }
        let new = path.with_extension("json.new");
        match fs::write(&new, &text).and_then(|()| fs::rename(&new, &path)) {
            Ok(()) => *kept = text,
            Err(error) => tracing::warn!(path = %path.display(), %error, "what policies had today is not kept"),
        }
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("volumes.json")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
