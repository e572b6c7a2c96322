//! What `vllm serve` takes, by release, as it was read from vLLM's sources: names, kinds of value, allowed values.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::Version;

/// The data, written by `tests/vllm/arguments.py`; its first lines say what the others mean.
const TEXT: &str = include_str!("arguments.txt");

static DATA: LazyLock<Data> = LazyLock::new(|| Data::read(TEXT));

/// What follows an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing; there is a `--no-` form.
    Switch,
    /// Nothing.
    Plain,
    /// One value or none.
    Maybe,
    /// One value or more.
    List,
    /// One JSON value, or keys given one at a time: `--flag.key value`.
    Json,
    /// One whole number.
    Int,
    /// One number.
    Float,
    /// One value.
    Text,
    /// One of the allowed values, in any case and with `-` or `_`.
    Fold,
}

/// Releases 0.`from` to 0.`to`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u32,
    to: u32,
}

/// One name of an argument.
#[derive(Clone, Debug)]
struct Name {
    full: &'static str,
    spans: Vec<Span>,
}

/// A value that an argument allows.
#[derive(Clone, Debug)]
struct Value {
    value: &'static str,
    /// A plug-in can add to values of this sort.
    open: bool,
    spans: Vec<Span>,
}

#[derive(Default)]
struct Data {
    releases: Vec<(u32, u32)>,
    /// By any name, `--no-` forms included.
    names: BTreeMap<String, Vec<Name>>,
    /// By full name.
    kinds: BTreeMap<&'static str, Vec<(Kind, Vec<Span>)>>,
    /// By full name.
    values: BTreeMap<&'static str, Vec<Value>>,
}

/// What one release of vLLM takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Catalogue {
    release: (u32, u32),
    exact: bool,
}

/// The catalogue to check a version against: that of its release, or for a version newer than all that were read, the
/// newest. `None` for a version older than all that were read.
#[must_use]
pub fn known(version: Version) -> Option<Catalogue> {
    let release = (version.major, version.minor);
    let newest = *DATA.releases.last()?;
    if DATA.releases.contains(&release) {
        return Some(Catalogue { release, exact: true });
    }
    (release > newest).then_some(Catalogue { release: newest, exact: false })
}

/// The newest release of vLLM whose arguments are known, as major and minor number.
#[must_use]
pub fn newest() -> (u32, u32) {
    DATA.releases.last().copied().unwrap_or_default()
}

/// The oldest release of vLLM whose arguments are known, as major and minor number.
#[must_use]
pub fn oldest() -> (u32, u32) {
    DATA.releases.first().copied().unwrap_or_default()
}

impl Catalogue {
    /// The release that was read, as major and minor number.
    #[must_use]
    pub fn release(self) -> (u32, u32) {
        self.release
    }

    /// Whether this is the catalogue of the version asked for, not of the newest older one.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.exact
    }

    /// Whether this release takes an argument of this name.
    #[must_use]
    pub fn has(self, flag: &str) -> bool {
        self.full(flag).is_some()
    }

    /// The full name of the argument that has this name in this release.
    pub(super) fn full(self, name: &str) -> Option<&'static str> {
        DATA.names.get(name)?.iter().find(|one| within(&one.spans, self.release)).map(|one| one.full)
    }

    /// What follows an argument, by its full name.
    pub(super) fn kind(self, full: &str) -> Kind {
        kind_in(full, self.release).unwrap_or(Kind::Text)
    }

    /// The values that an argument allows, by its full name, and whether a plug-in can add to them. None: any value.
    pub(super) fn values(self, full: &str) -> (Vec<&'static str>, bool) {
        let all = DATA.values.get(full).map(Vec::as_slice).unwrap_or_default();
        let here: Vec<&Value> = all.iter().filter(|one| within(&one.spans, self.release)).collect();
        (here.iter().map(|one| one.value).collect(), here.iter().any(|one| one.open))
    }

    /// All names that this release takes.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        DATA.names
            .iter()
            .filter(move |(_, all)| all.iter().any(|one| within(&one.spans, self.release)))
            .map(|(name, _)| name.as_str())
    }

    /// The first release, newer than this one, that takes a name.
    pub(super) fn since(self, name: &str) -> Option<(u32, u32)> {
        let all = DATA.names.get(name)?;
        DATA.releases.iter().copied().find(|at| *at > self.release && all.iter().any(|one| within(&one.spans, *at)))
    }

    /// The first release without a name that an older one had.
    pub(super) fn removed(self, name: &str) -> Option<(u32, u32)> {
        let all = DATA.names.get(name)?;
        let had = |at: &(u32, u32)| all.iter().any(|one| within(&one.spans, *at));
        let last = DATA.releases.iter().rev().find(|at| **at < self.release && had(at))?;
        DATA.releases.iter().copied().find(|at| at > last)
    }
}

