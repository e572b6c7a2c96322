use super::*;

fn check(log: &str, want: &str, wanted_hint: &str) {
    let words = last(log);
    assert!(words.starts_with(want), "{words:?}\n{want:?}");
    assert!(words.chars().count() <= LONGEST + 1 && !words.contains(char::is_control), "{words:?}");
    let hint = hint(log).unwrap_or_default();
    assert!(hint.contains(wanted_hint) && hint.is_empty() == wanted_hint.is_empty(), "{hint:?}");
}

/// What vLLM 0.32.0 said at its end, as far as the node keeps it.
#[test]
fn vllm_is_understood() {
    let foo = "this engine does not know --foo: remove it from spec.engine.extraArgs";
    check(include_str!("tests/argument.txt"), "vllm: error: unrecognized arguments: --foo bar", foo);
    let value = "vllm serve: error: argument --max-num-seqs: invalid int value: 'many'";
    check(include_str!("tests/value.txt"), value, "refuses the value of --max-num-seqs");
    let hub = "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the \
               cached files. Check your internet connection";
    check(include_str!("tests/hub.txt"), hub, "does not reach the model hub");
    let long = "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig Value error, User-specified \
                max_model_len (9000000) is greater than the derived max_model_len";
    check(include_str!("tests/long.txt"), long, "lower spec.engine.maxModelLen");
    let path = "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/none'.";
    check(include_str!("tests/path.txt"), path, "no such folder");
    let parser = "KeyError: 'invalid tool call parser: nope (chose from { apertus";
    check(include_str!("tests/parser.txt"), parser, "spec.engine.toolCallParser");
}

#[test]
fn the_line_that_tells_is_found() {
    check("", "", "");
    check("one\n\ntwo\n\nthree\n", "two three", "");
    check("\u{1b}[31mfatal:\u{1b}[0m no\tway\u{0}\n", "fatal: no way", "");
    let root = "(EngineCore pid=9) ERROR 11-21 14:30:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory.\n\
                (APIServer pid=1) Traceback (most recent call last):\n\
                (APIServer pid=1)   File \"x.py\", line 1, in y\n\
                (APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n";
    check(root, "torch.OutOfMemoryError: CUDA out of memory.", "does not fit into the GPU's memory");
    let alone = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";
    check(alone, "RuntimeError: Engine core initialization failed.", "");
    let gone = "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: Root=1)\n";
    check(gone, "huggingface_hub.errors.RepositoryNotFoundError", "does not know this model or revision");
    check(&"x".repeat(5000), &"x".repeat(LONGEST), "");
}

#[test]
fn a_restart_says_the_same() {
    let at = |time: &str, pid: u32| format!("(EngineCore pid={pid}) ERROR 11-21 {time} [core.py:1] ValueError: no\n");
    assert_eq!(last(&at("14:30:00", 7)), last(&at("15:31:59", 12345)));
}

#[test]
fn no_secret_is_told() {
    let log = "ValueError: cannot log in with token hf_AbCdEfGhIjKlMnOpQrStUvWxYz\n";
    assert_eq!(last(log), "ValueError: cannot log in with token [redacted]");
    assert_eq!(sentence("pull  with\nBearer abcdef123456"), "pull with Bearer [redacted]");
    let cut = format!("ValueError: {} hf_AbCdEfGhIjKlMnOpQrStUvWxYz", "x ".repeat(190));
    assert!(!last(&cut).contains("hf_A"));
    assert!(!hint("error: unrecognized arguments: --api-key=sk-abcdef123456").unwrap().contains("sk-"));
}
