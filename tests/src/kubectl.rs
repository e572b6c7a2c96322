//! Calls of kubectl.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A call that ended well, or what it said on standard error.
pub type Kubectl = Result<String, String>;

/// Calls kubectl with words separated by spaces, and `input` on standard input. Panics when kubectl cannot be started.
pub fn try_kubectl(words: &str, input: &str) -> Kubectl {
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
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
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
