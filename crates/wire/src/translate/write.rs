//! JSON written piece by piece, without a tree of values in between.

use std::fmt::Display;
use std::io::Write;

use crate::unified::Json;

/// An object that is being written.
pub(crate) struct Object<'o> {
    out: &'o mut Vec<u8>,
    more: bool,
}

/// A list that is being written.
pub(crate) struct List<'o> {
    out: &'o mut Vec<u8>,
    more: bool,
}

/// Writes an object whose members `fill` writes.
pub(crate) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, more: false });
    out.push(b'}');
}

/// Writes a list whose items `fill` writes.
pub(crate) fn list(out: &mut Vec<u8>, fill: impl FnOnce(&mut List<'_>)) {
    out.push(b'[');
    fill(&mut List { out, more: false });
    out.push(b']');
}

/// Writes a text with its quotes.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    // Writing text to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

fn comma(out: &mut Vec<u8>, more: &mut bool) {
    if *more {
        out.push(b',');
    }
    *more = true;
}

impl Object<'_> {
    /// Writes a member's key, a plain word, and gives where its value is to be written.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        comma(self.out, &mut self.more);
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        text(self.key(key), value);
    }

    /// Writes a member whose key can be any text, and whose value is JSON.
    pub(crate) fn member(&mut self, key: &str, json: &str) {
        comma(self.out, &mut self.more);
        text(self.out, key);
        self.out.push(b':');
        self.out.extend_from_slice(json.as_bytes());
    }

    pub(crate) fn text_if(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(crate) fn text_or_null(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// A member that is JSON already.
    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    pub(crate) fn json_if(&mut self, key: &str, json: Option<&Json>) {
        if let Some(Json(json)) = json {
            self.raw(key, json);
        }
    }

    /// Members that are JSON already, without braces; none if the text is empty.
    pub(crate) fn members(&mut self, members: &str) {
        if !members.is_empty() {
            comma(self.out, &mut self.more);
            self.out.extend_from_slice(members.as_bytes());
        }
    }

    /// A number or a flag.
    pub(crate) fn plain(&mut self, key: &str, value: impl Display) {
        let _ = write!(self.key(key), "{value}");
    }

    pub(crate) fn plain_if(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }

    pub(crate) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    pub(crate) fn list(&mut self, key: &str, fill: impl FnOnce(&mut List<'_>)) {
        list(self.key(key), fill);
    }
}

impl List<'_> {
    /// Gives where the next item is to be written.
    pub(crate) fn item(&mut self) -> &mut Vec<u8> {
        comma(self.out, &mut self.more);
        self.out
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.item(), fill);
    }

    pub(crate) fn text(&mut self, value: &str) {
        text(self.item(), value);
    }
}

/// Writes further members of an object whose beginning stands already, and its end.
pub(crate) fn more(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    fill(&mut Object { out, more: true });
    out.push(b'}');
}
