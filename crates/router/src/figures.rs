//! What is read off the routing table when somebody asks, rather than counted.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use router_core::{Endpoint, Moment, Standing};

use crate::clock;
use crate::live::{Live, Shared};
use crate::metrics::Metrics;

/// Gauges that are the table's own state. Reading them at each scrape costs requests nothing, and a pool that is gone
/// leaves no figure behind.
struct TableFigures {
    live: Shared,
    in_flight: IntGaugeVec,
    tokens: IntGaugeVec,
    replicas: IntGaugeVec,
    usable: IntGaugeVec,
    targets_in_flight: IntGaugeVec,
    requests_today: IntGaugeVec,
    tokens_today: IntGaugeVec,
}

impl TableFigures {
    fn new(live: &Shared) -> Result<Self, prometheus::Error> {
        let help = "Requests under way at the replicas of a pool.";
        let in_flight = IntGaugeVec::new(Opts::new("in_flight", help), &["pool"])?;
        let help = "Tokens under way at the replicas of a pool, as estimated: prompts, and what is left of answers.";
        let tokens = IntGaugeVec::new(Opts::new("in_flight_tokens", help), &["pool"])?;
        let help = "Replicas of a pool that this router knows; those that are ejected are also ready.";
        let replicas = IntGaugeVec::new(Opts::new("replicas", help), &["pool", "state"])?;
        let help =
            "1 if a target that is no pool can be used: its key is known, and it is neither left alone nor at rest.";
        let usable = IntGaugeVec::new(Opts::new("target_usable", help), &["policy", "pool"])?;
        let help = "Requests under way at a target that is no pool.";
        let targets_in_flight = IntGaugeVec::new(Opts::new("target_in_flight", help), &["policy", "pool"])?;
        let help = "Requests of a policy since midnight UTC, at all routers as far as this one knows; for policies whose rules ask.";
        let requests_today = IntGaugeVec::new(Opts::new("policy_requests_today", help), &["policy"])?;
        let help = "Tokens of prompts and answers of a policy since midnight UTC, in the same way.";
        let tokens_today = IntGaugeVec::new(Opts::new("policy_tokens_today", help), &["policy"])?;
        Ok(Self {
            live: live.clone(),
            in_flight,
            tokens,
            replicas,
            usable,
            targets_in_flight,
            requests_today,
            tokens_today,
        })
    }

    fn all(&self) -> [&IntGaugeVec; 7] {
        [
            &self.in_flight,
            &self.tokens,
            &self.replicas,
            &self.usable,
            &self.targets_in_flight,
            &self.requests_today,
            &self.tokens_today,
        ]
    }

    fn collect_today(&self, live: &Live) {
        let today = clock::today();
        for (policy, volume) in live.table.policies().iter().zip(&live.volumes) {
            let Some(volume) = volume else { continue };
            let (name, had) = (format!("{}/{}", policy.namespace, policy.name), volume.today(today));
            let figure = |count| i64::try_from(count).unwrap_or(i64::MAX);
            self.requests_today.with_label_values(&[&name]).set(figure(had.requests));
            self.tokens_today.with_label_values(&[&name]).set(figure(had.tokens));
        }
    }

    fn collect_targets(&self, live: &Live, now: Moment) {
        for (policy, keys) in live.table.policies().iter().zip(&live.keys) {
            let name = format!("{}/{}", policy.namespace, policy.name);
            for (target, key) in policy.targets.iter().zip(keys) {
                let Some(remote) = target.remote() else { continue };
                let labels = [name.as_str(), &target.name];
                let serves = remote.endpoint.health.standing(now) == Standing::Serving;
                let usable = key.is_ok() && serves && remote.rest.left(now).is_none();
                self.usable.with_label_values(&labels).set(i64::from(usable));
                let in_flight = i64::try_from(remote.endpoint.load.in_flight()).unwrap_or(i64::MAX);
                self.targets_in_flight.with_label_values(&labels).set(in_flight);
            }
        }
    }
}

impl Metrics {
    /// Adds the figures that are read off the routing table when somebody asks, rather than counted.
    ///
    /// # Errors
    ///
    /// When called twice for one registry.
    pub fn observe(&self, live: &Shared) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(TableFigures::new(live)?))
    }
}

impl Collector for TableFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for figure in self.all() {
            figure.reset();
        }
        let (live, now) = (self.live.load(), clock::now());
        for pool in live.table.pools() {
            let name = format!("{}/{}", pool.namespace, pool.name);
            let figure = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let sum = |of: fn(&Endpoint) -> u64| figure(pool.ready.iter().map(|endpoint| of(endpoint)).sum());
            self.in_flight.with_label_values(&[&name]).set(sum(|endpoint| endpoint.load.in_flight()));
            self.tokens.with_label_values(&[&name]).set(sum(|endpoint| endpoint.load.tokens()));
            let serves = |endpoint: &&Arc<Endpoint>| endpoint.health.standing(now) == Standing::Serving;
            let ejected = pool.ready.len() - pool.ready.iter().filter(serves).count();
            let states = [("ready", pool.ready.len()), ("not_ready", pool.not_ready), ("ejected", ejected)];
            for (state, count) in states {
                self.replicas.with_label_values(&[name.as_str(), state]).set(figure(count as u64));
            }
        }
        self.collect_targets(&live, now);
        self.collect_today(&live);
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every metric as a row of docs/metrics.md: its name, what its labels are, and its help.
    fn rows() -> Vec<String> {
        let metrics = Metrics::new().unwrap();
        let live = Live::unknown().shared();
        let figures = TableFigures::new(&live).unwrap();
        let all = metrics.kept.iter().cloned().chain(figures.desc().into_iter().cloned());
        let mut rows: Vec<String> = all
            .map(|desc| format!("| `{}` | {} | {} |", desc.fq_name, desc.variable_labels.join(", "), desc.help))
            .collect();
        rows.sort();
        rows
    }

    /// `UPDATE_GOLDEN=1 cargo test -p router figures` writes the table anew.
    #[test]
    fn every_metric_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let start = "| metric | labels | meaning |\n| --- | --- | --- |\n";
        let (before, rest) = text.split_once(start).expect("the table of the router");
        let table = rest.split("\n\n").next().unwrap().trim_end();
        let want = rows().join("\n");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, format!("{before}{start}{want}{}", &rest[table.len()..])).unwrap();
        } else {
            assert_eq!(table, want, "stale, UPDATE_GOLDEN=1 rewrites it");
        }
    }

    #[test]
    fn every_name_is_used_once() {
        let metrics = Metrics::new().unwrap();
        let live = Live::unknown().shared();
        metrics.observe(&live).unwrap();
        metrics.count_own(None, 404);
        let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
        assert!(
            text.contains(r#"quartermaster_router_requests_total{code="404",policy="",pool="",surface="unknown"} 1"#),
            "{text}"
        );
        assert!(metrics.observe(&live).is_err());
    }
}
