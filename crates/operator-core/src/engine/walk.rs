//! Reads a list of arguments the way vLLM's parser does.
//!
//! That parser is Python's argparse with a step before it: in names, `_` before the first point becomes `-`; `-O2` stands
//! for `--optimization-level 2`; `--name.key value` and `--name.key=value` add to the JSON of `--name`, and there the next
//! argument is the value whatever it looks like. Then argparse: what begins with `-` is a name (except a negative number,
//! or a text with a space that is no name), a value is what follows it or comes after `=`, and the beginning of a name will
//! do for the name while only one name begins so.

use super::catalogue::{self, Catalogue, Kind};
use super::finding::{Finding, Problem};
use super::nearest::nearest;
use super::refused::{self, Against};
use super::{Version, known};

/// Names of parsers can be added by a plug-in that another argument names; without that argument they must be built in.
const PLUGINS: [(&str, &str); 2] =
    [("--tool-call-parser", "--tool-parser-plugin"), ("--reasoning-parser", "--reasoning-parser-plugin")];

/// What there is to say about the further arguments of a pool whose engine has this version, in their order. Without a
/// version, or with one older than all that are known, only what is wrong in every version is found.
#[must_use]
pub fn check(version: Option<Version>, args: &[String]) -> Vec<Finding> {
    let catalogue = version.and_then(known);
    let mut walk = Walk { args, at: 0, catalogue, found: Vec::new() };
    while walk.at < args.len() {
        walk.step();
    }
    walk.found
}

/// What is wrong with the value that a field of the pool gives to an argument, if anything. The finding's message speaks of
/// the argument; its index is 0. The further arguments are looked at for plug-ins, which add to the values. `None` when there is nothing to say, or the version is not known.
#[must_use]
pub fn check_value(version: Version, flag: &str, value: &str, args: &[String]) -> Option<Finding> {
    let catalogue = known(version)?;
    let problem = match catalogue.full(flag) {
        Some(full) => value_problem(catalogue, full, value, args)?,
        None => absent(catalogue, flag),
    };
    Some(finding(0, flag, problem, Some(catalogue)))
}

/// An argument taken apart.
struct Given<'a> {
    /// Its name as it was written.
    written: &'a str,
    /// Its name with `-` for `_`, without keys.
    name: String,
    /// What follows `=`.
    attached: Option<&'a str>,
    /// Whether keys follow the name: `--name.key`.
    keys: bool,
}

struct Walk<'a> {
    args: &'a [String],
    at: usize,
    catalogue: Option<Catalogue>,
    found: Vec<Finding>,
}

impl<'a> Walk<'a> {
    /// Reads one argument with its values.
    fn step(&mut self) {
        let (args, index) = (self.args, self.at);
        self.at += 1;
        let Some(arg) = args.get(index) else { return };
        if arg == "--" {
            // Everything after it would be read as the model's name.
            self.at = args.len();
            self.say(index, "--", Problem::Stray);
        } else if is_word(arg) {
            let problem = if arg.starts_with("--") { Problem::Joined } else { Problem::Stray };
            self.say(index, arg.split(' ').next().unwrap_or_default(), problem);
        } else if let Some(level) = arg.strip_prefix("-O") {
            self.optimization(index, level);
        } else {
            let given = take_apart(arg);
            self.named(index, &given);
        }
    }

    /// `-O2`, `-O=2`, `-O 2`: the last form for the levels 0 to 3 only.
    fn optimization(&mut self, index: usize, level: &'a str) {
        const FULL: &str = "--optimization-level";
        let next = self.args.get(self.at).map(String::as_str);
        let level = match level {
            "" if next.is_some_and(|next| matches!(next, "0" | "1" | "2" | "3")) => {
                self.at += 1;
                next
            }
            "" => None,
            level => Some(level.strip_prefix('=').unwrap_or(level)),
        };
        let Some(level) = level else { return self.say(index, "-O", Problem::NeedsValue) };
        match self.catalogue {
            Some(catalogue) if !catalogue.has(FULL) => self.say(index, "-O", absent(catalogue, FULL)),
            Some(catalogue) => {
                if let Some(problem) = value_problem(catalogue, FULL, level, self.args) {
                    self.say(index, "-O", problem);
                }
            }
            None => {}
        }
    }

