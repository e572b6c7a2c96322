//! Translation between API shapes: requests that are taken give JSON; streams give the same bytes however they are split,
//! and end either well or with an error, never both.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::pieces;
use wire::Dialect;
use wire::translate::{Asked, Echo, End, Failure, Shape, Stream, Target, answer, request};

const CLIENTS: [Shape; 3] = [Shape::Chat, Shape::Responses, Shape::Messages];
const TARGETS: [Shape; 4] = [Shape::Chat, Shape::Responses, Shape::Messages, Shape::Converse];

fn asked() -> Asked {
    Asked { id: "r".to_owned(), created: 1, model: "m".to_owned(), echo: Echo::default() }
}

fuzz_target!(|data: &[u8]| {
    let (parts, text) = pieces(data);
    let json = |body: &[u8]| assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok());
    let target = Target { model: "m", max_tokens: 4096, compatible: data.len() % 2 == 0 };
    for from in CLIENTS {
        for to in TARGETS {
            if let Ok(translated) = request(from, to, text, &target) {
                json(&translated.body);
            }
        }
    }
    for dialect in [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic] {
        let failure = Failure::of_success(dialect, text);
        for to in CLIENTS {
            assert!(failure.status_for(to).as_u16() >= 400);
            json(&failure.body(to, "r"));
        }
    }
    for from in TARGETS {
        let failure = Failure::read(from, http::StatusCode::BAD_REQUEST, text, None);
        for to in CLIENTS {
            json(&failure.body(to, "r"));
            if let Ok(whole) = answer(from, to, text, &asked()) {
                json(&whole.body);
            }
            let through = |parts: &[&[u8]]| {
                let mut stream = Stream::new(from, to, asked()).expect("both carry conversations");
                let mut out = Vec::new();
                for part in parts {
                    stream.push(part, &mut out);
                }
                stream.finish(End::Closed, &mut out);
                assert!(stream.done() != stream.failure().is_some());
                out
            };
            // Converse comes as events, not as bytes.
            if from != Shape::Converse {
                assert_eq!(through(&parts), through(&[text]));
            }
        }
    }
});
