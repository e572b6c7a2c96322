//! What the simulator alone can be told. It comes from the environment, so that arguments stay vLLM's own.

use std::time::Duration;

/// How the simulator behaves, beside its arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Time between two tokens of one sequence, from `VLLM_SIM_TOKENS_PER_SECOND` (default 50). Zero, for a rate of 0: no
    /// pacing, all tokens of an answer at once.
    pub token_gap: Duration,
    /// Time that each token of the prompt delays the first token of the answer, from
    /// `VLLM_SIM_PREFILL_TOKENS_PER_SECOND` (default 10000). Zero, for a rate of 0: none.
    pub prefill_gap: Duration,
    /// How much longer a step takes for each answer beyond the first in it, as a part of the time of one token, from
    /// `VLLM_SIM_CROWDING` (default 0): at 0.02, fifty-one answers together get half the speed of one alone.
    pub crowding: f64,
    /// Time from the start until the port is open, from `VLLM_SIM_START_DELAY` in seconds (default 0). Until then
    /// connections are refused: vLLM too binds late.
    pub start_delay: Duration,
    /// What the text is drawn from, from `VLLM_SIM_SEED` (default 0). The same prompt gets the same answer for the same
    /// seed.
    pub seed: u64,
    /// How requests end that still run when the engine is ended, from `VLLM_SIM_CUT_OFF`: `error` (default), `abort`
    /// or `silence`.
    pub cut_off: CutOff,
    /// How long a connection may be idle between two requests before it is closed, from vLLM's own
    /// `VLLM_HTTP_TIMEOUT_KEEP_ALIVE` in seconds (default 5).
    pub keep_alive: Duration,
    /// Whether adapters can be loaded and unloaded while it runs, from vLLM's own `VLLM_ALLOW_RUNTIME_LORA_UPDATING`.
    pub adapter_routes: bool,
    /// Whether the routes of development mode are there, from vLLM's own `VLLM_SERVER_DEV_MODE`.
    pub dev_mode: bool,
    /// Whether recordings are transcribed, from `VLLM_SIM_TRANSCRIBES`: a model for speech.
    pub transcribes: bool,
    /// Whether faults can be changed while it runs, from `VLLM_SIM_ALLOW_FAULTS`.
    pub allow_faults: bool,
}

/// How vLLM ends running requests when it must. Which way it goes is a race within vLLM; all were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CutOff {
    /// HTTP 500; within a stream an error event, and `[DONE]` all the same.
    #[default]
    Error,
    /// HTTP 200 with what there is, and `abort` for the reason why it ends.
    Abort,
    /// Not at all: nothing more is sent, and the process stays until the client leaves.
    Silence,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: {problem}")]
pub struct SettingError {
    name: &'static str,
    value: String,
    problem: &'static str,
}

