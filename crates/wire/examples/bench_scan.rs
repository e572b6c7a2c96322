//! What the one pass over a request's body costs, for bodies of a megabyte each: `cargo run --release -p wire --example
//! bench_scan`. The best of many rounds counts, because whatever else the machine does only ever adds.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

const MEGABYTE: usize = 1 << 20;
const ROUNDS: usize = 60;

fn main() -> std::io::Result<()> {
    let fill = |start: &str, part: &str, end: &str| {
        let mut body = start.to_owned();
        while body.len() + part.len() + end.len() <= MEGABYTE {
            body.push_str(part);
        }
        body + end
    };
    let chat = r#"{"role":"user","content":"Say something about the weather in a few words, please."},"#;
    let prompt = r#"{"model":"m","prompt":""#;
    let cases = [
        ("one long English prompt", fill(prompt, "The quick brown fox jumps over the lazy dog. ", "\"}")),
        ("one long Chinese prompt", fill(prompt, "敏捷的棕色狐狸跳过了懒狗。", "\"}")),
        (
            "prose with line ends",
            fill(prompt, r"A line of seventy characters or so, as a person might well write it.\n", "\"}"),
        ),
        ("source code", fill(prompt, r#"    let x = f(\"a\", b)?;\n    if x { return; }\n"#, "\"}")),
        ("many short messages", fill(r#"{"model":"m","messages":["#, chat, "{}]}")),
        ("only escapes", fill(prompt, r"\u0041", "\"}")),
        ("only backslashes", fill(prompt, r"\\", "\"}")),
        ("token numbers", fill(r#"{"model":"m","prompt":["#, "31999,", "1]}")),
        ("empty objects", fill(r#"{"model":"m","messages":["#, "{},", "{}]}")),
        ("many keys", fill(r#"{"model":"m""#, r#","k":1"#, "}")),
    ];
    let mut out = std::io::stdout().lock();
    for (name, body) in cases {
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            if wire::openai::scan(black_box(body.as_bytes())).is_err() {
                return Err(std::io::Error::other(format!("{name} was refused")));
            }
            best = best.min(begun.elapsed().as_secs_f64() * 1e6);
        }
        writeln!(out, "{name:28} {best:8.0} µs per MB")?;
    }
    Ok(())
}
