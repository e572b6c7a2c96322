use super::*;

const GAP: Duration = Duration::from_millis(20);

fn engine(slots: u32, gap: Duration) -> Arc<Engine> {
    engine_with(slots, gap, CutOff::Error)
}

fn engine_with(slots: u32, token_gap: Duration, cut_off: CutOff) -> Arc<Engine> {
    let usual = Settings::read(|_| None).unwrap();
    let settings = Settings { token_gap, prefill_gap: Duration::from_millis(1), cut_off, ..usual };
    Arc::new(Engine::new(slots, settings, Metrics::new("m", 1000).unwrap()))
}

fn plan(tokens: u32) -> Plan {
    Plan { prompt_tokens: 10, tokens, finish: Finish::Length }
}

/// Running, waiting.
fn load(engine: &Engine) -> (i64, i64) {
    (engine.metrics.running.get(), engine.metrics.waiting.get())
}

async fn all(mut sequence: Sequence) -> Vec<Batch> {
    let mut batches = Vec::new();
    while let Some(batch) = sequence.next().await.unwrap() {
        batches.push(batch);
    }
    batches
}

#[test]
fn tokens_fall_due_one_by_one() {
    for (elapsed, gap, expected) in [(0, 20, 1), (19, 20, 1), (20, 20, 2), (59, 20, 3), (60, 20, 4), (0, 0, u32::MAX)] {
        let due = due_by(Duration::from_millis(elapsed), Duration::from_millis(gap));
        assert_eq!(due, expected, "{elapsed} ms, gap {gap} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_come_at_the_set_rate_after_the_prompt() {
    let engine = engine(1, GAP);
    let began = Instant::now();
    let batches = all(engine.queue(plan(3))).await;
    let spans: Vec<_> = batches.iter().map(|batch| (batch.tokens.clone(), batch.finish)).collect();
    assert_eq!(spans, [(0..1, None), (1..2, None), (2..3, Some(Finish::Length))]);
    assert_eq!(began.elapsed(), Duration::from_millis(10) + 2 * GAP);
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_all_tokens_come_at_once() {
    let engine = engine(1, Duration::ZERO);
    assert_eq!(all(engine.queue(plan(500))).await, [Batch { tokens: 0..500, finish: Some(Finish::Length) }]);
}

#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_what_is_due_in_one_batch() {
    let engine = engine(1, GAP);
    let mut sequence = engine.queue(plan(10));
    sequence.next().await.unwrap();
    tokio::time::advance(3 * GAP).await;
    assert_eq!(sequence.next().await.unwrap().unwrap().tokens, 1..4);
}

#[tokio::test(start_paused = true)]
async fn sequences_wait_for_a_slot_in_the_order_they_came() {
    let engine = engine(2, GAP);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for name in 0..5 {
        let (sequence, order) = (engine.queue(plan(4)), Arc::clone(&order));
        tasks.spawn(async move {
            let batches = all(sequence).await;
            order.lock().unwrap().push(name);
            batches.len()
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(load(&engine), (2, 3));
    assert_eq!(tasks.join_all().await, [4; 5]);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(load(&engine), (0, 0));
    let page = engine.metrics.page().unwrap();
    for series in [
        r#"vllm:generation_tokens_total{engine="0",model_name="m"} 20"#,
        r#"vllm:prompt_tokens_total{engine="0",model_name="m"} 50"#,
        r#"vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 5"#,
        r#"vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 5"#,
        r#"vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 15"#,
        r#"vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0"#,
    ] {
        assert!(page.contains(&format!("{series}\n")), "{series} is not in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_its_slot_and_its_place() {
    let engine = engine(1, GAP);
    let mut running = engine.queue(plan(100));
    running.next().await.unwrap();
    let (left, mut waiting) = (engine.queue(plan(1)), engine.queue(plan(1)));
    assert_eq!(load(&engine), (1, 2));
    drop(left);
    assert_eq!(load(&engine), (1, 1));
    drop(running);
    assert_eq!(waiting.next().await.unwrap().unwrap().finish, Some(Finish::Length));
    assert_eq!(load(&engine), (0, 0));
    let aborted = r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 0"#;
    assert!(engine.metrics.page().unwrap().contains(aborted), "vLLM does not count those who leave");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_engine_ends_running_and_waiting_sequences() {
    let aborted = |at| Ok(Some(Batch { tokens: at..at, finish: Some(Finish::Abort) }));
    for (cut_off, running_ends, waiting_ends) in
        [(CutOff::Error, Err(Aborted), Err(Aborted)), (CutOff::Abort, aborted(1), aborted(0))]
    {
        let engine = engine_with(1, GAP, cut_off);
        let (mut running, mut waiting) = (engine.queue(plan(100)), engine.queue(plan(100)));
        running.next().await.unwrap();
        engine.abort.cancel();
        assert_eq!(running.next().await, running_ends, "{cut_off:?}");
        assert_eq!(waiting.next().await, waiting_ends, "{cut_off:?}");
        drop((running, waiting));
        assert_eq!(load(&engine), (0, 0), "{cut_off:?}");
    }
}
