//! The files of a configuration folder, as they are at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Largest file that is read. An object of Kubernetes has at most a few of a megabyte.
const LARGEST: u64 = 8 * 1024 * 1024;
/// Most files that are read.
const MOST: usize = 2000;
/// How the names of files with objects end, as `kubectl apply -f` has it.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// What the files hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// The text of each file by its name, or why it cannot be read.
    pub(super) texts: BTreeMap<String, Result<String, String>>,
    /// What files elsewhere hold that objects refer to; `None` for one that cannot be read.
    pub(super) outside: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl Files {
    /// The files of `folder` itself, not of folders in it; and these files elsewhere. Names that begin with a dot are left out:
    /// editors and mounted ConfigMaps keep their own there.
    pub(super) fn read(folder: &Path, outside: &BTreeSet<PathBuf>) -> io::Result<Self> {
        let mut texts = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
            let fits = path.extension().and_then(|end| end.to_str()).is_some_and(|end| ENDINGS.contains(&end));
            // A link is looked through, since that is what a mounted ConfigMap has.
            if name.starts_with('.') || !fits || path.is_dir() {
                continue;
            }
            if texts.len() == MOST {
                return Err(io::Error::other(format!("it holds more than {MOST} files")));
            }
            texts.insert(name, text(&path));
        }
        let outside = outside.iter().map(|path| (path.clone(), bytes(path).ok())).collect();
        Ok(Self { texts, outside })
    }
}

/// What a file holds, if that is not too much.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

fn text(path: &Path) -> Result<String, String> {
    String::from_utf8(bytes(path)?).map_err(|_| "it is not UTF-8".to_owned())
}
