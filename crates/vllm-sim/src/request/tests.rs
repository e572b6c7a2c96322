use super::*;

const NAMES: [&str; 2] = ["tiny", "alias"];

fn read_it(kind: Kind, body: &str) -> Result<Ask, Refusal> {
    let names = NAMES.map(str::to_owned);
    let adapters = [("lora".to_owned(), 3)];
    read(
        kind,
        body.as_bytes(),
        Served { names: &names, adapters: &adapters, max_model_len: 100, block_size: 4, tools: (false, false) },
    )
}

fn check(kind: Kind, body: &str, prompts: &[u32], n: u32, max_tokens: Option<u32>, stream: (bool, bool)) {
    let ask = read_it(kind, body).unwrap_or_else(|refusal| panic!("{body}: {refusal:?}"));
    let tokens: Vec<u32> = ask.prompts.iter().map(|prompt| prompt.tokens).collect();
    assert_eq!((tokens.as_slice(), ask.n, ask.max_tokens), (prompts, n, max_tokens), "{body}");
    assert_eq!((ask.stream, ask.usages != Usages::None), stream, "{body}");
}

fn refused(kind: Kind, body: &str, status: u16, error: &str, param: Option<&str>, message: &str) {
    let refusal = read_it(kind, body).expect_err(body);
    assert_eq!((refusal.status, refusal.kind, refusal.param.as_deref()), (status, error, param), "{body}");
    assert!(refusal.message.contains(message), "{body}: {}", refusal.message);
}

