//! What the engine's command line is found to be.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::refused::{FIELDS, REFUSED, UNWISE, against};
use super::*;

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Checks what is found for a command line, each finding as `[index] message`, `!` before those that are errors.
#[track_caller]
fn check_line(at: &str, line: &str, want: &[&str]) {
    check_args(at, &words(line), want);
}

#[track_caller]
fn check_args(at: &str, args: &[String], want: &[&str]) {
    let mark = |finding: &Finding| if finding.is_error() { "!" } else { "" };
    let found: Vec<String> =
        check(Version::parse(at), args).iter().map(|one| format!("{}[{}] {one}", mark(one), one.index)).collect();
    assert_eq!(found, want, "vLLM {at}: {args:?}");
}

#[test]
fn versions_are_read_from_fields_and_tags() {
    for (text, want) in [
        ("0.32.0", "0.32.0"),
        ("v0.32.0", "0.32.0"),
        ("0.32", "0.32.0"),
        ("0.32.1-cu128", "0.32.1"),
        ("v0.32.0_rocm", "0.32.0"),
        ("0.33.0rc1", "0.33.0"),
        ("0.33.1.dev12+g1234", "0.33.1"),
        ("0.17.0.post1", "0.17.0"),
        ("nightly", ""),
        ("latest", ""),
        ("v", ""),
        ("32", ""),
        ("0.x", ""),
        ("0.32.0foo", ""),
        ("20260101.1", ""),
        ("99999999999999999999.1", ""),
        ("1.", ""),
        ("", ""),
    ] {
        let found = Version::parse(text).map(|one| one.to_string()).unwrap_or_default();
        assert_eq!(found, want, "{text}");
    }
    for (image, want) in [
        ("vllm/vllm-openai:v0.32.0", "0.32.0"),
        ("registry.example:5000/vllm/vllm-openai:v0.31.0-cu130", "0.31.0"),
        ("registry.example:5000/vllm/vllm-openai", ""),
        ("vllm/vllm-openai:v0.32.0@sha256:0123", "0.32.0"),
        ("vllm/vllm-openai@sha256:0123", ""),
        ("vllm/vllm-openai:nightly", ""),
        ("vllm/vllm-openai", ""),
        (":0.32.0", ""),
        ("", ""),
    ] {
        let found = Version::of_image(image).map(|one| one.to_string()).unwrap_or_default();
        assert_eq!(found, want, "{image}");
    }
}

#[test]
fn the_catalogue_is_that_of_the_release_or_the_newest() {
    let newest = newest();
    for (at, want) in [
        ("0.32.0", Some(((0, 32), true))),
        ("0.32.7", Some(((0, 32), true))),
        ("0.15.0", Some(((0, 15), true))),
        ("0.14.1", None),
        ("0.999.0", Some((newest, false))),
        ("1.0.0", Some((newest, false))),
    ] {
        let found = known(version(at)).map(|one| (one.release(), one.is_exact()));
        assert_eq!(found, want, "{at}");
    }
    assert_eq!(oldest(), (0, 15));
}

#[test]
fn releases_take_what_their_sources_say() {
    for (at, flag, want) in [
        ("0.17.1", "--shutdown-timeout", Some(false)),
        ("0.18.0", "--shutdown-timeout", Some(true)),
        ("0.33.0", "--shutdown-timeout", Some(true)),
        ("0.999.0", "--shutdown-timeout", Some(true)),
        ("0.14.0", "--shutdown-timeout", None),
        ("0.32.0", "-tp", Some(true)),
        ("0.32.0", "--no-enable-prefix-caching", Some(true)),
        ("0.32.0", "--disable-prefix-caching", Some(false)),
        ("0.33.0", "--disable-prefix-caching", Some(true)),
        ("0.32.0", "--max-num-queued-reqs", Some(true)),
        ("0.16.0", "--max-num-queued-reqs", Some(false)),
        ("0.16.0", "--swap-space", Some(true)),
        ("0.32.0", "--swap-space", Some(false)),
    ] {
        assert_eq!(supports(version(at), flag), want, "{at} {flag}");
    }
}

