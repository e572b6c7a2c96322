//! Keeps the code in a shape that a stranger can read: sizes, crate edges, stray marks, alerts about nothing.

mod alerts;
mod edges;
mod sizes;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::places;

/// Marks of unfinished work, and names of places on one machine; each split so that this file passes its own check.
const STRAY: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "finish it, or write an issue"),
    (concat!("FIX", "ME"), "finish it, or write an issue"),
    (concat!("XX", "X"), "finish it, or write an issue"),
    (concat!("todo", "!("), "finish it, or leave it out"),
    (concat!("unimplemented", "!("), "finish it, or leave it out"),
    (concat!("/ro", "ot/"), "a path of one machine does not belong here"),
    (concat!("/wo", "rk/"), "a path of one machine does not belong here"),
];

/// Checks the whole repository and fails with every complaint.
pub(crate) fn run() -> Outcome {
    let complaints = complaints()?;
    if complaints.is_empty() {
        println!("tidy");
        return Ok(());
    }
    Err(format!("{} complaints\n{}", complaints.len(), complaints.join("\n")).into())
}

/// Everything that is wrong, one line each.
fn complaints() -> Outcome<Vec<String>> {
    let mut all = edges::complaints()?;
    all.extend(alerts::complaints()?);
    for file in tracked()? {
        let Ok(text) = fs::read_to_string(places::root().join(&file)) else { continue };
        all.extend(strays(&file, &text));
        all.extend(sizes::complaints(&file, &text));
    }
    Ok(all)
}

/// Files that git tracks or would track.
fn tracked() -> Outcome<Vec<String>> {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(places::root())
        .output()?;
    Ok(String::from_utf8(list.stdout)?.lines().map(str::to_owned).collect())
}

fn strays(file: &str, text: &str) -> Vec<String> {
    let named = Path::new(file).file_name().and_then(|n| n.to_str()).unwrap_or(file);
    if matches!(named, "Cargo.lock" | "go.sum" | "LICENSE") {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            STRAY
                .iter()
                .filter(|(mark, _)| line.contains(mark))
                .map(move |(mark, fix)| format!("{file}:{}: {mark:?}: {fix}", number + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        assert_eq!(complaints().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn strays_are_found() {
        let text = format!("fine\n// {} later\n", concat!("TO", "DO"));
        assert_eq!(strays("a.rs", &text).len(), 1);
        assert_eq!(strays("Cargo.lock", &text).len(), 0);
    }
}
