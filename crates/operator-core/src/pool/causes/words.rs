//! An engine's last words: what of them a person needs, and what they mean.

use super::redact::redact;

/// Longest text taken over from a container, in characters: enough for two or three lines of an error.
const LONGEST: usize = 400;
/// Most lines taken over.
const LINES: usize = 3;

/// The lines that tell why a container ended, cleaned, without secrets, bounded. Empty when nothing was said.
pub(super) fn last(log: &str) -> String {
    let complaint = complaint(log);
    if !complaint.is_empty() {
        return complaint;
    }
    let lines: Vec<String> = log.lines().map(bare).filter(|line| tells(line)).collect();
    let from = lines.len().saturating_sub(LINES - 1);
    cut(&redact(&lines[from..].join(" ")))
}

/// As [`last`], but empty when no line is about an error: an engine that was asked to end says only how it did.
pub(super) fn complaint(log: &str) -> String {
    let lines: Vec<String> = log.lines().map(bare).collect();
    let blames = |line: &String| tells(line) && looks_wrong(line);
    // vLLM's front process ends by naming the failure of another, whose own error stands above.
    let root = lines.iter().rposition(|line| blames(line) && !line.contains("See root cause above"));
    let Some(from) = root.or_else(|| lines.iter().rposition(blames)) else { return String::new() };
    // What belongs to an error may be indented below it.
    let rest =
        lines[from..].iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.contains("://errors."));
    cut(&redact(&rest.take(LINES).collect::<Vec<_>>().join(" ")))
}

/// Somebody else's sentence, on one line, without secrets, bounded.
pub(super) fn sentence(text: &str) -> String {
    cut(&redact(&bare(text).split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn cut(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// A line without colours, control characters, and what vLLM puts in front of it: process, level, time and place in the
/// source. Times would make a new message of each restart.
fn bare(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
        } else {
            text.push(if c.is_control() { ' ' } else { c });
        }
    }
    let mut rest = text.as_str();
    if rest.starts_with('(')
        && let Some((process, after)) = rest.split_once(") ")
        && process.contains("pid=")
    {
        rest = after;
    }
    for level in ["ERROR ", "CRITICAL ", "WARNING ", "INFO ", "DEBUG "] {
        if let Some(after) = rest.strip_prefix(level)
            && let Some((_, after)) = after.split_once("] ")
        {
            return after.trim_end().to_owned();
        }
    }
    rest.trim_end().to_owned()
}

/// Indented lines are source code of a traceback or the rest of a usage.
fn tells(line: &str) -> bool {
    let noise = ["usage:", "Traceback (most recent call last)", "During handling of", "The above exception was"];
    !line.is_empty() && !line.starts_with(char::is_whitespace) && !noise.iter().any(|start| line.starts_with(start))
}

fn looks_wrong(line: &str) -> bool {
    let kind = line.split([':', ' ']).next().unwrap_or_default();
    let exception = ["Error", "Exception", "SystemExit"].iter().any(|end| kind.ends_with(end));
    exception || ["error:", "Error:", "fatal", "panicked", "Killed"].iter().any(|word| line.contains(word))
}

/// What an engine's complaint means for the pool: what to look for, all of it, and what to do.
const HINTS: [(&[&str], &str); 13] = [
    (
        &["OutOfMemoryError"],
        "the model does not fit into the GPU's memory: use a smaller or quantized model, lower spec.engine.maxModelLen or \
         maxNumSeqs, or give each replica more GPUs",
    ),
    (
        &["CUDA out of memory"],
        "the model does not fit into the GPU's memory: use a smaller or quantized model, lower spec.engine.maxModelLen or \
         maxNumSeqs, or give each replica more GPUs",
    ),
    (
        &["No available memory for the cache blocks"],
        "the weights leave no GPU memory for requests: use a smaller or quantized model, or give each replica more GPUs",
    ),
    (
        &["KV cache", "maximum model length"],
        "requests of that length do not fit into the GPU's memory: lower spec.engine.maxModelLen",
    ),
    (&["greater than the derived max_model_len"], "the model allows less: lower spec.engine.maxModelLen"),
    (
        &["gated repo"],
        "the model hub gives this model to those only who accepted its licence: accept it, and set the pool's credentials",
    ),
    (&["401 Client Error"], "the model hub wants to know who asks: set the pool's credentials for it"),
    (
        &["not a valid model identifier"],
        "there is no such model, or it is private: correct spec.model.source, or set the pool's credentials",
    ),
    (
        &["Repo id must be in the form"],
        "there is no such folder in the container: correct spec.model.source, or mount the weights there",
    ),
    (&["invalid tool call parser"], "correct spec.engine.toolCallParser to one of those"),
    (&["invalid reasoning parser"], "correct spec.engine.reasoningParser to one of those"),
    (
        &["couldn't connect to", "huggingface"],
        "the pod does not reach the model hub: open the way to it, or have the weights at hand",
    ),
    (&["No space left on device"], "the weights do not fit into the space that the pod has for them"),
];

/// What the engine's last words mean for the pool, when they are known.
pub(super) fn hint(log: &str) -> Option<String> {
    if let Some((_, unknown)) = log.split_once("unrecognized arguments: ") {
        let flags = unknown.lines().next().unwrap_or_default().split_whitespace().filter(|word| word.starts_with('-'));
        let flags: Vec<&str> = flags.map(|flag| flag.split('=').next().unwrap_or(flag)).take(LINES).collect();
        let what = if flags.is_empty() { "an argument".to_owned() } else { flags.join(", ") };
        return Some(format!("this engine does not know {}: remove it from spec.engine.extraArgs", redact(&what)));
    }
    if let Some((_, refused)) = log.split_once("error: argument ") {
        let flag = refused.split([':', '/', ' ']).next().unwrap_or_default();
        return Some(format!("this engine refuses the value of {}: correct it in spec.engine", redact(flag)));
    }
    let known = HINTS.iter().find(|(all, _)| all.iter().all(|needle| log.contains(needle)));
    if let Some((_, hint)) = known {
        return Some((*hint).to_owned());
    }
    let missing = log.contains("RepositoryNotFoundError") || log.contains("404 Client Error");
    missing.then(|| "the model hub does not know this model or revision: correct spec.model".to_owned())
}

#[cfg(test)]
mod tests;