#[test]
fn a_line_that_the_engine_takes_is_left_alone() {
    for line in [
        "",
        "--enable-lora --max-loras 4 --max-lora-rank=16 --lora-modules a=/a b=/b",
        "--no-enable-lora",
        "-O3",
        "-O=2",
        "-O 1",
        "--optimization-level 2",
        "--compilation-config {\"mode\":3}",
        "--compilation-config.mode 3 -cc.pass_config.fuse_allreduce_rms=true",
        "--speculative-config.method ngram --speculative-config.num_speculative_tokens -1",
        "-dp 2 -ep",
        "--seed -1",
        "--scheduling-policy priority",
        "--moe-backend Triton",
        "--cpu-offload-gb 1.5",
        "--limit-mm-per-prompt.image=2",
        "--enable-log-requests --no-enable-log-requests",
        "--load-format runai_streamer",
        "--kv-cache-memory-bytes 8G",
    ] {
        let found = check(Some(version("0.32.0")), &words(line));
        assert!(found.iter().all(|one| !one.is_error()), "{line}: {found:?}");
    }
}

/// What vLLM 0.32.0 itself said to these lines. Where it takes one, the check may only refuse what a pool must not set and
/// what is not written in full; where it does not, the check must say so.
#[test]
fn the_check_agrees_with_the_real_parser() {
    for (taken, line) in [
        (true, "--enable-lora --max-loras 4 --max-lora-rank=16 --lora-modules a=/a b=/b"),
        (true, "--no-enable-lora"),
        (true, "-O3"),
        (true, "-O=2"),
        (true, "-O 1"),
        (false, "-O"),
        (false, "-O 7"),
        (true, "-O9"),
        (true, "--compilation-config.mode 3 -cc.pass_config.fuse_allreduce_rms=true"),
        (true, "--speculative-config.method ngram --speculative-config.num_speculative_tokens -1"),
        (true, "-dp 2 -ep"),
        (true, "--seed -1"),
        (true, "--moe-backend Triton"),
        (true, "--limit-mm-per-prompt.image=2"),
        (true, "--kv-cache-memory-bytes 8G"),
        (false, "--frobnicate 3 4"),
        (false, "--seed 1 -1.5"),
        (false, "--swap-space 4"),
        (false, "--max-loras"),
        (false, "--max-loras --enable-lora"),
        (false, "--compilation-config.mode"),
        (false, "--max-loras four"),
        (false, "--enable-lora true"),
        (false, "--no-enable-lora=x"),
        (false, "--max-loras.x=3"),
        (false, "--scheduling-policy lifo"),
        (false, "--max-loras 1 2"),
        (false, "-- x"),
        (false, "--max-lora 4"),
        (true, "--otlp 4"),
        (true, "-qawq"),
        (true, "-tp=2"),
        (false, "-tp2"),
        (true, "--tensor-p 2"),
        (true, "--served-model-nam a"),
        (false, "--additional-config.x --config"),
        (false, "--max-num 4"),
        (true, "--max-log-len 1_000"),
        (true, "--max-log-len +5"),
        (true, "--cpu-offload-gb inf"),
        (true, "--cpu-offload-gb 1e3"),
        (true, "--collect-detailed-traces all"),
        (true, "--hf-token"),
        (true, "--middleware a --middleware b"),
        (false, "--data-parallel-size=two"),
        (true, "--max-cpu-loras None"),
        (true, "--max-cpu-loras="),
        (false, "--dtype Half"),
    ] {
        let found = check(Some(version("0.32.0")), &words(line));
        let house = |one: &Finding| matches!(one.problem, Problem::Refused(_) | Problem::Spelling { .. });
        if taken {
            assert!(found.iter().all(|one| !one.is_error() || house(one)), "{line}: {found:?}");
        } else {
            assert!(found.iter().any(Finding::is_error), "{line}: {found:?}");
        }
    }
}

