//! The autoscaler of Kubernetes 1.36 (`pkg/controller/podautoscaler`) as a function over time: what it makes of our object
//! and our figures. It is asked whether a steady load leaves the number of replicas alone, and a rising one does not make
//! too many while engines start.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small numbers, as the autoscaler casts them"
)]

use super::*;
use serde_json::json;

/// Seconds between two looks of the autoscaler, and its tolerance.
const LOOK: i64 = 15;
const TOLERANCE: f64 = 0.1;
const MINUTE: i64 = 60;
/// How long a load has been the same when changes begin to count.
const SETTLED: i64 = 60 * MINUTE;

struct Autoscaler {
    spec: HorizontalPodAutoscalerSpec,
    target: f64,
    /// What each look called for, and when.
    calls: Vec<(i64, i32)>,
    /// Replicas added and taken away, and when.
    added: Vec<(i64, i32)>,
    removed: Vec<(i64, i32)>,
    replicas: i32,
}

impl Autoscaler {
    /// That of a pool with this many requests per replica, at this many replicas.
    fn new(per_replica: i32, replicas: i32) -> Self {
        let scaling: Scaling = serde_json::from_value(json!({
            "maxReplicas": 100, "target": {"inFlightPerReplica": per_replica}, "scaleDownStabilization": "5m",
        }))
        .unwrap();
        let spec = HorizontalPodAutoscalerSpec {
            behavior: Some(behavior(&scaling)),
            min_replicas: Some(scaling.min_replicas),
            max_replicas: scaling.max_replicas,
            ..HorizontalPodAutoscalerSpec::default()
        };
        let calls = vec![(0, replicas)];
        Self { spec, target: f64::from(per_replica), calls, added: Vec::new(), removed: Vec::new(), replicas }
    }

    /// One look: the load of the pool, or `None` when it is not known. `present` is the pool's `status.replicas`.
    fn look(&mut self, now: i64, load: Option<i64>, present: i32) {
        let Some(load) = load else { return };
        let ratio = load as f64 / (self.target * f64::from(present));
        let call = if (ratio - 1.0).abs() <= TOLERANCE { present } else { (load as f64 / self.target).ceil() as i32 };
        let behavior = self.spec.behavior.clone().unwrap();
        let (up, down) = (behavior.scale_up.unwrap(), behavior.scale_down.unwrap());
        let window = |rules: &HPAScalingRules| now - i64::from(rules.stabilization_window_seconds.unwrap());
        let since = |from: i64| self.calls.iter().filter(move |(at, _)| *at > from).map(|(_, call)| *call);
        let lowest = since(window(&up)).fold(call, i32::min);
        let highest = since(window(&down)).fold(call, i32::max);
        let wanted = self.replicas.max(lowest).min(highest);
        self.calls.push((now, call));
        let limited = if wanted > self.replicas {
            wanted.min(self.limit(now, &up, 1).max(self.replicas)).min(self.spec.max_replicas)
        } else {
            wanted.max(self.limit(now, &down, -1).min(self.replicas)).max(self.spec.min_replicas.unwrap())
        };
        if limited > self.replicas {
            self.added.push((now, limited - self.replicas));
        } else if limited < self.replicas {
            self.removed.push((now, self.replicas - limited));
        }
        self.replicas = limited;
    }

    /// How far the policies of one direction let the number go: the largest step holds.
    fn limit(&self, now: i64, rules: &HPAScalingRules, sign: i32) -> i32 {
        let steps = rules.policies.iter().flatten().map(|policy| {
            let within = |events: &[(i64, i32)]| -> i32 {
                let from = now - i64::from(policy.period_seconds);
                events.iter().filter(|(at, _)| *at > from).map(|(_, count)| count).sum()
            };
            let start = self.replicas - within(&self.added) + within(&self.removed);
            let share = f64::from(start) * (1.0 + f64::from(sign * policy.value) / 100.0);
            match (policy.type_.as_str(), sign) {
                ("Percent", 1) => share.ceil() as i32,
                ("Percent", _) => share as i32,
                _ => start + sign * policy.value,
            }
        });
        if sign > 0 { steps.max().unwrap() } else { steps.min().unwrap() }
    }

    fn changes_after(&self, from: i64) -> usize {
        self.added.iter().chain(&self.removed).filter(|(at, _)| *at >= from).count()
    }
}

/// Numbers without order, always the same (SplitMix64).
struct Luck(u64);

impl Luck {
    /// Evenly between 0 and 1.
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time with this mean, as between calls that know nothing of each other.
    fn time(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.draw()).ln()
    }
}

