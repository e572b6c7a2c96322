//! A form: the fields that are read stand where they are said to stand, and another model's name changes nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::multipart::{boundary, scan};
use wire::openai::{Splice, splice};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(found) = boundary(text) {
            assert!((1..=70).contains(&found.len()) && text.contains(found));
        }
    }
    let Ok(form) = scan(data, "b") else { return };
    // Framed as a form is: no part can hold the boundary, so they can be told apart by it alone.
    assert!(data.starts_with(b"--b"));
    let trimmed = data.strip_suffix(b"\r\n").unwrap_or(data);
    assert!(trimmed.ends_with(b"--b--"));
    let Some((name, span)) = &form.model else { return };
    assert_eq!(&data[span.clone()], name.as_bytes());
    assert!(data[..span.start].ends_with(b"\r\n\r\n") && data[span.end..].starts_with(b"\r\n--b"));
    let (changed, rest) = splice(data, &[Splice::new(span.clone(), "other".as_bytes())]);
    let changed = [&changed, rest].concat();
    let again = scan(&changed, "b").expect("still a form");
    assert_eq!(again.model.map(|(name, _)| name), Some("other"));
    assert_eq!((again.stream, again.user, again.prompt_bytes), (form.stream, form.user, form.prompt_bytes));
});
