use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { slots: 4, budget: 32, blocks: 64, block_size: 4, prefix_caching: true, adapters: 1, priorities: false };

/// A prompt of these tokens, each block hashed with all before it.
fn prompt(tokens: &[u8], answer: u32) -> Work {
    let mut before = 0;
    let hashes = tokens.chunks_exact(4).map(|block| {
        before = chain(before, block.iter().fold(1, |all, token| all << 8 | u64::from(*token)));
        before
    });
    Work {
        prompt: u32::try_from(tokens.len()).unwrap(),
        hashes: hashes.collect(),
        tokens: answer,
        finish: Finish::Length,
        key: tokens.iter().fold(7, |key, token| mix(key ^ u64::from(*token))),
        priority: 0,
        adapter: None,
    }
}

/// A prompt that shares nothing with others.
fn unique(length: u32, answer: u32) -> Work {
    Work { prompt: length, hashes: Arc::new([]), ..prompt(&[], answer) }
}

/// Runs steps, one a millisecond, until there is nothing to do; tells what each computed and which sequences it ended.
fn run(core: &mut Core) -> (Vec<Step>, Vec<Progress>) {
    let (mut steps, mut ended) = (Vec::new(), Vec::new());
    let mut now = Duration::ZERO;
    while let Some(step) = core.begin(now) {
        now += Duration::from_millis(1);
        steps.push(step);
        ended.extend(core.end(now).into_iter().filter(|progress| progress.finish.is_some()));
        assert!(steps.len() < 10_000, "no end: {core:?}");
    }
    (steps, ended)
}

fn step(prefill: u32, decodes: u32) -> Step {
    Step { prefill, decodes }
}

fn check(limits: Limits, works: &[Work], expected: &[Step]) {
    let mut core = Core::new(limits);
    for work in works {
        core.add(work.clone(), Duration::ZERO);
    }
    let (steps, ended) = run(&mut core);
    assert_eq!(steps, expected);
    assert_eq!(ended.len(), works.len(), "all end");
    assert_eq!((core.running(), core.waiting(), core.pool.used()), (0, 0, 0));
}

#[test]
fn a_prompt_and_its_first_token_are_one_step_and_each_token_another() {
    check(LIMITS, &[unique(10, 3)], &[step(10, 0), step(0, 1), step(0, 1)]);
    check(LIMITS, &[unique(10, 1)], &[step(10, 0)]);
    check(LIMITS, &[unique(10, 0)], &[step(10, 0)]);
}

#[test]
fn a_long_prompt_is_read_in_pieces_beside_running_answers() {
    // 70 tokens by 32 a step; the short one takes its token from the budget first.
    check(LIMITS, &[unique(70, 1)], &[step(32, 0), step(32, 0), step(6, 0)]);
    let both = [unique(2, 4), unique(70, 1)];
    check(LIMITS, &both, &[step(32, 0), step(31, 1), step(9, 1), step(0, 1)]);
}

#[test]
fn no_more_run_than_there_are_slots() {
    let two = Limits { slots: 2, ..LIMITS };
    let works = [unique(4, 2), unique(4, 2), unique(4, 1)];
    check(two, &works, &[step(8, 0), step(0, 2), step(4, 0)]);
}

#[test]
fn sequences_join_in_the_order_they_came_or_by_priority() {
    for (priorities, expected) in [(false, [1, 2, 3]), (true, [2, 3, 1])] {
        let mut core = Core::new(Limits { slots: 1, priorities, ..LIMITS });
        for priority in [5, -1, 0] {
            core.add(Work { priority, ..unique(4, 2) }, Duration::ZERO);
        }
        let order: Vec<u64> = run(&mut core).1.iter().map(|progress| progress.id).collect();
        assert_eq!(order, expected, "priorities: {priorities}");
    }
}