/// Requests in flight at each second, when they come at random so that `mean` are in flight on average, and take `seconds`
/// on average. Their number strays by the root of the mean, for about as long as a request takes.
fn arrivals(luck: &mut Luck, mean: f64, seconds: f64, until: i64) -> Vec<i64> {
    let mut steps = vec![0_i64; until as usize + 1];
    let mut at = -8.0 * seconds;
    loop {
        at += luck.time(seconds / mean);
        if at >= until as f64 {
            break;
        }
        let end = (at + luck.time(seconds)).ceil().clamp(0.0, until as f64);
        steps[at.ceil().max(0.0) as usize] += 1;
        steps[end as usize] -= 1;
    }
    let mut now = 0;
    steps
        .iter()
        .take(until as usize)
        .map(|step| {
            now += step;
            now
        })
        .collect()
}

/// Replica changes within 15 minutes of a load that has been the same for an hour.
fn changes(per_replica: i32, load: impl Fn(i64) -> i64) -> usize {
    let mut autoscaler = Autoscaler::new(per_replica, 1);
    for now in (LOOK..=SETTLED + 15 * MINUTE).step_by(LOOK as usize) {
        let present = autoscaler.replicas;
        autoscaler.look(now, Some(load(now)), present);
    }
    autoscaler.changes_after(SETTLED)
}

/// Loads in replicas' worth: on a whole number, right beside it, and between.
const LEVELS: [f64; 14] = [0.3, 0.9, 1.0, 1.05, 1.2, 1.5, 1.95, 2.0, 2.5, 3.1, 4.0, 6.0, 9.5, 16.0];

#[test]
fn a_number_of_clients_that_stays_leaves_the_replicas_alone() {
    for per_replica in [4, 8, 32, 128] {
        for level in LEVELS {
            // Each client has a request in flight nearly always; up to a tenth are between two.
            let clients = (level * f64::from(per_replica)).ceil();
            let between = |now: i64| Luck(now as u64 * 31 + clients as u64).draw() * 0.1 * clients;
            let count = changes(per_replica, |now| (clients - between(now)).round() as i64);
            assert_eq!(count, 0, "{per_replica} per replica, {clients} clients");
        }
    }
}

/// Such a load strays by up to a fifth of itself for seconds, so where it lies on the edge between two sizes the pool may
/// once settle on the other one. It must not go to and fro: with no time for which a load must have been higher, it did.
#[test]
fn requests_that_come_at_random_leave_the_replicas_alone() {
    let (mut runs, mut moved) = (0, Vec::new());
    for per_replica in [32, 64, 128] {
        for level in LEVELS {
            for (seed, seconds) in [(1, 5.0), (2, 5.0), (3, 10.0), (4, 10.0)] {
                let mean = level * f64::from(per_replica);
                let load = arrivals(&mut Luck(seed), mean, seconds, SETTLED + 15 * MINUTE + 1);
                let count = changes(per_replica, |now| load[now as usize]);
                runs += 1;
                if count > 0 {
                    moved.push((
                        count,
                        format!("{per_replica} per replica, {level} replicas, {seconds} s, seed {seed}"),
                    ));
                }
            }
        }
    }
    assert!(moved.len() * 50 <= runs, "{} of {runs}: {moved:?}", moved.len());
    assert!(moved.iter().all(|(count, _)| *count == 1), "{moved:?}");
}

/// Engines take three minutes to start. Until then the load does not fall, and those that start count as what they are:
/// replicas that the pool has, not idle ones.
#[test]
fn a_rising_load_makes_as_many_replicas_as_it_needs_and_no_more() {
    let check = |per_replica: i32, clients: i64, want: i32| {
        let mut autoscaler = Autoscaler::new(per_replica, 1);
        let mut sizes = vec![1];
        for now in (LOOK..=30 * MINUTE).step_by(LOOK as usize) {
            // The pool says how many it has at once, and a replica that has just become ready has not been asked yet.
            let (present, just_ready) = (autoscaler.replicas, now == 4 * MINUTE);
            autoscaler.look(now, (!just_ready).then_some(clients), present);
            sizes.push(autoscaler.replicas);
        }
        assert!(sizes.is_sorted(), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&want), "{sizes:?}");
        assert!(sizes[8] == want, "within two minutes: {sizes:?}");
    };
    check(32, 200, 7);
    check(8, 24, 3);
    check(8, 8, 1);
    check(16, 500, 32);
}
