use super::*;
use proptest::prelude::*;

fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let part = |(headers, content): &(&str, &str)| format!("--b\r\n{headers}\r\n\r\n{content}\r\n");
    (parts.iter().map(part).collect::<String>() + "--b--\r\n").into_bytes()
}

fn field(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"")
}

#[test]
fn reads_the_boundary() {
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    let cases = [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data;boundary=\"a-b\"", Some("a-b")),
        ("multipart/form-data; charset=utf-8; boundary=abc", Some("abc")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=a b", None),
        ("multipart/form-data; boundary=\"a", None),
        ("multipart/form-data; boundary", None),
        ("application/json", None),
        (&long, None),
    ];
    for (text, want) in cases {
        assert_eq!(boundary(text).ok(), want, "{text}");
    }
}

#[test]
fn reads_the_routing_fields() {
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a\\b%22.wav\"\r\nContent-Type: audio/wav";
    let (model, stream, user, prompt) = (field("model"), field("stream"), field("user"), field("prompt"));
    let body = form(&[
        (file, "RIFF\r\n--a\0\u{1}"),
        (&model, "whisper/é"),
        (&stream, "true"),
        (&user, "u"),
        (&prompt, "hello"),
    ]);
    let form = scan(&body, "b").unwrap();
    let (name, span) = form.model.unwrap();
    assert_eq!((name, &body[span]), ("whisper/é", "whisper/é".as_bytes()));
    assert_eq!((form.stream, form.user, form.prompt_bytes), (Some(true), Some("u"), 5));
}

#[test]
fn refuses_what_could_be_read_in_two_ways() {
    use FormError::*;
    let (model, stream) = (field("model"), field("stream"));
    let named = |rest: &str| format!("Content-Disposition: form-data; name=\"model\"{rest}");
    let long = "x".repeat(2000);
    let headers = format!("{model}\r\nX: {}", "y".repeat(5000));
    let cases = [
        (form(&[(&model, "a"), (&model, "a")]), Repeated("model")),
        (form(&[(&stream, "true"), (&stream, "false")]), Repeated("stream")),
        (form(&[(&stream, "yes")]), NotAFlag("stream")),
        (form(&[(&named("; filename=\"x\""), "a")]), NotPlain("model")),
        (form(&[(&named("\r\nContent-Transfer-Encoding: base64"), "YQ==")]), NotPlain("model")),
        (form(&[(&model, &long)]), NotPlain("model")),
        (form(&[(&model, "a\nb")]), NotPlain("model")),
        (form(&[(&named("; name=\"x\""), "a")]), BadHeaders),
        (form(&[(&named("; name*=utf-8''x"), "a")]), BadHeaders),
        (form(&[(&format!("{model}\r\n{}", field("x")), "a")]), BadHeaders),
        (form(&[("Content-Disposition: form-data; name=model", "a")]), BadHeaders),
        (form(&[("Content-Disposition: form-data; name=\"mo\\del\"", "a")]), BadHeaders),
        (form(&[("Content-Disposition: attachment; name=\"model\"", "a")]), BadHeaders),
        (form(&[("Content-Disposition : form-data; name=\"model\"", "a")]), BadHeaders),
        (form(&[("X: y", "a")]), BadHeaders),
        (form(&[(&format!("{model}\r\n folded"), "a")]), BadHeaders),
        (form(&[(&headers, "a")]), BadHeaders),
        (b"".to_vec(), NoStart),
        (b"\r\n--b--".to_vec(), NoStart),
        (b"--b".to_vec(), EndsEarly),
        (b"--b\r\n".to_vec(), EndsEarly),
        (b"--bx\r\n".to_vec(), BadBoundary),
        (b"--b \r\n".to_vec(), BadBoundary),
        (b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nabc\r\n--".to_vec(), EndsEarly),
        ([form(&[]), b"--b--".to_vec()].concat(), TrailingText),
        (form(&vec![(model.as_str(), "a"); 1][..]).repeat(2), TrailingText),
        (form(&vec![("Content-Disposition: form-data; name=\"x\"", ""); 200]), TooManyParts),
    ];
    for (body, want) in cases {
        assert_eq!(scan(&body, "b"), Err(want), "{:?}", String::from_utf8_lossy(&body[..body.len().min(120)]));
    }
    assert_eq!(scan(b"--b--", "b"), Ok(Form::default()));
}

proptest! {
    #[test]
    fn content_is_found_whatever_it_holds(content in "[ab\r\n-]{0,40}", name in "[a-z]{1,20}") {
        prop_assume!(!content.contains("\r\n--b") && !format!("{content}\r\n").contains("\r\n--b"));
        let (first, model) = (field("file"), field("model"));
        let body = form(&[(&first, &content), (&model, &name)]);
        let form = scan(&body, "b").unwrap();
        prop_assert_eq!(form.model.unwrap().0, name);
    }
}