impl Settings {
    /// Reads the variables through `lookup`, which gives a variable's value.
    ///
    /// # Errors
    /// When a value is not a number, or is out of its range.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let wrong = |name, problem| move |value: &String| SettingError { name, value: value.clone(), problem };
        let rate = |name, otherwise: f64| -> Result<Duration, SettingError> {
            let Some(value) = lookup(name) else { return Ok(Duration::from_secs_f64(1.0 / otherwise)) };
            let number: Option<f64> = value.parse().ok().filter(|n| (0.0..=1e9).contains(n));
            let number = number.ok_or_else(|| wrong(name, "it must be a rate from 0 to 1000000000")(&value))?;
            let gap = if number == 0.0 { 0.0 } else { 1.0 / number };
            Duration::try_from_secs_f64(gap).map_err(|_| wrong(name, "it is too small a rate")(&value))
        };
        let seconds = |name, otherwise: f64| -> Result<Duration, SettingError> {
            let Some(value) = lookup(name) else { return Ok(Duration::from_secs_f64(otherwise)) };
            let number: Option<f64> = value.parse().ok().filter(|n| (0.0..=86400.0).contains(n));
            let number = number.ok_or_else(|| wrong(name, "it must be seconds, from 0 to 86400")(&value))?;
            Ok(Duration::from_secs_f64(number))
        };
        let set = |name| lookup(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true"));
        Ok(Self {
            token_gap: rate("VLLM_SIM_TOKENS_PER_SECOND", 50.0)?,
            prefill_gap: rate("VLLM_SIM_PREFILL_TOKENS_PER_SECOND", 10_000.0)?,
            crowding: match lookup("VLLM_SIM_CROWDING") {
                None => 0.0,
                Some(value) => {
                    let number = value.parse().ok().filter(|n| (0.0..=100.0).contains(n));
                    number.ok_or_else(|| wrong("VLLM_SIM_CROWDING", "it must be a number from 0 to 100")(&value))?
                }
            },
            start_delay: seconds("VLLM_SIM_START_DELAY", 0.0)?,
            seed: match lookup("VLLM_SIM_SEED") {
                None => 0,
                Some(value) => {
                    value.parse().map_err(|_| wrong("VLLM_SIM_SEED", "it must be a whole number")(&value))?
                }
            },
            cut_off: match lookup("VLLM_SIM_CUT_OFF").as_deref() {
                None | Some("error") => CutOff::Error,
                Some("abort") => CutOff::Abort,
                Some("silence") => CutOff::Silence,
                Some(other) => {
                    return Err(wrong("VLLM_SIM_CUT_OFF", "it must be error, abort or silence")(&other.to_owned()));
                }
            },
            keep_alive: seconds("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", 5.0)?,
            adapter_routes: set("VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
            dev_mode: set("VLLM_SERVER_DEV_MODE"),
            transcribes: set("VLLM_SIM_TRANSCRIBES"),
            allow_faults: set("VLLM_SIM_ALLOW_FAULTS"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, expected: Result<Settings, &str>) {
        let read = Settings::read(|asked| (asked == name).then(|| value.to_owned()));
        assert_eq!(read.map_err(|e| e.to_string()), expected.map_err(str::to_owned), "{name}={value}");
    }

    #[test]
    fn variables_change_one_setting_each() {
        let usual = Settings {
            token_gap: Duration::from_millis(20),
            prefill_gap: Duration::from_micros(100),
            crowding: 0.0,
            start_delay: Duration::ZERO,
            seed: 0,
            cut_off: CutOff::Error,
            keep_alive: Duration::from_secs(5),
            adapter_routes: false,
            dev_mode: false,
            transcribes: false,
            allow_faults: false,
        };
        check("", "", Ok(usual));
        check("VLLM_SIM_TOKENS_PER_SECOND", "10", Ok(Settings { token_gap: Duration::from_millis(100), ..usual }));
        check("VLLM_SIM_TOKENS_PER_SECOND", "0", Ok(Settings { token_gap: Duration::ZERO, ..usual }));
        check("VLLM_SIM_START_DELAY", "1.5", Ok(Settings { start_delay: Duration::from_millis(1500), ..usual }));
        check("VLLM_SIM_CROWDING", "0.5", Ok(Settings { crowding: 0.5, ..usual }));
        check("VLLM_SIM_CROWDING", "-1", Err("VLLM_SIM_CROWDING=-1: it must be a number from 0 to 100"));
        check("VLLM_SERVER_DEV_MODE", "1", Ok(Settings { dev_mode: true, ..usual }));
        check("VLLM_SERVER_DEV_MODE", "0", Ok(usual));
        check("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True", Ok(Settings { adapter_routes: true, ..usual }));
        check("VLLM_SIM_SEED", "7", Ok(Settings { seed: 7, ..usual }));
        check("VLLM_SIM_CUT_OFF", "abort", Ok(Settings { cut_off: CutOff::Abort, ..usual }));
        check("VLLM_SIM_CUT_OFF", "x", Err("VLLM_SIM_CUT_OFF=x: it must be error, abort or silence"));
        let wrong = "VLLM_SIM_TOKENS_PER_SECOND=fast: it must be a rate from 0 to 1000000000";
        check("VLLM_SIM_TOKENS_PER_SECOND", "fast", Err(wrong));
        let wrong = "VLLM_SIM_TOKENS_PER_SECOND=NaN: it must be a rate from 0 to 1000000000";
        check("VLLM_SIM_TOKENS_PER_SECOND", "NaN", Err(wrong));
        let wrong = "VLLM_SIM_TOKENS_PER_SECOND=1e-300: it is too small a rate";
        check("VLLM_SIM_TOKENS_PER_SECOND", "1e-300", Err(wrong));
        check("VLLM_SIM_START_DELAY", "-1", Err("VLLM_SIM_START_DELAY=-1: it must be seconds, from 0 to 86400"));
    }
}
