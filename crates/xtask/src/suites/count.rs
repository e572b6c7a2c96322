//! Counting tests in the output of the programs that run them.

use std::ops::AddAssign;

/// How many tests ended how, and what to say about those that did not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    pub(super) notes: Vec<String>,
}

impl Count {
    /// Counts the `test result:` lines of cargo.
    pub(super) fn of_cargo(text: &str) -> Self {
        let mut count = Self::default();
        // A scenario that does not run on this cluster says so in its output, and cargo counts it as passed.
        for why in text.lines().filter_map(|line| line.strip_prefix("skipped: ")) {
            count.skip(1, why);
        }
        let said = count.skipped;
        for line in text.lines().filter(|line| line.starts_with("test result:")) {
            let number = |word: &str| {
                let before = line.split_once(word).map_or("", |(before, _)| before);
                before.split([' ', ';', '.']).rfind(|w| !w.is_empty()).and_then(|n| n.parse().ok()).unwrap_or(0)
            };
            count.passed += number(" passed");
            count.failed += number(" failed");
            let ignored: u64 = number(" ignored");
            if ignored > 0 {
                count.skip(ignored, &format!("{ignored} ignored tests of cargo: {line}"));
            }
        }
        count.passed = count.passed.saturating_sub(said);
        count
    }

    /// Counts the `--- PASS` lines of `go test -v`, subtests included.
    pub(super) fn of_go(text: &str) -> Self {
        let mut count = Self::default();
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("--- PASS") {
                count.passed += 1;
            } else if line.starts_with("--- FAIL") {
                count.failed += 1;
            } else if let Some(name) = line.strip_prefix("--- SKIP: ") {
                count.skip(1, &format!("Go test {name}"));
            }
        }
        count
    }

    /// Adds tests that did not run, and why.
    pub(super) fn skip(&mut self, tests: u64, why: &str) {
        self.skipped += tests;
        self.notes.push(format!("skipped: {why}"));
    }

    /// Adds a failure that no runner counted.
    pub(super) fn fail(&mut self, what: &str, why: &str) {
        self.failed += 1;
        self.notes.push(format!("failed: {what}: {why}"));
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.notes.extend(other.notes);
    }
}

/// The lines of a failed run that a person needs: what failed and the end of the log.
pub(super) fn failures(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let broken = |line: &&&str| {
        line.starts_with("error")
            || line.contains("FAILED")
            || line.contains("panicked at")
            || line.starts_with("divergence")
    };
    let named = lines.iter().filter(broken).take(30);
    let end = &lines[lines.len().saturating_sub(60)..];
    let all = named.chain(std::iter::once(&"… the end of the log:")).chain(end);
    all.map(|line| format!("    | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_counted() {
        let cargo = "test a ... ok\nskipped: no such thing here\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n\
                     test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured\n";
        let count = Count::of_cargo(cargo);
        assert_eq!((count.passed, count.failed, count.skipped, count.notes.len()), (14, 2, 2, 2));

        let go = "=== RUN A\n--- PASS: A (0.1s)\n    --- PASS: A/b (0.0s)\n--- FAIL: B\n--- SKIP: C (0.0s)\n";
        let count = Count::of_go(go);
        assert_eq!((count.passed, count.failed, count.skipped), (2, 1, 1));
    }
}
