//! How an engine stops: what its clients see between the signal and its end. Each check starts an engine of its own.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::engine::{ARGUMENTS, is_real, wait_until, wait_within};
use crate::http::{Answer, Connection, ask};

const CHAT: &str = "/v1/chat/completions";
/// The real engine needs half a minute to start, and many times that on a busy machine.
const START: Duration = Duration::from_secs(600);

struct Process {
    child: Child,
    at: String,
}

impl Process {
    /// Starts the engine that `ENGINE_COMMAND` names, or the simulator, and waits until it answers.
    fn start(shutdown_timeout: u32, cut_off: &str) -> Self {
        let command = std::env::var("ENGINE_COMMAND");
        let command = command.unwrap_or_else(|_| format!("{} m", env!("CARGO_BIN_EXE_vllm-sim")));
        let mut words = command.split(' ');
        // The port is free now, and nobody else asks for one of its kind in the meantime.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(ARGUMENTS.split(' '))
            .args(["--port", &port.to_string(), "--shutdown-timeout", &shutdown_timeout.to_string()])
            .envs([
                ("VLLM_SIM_TOKENS_PER_SECOND", "1000"),
                ("VLLM_SIM_CUT_OFF", cut_off),
                ("VLLM_SIM_ALLOW_FAULTS", "1"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let process = Self { child, at: format!("127.0.0.1:{port}") };
        wait_within(START, &format!("{command} answers"), || {
            ask(&process.at, "GET", "/health", "").is_ok_and(|answer| answer.status == 200)
        });
        process
    }

    fn signal(&self) {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Makes tokens come slowly until [`Self::go_on`], so that a drain lasts as long as the check of it. The real engine is
    /// slow by itself.
    fn slow_down(&self) {
        if !is_real() {
            assert_eq!(ask(&self.at, "POST", "/sim/faults", "slow=30").unwrap().status, 200);
        }
    }

    fn go_on(&self) {
        if !is_real() {
            assert_eq!(ask(&self.at, "DELETE", "/sim/faults", "").unwrap().status, 200);
        }
    }

    /// Takes the engine away from its server, as the kernel does when memory runs out.
    fn kill_engine(&self) {
        if is_real() {
            let engine = descendants(self.child.id()).into_iter().find(|pid| {
                std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"VLLM::EngineCore"))
            });
            let engine = engine.unwrap_or_else(|| panic!("the server has no engine")).to_string();
            assert!(Command::new("kill").args(["-KILL", &engine]).status().unwrap().success());
        } else {
            assert_eq!(ask(&self.at, "POST", "/sim/faults", "die,now").unwrap().status, 200);
        }
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the engine has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Sends a long request for `n` answers.
    fn begin(&self, stream: bool, n: u32) -> Connection {
        let mut connection = Connection::open(&self.at).unwrap();
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":1900,"n":{n},"ignore_eos":true,"stream":{stream}}}"#
        );
        connection.send("POST", CHAT, "application/json", "", &body).unwrap();
        connection
    }

    fn wait_for_running(&self, count: u32) {
        let line = format!("vllm:num_requests_running{{engine=\"0\",model_name=\"tiny\"}} {count}");
        wait_until(&line, || ask(&self.at, "GET", "/metrics", "").is_ok_and(|answer| answer.body.contains(&line)));
    }

    fn chat(&self) -> std::io::Result<Answer> {
        ask(&self.at, "POST", CHAT, r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#)
    }
}

impl Drop for Process {
    /// The real engine is several processes.
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// The processes that a process started, and those that these did.
fn descendants(of: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let all: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![of];
    let mut at = 0;
    while at < found.len() {
        let next = found[at];
        found.extend(all.iter().filter(|(_, parent)| *parent == next).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// How a request ended that was running when the engine was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// An error object: with HTTP 500, or as an event before `[DONE]`.
    Error,
    /// HTTP 200, and `abort` for the reason why it ended, as if all were well.
    Abort,
    /// The connection was closed before the answer was whole.
    Broken,
    /// Nothing came any more, and the connection stayed.
    Silence,
}

fn ending_of(mut connection: Connection) -> Ending {
    connection.be_patient_for(Duration::from_secs(3)).unwrap();
    let answer = match connection.answer() {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ending::Silence,
        Err(_) => return Ending::Broken,
    };
    let plain = r#"{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.","type":"InternalServerError","param":null,"code":500}}"#;
    // Within a stream it is written with spaces.
    let event = r#"{"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.", "type": "InternalServerError", "param": null, "code": 500}}"#;
    if answer.status == 500 {
        assert_eq!(answer.body, plain);
        return Ending::Error;
    }
    assert_eq!(answer.status, 200);
    if answer.header("content-type") == Some("application/json") {
        assert!(answer.body.contains(r#""finish_reason":"abort","stop_reason":null"#), "{}", answer.body);
        return Ending::Abort;
    }
    let events = answer.events();
    assert_eq!(events.last(), Some(&"[DONE]"), "[DONE] says nothing about success");
    let last = events[events.len() - 2];
    if last == event {
        return Ending::Error;
    }
    assert!(last.contains(r#""finish_reason":"abort","stop_reason":null"#), "{last}");
    Ending::Abort
}

/// In vLLM it is a race: its server kills its engine, which may have aborted its requests before or not, and the server may
/// have heard of it or not. All endings were seen; the last one in one stop of six.
#[test]
fn without_a_shutdown_timeout_running_requests_are_cut_off() {
    let real = is_real();
    for (cut_off, simulated) in [("error", Ending::Error), ("abort", Ending::Abort), ("silence", Ending::Silence)] {
        let mut process = Process::start(0, cut_off);
        let (plain, stream) = (process.begin(false, 2), process.begin(true, 2));
        process.wait_for_running(4);
        process.signal();
        let endings = [ending_of(plain), ending_of(stream)];
        // The engine may have waited for them to leave.
        let status = process.end();
        assert!(process.chat().is_err(), "nobody listens any more");
        if real {
            println!("the real engine ended them so: {endings:?}; then itself: {status}");
            return;
        }
        assert_eq!((endings, status.success()), ([simulated; 2], true), "{cut_off}");
    }
}

#[test]
fn with_a_shutdown_timeout_running_requests_end_well_and_new_ones_do_not_begin() {
    // Long enough for a real engine on a busy machine; a drain ends when its requests have.
    let mut process = Process::start(600, "error");
    // Two slots stay free: a request that comes before the signal has arrived is answered, and does not wait.
    let (mut plain, mut stream) = (process.begin(false, 1), process.begin(true, 1));
    process.wait_for_running(2);
    process.slow_down();
    process.signal();
    let error = r#"{"error":{"message":"cannot schedule new futures after shutdown","type":"InternalServerError","param":null,"code":500}}"#;
    // The signal takes a moment to arrive.
    wait_until("new requests are refused", || process.chat().unwrap().status != 200);
    let refused = process.chat().unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (500, error));
    for path in ["/health", "/v1/models", "/metrics"] {
        assert_eq!(ask(&process.at, "GET", path, "").unwrap().status, 200, "{path} while it drains");
    }
    process.go_on();
    let plain = plain.answer().unwrap();
    assert_eq!(plain.status, 200, "{}", plain.body);
    assert!(plain.body.contains(r#""completion_tokens":1900"#), "{}", plain.body);
    let stream = stream.answer().unwrap();
    let events = stream.events();
    assert_eq!(events.iter().filter(|event| event.contains(r#""finish_reason":"length""#)).count(), 1);
    assert_eq!(events.last(), Some(&"[DONE]"));
    assert!(process.end().success());
}

#[test]
fn an_engine_that_dies_ends_its_requests_and_its_server() {
    let mut process = Process::start(60, "error");
    let begin = |path: &str, body: &str| {
        let mut connection = Connection::open(&process.at).unwrap();
        connection.send("POST", path, "application/json", "", body).unwrap();
        connection
    };
    let chat = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1900,"ignore_eos":true"#;
    let plain = begin(CHAT, &format!("{chat}}}"));
    let stream = begin(CHAT, &format!("{chat},\"stream\":true}}"));
    let response = r#"{"input":"hi","max_output_tokens":1900,"ignore_eos":true,"stream":true}"#;
    let mut response = begin("/v1/responses", response);
    process.wait_for_running(3);
    assert_eq!(response.head().unwrap().status, 200);
    process.kill_engine();
    assert_eq!([ending_of(plain), ending_of(stream)], [Ending::Error; 2]);
    let mut told = String::new();
    let broke = loop {
        match response.chunk() {
            Ok(piece) if piece.is_empty() => break false,
            Ok(piece) => told += std::str::from_utf8(&piece).unwrap(),
            Err(_) => break true,
        }
    };
    assert!(broke && !told.contains("response.completed"), "a response's stream breaks off without a word: {told}");
    assert!(process.end().success(), "the server leaves in good order, whatever it lost");
    assert!(process.chat().is_err(), "nobody listens any more");
}
