//! Names of documents, and ids of calls, as Converse takes them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::translate::messages::request_out::plain_id;

/// Longest name of a document.
const MOST_NAME: usize = 200;
/// Longest id of a call, and how much of a longer one is kept before what tells it from others.
const MOST_ID: usize = 64;
const KEPT_ID: usize = 47;

/// The documents of one request: no two may have the same name.
#[derive(Debug, Default)]
pub(super) struct Names(RefCell<HashMap<String, u32>>);

impl Names {
    /// The name of the next document, in the letters that Bedrock takes, with a number where it is taken.
    pub(super) fn next(&self, name: Option<&str>) -> String {
        let mut taken = self.0.borrow_mut();
        let name = document_name(name);
        let mut unique = name.clone();
        while taken.contains_key(&unique.to_ascii_lowercase()) {
            let count = taken.entry(name.to_ascii_lowercase()).and_modify(|count| *count += 1).or_insert(1);
            let end = format!("-{count}");
            unique.clone_from(&name);
            // Letters of a name are ASCII, so that it can be cut anywhere.
            unique.truncate(MOST_NAME - end.len());
            unique.push_str(&end);
        }
        taken.insert(unique.to_ascii_lowercase(), 1);
        unique
    }
}

/// A document's name in the letters that Bedrock takes.
pub(super) fn document_name(name: Option<&str>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { '-' };
    let name: String = name.unwrap_or_default().chars().take(MOST_NAME).map(plain).collect();
    if name.is_empty() { "document".to_owned() } else { name }
}

/// An id of a call in the letters and the length that Bedrock takes; other APIs have longer ones. Equal ids stay equal, different
/// ones different.
pub(super) fn call_id(id: &str) -> String {
    let mut plain = plain_id(id);
    if plain.len() > MOST_ID {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        plain.truncate(KEPT_ID);
        plain.push_str(&format!("-{:016x}", hasher.finish()));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_documents_have_the_same_name() {
        let names = Names::default();
        let long = "x".repeat(300);
        let cases = [
            (None, "document"),
            (None, "document-2"),
            (Some(""), "document-3"),
            // What is the same but for its case counts as the same.
            (Some("Document"), "Document-4"),
            (Some("report v1.pdf"), "report-v1-pdf"),
            (Some("report_v1.pdf"), "report-v1-pdf-2"),
            (Some("a-2"), "a-2"),
            (Some("a"), "a"),
            (Some("A"), "A-3"),
            (Some("\u{5206}.pdf"), "--pdf"),
            (Some(&long), &long[..200]),
        ];
        for (name, want) in cases {
            assert_eq!(names.next(name), want, "{name:?}");
        }
        let again = names.next(Some(&long));
        assert!(again.len() == 200 && again.ends_with("x-2"), "{again}");
    }

    #[test]
    fn ids_of_calls_are_shortened_and_stay_apart() {
        let long = format!("call_{}", "s".repeat(100));
        let (one, other) = (call_id(&long), call_id(&format!("{long}x")));
        assert_eq!((one.len(), call_id(&long)), (64, one.clone()));
        assert_ne!(one, other);
        assert!(one.starts_with("call_sss"), "{one}");
        assert_eq!(call_id("toolu_bdrk_01|a"), "toolu_bdrk_01_a");
        assert_eq!(call_id(&"a".repeat(64)), "a".repeat(64));
    }
}
