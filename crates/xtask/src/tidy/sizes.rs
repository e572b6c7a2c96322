//! How long files and functions may be. Tests do not count.

/// Longest file, in lines without tests.
const FILE: usize = 500;
/// Longest function, in lines.
const FUNCTION: usize = 100;

/// Files and functions of Rust, Go, Python and shell that are too long.
pub(super) fn complaints(file: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = match extension(file) {
        "rs" if is_test(file) => return Vec::new(),
        "rs" => text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect(),
        "go" if file.ends_with("_test.go") => return Vec::new(),
        "go" | "py" | "sh" => text.lines().collect(),
        _ => return Vec::new(),
    };
    let mut all = Vec::new();
    if lines.len() > FILE {
        all.push(format!("{file}: {} lines without tests, at most {FILE}: split it by concern", lines.len()));
    }
    for (at, name, length) in functions(&lines) {
        if length > FUNCTION {
            all.push(format!("{file}:{at}: {name} has {length} lines, at most {FUNCTION}: give its parts names"));
        }
    }
    all
}

fn extension(file: &str) -> &str {
    file.rsplit_once('.').map_or("", |(_, end)| end)
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/") || file.starts_with("tests/")
}

/// Line, name and length of each function. It relies on the formatters: a function ends at the closing brace that stands
/// as deep as its first line.
fn functions(lines: &[&str]) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let depth = line.len() - line.trim_start().len();
        let Some(name) = name_of(line.trim_start()) else { continue };
        let end = lines[at..].iter().position(|l| l.len() == depth + 1 && l.trim_start() == "}");
        if let Some(end) = end {
            found.push((at + 1, name.to_owned(), end + 1));
        }
    }
    found
}

fn name_of(line: &str) -> Option<&str> {
    if line.ends_with('}') || line.ends_with(';') {
        return None;
    }
    let mut rest = line;
    for word in ["pub(super) ", "pub(crate) ", "pub ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let named = rest.strip_prefix("fn ").or_else(|| rest.strip_prefix("func "))?;
    Some(named.split(['(', '<']).find(|s| !s.is_empty()).unwrap_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_things_are_named() {
        let body = "    x();\n".repeat(120);
        let long = format!(
            "mod a {{\n    pub async fn big<T>(\n        t: T,\n    ) {{\n{body}    }}\n}}\nfn small() {{\n}}\n"
        );
        let found = complaints("a.rs", &long);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a.rs:2: big has 124 lines"), "{found:?}");

        let tests = format!("fn a() {{\n}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    y();\n".repeat(600));
        assert!(complaints("a.rs", &tests).is_empty());
        assert_eq!(complaints("a.rs", &"x();\n".repeat(501)).len(), 1);
        assert!(complaints("crates/a/tests/b.rs", &"x();\n".repeat(501)).is_empty());
    }
}
