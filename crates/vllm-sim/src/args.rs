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
    /// Tokens of a block of the cache.
    pub block_size: u32,
    /// Blocks of the cache.
    pub blocks: u32,
    /// Whether prompts that begin alike share blocks.
    pub prefix_caching: bool,
    /// Most tokens that one step computes.
    pub max_batched_tokens: u32,
    /// Whether a request's priority counts.
    pub priorities: bool,
    /// Most sequences that run or wait; a request beyond is refused. Absent: no limit.
    pub max_queued_requests: Option<u64>,
    /// Most tokens of prompts that wait to be computed; a request beyond is refused. Absent: no limit.
    pub max_queued_tokens: Option<u64>,
    /// Adapters that run at the same time; absent when there can be none.
    pub max_adapters: Option<u32>,
    /// Adapters that are there from the start: name and place.
    pub adapters: Vec<(String, String)>,
    /// Whether a model may choose tools by itself, and whether it may be made to.
    pub tools: (bool, bool),
    /// Whether the model answers with numbers instead of text.
    pub pooling: bool,
    /// Whether these are classes and not embeddings.
    pub classifies: bool,
    /// Time until the port is open, from the simulator's own `--startup-delay`. Absent: as the environment says.
    pub startup_delay: Option<Duration>,
    /// Whether faults can be changed while it runs, from the simulator's own `--allow-faults`.
    pub allow_faults: bool,
    /// Faults from the start, one for each of the simulator's own `--fault`.
    pub faults: Vec<String>,
}

/// Tokens that the cache holds unless the command line says otherwise: what an 8-billion-parameter model leaves of a large
/// GPU, or less when all slots together cannot need it.
const CACHE_TOKENS: u32 = 524_288;

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
    /// A number of seconds that is none, for an argument of the simulator's own.
    #[error("argument {0}: it must be seconds, from 0 to 86400, not '{1}'")]
    NotSeconds(&'static str, String),
    /// An adapter that is not told as vLLM wants it.
    #[error("argument --lora-modules: Invalid fields: '{0}' is not name=path")]
    NotAnAdapter(String),
    /// A cache that cannot hold one sequence of the longest length.
    #[error(
        "the cache holds {0} tokens, fewer than the {1} of --max-model-len; raise --num-gpu-blocks-override or lower \
         --max-model-len"
    )]
    TooSmallACache(u64, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// It turns its switch off.
    Off,
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
            known.insert(off, (names[0], Takes::Off));
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
        if given.own(&word, &mut words)? {
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
            Takes::Nothing | Takes::Off if values.is_empty() => 0,
            Takes::Nothing | Takes::Off => return Err(ArgsError::Explicit(name, values.remove(0))),
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
        if takes == Takes::Off {
            values.push(OFF.to_owned());
        }
        match takes {
            Takes::One if values.is_empty() => return Err(ArgsError::Missing(name, "one")),
            Takes::Many if values.is_empty() => return Err(ArgsError::Missing(name, "at least one")),
            _ => given.values.insert(flag, values),
        };
    }
    given.finish().map(|args| Wish::Serve(Box::new(args)))
}

/// Stands for the value of a switch that was turned off.
const OFF: &str = "off";

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
    startup_delay: Option<Duration>,
    allow_faults: bool,
    faults: Vec<String>,
}

