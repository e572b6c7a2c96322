//! Faults on demand, as a client of the simulator's process meets them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong in a check fails it")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CHAT: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4}"#;
const STREAM: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"stream":true}"#;
const DEADLINE: Duration = Duration::from_secs(30);

struct Simulator {
    child: Child,
    at: String,
}

impl Simulator {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vllm-sim"))
            .args(["m", "--host", "127.0.0.1", "--port", "0"])
            .args(arguments)
            .env("VLLM_SIM_TOKENS_PER_SECOND", "500")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says where it serves; the rest of what it says is read so that it can go on.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let at = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_once("serving on ").map(|(_, at)| at.to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, at: at.unwrap() }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.at).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        stream
    }

    /// All that comes, and how it ends.
    fn ask(&self, method: &str, path: &str, body: &str) -> (String, Option<ErrorKind>) {
        read(self.send(method, path, body))
    }

    fn chat(&self) -> (String, Option<ErrorKind>) {
        self.ask("POST", "/v1/chat/completions", CHAT)
    }

    fn stream(&self) -> (String, Option<ErrorKind>) {
        self.ask("POST", "/v1/chat/completions", STREAM)
    }

    fn faults(&self, faults: &str) -> String {
        self.ask("POST", "/sim/faults", faults).0
    }

    fn well(&self) -> bool {
        self.ask("GET", "/health", "").0.starts_with("HTTP/1.1 200 ")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut stream: TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}")).1
}

#[test]
fn a_part_of_the_requests_gets_an_error() {
    let simulator = Simulator::start(&["--fault", "status=500,every=3", "--fault", "status=503,path=/health,count=1"]);
    let statuses: Vec<String> = (0..6).map(|_| simulator.chat().0[9..12].to_owned()).collect();
    assert_eq!(statuses, ["200", "200", "500", "200", "200", "500"]);
    assert_eq!((simulator.well(), simulator.well()), (false, true));
    assert!(simulator.ask("GET", "/sim/faults", "").0.starts_with("HTTP/1.1 404"), "only with --allow-faults");
}

