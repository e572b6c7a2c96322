//! Amazon's event streams: however they are cut, the same frames leave and the same events are read out of them; nothing is held but
//! one frame that is not whole. What an opening says, it says for good.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quartermaster_fuzz::{pieces, repaired};
use wire::frames::{Frames, FramesOpening, Holds, LONGEST, opening};

/// What came out of a stream in these pieces: the frames, the events, whether one was damaged, and whether one was an exception.
fn through(holds: Holds, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, bool, bool) {
    let mut frames = Frames::new(holds);
    let (mut raw, mut events) = (Vec::new(), Vec::new());
    let (mut came, mut longest) = (0, 0);
    for piece in pieces {
        let was_damaged = frames.damaged();
        let taken = frames.push(piece);
        assert!(!was_damaged || taken.frames.is_empty() && taken.events.is_empty(), "nothing follows damage");
        raw.extend_from_slice(&taken.frames);
        events.extend_from_slice(&taken.events);
        came += piece.len();
        longest = longest.max(piece.len());
        assert_eq!(frames.held(), if frames.damaged() { 0 } else { came - raw.len() });
        assert!(frames.held() <= LONGEST + longest, "one frame is held, and what came with its end");
    }
    (raw, events, frames.damaged(), frames.threw())
}

fuzz_target!(|data: &[u8]| {
    // Few random bytes have the right checksums, so one input in two is given them.
    let (_, text) = pieces(data);
    let text = if data.len() % 2 == 0 { repaired(text) } else { text.to_vec() };
    // The bytes that name the cuts, as `pieces` reads them.
    let cuts = data.first().map_or(0, |count| 1 + usize::from(count % 8)).min(data.len());
    let cut = [&data[..cuts], &text].concat();
    let (parts, whole) = pieces(&cut);
    for holds in [Holds::Events, Holds::Chunks] {
        let one = through(holds, &[whole]);
        assert_eq!(through(holds, &parts), one);
        assert!(whole.starts_with(&one.0), "frames leave as they came");
        let each: Vec<&[u8]> = whole.chunks(1).take(4096).collect();
        let start = through(holds, &each);
        assert!(one.0.starts_with(&start.0) && one.1.starts_with(&start.1));
        let mut known = FramesOpening::Nothing;
        let mut end = 0;
        for part in &parts {
            end += part.len();
            let Ok(now) = opening(holds, &whole[..end]) else { break };
            assert!(known == FramesOpening::Nothing || known == now, "{known:?}, then {now:?}");
            known = now;
        }
    }
});