impl Given {
    /// Takes an argument that is the simulator's own; `false` when it is none.
    fn own(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<bool, ArgsError> {
        let (name, explicit) =
            word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
        match name {
            "--allow-faults" => self.allow_faults = true,
            "--fault" => {
                let value = explicit.or_else(|| words.next());
                self.faults.push(value.ok_or_else(|| ArgsError::Missing(name.to_owned(), "one"))?);
            }
            "--startup-delay" => {
                let value = explicit.or_else(|| words.next());
                let value = value.ok_or_else(|| ArgsError::Missing(name.to_owned(), "one"))?;
                let seconds: Option<f64> = value.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
                let seconds = seconds.ok_or(ArgsError::NotSeconds("--startup-delay", value))?;
                self.startup_delay = Some(Duration::from_secs_f64(seconds));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

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
        let max_model_len = self.length("--max-model-len", 4096)?;
        let max_num_seqs = self.number::<u32>("--max-num-seqs", 256)?.max(1);
        let block_size = self.number::<u32>("--block-size", 16)?.max(1);
        let blocks = self.blocks(max_model_len, max_num_seqs, block_size)?;
        let lora = self.is_on("--enable-lora", false);
        let parser = self.first("--tool-call-parser").is_some();
        Ok(Args {
            served_names: self.values.remove("--served-model-name").unwrap_or_else(|| vec![model.clone()]),
            host: self.first("--host").unwrap_or("0.0.0.0").to_owned(),
            port: self.number("--port", 8000)?,
            max_model_len,
            max_num_seqs,
            shutdown_timeout: Duration::from_secs(self.number("--shutdown-timeout", 0)?),
            prompt_details: self.is_on("--enable-prompt-tokens-details", false),
            track_load: self.is_on("--enable-server-load-tracking", false),
            block_size,
            blocks,
            prefix_caching: self.is_on("--enable-prefix-caching", true),
            max_batched_tokens: self.length("--max-num-batched-tokens", 8192)?,
            priorities: self.first("--scheduling-policy") == Some("priority"),
            max_queued_requests: self.limit("--max-num-queued-reqs")?,
            max_queued_tokens: self.limit("--max-num-queued-tokens")?,
            max_adapters: if lora { Some(self.number::<u32>("--max-loras", 1)?.max(1)) } else { None },
            adapters: self.adapters()?,
            tools: (parser && self.is_on("--enable-auto-tool-choice", false), parser),
            pooling: self.first("--runner") == Some("pooling"),
            classifies: self.first("--convert") == Some("classify"),
            startup_delay: self.startup_delay,
            allow_faults: self.allow_faults,
            faults: std::mem::take(&mut self.faults),
            model,
        })
    }

    /// Blocks of the cache: as told, or as many as the slots can need, up to a GPU's usual memory.
    fn blocks(&self, longest: u32, slots: u32, block_size: u32) -> Result<u32, ArgsError> {
        let needed = longest.saturating_mul(slots).min(CACHE_TOKENS).max(longest).div_ceil(block_size);
        let blocks = self.number("--num-gpu-blocks-override", needed)?;
        let tokens = u64::from(blocks) * u64::from(block_size);
        if tokens < u64::from(longest) { Err(ArgsError::TooSmallACache(tokens, longest)) } else { Ok(blocks) }
    }

    fn adapters(&self) -> Result<Vec<(String, String)>, ArgsError> {
        let told = self.values.get("--lora-modules").map_or(&[][..], Vec::as_slice);
        let one = |word: &String| {
            let of = |json: serde_json::Value| {
                let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
                Some((text("name")?, text("path")?))
            };
            let pair = match word.split_once('=') {
                Some((name, path)) if !word.starts_with('{') => Some((name.to_owned(), path.to_owned())),
                _ => serde_json::from_str(word).ok().and_then(of),
            };
            pair.ok_or_else(|| ArgsError::NotAnAdapter(word.clone()))
        };
        told.iter().map(one).collect()
    }

    fn is_on(&self, name: &str, otherwise: bool) -> bool {
        self.values.get(name).map_or(otherwise, |values| values.first().is_none_or(|value| value != OFF))
    }

    fn limit(&self, name: &'static str) -> Result<Option<u64>, ArgsError> {
        self.first(name).map(|text| text.parse().map_err(|_| ArgsError::NotANumber(name, text.to_owned()))).transpose()
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

    fn read(line: &str) -> Result<Args, String> {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Wish::Serve(args)) => Ok(*args),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_engine_is_made_as_told() {
        let usual = read("m").unwrap();
        assert_eq!((usual.block_size, usual.blocks, usual.prefix_caching), (16, 524_288 / 16, true));
        assert_eq!((usual.max_queued_requests, usual.max_adapters, usual.tools), (None, None, (false, false)));
        let few = read("m --max-num-seqs 2 --max-model-len 100 --block-size 32 --no-enable-prefix-caching").unwrap();
        assert_eq!((few.blocks, few.prefix_caching), (7, false));
        assert_eq!(read("m --max-model-len 100 --num-gpu-blocks-override 9").unwrap().blocks, 9);
        let small = "the cache holds 96 tokens, fewer than the 100 of --max-model-len; raise \
                     --num-gpu-blocks-override or lower --max-model-len";
        assert_eq!(read("m --max-model-len 100 --num-gpu-blocks-override 6"), Err(small.to_owned()));
        let args = read("m --max-num-queued-reqs 7 --max-num-queued-tokens 9 --scheduling-policy priority").unwrap();
        assert_eq!((args.max_queued_requests, args.max_queued_tokens, args.priorities), (Some(7), Some(9), true));
        let args = read("m --enable-auto-tool-choice --tool-call-parser hermes --runner pooling").unwrap();
        assert_eq!((args.tools, args.pooling), ((true, true), true));
    }

    #[test]
    fn adapters_are_told_in_either_form() {
        let args = read(r#"m --enable-lora --max-loras 2 --lora-modules a=/x {"name":"b","path":"/y"}"#).unwrap();
        let pair = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        assert_eq!((args.max_adapters, args.adapters), (Some(2), vec![pair("a", "/x"), pair("b", "/y")]));
        let wrong = "argument --lora-modules: Invalid fields: 'a' is not name=path";
        assert_eq!(read("m --lora-modules a"), Err(wrong.to_owned()));
    }

    #[test]
    fn the_simulators_own_arguments_are_taken() {
        let args = read("m --startup-delay 1.5 --allow-faults --fault status=500 --fault=stall=1s").unwrap();
        assert_eq!((args.startup_delay, args.allow_faults), (Some(Duration::from_millis(1500)), true));
        assert_eq!(args.faults, ["status=500", "stall=1s"]);
        let wrong = "argument --startup-delay: it must be seconds, from 0 to 86400, not 'soon'";
        assert_eq!(read("m --startup-delay soon"), Err(wrong.to_owned()));
        assert_eq!(read("m --fault"), Err("argument --fault: expected one argument".to_owned()));
    }

    #[test]
    fn help_and_version_go_before_everything_else() {
        for (word, expected) in [("--help", Wish::Help), ("-h", Wish::Help), ("--version", Wish::Version)] {
            assert_eq!(parse(["--bogus".to_owned(), word.to_owned()]), Ok(expected), "{word}");
        }
    }
}