#[test]
fn what_this_release_does_not_take_is_named() {
    let at = "0.32.0";
    let known = "which vLLM 0.32 does not know; ";
    check_line(at, "--enabel-lora", &[&format!("![0] is --enabel-lora, {known}did you mean --enable-lora?")]);
    check_line(at, "--frobnicate 3 4", &[&format!("![0] is --frobnicate, {known}remove it")]);
    check_line(at, "--seed 1 -1.5", &[&format!("![2] is -1.5, {known}remove it")]);
    check_line(
        at,
        "--swap-space 4",
        &["![0] is --swap-space, which vLLM does not know any more since 0.18; remove it"],
    );
    check_line(
        "0.17.0",
        "--max-num-queued-reqs 4",
        &["![0] is --max-num-queued-reqs, which vLLM 0.17 does not know yet; remove it, or run vLLM 0.29 or newer"],
    );
    check_line(at, "--max-loras", &["![0] is --max-loras, which needs a value and has none"]);
    check_line(at, "--max-loras --enable-lora", &["![0] is --max-loras, which needs a value and has none"]);
    check_line(
        at,
        "--compilation-config.mode",
        &["![0] is --compilation-config.mode, which needs a value and has none"],
    );
    check_line(at, "--max-loras four", &["![0] is --max-loras, whose value must be a whole number"]);
    check_line(at, "--cpu-offload-gb=x", &["![0] is --cpu-offload-gb, whose value must be a number"]);
    check_line(
        at,
        "--enable-lora true",
        &[
            "![0] is --enable-lora, which takes no value and is given one; leave the value out, or write --no-enable-lora to \
         switch it off",
        ],
    );
    check_line(
        at,
        "--no-enable-lora=x",
        &["![0] is --no-enable-lora, which takes no value and is given one; leave the value out"],
    );
    check_line(
        at,
        "--max-loras.x=3",
        &["![0] is --max-loras.x, whose part before the point takes no keys; give it one value instead"],
    );
    check_line(
        at,
        "--scheduling-policy lifo",
        &["![0] is --scheduling-policy, whose value vLLM 0.32 does not allow; the allowed ones are fcfs, priority"],
    );
    check_line(
        at,
        "--enable-lora --max-loras 1 2",
        &["![3] is a value that belongs to no argument; remove it, or put its argument before it"],
    );
    check_args(
        at,
        &["--max-loras 4".to_owned()],
        &["![0] holds --max-loras and its value in one item; make them two items, or put '=' between them"],
    );
    check_line(
        at,
        "-- x --port",
        &["![0] is a value that belongs to no argument; remove it, or put its argument before it"],
    );
}

#[test]
fn names_must_be_written_in_full() {
    let at = "0.32.0";
    check_line(at, "--enable_lora", &["![0] is --enable_lora, which must be written --enable-lora"]);
    check_line(
        at,
        "--compilation_config.pass_config.x=1",
        &["![0] is --compilation_config.pass_config.x, which must be written --compilation-config.pass_config.x"],
    );
    check_line(at, "--max-lora 4", &["![0] is --max-lora, which vLLM 0.32 does not know; did you mean --max-loras?"]);
    check_line(at, "--otlp 4", &["![0] is --otlp, which must be written --otlp-traces-endpoint"]);
    check_line("", "--enable_lora", &["![0] is --enable_lora, which must be written --enable-lora"]);
}

