//! However a stream is cut into pieces, the client gets the same bytes.

use proptest::prelude::*;

use super::*;

fn in_pieces(from: Shape, to: Shape, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = Stream::new(from, to, asked(true)).unwrap();
    let mut out = Vec::new();
    let mut from_here = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        stream.push(&bytes[from_here..cut], &mut out);
        from_here = cut;
    }
    stream.finish(End::Closed, &mut out);
    out
}

#[test]
fn every_single_cut() {
    for (from, to) in WAYS.into_iter().filter(|(from, _)| *from != Converse) {
        // Every place, and for the rarer ends of lines every third.
        for (ends, step) in [("\n", 1), ("\r\n", 3), ("\r", 3)] {
            let text = sample(from).replace('\n', ends);
            let bytes = text.as_bytes();
            let whole = in_pieces(from, to, bytes, &[]);
            let text = String::from_utf8_lossy(&whole);
            assert!(!text.contains("event: error") && !text.contains("data: {\"error\""));
            for cut in (0..bytes.len()).step_by(step) {
                assert_eq!(in_pieces(from, to, bytes, &[cut]), whole, "{from} to {to} at {cut}");
            }
            let all: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(in_pieces(from, to, bytes, &all), whole);
        }
    }
}

/// What leaves is what an event earns, at once: nothing waits for another event.
#[test]
fn a_token_leaves_with_its_event() {
    for (from, to) in WAYS.into_iter().filter(|(from, _)| *from != Converse) {
        let mut stream = Stream::new(from, to, asked(true)).unwrap();
        for event in sample(from).split_inclusive("\n\n").filter(|e| e.contains("Hel\"")) {
            let mut out = Vec::new();
            stream.push(event.as_bytes(), &mut out);
            assert!(String::from_utf8(out).unwrap().contains("Hel\""), "{from} to {to}");
        }
    }
}

proptest! {
    /// Also of streams that are broken.
    #[test]
    fn any_cuts_of_any_bytes(
        way in 0..6usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (from, to) = WAYS[way];
        let mut bytes = sample(from).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() * 2).min(bytes.len()));
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(from, to, &bytes, &cuts), in_pieces(from, to, &bytes, &[]));
    }
}
