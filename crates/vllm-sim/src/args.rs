//! The command line, read as `vllm serve` reads its own: what vLLM knows is accepted, what it does not know is refused with
//! its words.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

/// What the command line says, as far as the simulator acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The model's name or folder; it is told, never read.
    pub model: String,
    /// Names that requests may use, the first of which answers and metrics carry. Never empty.
    pub served_names: Vec<String>,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Longest prompt plus answer, in tokens.
    pub max_model_len: u32,
    /// Most sequences that run at the same time.
    pub max_num_seqs: u32,
    /// How long running requests may go on after the signal to stop; zero ends them at once.
    pub shutdown_timeout: Duration,
    /// Whether usage tells how much of the prompt came from the cache.
    pub prompt_details: bool,
    /// Whether `/load` counts requests; vLLM answers 0 without it.
    pub track_load: bool,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To serve.
    Serve(Box<Args>),
    /// To say how it is called (`--help`).
    Help,
    /// To say what it is (`--version`).
    Version,
}

/// Why a command line is refused. The words are those of Python's argparse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Arguments that vLLM does not know.
    #[error("unrecognized arguments: {}", .0.join(" "))]
    Unrecognized(Vec<String>),
    /// An argument stands without its value.
    #[error("argument {0}: expected {1} argument")]
    Missing(String, &'static str),
    /// A flag was given a value.
    #[error("argument {0}: ignored explicit argument '{1}'")]
    Explicit(String, String),
    /// A value that is not the number it should be.
    #[error("argument {0}: invalid int value: '{1}'")]
    NotANumber(&'static str, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    OneOrNone,
    Many,
}

/// Every argument of `vllm serve`, by each of its names: its first name, and what it takes.
static KNOWN: LazyLock<HashMap<String, (&'static str, Takes)>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for line in include_str!("args/known.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let takes = match words.next() {
            Some("value") => Takes::One,
            Some("maybe") => Takes::OneOrNone,
            Some("list") => Takes::Many,
            _ => Takes::Nothing,
        };
        let names: Vec<&'static str> = words.collect();
        for name in &names {
            known.insert((*name).to_owned(), (names[0], takes));
        }
        if line.starts_with("switch") {
            let off = names[0].replacen("--", "--no-", 1);
            known.insert(off, ("", Takes::Nothing));
        }
    }
    known
});

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// When vLLM would refuse them as well.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Wish, ArgsError> {
    let mut given = Given::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(Wish::Help),
            "-v" | "--version" => return Ok(Wish::Version),
            _ => {}
        }
        if !is_flag(&word) {
            given.positional(word);
            continue;
        }
        let (name, explicit) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        let Some(&(flag, takes)) = KNOWN.get(&canonical(&name)) else {
            given.unknown.push(word);
            continue;
        };
        let mut values: Vec<String> = explicit.into_iter().collect();
        let most = match takes {
            Takes::Nothing if values.is_empty() => 0,
            Takes::Nothing => return Err(ArgsError::Explicit(name, values.remove(0))),
            // An explicit value ends a list as well.
            _ if !values.is_empty() => 0,
            Takes::One | Takes::OneOrNone => 1,
            Takes::Many => usize::MAX,
        };
        while values.len() < most
            && let Some(value) = words.next_if(|next| !is_flag(next))
        {
            values.push(value);
        }
        match takes {
            Takes::One if values.is_empty() => return Err(ArgsError::Missing(name, "one")),
            Takes::Many if values.is_empty() => return Err(ArgsError::Missing(name, "at least one")),
            _ => given.values.insert(flag, values),
        };
    }
    given.finish().map(|args| Wish::Serve(Box::new(args)))
}

/// A negative number is a value.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && word.len() > 1 && word.parse::<f64>().is_err()
}

/// vLLM takes `_` for `-`, and `--name.key value` for one key of a setting that is an object.
fn canonical(name: &str) -> String {
    let whole = name.split_once('.').map_or(name, |(object, _)| object);
    whole.replace('_', "-")
}

#[derive(Default)]
struct Given {
    model: Option<String>,
    values: HashMap<&'static str, Vec<String>>,
    unknown: Vec<String>,
}

impl Given {
    fn positional(&mut self, word: String) {
        if self.model.is_none() {
            self.model = Some(word);
        } else {
            self.unknown.push(word);
        }
    }

