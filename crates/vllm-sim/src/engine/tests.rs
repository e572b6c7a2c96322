use std::sync::Arc;

use super::*;
use crate::metrics::About;

const GAP: Duration = Duration::from_millis(20);

fn engine(slots: u32, gap: Duration) -> Arc<Engine> {
    engine_with(slots, gap, CutOff::Error)
}

/// An engine that runs beside the test.
fn engine_with(slots: u32, token_gap: Duration, cut_off: CutOff) -> Arc<Engine> {
    let usual = Settings::read(|_| None).unwrap();
    let settings = Settings { token_gap, prefill_gap: Duration::from_millis(1), cut_off, ..usual };
    let limits = Limits {
        slots,
        budget: 1000,
        blocks: 1000,
        block_size: 16,
        prefix_caching: true,
        adapters: 1,
        priorities: false,
    };
    let about = About {
        model: "m",
        longest: 1000,
        blocks: 1000,
        block_size: 16,
        prefix_caching: true,
        adapters: None,
        dev_mode: false,
        started: 0.0,
    };
    let engine = Arc::new(Engine::new(limits, settings, Metrics::new(&about).unwrap()));
    let runs = Arc::clone(&engine);
    tokio::task::spawn(async move { runs.run().await });
    engine
}

fn work(tokens: u32) -> Work {
    let hashes = Arc::new([]);
    Work { prompt: 10, hashes, tokens, finish: Finish::Length, key: 1, priority: 0, adapter: None }
}

/// Running, waiting.
fn load(engine: &Engine) -> (usize, usize) {
    let state = engine.state();
    (state.core.running(), state.core.waiting())
}

async fn all(mut sequence: Sequence) -> Vec<Batch> {
    let mut batches = Vec::new();
    while let Some(batch) = sequence.next().await.unwrap() {
        batches.push(batch);
    }
    batches
}

#[tokio::test(start_paused = true)]
async fn tokens_come_at_the_set_rate_after_the_prompt() {
    let engine = engine(1, GAP);
    let began = Instant::now();
    let batches = all(engine.queue(work(3))).await;
    let spans: Vec<_> = batches.iter().map(|batch| (batch.tokens.clone(), batch.finish)).collect();
    assert_eq!(spans, [(0..1, None), (1..2, None), (2..3, Some(Finish::Length))]);
    assert_eq!(began.elapsed(), Duration::from_millis(10) + 2 * GAP);
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_all_tokens_come_in_no_time() {
    let engine = engine(1, Duration::ZERO);
    let mut sequence = engine.queue(work(500));
    sequence.next().await.unwrap();
    let began = Instant::now();
    let mut batches = 1;
    while sequence.next().await.unwrap().is_some() {
        batches += 1;
    }
    assert!(batches < 20, "{batches} batches");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_what_is_due_in_one_batch() {
    let engine = engine(1, GAP);
    let mut sequence = engine.queue(work(10));
    sequence.next().await.unwrap();
    sleep_until(Instant::now() + 3 * GAP + GAP / 2).await;
    assert_eq!(sequence.next().await.unwrap().unwrap().tokens, 1..4);
}

#[tokio::test(start_paused = true)]
async fn sequences_wait_for_a_slot_in_the_order_they_came() {
    let engine = engine(2, GAP);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for name in 0..5 {
        let (sequence, order) = (engine.queue(work(4)), Arc::clone(&order));
        tasks.spawn(async move {
            let batches = all(sequence).await;
            order.lock().unwrap().push(name);
            batches.len()
        });
    }
    tokio::task::yield_now().await;
    assert_eq!(load(&engine), (2, 3));
    assert_eq!(tasks.join_all().await, [4; 5]);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(load(&engine), (0, 0));
    let page = engine.page(|_| String::new()).unwrap();
    for series in [
        r#"vllm:generation_tokens_total{engine="0",model_name="m"} 20"#,
        r#"vllm:prompt_tokens_total{engine="0",model_name="m"} 50"#,
        r#"vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 5"#,
        r#"vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 5"#,
        r#"vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 15"#,
        r#"vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0"#,
        r#"vllm:request_success_created{engine="0",finished_reason="length",model_name="m"} 0"#,
    ] {
        assert!(page.contains(&format!("{series}\n")), "{series} is not in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_its_slot_and_its_place() {
    let engine = engine(1, GAP);
    let mut running = engine.queue(work(100));
    running.next().await.unwrap();
    let (left, mut waiting) = (engine.queue(work(1)), engine.queue(work(1)));
    assert_eq!((load(&engine), engine.backlog()), ((1, 2), (3, 20)));
    drop(left);
    assert_eq!((load(&engine), engine.backlog()), ((1, 1), (2, 10)));
    drop(running);
    assert_eq!(waiting.next().await.unwrap().unwrap().finish, Some(Finish::Length));
    assert_eq!((load(&engine), engine.backlog()), ((0, 0), (0, 0)));
    let aborted = r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 0"#;
    assert!(engine.page(|_| String::new()).unwrap().contains(aborted), "vLLM does not count those who leave");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_engine_ends_running_and_waiting_sequences() {
    let aborted = |at| Ok(Some(Batch { tokens: at..at, finish: Some(Finish::Abort) }));
    for (cut_off, running_ends, waiting_ends) in
        [(CutOff::Error, Err(Aborted), Err(Aborted)), (CutOff::Abort, aborted(1), aborted(0))]
    {
        let engine = engine_with(1, GAP, cut_off);
        let (mut running, mut waiting) = (engine.queue(work(100)), engine.queue(work(100)));
        running.next().await.unwrap();
        engine.end();
        assert_eq!(running.next().await, running_ends, "{cut_off:?}");
        assert_eq!(waiting.next().await, waiting_ends, "{cut_off:?}");
        drop((running, waiting));
        assert_eq!(load(&engine), (0, 0), "{cut_off:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_engine_keeps_who_waits_and_cuts_only_when_told() {
    let engine = engine(1, GAP);
    engine.pause(true);
    let mut waiting = engine.queue(work(1));
    let patience = Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, waiting.next()).await.is_err());
    engine.pause(false);
    assert_eq!(waiting.next().await.unwrap().unwrap().tokens, 0..1);
    let mut cut = engine.queue(work(100));
    cut.next().await.unwrap();
    engine.cut_all();
    assert_eq!(cut.next().await, Ok(Some(Batch { tokens: 1..1, finish: Some(Finish::Abort) })));
    assert!(engine.is_idle());
}

#[tokio::test(start_paused = true)]
async fn an_engine_is_slowed_down_and_frozen() {
    let engine = engine(1, GAP);
    engine.slow_down(3.0);
    let began = Instant::now();
    all(engine.queue(work(2))).await;
    assert_eq!(began.elapsed(), 3 * (Duration::from_millis(10) + GAP));
    engine.slow_down(1.0);
    let mut sequence = engine.queue(work(2));
    sequence.next().await.unwrap();
    engine.freeze(Duration::from_secs(7));
    let began = Instant::now();
    sequence.next().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(7), "{:?}", began.elapsed());
}
