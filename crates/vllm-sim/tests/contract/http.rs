//! A client that hides nothing: the head, the headers and the framing of an answer, as they came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No answer in these checks takes longer, even where five real engines share two busy processors.
const DEADLINE: Duration = Duration::from_secs(300);

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The events of a stream. Each must be one `data:` line and an empty one.
    pub(crate) fn events(&self) -> Vec<&str> {
        assert!(self.body.ends_with("\n\n"), "a stream ends with an empty line: {:?}", self.body);
        let events = self.body.split_terminator("\n\n");
        events.map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {event:?}"))).collect()
    }

    /// The events of a stream that have names: each name and its data.
    pub(crate) fn named_events(&self) -> Vec<(&str, &str)> {
        assert!(self.body.ends_with("\n\n"), "a stream ends with an empty line: {:?}", self.body);
        let parts = |event: &'_ str| -> Option<(usize, usize)> { Some((event.find('\n')?, event.find("\ndata: ")?)) };
        let events = self.body.split_terminator("\n\n");
        let named = events.map(|event| {
            let (line, data) = parts(event).unwrap_or_else(|| panic!("no event: {event:?}"));
            assert_eq!(line, data, "a name and its data: {event:?}");
            let name = event[..line].strip_prefix("event: ").unwrap_or_else(|| panic!("no name: {event:?}"));
            (name, &event[line + "\ndata: ".len()..])
        });
        named.collect()
    }
}

impl Connection {
    pub(crate) fn open(at: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// How long reading may wait for the next byte from now on.
    pub(crate) fn be_patient_for(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))
    }

    /// Sends a request, and does not wait for the answer. An empty content type is left out.
    pub(crate) fn send(&mut self, method: &str, path: &str, kind: &str, more: &str, body: &str) -> io::Result<()> {
        let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: engine\r\n{kind}{more}content-length: {}\r\n\r\n", body.len());
        self.stream.get_mut().write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())
    }

    /// Reads the status and the headers.
    pub(crate) fn head(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let status = status.ok_or_else(|| io::Error::other("no status line"))?;
        Ok(Answer { status, headers, body: String::new() })
    }

    /// Reads one piece of a chunked body; an empty one is the last.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
        let mut piece = vec![0; size];
        self.stream.read_exact(&mut piece)?;
        self.line()?;
        Ok(piece)
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            body = vec![0; length.parse().map_err(io::Error::other)?];
            self.stream.read_exact(&mut body)?;
        } else if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let piece = self.chunk()?;
                if piece.is_empty() {
                    break;
                }
                body.extend(piece);
            }
        } else {
            return Err(io::Error::other("an answer without framing"));
        }
        answer.body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(answer)
    }

    /// Waits until the other side closes, or sends something.
    pub(crate) fn closed_by_peer(&mut self) -> io::Result<bool> {
        Ok(self.stream.fill_buf()?.is_empty())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(at: &str, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    let mut connection = Connection::open(at)?;
    connection.send(method, path, "application/json", "", body)?;
    connection.answer()
}