    fn finish(mut self) -> Result<Args, ArgsError> {
        if !self.unknown.is_empty() {
            return Err(ArgsError::Unrecognized(self.unknown));
        }
        let named = self.values.get("--model").and_then(|values| values.first()).cloned();
        // vLLM serves this model when none is named.
        let model = self.model.take().or(named).unwrap_or_else(|| "Qwen/Qwen3-0.6B".to_owned());
        Ok(Args {
            served_names: self.values.remove("--served-model-name").unwrap_or_else(|| vec![model.clone()]),
            host: self.first("--host").unwrap_or("0.0.0.0").to_owned(),
            port: self.number("--port", 8000)?,
            max_model_len: self.length("--max-model-len", 4096)?,
            max_num_seqs: self.number::<u32>("--max-num-seqs", 256)?.max(1),
            shutdown_timeout: Duration::from_secs(self.number("--shutdown-timeout", 0)?),
            prompt_details: self.values.contains_key("--enable-prompt-tokens-details"),
            track_load: self.values.contains_key("--enable-server-load-tracking"),
            model,
        })
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.first().map(String::as_str)
    }

    fn number<N: std::str::FromStr>(&self, name: &'static str, otherwise: N) -> Result<N, ArgsError> {
        let Some(text) = self.first(name) else { return Ok(otherwise) };
        text.parse().map_err(|_| ArgsError::NotANumber(name, text.to_owned()))
    }

    /// A number of tokens, which may end in k (thousands) or K (1024s); `auto` and -1 leave it to the model.
    fn length(&self, name: &'static str, otherwise: u32) -> Result<u32, ArgsError> {
        let Some(text) = self.first(name) else { return Ok(otherwise) };
        let wrong = || ArgsError::NotANumber(name, text.to_owned());
        let (digits, unit) = match text {
            "auto" | "-1" => return Ok(otherwise),
            _ => match text.strip_suffix('k') {
                Some(digits) => (digits, 1000),
                None => text.strip_suffix('K').map_or((text, 1), |digits| (digits, 1024)),
            },
        };
        let number: u32 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).filter(|&length| length > 0).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Model, served names, port, longest model length, most sequences, seconds to drain.
    type Read<'a> = (&'a str, &'a [&'a str], u16, u32, u32, u64);

    fn check(line: &str, expected: Result<Read<'_>, &str>) {
        let wish = parse(line.split_whitespace().map(str::to_owned));
        match expected {
            Ok((model, names, port, length, seqs, timeout)) => {
                let Ok(Wish::Serve(args)) = wish else { panic!("{line}: {wish:?}") };
                assert_eq!((args.model.as_str(), args.port), (model, port), "{line}");
                assert_eq!(args.served_names, names, "{line}");
                assert_eq!((args.max_model_len, args.max_num_seqs), (length, seqs), "{line}");
                assert_eq!(args.shutdown_timeout, Duration::from_secs(timeout), "{line}");
            }
            Err(message) => assert_eq!(wish.map_err(|e| e.to_string()), Err(message.to_owned()), "{line}"),
        }
    }

    #[test]
    fn a_command_line_is_read_as_vllm_reads_it() {
        check("m", Ok(("m", &["m"], 8000, 4096, 256, 0)));
        check("", Ok(("Qwen/Qwen3-0.6B", &["Qwen/Qwen3-0.6B"], 8000, 4096, 256, 0)));
        let pool = "/models/tiny --port 80 --served-model-name a b --max-model-len 2048 --max-num-seqs 8 --shutdown-timeout 20";
        check(pool, Ok(("/models/tiny", &["a", "b"], 80, 2048, 8, 20)));
        check("m --port=9 --max_model_len 1k --enforce-eager", Ok(("m", &["m"], 9, 1000, 256, 0)));
        check("m --max-model-len 2K --no-enable-prefix-caching -tp 2", Ok(("m", &["m"], 8000, 2048, 256, 0)));
        check("--hf-token --model m --compilation-config.mode 3", Ok(("m", &["m"], 8000, 4096, 256, 0)));
        check("m --max-model-len -1 --host ::1", Ok(("m", &["m"], 8000, 4096, 256, 0)));
    }

    #[test]
    fn a_wrong_command_line_is_refused_with_the_words_of_argparse() {
        check("m --bogus", Err("unrecognized arguments: --bogus"));
        check("m more --bogus=1", Err("unrecognized arguments: more --bogus=1"));
        check("m --port", Err("argument --port: expected one argument"));
        check("m --served-model-name --port 1", Err("argument --served-model-name: expected at least one argument"));
        check("m --port x", Err("argument --port: invalid int value: 'x'"));
        check("m --port 70000", Err("argument --port: invalid int value: '70000'"));
        check("m --enforce-eager=yes", Err("argument --enforce-eager: ignored explicit argument 'yes'"));
        check("m --no-port", Err("unrecognized arguments: --no-port"));
        check("m --max-model-len 0", Err("argument --max-model-len: invalid int value: '0'"));
    }

    #[test]
    fn help_and_version_go_before_everything_else() {
        for (word, expected) in [("--help", Wish::Help), ("-h", Wish::Help), ("--version", Wish::Version)] {
            assert_eq!(parse(["--bogus".to_owned(), word.to_owned()]), Ok(expected), "{word}");
        }
    }
}
