//! Where things are: the checkout, what is kept between runs, and what a running system writes.

use std::path::{Path, PathBuf};

/// Root of the checkout that this program was built from.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// What is worth keeping between runs and clones: built Kubernetes programs, the vLLM installation, step times.
pub(crate) fn cache() -> PathBuf {
    base("XDG_CACHE_HOME", ".cache").join("quartermaster")
}

/// Everything a running system writes: one folder a cluster, and the logs of steps. `make down` removes it.
pub(crate) fn state() -> PathBuf {
    std::env::var_os("QUARTERMASTER_STATE")
        .map_or_else(|| base("XDG_STATE_HOME", ".local/state").join("quartermaster"), PathBuf::from)
}

fn base(variable: &str, below_home: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(below_home),
        PathBuf::from,
    )
}