#[test]
fn what_the_operator_owns_is_refused_under_every_name() {
    let owned = "set spec.engine.tensorParallelSize instead";
    for at in ["0.32.0", "0.14.0", "0.999.0", ""] {
        check_line(at, "--tensor-parallel-size 2", &[&format!("![0] sets --tensor-parallel-size; {owned}")]);
        check_line(at, "-tp=2", &[&format!("![0] sets -tp; {owned}")]);
        check_line(at, "--tensor_parallel_size=2", &[&format!("![0] sets --tensor_parallel_size; {owned}")]);
        check_line(at, "--tensor-p 2", &[&format!("![0] sets --tensor-p; {owned}")]);
        check_line(at, "-qawq", &["![0] sets -qawq; set spec.engine.quantization instead"]);
        check_line(
            at,
            "--no-enable-prefix-caching",
            &["![0] sets --no-enable-prefix-caching; set spec.engine.enablePrefixCaching instead"],
        );
        check_line(
            at,
            "--device-memory-utilization 1",
            &["![0] sets --device-memory-utilization; set spec.engine.gpuMemoryUtilization instead"],
        );
        check_line(
            at,
            "--additional-config.x --config",
            &[
                "![1] must not set --config, because arguments from a file would get past every check of this list; remove it",
            ],
        );
    }
    check_line(
        "0.33.0",
        "--disable-prefix-caching",
        &["![0] sets --disable-prefix-caching; set spec.engine.enablePrefixCaching instead"],
    );
}

/// The value of an argument may be a secret: no message may hold it.
#[test]
fn values_are_not_repeated() {
    for line in [
        "--api-key hunter2",
        "--api-key=hunter2",
        "--hf-token hunter2 hunter2",
        "--seed hunter2",
        "--dtype=hunter2 hunter2",
        "--enable-lora=hunter2",
    ] {
        let found = check(Some(version("0.32.0")), &words(line));
        assert!(!found.is_empty(), "{line}");
        for one in found {
            assert!(!one.to_string().contains("hunter2"), "{line}: {one}");
        }
    }
}

#[test]
fn legal_but_unwise_settings_are_warned_of() {
    check_line(
        "0.32.0",
        "--trust-remote-code",
        &[
            "[0] is --trust-remote-code, which runs code that comes with the model; name a commit in spec.model.revision, so \
         that it cannot change",
        ],
    );
    check_line("0.32.0", "--no-trust-remote-code", &[]);
    check_line(
        "0.32.0",
        "--load-format frob",
        &[
            "[0] is --load-format, with a value that is not built into vLLM 0.32; it starts only if the image brings a plug-in \
         that knows it",
        ],
    );
}

/// Of a version that is newer than all that are known, only what is refused in all of them is an error.
#[test]
fn a_newer_version_gets_warnings() {
    let newer = "(this pool's version is newer than all that the operator knows)";
    let (_, minor) = newest();
    check_line(
        "0.999.0",
        "--brand-new 3 --port 1",
        &[
            &format!("[0] is --brand-new, which vLLM 0.{minor} does not know; remove it {newer}"),
            "![2] must not set --port, because the operator decides where the engine listens: the router, the probes and the \
         Service go there; remove it",
        ],
    );
    check_line("0.14.0", "--brand-new 3", &[]);
}

#[test]
fn values_of_fields_are_checked() {
    let long =
        "is --tool-call-parser, whose value vLLM 0.32 does not allow; did you mean hermes? The allowed ones are ";
    for (at, flag, value, args, want) in [
        ("0.32.0", "--tool-call-parser", "hermes", "", ""),
        ("0.32.0", "--tool-call-parser", "hermess", "", long),
        ("0.32.0", "--tool-call-parser", "mine", "--tool-parser-plugin /p.py", ""),
        ("0.32.0", "--kv-cache-dtype", "fp8", "", ""),
        ("0.32.0", "--dtype", "float15", "", "is --dtype, whose value vLLM 0.32 does not allow; did you mean float16?"),
        ("0.16.0", "--reasoning-parser", "gemma4", "", "is --reasoning-parser, whose value vLLM 0.16 does not allow; "),
        ("0.32.0", "--quantization", "mine", "", "is --quantization, with a value that is not built into vLLM 0.32"),
        ("0.17.0", "--shutdown-timeout", "3", "", "is --shutdown-timeout, which vLLM 0.17 does not know yet; "),
        ("0.14.0", "--dtype", "float15", "", ""),
    ] {
        let found = check_value(version(at), flag, value, &words(args)).map(|one| one.to_string()).unwrap_or_default();
        assert!(if want.is_empty() { found.is_empty() } else { found.starts_with(want) }, "{flag} {value}: {found}");
    }
}