#[test]
fn requests_that_vllm_answers_are_read() {
    let plain = (false, false);
    let hi = r#""messages":[{"role":"user","content":"hi there"}]"#;
    check(Kind::Chat, &format!(r#"{{"model":"tiny",{hi}}}"#), &[4], 1, None, plain);
    check(Kind::Chat, &format!(r#"{{"model":"",{hi},"n":3,"max_tokens":7}}"#), &[4], 3, Some(7), plain);
    check(Kind::Chat, &format!(r#"{{{hi},"max_tokens":"7","max_completion_tokens":8}}"#), &[4], 1, Some(8), plain);
    check(Kind::Chat, &format!(r#"{{{hi},"stream":true,"max_tokens":null}}"#), &[4], 1, None, (true, false));
    let usage = format!(r#"{{{hi},"stream":true,"stream_options":{{"include_usage":true}}}}"#);
    check(Kind::Chat, &usage, &[4], 1, None, (true, true));
    let parts = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi there"}]},{"role":"tool"}]}"#;
    check(Kind::Chat, parts, &[5], 1, None, plain);

    check(Kind::Completion, r#"{"prompt":"hello"}"#, &[2], 1, Some(16), plain);
    check(Kind::Completion, r#"{"prompt":["hello","hi"],"max_tokens":3,"n":2}"#, &[2, 1], 2, Some(3), plain);
    check(Kind::Completion, r#"{"prompt":[5,6,7],"max_tokens":3}"#, &[3], 1, Some(3), plain);
    check(Kind::Completion, r#"{"prompt":[[5,6],[7]]}"#, &[2, 1], 1, Some(16), plain);
}

#[test]
fn the_same_text_has_the_same_key() {
    let one = read_it(Kind::Completion, r#"{"prompt":["a","a","b"]}"#).unwrap().prompts;
    assert_eq!(one[0], one[1]);
    assert_ne!(one[0].key, one[2].key);
}

#[test]
fn bodies_that_are_not_json_name_the_place() {
    for (body, at, problem) in [
        (r#"{"model":"#, 9, "Expecting value"),
        ("nonsense", 0, "Expecting value"),
        (r#"{"model":"tiny",}"#, 16, "Expecting property name"),
        ("{\n  \"model\": x}", 13, "Expecting value"),
    ] {
        refused(Kind::Chat, body, 400, "Bad Request", Some(&format!("body.{at}")), problem);
    }
    refused(Kind::Chat, "", 400, "Bad Request", Some("body"), "'type': 'missing'");
    refused(Kind::Chat, "null", 400, "Bad Request", Some("body"), "'input': 'None'");
    refused(Kind::Chat, "[1]", 400, "Bad Request", Some("body"), "'input': '<list of 1 items>'");
}

#[test]
fn fields_that_do_not_fit_are_refused() {
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    let body = |more: &str| format!("{{{hi},{more}}}");
    let bad = |more: &str, error: &str, param: Option<&str>, message: &str| {
        refused(Kind::Chat, &body(more), 400, error, param, message);
    };
    bad(r#""model":5"#, "Bad Request", Some("body.model"), "'type': 'string_type'");
    bad(r#""max_tokens":2.5"#, "Bad Request", Some("body.max_tokens"), "'type': 'int_from_float'");
    bad(r#""max_tokens":"x""#, "Bad Request", Some("body.max_tokens"), "'type': 'int_parsing'");
    bad(r#""stream":"x""#, "Bad Request", Some("body.stream"), "'type': 'bool_parsing'");
    bad(r#""max_tokens":0"#, "BadRequestError", Some("max_tokens"), "max_tokens must be at least 1, got 0.");
    bad(r#""max_tokens":-1"#, "BadRequestError", Some("max_tokens"), "value=-1");
    bad(r#""max_tokens":101"#, "BadRequestError", Some("max_tokens"), "max_tokens=101 cannot be greater than");
    let newer = "max_completion_tokens";
    bad(r#""max_completion_tokens":101"#, "BadRequestError", Some(newer), "max_completion_tokens=101");
    bad(r#""n":0"#, "BadRequestError", None, "n must be at least 1, got 0.");
    bad(r#""n":99999"#, "BadRequestError", None, "n must be at most 16384, got 99999.");
    bad(r#""stream_options":{}"#, "BadRequestError", Some("stream_options"), "Stream options");
    let nested = r#""stream":true,"stream_options":{"include_usage":"x"}"#;
    bad(nested, "Bad Request", Some("body.stream_options.include_usage"), "bool_parsing");
    refused(Kind::Chat, &body(r#""model":"nope""#), 404, "NotFoundError", Some("model"), "Valid aliases: tiny, alias.");

    let chat = |body: &str, error: &str, param: Option<&str>, message: &str| {
        refused(Kind::Chat, body, 400, error, param, message);
    };
    chat(r#"{"model":"tiny"}"#, "Bad Request", Some("body.messages"), "'input': '<dict of 1 items>'");
    chat(r#"{"messages":"x"}"#, "Bad Request", Some("body.messages"), "'type': 'list_type'");
    chat(r#"{"messages":[]}"#, "BadRequestError", None, "empty conversation");
    chat(r#"{"messages":[{"content":"x"}]}"#, "Bad Request", Some("body.messages.0.role"), "'type': 'missing'");
    let long = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(400));
    chat(&long, "BadRequestError", Some("input_tokens"), "maximum context length is 100 tokens");

    let completion = |body: &str, error: &str, param: Option<&str>, message: &str| {
        refused(Kind::Completion, body, 400, error, param, message);
    };
    completion(r#"{"model":"tiny"}"#, "BadRequestError", Some("prompt"), "Either prompt or prompt_embeds");
    completion(r#"{"prompt":""}"#, "BadRequestError", Some("prompt"), "Either prompt or prompt_embeds");
    completion(r#"{"prompt":[]}"#, "BadRequestError", None, "You must pass at least one prompt");
    completion(r#"{"prompt":5}"#, "Bad Request", Some("body.prompt"), "'type': 'list_type'");
    completion(r#"{"prompt":[5,"x"]}"#, "Bad Request", Some("body.prompt"), "'type': 'list_type'");
}

#[test]
fn the_blocks_of_a_prompt_are_told_apart_by_text_adapter_and_salt() {
    let hashes = |more: &str, text: &str| {
        let ask = read_it(Kind::Completion, &format!(r#"{{"prompt":"{text}"{more}}}"#)).unwrap();
        ask.prompts[0].hashes.to_vec()
    };
    let (short, long) = ("sixteen bytes ab", "sixteen bytes absixteen bytes cdrest");
    assert_eq!((hashes("", short).len(), hashes("", long).len()), (1, 2), "four tokens a block, four bytes a token");
    assert_eq!(hashes("", short)[0], hashes("", long)[0]);
    for more in [r#","model":"lora""#, r#","cache_salt":"x""#] {
        assert_ne!(hashes(more, short), hashes("", short), "{more}");
    }
}

#[test]
fn a_message_is_read_with_its_system_and_its_stops() {
    let body = r#"{"model":"lora","max_tokens":9,"system":"Be.","stop_sequences":["a"],"messages":[{"role":"user","content":"hi"}]}"#;
    let ask = read_it(Kind::Messages, body).unwrap();
    assert_eq!((ask.model.as_str(), ask.adapter, ask.max_tokens), ("lora", Some(3), Some(9)));
    assert_eq!((ask.prompts[0].text.as_str(), ask.stop.as_slice()), ("system\nBe.\nuser\nhi", &["a".to_owned()][..]));
    refused(Kind::Messages, "{}", 400, "Bad Request", Some("body.model"), "3 validation errors:");
}

#[test]
fn a_response_is_read_in_each_of_its_forms() {
    for input in
        [r#""hi""#, r#"[{"role":"user","content":"hi"}]"#, r#"[{"content":[{"type":"input_text","text":"hi"}]}]"#]
    {
        let ask = read_it(Kind::Responses, &format!(r#"{{"input":{input},"max_output_tokens":7}}"#)).unwrap();
        assert_eq!((ask.prompts[0].text.as_str(), ask.max_tokens), ("user\nhi", Some(7)));
    }
}