/// The full name of the argument that has this name in the newest release that has it.
pub(super) fn full_anywhere(name: &str) -> Option<&'static str> {
    DATA.names.get(name)?.iter().max_by_key(|one| last(&one.spans)).map(|one| one.full)
}

/// The kind of an argument in the newest release that has it, by its full name.
pub(super) fn kind_anywhere(full: &str) -> Option<Kind> {
    DATA.kinds.get(full)?.iter().max_by_key(|(_, spans)| last(spans)).map(|(kind, _)| *kind)
}

/// Every name of every release, with the full name of its argument.
pub(super) fn all_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    DATA.names.iter().flat_map(|(name, all)| all.iter().map(move |one| (name.as_str(), one.full)))
}

fn kind_in(full: &str, release: (u32, u32)) -> Option<Kind> {
    DATA.kinds.get(full)?.iter().find(|(_, spans)| within(spans, release)).map(|(kind, _)| *kind)
}

/// The last release of some spans.
fn last(spans: &[Span]) -> u32 {
    spans.iter().map(|span| span.to).max().unwrap_or_default()
}

fn within(spans: &[Span], (_, minor): (u32, u32)) -> bool {
    spans.iter().any(|span| (span.from..=span.to).contains(&minor))
}

impl Kind {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "switch" => Self::Switch,
            "plain" => Self::Plain,
            "maybe" => Self::Maybe,
            "list" => Self::List,
            "json" => Self::Json,
            "int" => Self::Int,
            "float" => Self::Float,
            "text" => Self::Text,
            "fold" => Self::Fold,
            _ => return None,
        })
    }
}

impl Data {
    /// Reads the data. A line that cannot be read is left out; a test sees to it that there is none.
    fn read(text: &'static str) -> Self {
        let mut data = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(words) = line.strip_prefix("releases ") {
                data.releases = words.split(' ').filter_map(release).collect();
            } else {
                data.line(line);
            }
        }
        data
    }

    fn line(&mut self, line: &'static str) -> Option<()> {
        let mut words: Vec<&'static str> = line.split(' ').collect();
        let spans = words.pop()?.split(',').map(span).collect::<Option<Vec<_>>>()?;
        match words.as_slice() {
            [name, "=" | "~", full] => self.name(*name, full, spans),
            [name, mark @ (":" | "?"), values @ ..] => {
                let all = self.values.entry(name).or_default();
                all.extend(values.iter().map(|value| Value { value, open: *mark == "?", spans: spans.clone() }));
            }
            [name, kind] => {
                let kind = Kind::read(kind)?;
                if kind == Kind::Switch {
                    self.name(format!("--no-{}", name.trim_start_matches('-')), name, spans.clone());
                }
                self.name(*name, name, spans.clone());
                self.kinds.entry(name).or_default().push((kind, spans));
            }
            _ => return None,
        }
        Some(())
    }

    fn name(&mut self, name: impl Into<String>, full: &'static str, spans: Vec<Span>) {
        self.names.entry(name.into()).or_default().push(Name { full, spans });
    }
}

fn release(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn span(word: &str) -> Option<Span> {
    let (from, to) = word.split_once('-')?;
    let to = if to.is_empty() { u32::MAX } else { to.parse().ok()? };
    Some(Span { from: from.parse().ok()?, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_is_read() {
        let mut data = Data::default();
        for line in TEXT.lines().filter(|line| !line.starts_with('#') && !line.starts_with("releases ")) {
            assert!(data.line(line).is_some(), "{line}");
        }
        assert!(DATA.releases.is_sorted() && DATA.releases.len() >= 19, "{:?}", DATA.releases);
        assert!(DATA.releases.iter().all(|(major, _)| *major == 0), "ranges are of minor numbers alone");
    }

    /// Every name leads to an argument whose kind is known wherever the name is.
    #[test]
    fn names_and_kinds_agree() {
        for (name, all) in &DATA.names {
            for one in all {
                for release in DATA.releases.iter().filter(|at| within(&one.spans, **at)) {
                    assert!(kind_in(one.full, *release).is_some(), "{name} is {} in {release:?}", one.full);
                }
            }
        }
        for full in DATA.values.keys() {
            assert!(DATA.kinds.contains_key(full), "{full}");
        }
    }
}