#[test]
fn environment_variables_that_open_the_engine_are_refused() {
    for (name, value, refused) in [
        ("VLLM_SERVER_DEV_MODE", Some("1"), true),
        ("VLLM_SERVER_DEV_MODE", Some("2"), true),
        ("VLLM_SERVER_DEV_MODE", Some("0"), false),
        ("VLLM_SERVER_DEV_MODE", None, true),
        ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", Some("True"), true),
        ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", Some("False"), false),
        ("VLLM_API_KEY", Some(""), true),
        ("VLLM_API_KEY", None, true),
        ("VLLM_PORT", Some("0"), true),
        ("VLLM_LOGGING_LEVEL", Some("DEBUG"), false),
        ("HF_HUB_OFFLINE", None, false),
    ] {
        assert_eq!(check_env(name, value).is_some(), refused, "{name}={value:?}");
    }
    assert_eq!(
        check_env("VLLM_API_KEY", None).unwrap(),
        "must not set VLLM_API_KEY, because the router calls the engine without a key and would be locked out; remove it"
    );
}

/// A list that names an argument which no release has would refuse nothing.
#[test]
fn the_lists_name_arguments_that_exist() {
    let names: BTreeSet<&str> = catalogue::all_names().map(|(_, full)| full).collect();
    let listed = FIELDS.iter().chain(&REFUSED).chain(&UNWISE).map(|(flag, _)| *flag);
    let missing: Vec<&str> = listed.filter(|flag| !names.contains(flag)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The pattern for the CRD agrees with the check on every name of every release, and on long beginnings of refused ones.
#[test]
fn the_pattern_refuses_what_the_check_refuses() {
    let pattern = regex::Regex::new(&refused_pattern()).unwrap();
    for (name, full) in catalogue::all_names() {
        let refused = against(full).is_some();
        for written in [name.to_owned(), format!("{name}=1"), format!("{name}=\n"), format!("{name}.a=1")] {
            assert_eq!(pattern.is_match(&written), refused, "{written:?}");
        }
    }
    for (at, flag, matched) in [
        ("0.32.0", "--served-model-nam", true),
        ("0.32.0", "--served-mod", false),
        ("0.32.0", "--por", false),
        ("0.18.0", "--max-model-l", true),
        ("0.33.0", "--disable-prefix", false),
        ("0.33.0", "--disable-prefix-ca", true),
    ] {
        let found = check(Some(version(at)), &[format!("{flag}=1")]);
        assert!(found.iter().any(|one| matches!(one.problem, Problem::Refused(_))), "{flag}: {found:?}");
        assert_eq!(pattern.is_match(flag), matched, "{flag}");
    }
}

/// In old, middle and new releases, whatever the beginning of a refused name the engine would take for that name is an error.
#[test]
fn no_beginning_gets_past_the_check() {
    for minor in (oldest().1..=newest().1).rev().step_by(6) {
        let at = Version { major: 0, minor, patch: 0 };
        let catalogue = known(at).unwrap();
        for name in catalogue.names().filter(|name| against(catalogue.full(name).unwrap()).is_some()) {
            for end in 3..=name.len() {
                let short = &name[..end];
                if catalogue.full(short).is_none_or(|full| against(full).is_some()) {
                    assert!(
                        check(Some(at), &[format!("{short}=1")]).iter().any(Finding::is_error),
                        "0.{minor}: {short}"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_line_panics(args in prop::collection::vec("-{0,2}[a-zO_.=é+ 0-9-]{0,12}", 0..6), minor in 10_u32..40) {
        for at in [None, Some(Version { major: 0, minor, patch: 0 })] {
            for one in check(at, &args) {
                prop_assert!(one.index < args.len());
                prop_assert!(!one.to_string().is_empty());
            }
        }
    }

    #[test]
    fn any_text_is_a_version_or_none(text in "\\PC{0,20}") {
        let _ = (Version::parse(&text), Version::of_image(&text));
        let _ = check_value(Version { major: 0, minor: 32, patch: 0 }, &text, &text, &[]);
    }
}