#[test]
fn when_blocks_run_out_the_last_is_preempted_and_computed_again() {
    // Four blocks of four tokens: both prompts fit, both answers do not.
    let mut core = Core::new(Limits { blocks: 4, prefix_caching: false, ..LIMITS });
    let (first, second) = (core.add(unique(6, 8), Duration::ZERO), core.add(unique(6, 8), Duration::ZERO));
    let (steps, ended) = run(&mut core);
    assert_eq!(ended.iter().map(|progress| progress.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!((ended[0].story.preempted, ended[1].story.preempted), (0, 1));
    assert_eq!(core.counts().preemptions, 1);
    // It had three tokens when it went, so nine are computed again at once.
    assert!(steps.contains(&step(9, 0)), "{steps:?}");
    assert_eq!(ended[1].made, 8);
}

#[test]
fn one_that_is_alone_and_out_of_blocks_starts_again_rather_than_waiting_for_ever() {
    let mut core = Core::new(Limits { blocks: 3, prefix_caching: false, budget: 4, ..LIMITS });
    core.add(unique(8, 4), Duration::ZERO);
    core.add(unique(8, 4), Duration::ZERO);
    assert_eq!(run(&mut core).1.len(), 2);
}

#[test]
fn prefixes_that_were_computed_are_not_computed_again() {
    let text: Vec<u8> = (0..10).collect();
    let mut core = Core::new(LIMITS);
    core.add(prompt(&text, 1), Duration::ZERO);
    run(&mut core);
    for (tokens, cached) in [
        (&text[..], 8),
        // The last token is always computed, and with it its block.
        (&text[..8], 4),
        (&text[..7], 4),
        (&[0, 1, 2, 3, 9, 9, 9, 9, 9][..], 4),
        (&[9, 1, 2, 3, 4, 5, 6, 7, 8][..], 0),
    ] {
        let before = core.counts();
        core.add(prompt(tokens, 1), Duration::ZERO);
        let (steps, ended) = run(&mut core);
        assert_eq!(ended[0].story.cached, cached, "{tokens:?}");
        assert_eq!(steps[0].prefill, u32::try_from(tokens.len()).unwrap() - cached, "{tokens:?}");
        let counts = core.counts();
        assert_eq!(counts.queried - before.queried, tokens.len() as u64);
        assert_eq!(counts.hits - before.hits, u64::from(cached));
    }
    assert!(core.forget_prefixes());
    core.add(prompt(&text, 1), Duration::ZERO);
    assert_eq!(run(&mut core).1[0].story.cached, 0);
}

#[test]
fn equal_prompts_of_one_step_are_computed_once() {
    let text: Vec<u8> = (0..9).collect();
    check(LIMITS, &[prompt(&text, 1), prompt(&text, 1)], &[step(9 + 1, 0)]);
}

#[test]
fn one_adapter_at_a_time_has_a_place() {
    let with = |adapter| Work { adapter: Some(adapter), ..unique(4, 2) };
    let mut core = Core::new(LIMITS);
    for work in [with(1), with(2), unique(4, 2), with(1)] {
        core.add(work, Duration::ZERO);
    }
    core.begin(Duration::ZERO);
    assert_eq!((core.running(), core.waiting(), core.deferred()), (3, 1, 1));
    assert_eq!(core.adapters(), (vec![1], vec![2]));
    core.end(Duration::ZERO);
    let (_, ended) = run(&mut core);
    assert_eq!(ended.iter().map(|progress| progress.id).collect::<Vec<_>>(), [1, 3, 4, 2]);
}

#[test]
fn a_paused_core_plans_nothing() {
    let mut core = Core::new(LIMITS);
    core.add(unique(4, 1), Duration::ZERO);
    core.pause(true);
    assert_eq!(core.begin(Duration::ZERO), None);
    core.pause(false);
    assert_eq!(core.begin(Duration::ZERO), Some(step(4, 0)));
}

#[test]
fn the_story_of_a_sequence_tells_its_times() {
    let mut core = Core::new(Limits { slots: 1, ..LIMITS });
    core.add(unique(4, 1), Duration::ZERO);
    core.add(unique(4, 3), Duration::ZERO);
    let ended = run(&mut core).1;
    let ms = Duration::from_millis;
    let expected = Story { began: ms(1), first: ms(2), last: ms(4), prompt: 4, ..Story::default() };
    assert_eq!(ended[1].story, expected);
    assert_eq!(ended[1].gap, Some(ms(1)));
}

#[derive(Clone, Debug)]
enum Event {
    Add { tokens: Vec<u8>, answer: u32, priority: i64, adapter: Option<u32> },
    Remove(usize),
    Step,
}

fn event() -> impl Strategy<Value = Event> {
    let tokens = prop::collection::vec(0..3u8, 1..40);
    let add = (tokens, 0..12u32, -1..2i64, prop::option::of(0..3u32))
        .prop_map(|(tokens, answer, priority, adapter)| Event::Add { tokens, answer, priority, adapter });
    prop_oneof![3 => add, 1 => (0..20usize).prop_map(Event::Remove), 8 => Just(Event::Step)]
}

/// What must hold after every event: each block is either free or in the use that its count says.
fn check_blocks(core: &Core) {
    let mut users: HashMap<Block, u32> = HashMap::new();
    for sequence in core.sequences.values() {
        for block in &sequence.blocks {
            *users.entry(*block).or_default() += 1;
        }
    }
    assert_eq!(core.pool.used() as usize, users.len(), "no block leaks, and none is free that is in use");
    for (id, sequence) in &core.sequences {
        let runs = core.running.contains(id);
        assert_ne!(runs, core.waiting.contains_key(&sequence.order), "a sequence runs or waits");
        assert!(runs || sequence.blocks.is_empty());
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_bounds_hold_and_all_end(
        events in prop::collection::vec(event(), 1..120),
        slots in 1..5u32,
        budget in 1..40u32,
        blocks in 13..30u32,
        priorities: bool,
    ) {
        let limits = Limits { slots, budget, blocks, priorities, ..LIMITS };
        let mut core = Core::new(limits);
        let mut works: HashMap<u64, (Vec<u8>, u32)> = HashMap::new();
        let mut now = Duration::ZERO;
        let mut removed = 0;
        let mut ended = 0;
        let drain = std::iter::repeat_n(Event::Step, 4000);
        for event in events.into_iter().chain(drain) {
            match event {
                Event::Add { tokens, answer, priority, adapter } => {
                    let id = core.add(Work { priority, adapter, ..prompt(&tokens, answer) }, now);
                    works.insert(id, (tokens, answer));
                }
                Event::Remove(at) => {
                    let mut ids: Vec<u64> = core.sequences.keys().copied().collect();
                    ids.sort_unstable();
                    if let Some(id) = ids.get(at) {
                        core.remove(*id);
                        removed += 1;
                    }
                }
                Event::Step => {
                    let head = core.waiting.first_key_value().map(|(order, _)| *order);
                    let Some(step) = core.begin(now) else {
                        prop_assert!(core.sequences.is_empty(), "who waits is not forgotten: {:?}", core);
                        break;
                    };
                    prop_assert!(step.prefill + step.decodes <= budget, "{:?} of {}", step, budget);
                    prop_assert!(core.running.len() <= slots as usize);
                    // Nobody overtakes the first in the queue but for want of an adapter.
                    if let Some(head) = head.filter(|head| core.waiting.contains_key(head)) {
                        let waiting = &core.sequences[&core.waiting[&head]];
                        for id in &core.running {
                            let other = &core.sequences[id];
                            let joined = other.story.began == now && other.made == 0 && other.story.preempted == 0;
                            prop_assert!(!joined || other.order < head || waiting.work.adapter.is_some());
                        }
                    }
                    now += Duration::from_millis(1);
                    for progress in core.end(now) {
                        if progress.finish.is_some() {
                            ended += 1;
                            let (tokens, answer) = &works[&progress.id];
                            prop_assert_eq!(progress.made, *answer);
                            let cached = progress.story.cached as usize;
                            let known = |other: &Vec<u8>| other.len() >= cached && other[..cached] == tokens[..cached];
                            let mut others = works.iter().filter(|(id, _)| **id != progress.id);
                            prop_assert!(cached < tokens.len());
                            prop_assert!(cached == 0 || others.any(|(_, (tokens, _))| known(tokens)));
                        }
                    }
                }
            }
            check_blocks(&core);
        }
        prop_assert_eq!(ended + removed, works.len(), "preempted ones end, too");
        prop_assert_eq!(core.pool.used(), 0);
    }

    #[test]
    fn a_hit_is_exactly_the_equal_whole_blocks(one in prop::collection::vec(0..2u8, 1..30), two in prop::collection::vec(0..2u8, 1..30)) {
        let mut core = Core::new(LIMITS);
        core.add(prompt(&one, 1), Duration::ZERO);
        run(&mut core);
        core.add(prompt(&two, 1), Duration::ZERO);
        let cached = run(&mut core).1[0].story.cached as usize;
        let equal = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
        prop_assert_eq!(cached, equal.min(one.len() / 4 * 4).min(two.len() - 1) / 4 * 4);
    }
}
