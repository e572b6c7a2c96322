//! Reads the page of metrics of a vLLM engine.

use super::Sample;

const RUNNING: &str = "vllm:num_requests_running";
const WAITING: &str = "vllm:num_requests_waiting";
const CACHE_USAGE: &str = "vllm:kv_cache_usage_perc";
/// What older engines call it.
const OLD_CACHE_USAGE: &str = "vllm:gpu_cache_usage_perc";

/// Why a page was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPage {
    /// The page lacks a metric.
    #[error("the page has no {0}")]
    Missing(&'static str),
    /// A metric's value is not a number of requests.
    #[error("{metric} is {value:?}, which is no number of requests")]
    NotANumber {
        /// The metric.
        metric: &'static str,
        /// What stands in the place of its value.
        value: String,
    },
}

/// Reads a page in Prometheus' text format. An engine with data parallelism has a series for each of its cores: requests are
/// added up, and the use of the caches is their mean.
///
/// # Errors
/// When the running or the waiting requests are missing or no number; half a figure would look like little load. The use of
/// the cache may be missing: who scales by requests does not need it.
pub fn parse(page: &str) -> Result<Sample, BadPage> {
    Ok(Sample {
        running: requests(page, RUNNING)?,
        waiting: requests(page, WAITING)?,
        cache_millis: usage(page, CACHE_USAGE).or_else(|| usage(page, OLD_CACHE_USAGE)),
    })
}

fn requests(page: &str, metric: &'static str) -> Result<i64, BadPage> {
    const MOST: f64 = 1e12;
    let mut total = None;
    for text in values(page, metric) {
        let value = text.parse::<f64>().ok().filter(|value| (0.0..=MOST).contains(value));
        let value = value.ok_or_else(|| BadPage::NotANumber { metric, value: text.to_owned() })?;
        #[expect(clippy::cast_possible_truncation, reason = "the range has been checked")]
        let value = value.round() as i64;
        total = Some(total.unwrap_or(0_i64).saturating_add(value));
    }
    total.ok_or(BadPage::Missing(metric))
}

/// The mean of shares between 0 and 1, in thousandths; `None` when there is none or one is something else.
fn usage(page: &str, metric: &str) -> Option<i64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for text in values(page, metric) {
        let share: f64 = text.parse().ok()?;
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        sum += share;
        count += 1.0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the mean of shares is a share")]
    (count > 0.0).then(|| (1000.0 * sum / count).round() as i64)
}

/// The values of all series of a metric, as they stand there.
fn values<'a>(page: &'a str, metric: &str) -> impl Iterator<Item = &'a str> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(metric)?;
        // The name must end here: there are metrics whose names begin with that of another.
        let value = if rest.starts_with('{') {
            // Label values may hold braces; what follows the last one cannot.
            rest.rsplit_once('}').map_or("", |(_, value)| value)
        } else if rest.starts_with(' ') {
            rest
        } else {
            return None;
        };
        Some(value.split_whitespace().next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: &str = "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n";

    #[test]
    fn reads_requests() {
        let bad = |metric, value: &str| Err(BadPage::NotANumber { metric, value: value.to_owned() });
        let table = [
            ("vllm:num_requests_running 2\nvllm:num_requests_waiting 3.0\n", Ok((2, 3))),
            (
                "# TYPE vllm:num_requests_running gauge\n\
                 vllm:num_requests_running{engine=\"0\",model_name=\"a} b\"} 4.0\n\
                 vllm:num_requests_running{engine=\"1\",model_name=\"a} b\"} 5.0 1763000000000\n\
                 vllm:num_requests_waiting{engine=\"0\"} 1e1\n\
                 vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 700.0\n",
                Ok((9, 10)),
            ),
            ("vllm:num_requests_running 2\nvllm:num_requests_waiting_by_reason 3\n", Err(BadPage::Missing(WAITING))),
            ("", Err(BadPage::Missing(RUNNING))),
            ("vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n", bad(RUNNING, "NaN")),
            ("vllm:num_requests_running 0\nvllm:num_requests_waiting -1\n", bad(WAITING, "-1")),
            ("vllm:num_requests_running{engine=\"0\"\nvllm:num_requests_waiting 0\n", bad(RUNNING, "")),
        ];
        for (page, want) in table {
            assert_eq!(parse(page).map(|sample| (sample.running, sample.waiting)), want, "{page}");
        }
    }

    #[test]
    fn reads_how_full_the_cache_is() {
        let table = [
            ("vllm:kv_cache_usage_perc{engine=\"0\"} 0.4371\n", Some(437)),
            ("vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 1\n", Some(750)),
            ("vllm:gpu_cache_usage_perc{engine=\"0\"} 0.25\n", Some(250)),
            ("vllm:gpu_cache_usage_perc 0.25\nvllm:kv_cache_usage_perc 0\n", Some(0)),
            ("vllm:kv_cache_usage_perc NaN\n", None),
            ("vllm:kv_cache_usage_perc 43.7\n", None),
            ("", None),
        ];
        for (page, want) in table {
            assert_eq!(parse(&format!("{page}{QUIET}")).unwrap().cache_millis, want, "{page}");
        }
    }
}
