//! What somebody meant who misspelt a name.

/// The candidate that a word is closest to, if it is close enough to be what was meant: at most a quarter of its letters
/// differ, two at least and four at most. Of equally close ones, the first.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = word.chars().count();
    let most = (letters / 4).clamp(2, 4);
    candidates
        .filter(|one| one.chars().count().abs_diff(letters) <= most)
        .map(|one| (distance(word, one), one))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one)
}

/// How many letters must be put in, left out or replaced to make one word the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, cell) in other.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_when_it_is_near() {
        let names = ["--max-num-seqs", "--max-model-len", "--enable-lora", "--seed"];
        for (word, want) in [
            ("--max-num-seq", Some("--max-num-seqs")),
            ("--max-nun-seqs", Some("--max-num-seqs")),
            ("--enabel-lora", Some("--enable-lora")),
            ("--sed", Some("--seed")),
            ("--swap-space", None),
            ("", None),
            ("--", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), want, "{word}");
        }
        for (one, other, want) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("ä", "a", 1)] {
            assert_eq!(distance(one, other), want, "{one} {other}");
        }
    }
}
