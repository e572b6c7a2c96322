//! Calls of kubectl.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A call that ended well, or what it said on standard error.
pub type Kubectl = Result<String, String>;

/// Calls kubectl with words separated by spaces, and `input` on standard input. Panics when kubectl cannot be started.
pub fn try_kubectl(words: &str, input: &str) -> Kubectl {
    call(words, input).map(|(said, _)| said)
}

/// As [`try_kubectl`], and gives the warnings that it printed instead of its answer.
pub fn warnings(words: &str, input: &str) -> Result<Vec<String>, String> {
    let (_, aside) = call(words, input)?;
    Ok(aside.lines().filter_map(|line| line.strip_prefix("Warning: ")).map(str::to_owned).collect())
}

/// What kubectl says on standard output and on standard error when it succeeds, or on the latter when it fails.
fn call(words: &str, input: &str) -> Result<(String, String), String> {
    let mut child = Command::new("kubectl")
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts: run the scenarios by `make e2e`");
    child.stdin.take().expect("it has an input").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok((text(output.stdout), text(output.stderr))) } else { Err(text(output.stderr)) }
}

/// As [`try_kubectl`] without input, and panics when it fails.
pub fn kubectl(words: &str) -> String {
    try_kubectl(words, "").unwrap_or_else(|error| panic!("kubectl {words}: {error}"))
}

/// The JSON of what `kubectl get` finds.
pub(crate) fn get(words: &str) -> Result<Value, String> {
    let text = try_kubectl(&format!("get {words} --output json"), "")?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
