//! A request's body: what the scanner takes, serde_json takes, and both read the same out of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use wire::openai::{Splice, scan, splice};

fuzz_target!(|data: &[u8]| {
    let theirs = serde_json::from_slice::<Value>(data).ok().filter(Value::is_object);
    let ours = match scan(data) {
        Err(error) => {
            assert!(error.at <= data.len());
            // What serde_json takes is refused only for a field that is read.
            assert!(theirs.is_none() || error.problem.field().is_some(), "{error}");
            return;
        }
        Ok(fields) => fields,
    };
    // Numbers without end and halves of characters are well-formed, but no value.
    serde_json::from_slice::<&RawValue>(data).expect("serde_json takes it");
    let Some(theirs) = theirs else { return };

    let number = |key: &str| theirs[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    assert_eq!(ours.model.as_ref().map(|model| model.name.to_string()), text(&theirs["model"]));
    assert_eq!(ours.stream, theirs["stream"].as_bool());
    assert_eq!(ours.n, number("n"));
    assert_eq!(ours.best_of, number("best_of"));
    let limit =
        number("max_completion_tokens").or_else(|| number("max_tokens")).or_else(|| number("max_output_tokens"));
    assert_eq!(ours.max_tokens, limit);
    let length = |key: &str| theirs[key].as_array().map_or(0, Vec::len);
    assert_eq!(ours.messages as usize, length("messages").max(length("input")));
    assert_eq!(ours.tools, length("tools") + length("functions") > 0);
    assert!(ours.prompt_bytes <= data.len());
    let metadata = &theirs["metadata"];
    let of_metadata = text(metadata).or_else(|| text(&metadata["user_id"]));
    assert_eq!(ours.user.as_deref().map(str::to_owned), text(&theirs["user"]).or(of_metadata));

    // What is spliced is what was meant, and nothing else changes.
    let mut splices: Vec<Splice<'_>> = ours.ask_for_usage().into_iter().collect();
    let mut want = theirs.clone();
    if !splices.is_empty() && ours.model.is_some() {
        want["stream_options"] = serde_json::json!({"include_usage": true});
    } else {
        splices.clear();
    }
    if let Some(model) = &ours.model {
        splices.push(Splice::model(model.span.clone(), "other"));
        want["model"] = "other".into();
    }
    splices.sort_by_key(|splice| splice.span.start);
    let (changed, rest) = splice(data, &splices);
    let changed = [&changed, rest].concat();
    assert_eq!(serde_json::from_slice::<Value>(&changed).expect("still JSON"), want);
});