#[test]
fn faults_come_and_go_while_it_runs() {
    let simulator = Simulator::start(&["--allow-faults"]);
    assert!(simulator.chat().0.starts_with("HTTP/1.1 200"));
    let set = simulator.faults("status=500,count=2\n\nslow=2\n");
    assert!(set.contains(r#"{"fault":"status=500,count=2","seen":0,"struck":0},{"fault":"slow=2""#), "{set}");
    let answer = simulator.chat().0;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("a fault of the simulator"), "{answer}");
    let listed = simulator.ask("GET", "/sim/faults", "").0;
    assert!(listed.contains(r#""note":"not a route of vLLM"#) && listed.contains(r#""struck":1"#), "{listed}");
    let refused = simulator.faults("explode");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("is no fault"), "{refused}");
    assert!(simulator.ask("DELETE", "/sim/faults", "").0.contains(r#""faults":[]"#));
    assert!(simulator.chat().0.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_wrong_fault_keeps_it_from_starting() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vllm-sim")).args(["m", "--port", "0", "--fault", "x"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains(r#"fault "x": "x" is no fault"#), "{error}");
}

#[test]
fn an_answer_stalls_before_it_begins_and_a_stream_between_its_events() {
    let simulator = Simulator::start(&["--allow-faults"]);
    simulator.faults("stall=400ms,after=2,count=2");
    let began = Instant::now();
    assert!(simulator.chat().0.starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() >= Duration::from_millis(400));
    let began = Instant::now();
    let (answer, end) = simulator.stream();
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!((answer.matches("data: ").count(), end), (6, None), "nothing is lost: {answer}");

    simulator.faults("stall=forever,after=2");
    let mut stream = simulator.send("POST", "/v1/chat/completions", STREAM);
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while seen.matches("data: ").count() < 2 {
        let count = stream.read(&mut buffer).unwrap();
        seen += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(stream.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock, "{seen}");
    assert_eq!(seen.matches("data: ").count(), 2);
}

#[test]
fn a_connection_is_reset_after_so_many_bytes() {
    let simulator = Simulator::start(&["--allow-faults"]);
    for bytes in [0, 1, 100, 300] {
        simulator.faults(&format!("reset={bytes}"));
        let (answer, end) = simulator.chat();
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "{answer}");
        assert_eq!(answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len()), bytes, "{answer}");
    }
    simulator.faults("reset=300");
    let (answer, end) = simulator.stream();
    assert_eq!(end, Some(ErrorKind::ConnectionReset), "{answer}");
    assert!(!answer.contains("[DONE]") && answer.contains("data: "), "{answer}");
}

#[test]
fn garbage_comes_for_an_answer_and_within_a_stream() {
    let simulator = Simulator::start(&["--allow-faults"]);
    simulator.faults("garbage,count=1");
    let (answer, end) = simulator.chat();
    assert!(!answer.contains("HTTP") && answer.contains("this is no answer"), "{answer:?}");
    assert_eq!(end, None);
    simulator.faults("garbage=stream,after=3");
    let (answer, end) = simulator.stream();
    let at = answer.find("this is no answer").unwrap();
    assert_eq!((answer[..at].matches("data: ").count(), answer.matches("data: ").count(), end), (3, 6, None));
    assert!(simulator.chat().0.starts_with("HTTP/1.1 200"), "what is no stream is left alone");
}

#[test]
fn the_told_length_is_not_the_real_one() {
    let simulator = Simulator::start(&["--allow-faults"]);
    for difference in [-7_i64, 7] {
        simulator.faults(&format!("length={difference}"));
        let (answer, end) = simulator.chat();
        let told = answer.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
        let real = i64::try_from(body(&answer).len()).unwrap();
        assert_eq!((told.parse::<i64>().unwrap(), end), (real + difference, None), "{answer}");
    }
}

#[test]
fn the_engine_hangs_while_its_pages_answer() {
    let simulator = Simulator::start(&["--allow-faults"]);
    simulator.faults("freeze=forever,now");
    let mut waiting = simulator.send("POST", "/v1/chat/completions", CHAT);
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(waiting.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(simulator.well());
    assert!(
        simulator.ask("GET", "/metrics", "").0.contains("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1\n")
    );
    simulator.ask("DELETE", "/sim/faults", "");
    waiting.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(read(waiting).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn health_hangs() {
    let simulator = Simulator::start(&["--fault", "stall=forever,path=/health"]);
    let mut waiting = simulator.send("GET", "/health", "");
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(waiting.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(simulator.chat().0.starts_with("HTTP/1.1 200"));
}

#[test]
fn an_engine_that_dies_takes_its_requests_along() {
    let mut simulator = Simulator::start(&["--fault", "die,skip=2"]);
    let long = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":3000,"stream":true}"#;
    let response = r#"{"input":"hi","max_output_tokens":3000,"stream":true}"#;
    let mut streams = [("/v1/chat/completions", long), ("/v1/responses", response)].map(|(path, body)| {
        let mut stream = simulator.send("POST", path, body);
        assert!(stream.read(&mut [0; 16]).unwrap() > 0, "it has begun");
        stream
    });
    let killer = simulator.chat().0;
    assert!(killer.starts_with("HTTP/1.1 500") && killer.contains("EngineCore encountered an issue"), "{killer}");
    let [chat, response] = streams.each_mut().map(|stream| read(stream.try_clone().unwrap()).0);
    let events: Vec<&str> = chat.split("data: ").collect();
    assert!(events[events.len() - 2].contains("EngineCore encountered an issue"), "{}", events[events.len() - 2]);
    assert!(events[events.len() - 1].starts_with("[DONE]"));
    assert!(!response.contains("response.completed") && !response.ends_with("0\r\n\r\n"), "a response's stream is cut");
    let began = Instant::now();
    while simulator.child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < DEADLINE, "it ends");
        std::thread::yield_now();
    }
    assert!(simulator.child.try_wait().unwrap().unwrap().success(), "as vLLM does");
}