    fn named(&mut self, index: usize, given: &Given<'a>) {
        let resolved = self.resolve(given);
        let full = resolved.as_ref().ok().copied().or_else(|| catalogue::full_anywhere(&given.name));
        let known_here = full.filter(|full| self.catalogue.is_some_and(|catalogue| catalogue.full(full).is_some()));
        let kind = match (known_here, self.catalogue) {
            (Some(full), Some(catalogue)) => Some(catalogue.kind(full)),
            _ => full.and_then(catalogue::kind_anywhere),
        };
        let values = self.values(given, kind);
        let problem = match (resolved, kind, self.catalogue) {
            (Err(problem), ..) => Some(problem),
            (Ok(full), Some(kind), Some(catalogue)) => self
                .problem_of(catalogue, full, kind, given, &values)
                .or_else(|| refused::unwise(full).filter(|_| !is_off(given, full)).map(Problem::Unwise)),
            _ => None,
        };
        if let Some(problem) = problem {
            self.say(index, given.written, problem);
        }
        if given.keys && given.attached.is_none() {
            self.refuse_swallowed(&values);
        }
    }

    /// The full name of an argument that may be given here, or what stands against it.
    fn resolve(&self, given: &Given<'a>) -> Result<&'static str, Problem> {
        let name = given.name.as_str();
        let certain = self.catalogue.is_some_and(Catalogue::is_exact);
        if let Some(against) = refusal(name).or_else(|| refused_beginning(name).filter(|_| !certain)) {
            return Err(Problem::Refused(against));
        }
        if given.written.starts_with("--") && given.written.split('.').next().is_some_and(|name| name.contains('_')) {
            let keys = given.written.find('.').and_then(|point| given.written.get(point..)).unwrap_or_default();
            return Err(Problem::Spelling { write: format!("{name}{keys}") });
        }
        let Some(catalogue) = self.catalogue else {
            return catalogue::full_anywhere(name).ok_or(Problem::Unknown { did_you_mean: None });
        };
        if let Some(full) = catalogue.full(name) {
            return Ok(full);
        }
        let mut longer = catalogue.names().filter(|one| one.starts_with(name));
        Err(match (longer.next(), longer.next()) {
            (Some(only), None) if name.len() > 2 => match refusal(only) {
                Some(against) => Problem::Refused(against),
                None => Problem::Spelling { write: only.to_owned() },
            },
            _ => absent(catalogue, name),
        })
    }

    /// The values of an argument, with the list moved past them. Of an unknown argument, whatever looks like values.
    fn values(&mut self, given: &Given<'a>, kind: Option<Kind>) -> Vec<&'a str> {
        if let Some(value) = given.attached {
            return vec![value];
        }
        if given.keys {
            // Keys take the next argument as their value, whatever it looks like.
            return self.next().into_iter().collect();
        }
        let most = match kind {
            Some(Kind::List) | None => usize::MAX,
            // A value after one that takes none is read as well, to be named as its value and not as a stray.
            Some(_) => 1,
        };
        let mut values = Vec::new();
        while values.len() < most && self.args.get(self.at).is_some_and(|next| is_word(next)) {
            values.extend(self.next());
        }
        values
    }

    fn next(&mut self) -> Option<&'a str> {
        let next = self.args.get(self.at)?;
        self.at += 1;
        Some(next)
    }

    /// A value that keys have taken can still be one of the arguments that vLLM looks for before it reads any other.
    fn refuse_swallowed(&mut self, values: &[&'a str]) {
        let index = self.at.saturating_sub(1);
        for value in values.iter().filter(|value| value.starts_with("--")) {
            let given = take_apart(value);
            if let Some(against) = refusal(&given.name) {
                self.say(index, given.written, Problem::Refused(against));
            }
        }
    }

    fn problem_of(
        &self,
        catalogue: Catalogue,
        full: &'static str,
        kind: Kind,
        given: &Given<'a>,
        values: &[&'a str],
    ) -> Option<Problem> {
        if given.keys && kind != Kind::Json {
            return Some(Problem::NoKeys);
        }
        match (kind, values) {
            (Kind::Switch | Kind::Plain, []) | (Kind::Maybe, _) => None,
            (Kind::Switch, _) => {
                let off = (given.name == full).then(|| format!("--no-{}", full.trim_start_matches('-')));
                Some(Problem::TakesNoValue { off })
            }
            (Kind::Plain, _) => Some(Problem::TakesNoValue { off: None }),
            (_, []) => Some(Problem::NeedsValue),
            _ if given.keys => None,
            _ => values.iter().find_map(|value| value_problem(catalogue, full, value, self.args)),
        }
    }

    /// Keeps what there is to say, as far as it can be known.
    fn say(&mut self, index: usize, flag: &str, problem: Problem) {
        let always = matches!(problem, Problem::Refused(_) | Problem::Spelling { .. } | Problem::Joined);
        if self.catalogue.is_some() || always {
            self.found.push(finding(index, flag, problem, self.catalogue));
        }
    }
}

fn finding(index: usize, flag: &str, problem: Problem, catalogue: Option<Catalogue>) -> Finding {
    Finding {
        index,
        flag: flag.to_owned(),
        problem,
        release: catalogue.map(Catalogue::release),
        certain: catalogue.is_some_and(Catalogue::is_exact),
    }
}

/// Takes an argument that is no word apart.
fn take_apart(arg: &str) -> Given<'_> {
    let (written, attached) = match arg.split_once('=') {
        Some((written, value)) => (written, Some(value)),
        None => (arg, None),
    };
    let (name, keys) = match written.split_once('.') {
        Some((name, _)) => (name, true),
        None => (written, false),
    };
    let name = if name.starts_with("--") { name.replace('_', "-") } else { name.to_owned() };
    // A name of one letter takes its value without a space too: -qawq.
    let mut letters = name.chars();
    let glued = letters.next() == Some('-') && letters.next().is_some_and(|c| c != '-') && letters.next().is_some();
    let short = name.char_indices().nth(2).and_then(|(end, _)| name.get(..end)).filter(|_| glued);
    if let Some(short) = short.filter(|short| catalogue::full_anywhere(&name).is_none() && is_letter(short)) {
        return Given { written, name: short.to_owned(), attached: arg.get(short.len()..), keys: false };
    }
    Given { written, name, attached, keys }
}

/// Whether this is a name of one letter in any release.
fn is_letter(short: &str) -> bool {
    catalogue::full_anywhere(short).is_some()
}

/// What stands against a name, in any release.
fn refusal(name: &str) -> Option<Against> {
    catalogue::full_anywhere(name).and_then(refused::against)
}

/// What stands against what a name could be the beginning of, when it is not a known name itself: an engine whose names
/// are not known may take it for that.
fn refused_beginning(name: &str) -> Option<Against> {
    // Shorter ones begin so many names that they stand for none.
    if name.len() < 4 || catalogue::full_anywhere(name).is_some() {
        return None;
    }
    refused::refused_names().find(|(one, _)| one.starts_with(name)).and_then(|(_, full)| refused::against(full))
}

/// Why a release does not take a name.
fn absent(catalogue: Catalogue, name: &str) -> Problem {
    if let Some(release) = catalogue.since(name) {
        return Problem::OnlySince(release);
    }
    if let Some(release) = catalogue.removed(name) {
        return Problem::RemovedIn(release);
    }
    // Names of one dash are too short to be guessed.
    let meant = |one: &&str| one.starts_with("--") && refusal(one).is_none();
    let did_you_mean = name.starts_with("--").then(|| nearest(name, catalogue.names().filter(meant))).flatten();
    Problem::Unknown { did_you_mean }
}

/// What is wrong with one value.
fn value_problem(catalogue: Catalogue, full: &str, value: &str, args: &[String]) -> Option<Problem> {
    let kind = catalogue.kind(full);
    match kind {
        Kind::Int if !is_whole(value) => return Some(Problem::NotANumber { whole: true }),
        Kind::Float
            if value.trim().replace('_', "").parse::<f64>().is_err() && value != "None" && !value.is_empty() =>
        {
            return Some(Problem::NotANumber { whole: false });
        }
        _ => {}
    }
    let (allowed, open) = catalogue.values(full);
    let same = |one: &&str| if kind == Kind::Fold { fold(one) == fold(value) } else { *one == value };
    if allowed.is_empty() || allowed.iter().any(same) || (value.is_empty() && allowed.contains(&"None")) {
        return None;
    }
    let did_you_mean = nearest(value, allowed.iter().copied());
    let plugin = PLUGINS.iter().find(|(flag, _)| *flag == full).map(|(_, plugin)| *plugin);
    let plugged = plugin.is_some_and(|plugin| args.iter().any(|arg| take_apart(arg).name == plugin));
    if open && (plugin.is_none() || plugged) {
        return (!plugged).then_some(Problem::NotBuiltIn { did_you_mean });
    }
    let allowed = allowed.into_iter().filter(|one| *one != "None").collect();
    Some(Problem::BadChoice { allowed, did_you_mean })
}

/// Whether Python's `int` reads this; `None` and nothing stand for no value.
fn is_whole(value: &str) -> bool {
    let digits = value.trim().trim_start_matches(['+', '-']);
    let number =
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    number || matches!(value, "" | "None")
}

fn fold(value: &str) -> String {
    value.to_lowercase().replace('-', "_")
}

/// Whether argparse reads this as a value.
fn is_word(arg: &str) -> bool {
    let Some(rest) = arg.strip_prefix('-') else { return true };
    let given = take_apart(arg);
    let spaced = arg.contains(' ') && !given.keys && given.attached.is_none();
    // A dash alone, and a negative number.
    spaced || rest.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a switch is given in a form that turns it off.
fn is_off(given: &Given<'_>, full: &str) -> bool {
    given.name.starts_with("--no-") && !full.starts_with("--no-")
        || given.name.starts_with("--disable-") && full.starts_with("--enable-")
}
