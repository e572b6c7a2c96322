//! What a provider's answer says of the provider: whose fault an error is, and when to come again.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use wire::translate::{Class, Failure, Shape};

use crate::{Pause, Reason, Verdict};

/// Whose fault an answer tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request's own. No other target would take it.
    Client,
    /// The key is not known, or may not do this.
    Credentials,
    /// The money behind the key is spent. Waiting does not help.
    Money,
    /// The key was used too often.
    Pace,
    /// The provider has too much to do.
    Overloaded,
    /// The provider failed.
    Server,
    /// The provider knows no such model or path.
    Lost,
    /// The provider gave up waiting.
    Late,
    /// The answer is elsewhere.
    Elsewhere,
}

impl Fault {
    /// Whose fault an answer with this status and body tells of; `None` for one that is none.
    #[must_use]
    pub fn of_answer(status: u16, body: &[u8]) -> Option<Self> {
        Some(match status {
            200..=299 => return None,
            300..=399 => Self::Elsewhere,
            405 => Self::Lost,
            408 => Self::Late,
            503 | 529 => Self::Overloaded,
            500.. => Self::Server,
            _ => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                Self::of_class(Failure::read(Shape::Chat, status, body, None).class)
            }
        })
    }

    /// The same of an answer of Bedrock's, which says by `kind` (`x-amzn-errortype`) what its status leaves open: 429 is also
    /// for a model that is not ready, 403 for credentials that are too old, 424 for a model that failed.
    #[must_use]
    pub fn of_bedrock(status: StatusCode, body: &[u8], kind: Option<&str>) -> Option<Self> {
        if status.is_success() {
            return None;
        }
        if status.is_redirection() {
            return Some(Self::Elsewhere);
        }
        Some(Self::of_class(Failure::read(Shape::Converse, status, body, kind).class))
    }

    /// Whose fault a failure of this class is.
    #[must_use]
    pub fn of_class(class: Class) -> Self {
        match class {
            Class::Invalid | Class::TooLarge => Self::Client,
            Class::NotFound => Self::Lost,
            Class::Credentials => Self::Credentials,
            Class::Pace => Self::Pace,
            Class::Quota => Self::Money,
            Class::Overloaded => Self::Overloaded,
            Class::Timeout => Self::Late,
            Class::Server => Self::Server,
        }
    }

    /// For which reason another target is asked, if it is.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Client => None,
            Self::Money | Self::Pace => Some(Reason::RateLimited),
            Self::Overloaded => Some(Reason::Overloaded),
            Self::Late => Some(Reason::Timeout),
            Self::Credentials | Self::Server | Self::Lost | Self::Elsewhere => Some(Reason::ServerError),
        }
    }

    /// What it says of the target as a whole.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Client | Self::Lost => Verdict::Well,
            // The key rests; the provider is as well as before.
            Self::Money | Self::Pace => Verdict::Full,
            Self::Overloaded | Self::Server | Self::Late | Self::Credentials | Self::Elsewhere => Verdict::Failed,
        }
    }

    /// Why the key rests, and for how long where the provider does not say.
    #[must_use]
    pub fn pause(self) -> Option<(Pause, Duration)> {
        match self {
            Self::Pace => Some((Pause::Pace, Duration::from_secs(1))),
            // Long enough to spare the provider, short enough that somebody who has just paid need not wait.
            Self::Money => Some((Pause::Money, Duration::from_secs(60))),
            _ => None,
        }
    }
}

/// Longest time that a provider's word is taken for. One that asks for more is asked again after this.
const MOST: Duration = Duration::from_secs(3600);

/// When to come again, as the headers say: `retry-after-ms`, else `retry-after` in seconds or as a date, of which `now` is the
/// time since 1970, else when a limit of which nothing remains is reset.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let seconds = |number: f64| Duration::try_from_secs_f64(number).unwrap_or(MOST).min(MOST);
    if let Some(millis) = text("retry-after-ms").and_then(number) {
        return Some(seconds(millis / 1000.0));
    }
    let Some(after) = text("retry-after") else { return reset(headers, now) };
    if let Some(number) = number(after) {
        return Some(seconds(number));
    }
    let date = httpdate::parse_http_date(after).ok();
    let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    // What is no time at all says as much as nothing.
    date.map_or_else(|| reset(headers, now), |date| Some(date.saturating_sub(now).min(MOST)))
}

/// The limits of which providers tell what remains and when they are reset: OpenAI's as a time such as `6m0s`, Anthropic's as a
/// date.
const LIMITS: [(&str, &str); 6] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];

/// When the last of the limits of which nothing remains is reset.
fn reset(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let spent = LIMITS.iter().filter(|(remaining, _)| text(remaining) == Some("0"));
    let resets = spent.filter_map(|(_, reset)| {
        let reset = text(reset)?;
        span(reset).or_else(|| Some(date(reset)?.saturating_sub(now)))
    });
    resets.max().map(|after| after.min(MOST))
}

/// A time such as `1h2m3.5s` or `20ms`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut all = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        all = all.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(all)
}

/// A date such as `2026-11-21T22:00:30Z`, as the time since 1970.
fn date(text: &str) -> Option<Duration> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Duration::try_from(at.duration_since(jiff::Timestamp::UNIX_EPOCH)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn tells_whose_fault_it_is() {
        let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        let spend = r#"{"type":"error","error":{"type":"rate_limit_error","message":"enforced_spend_limit_reached"}}"#;
        let credit = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API"}}"#;
        let echo = r#"{"error":{"message":"Invalid value: 'insufficient_quota'","code":"invalid_value"}}"#;
        let pace = r#"{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}"#;
        let cases = [
            (200, "", None),
            (302, "", Some(Fault::Elsewhere)),
            (400, "{}", Some(Fault::Client)),
            (400, credit, Some(Fault::Money)),
            // What a client wrote makes no key rest.
            (400, echo, Some(Fault::Client)),
            (401, "", Some(Fault::Credentials)),
            (402, "", Some(Fault::Money)),
            (403, "", Some(Fault::Credentials)),
            (404, "", Some(Fault::Lost)),
            (408, "", Some(Fault::Late)),
            (409, "", Some(Fault::Client)),
            (413, "", Some(Fault::Client)),
            (422, "", Some(Fault::Client)),
            (429, pace, Some(Fault::Pace)),
            (429, quota, Some(Fault::Money)),
            (429, spend, Some(Fault::Money)),
            (500, quota, Some(Fault::Server)),
            (502, "", Some(Fault::Server)),
            (503, "", Some(Fault::Overloaded)),
            (504, "", Some(Fault::Server)),
            (529, "", Some(Fault::Overloaded)),
        ];
        for (status, body, want) in cases {
            assert_eq!(Fault::of_answer(status, body.as_bytes()), want, "{status} {body}");
        }
    }

    #[test]
    fn bedrock_says_by_the_kind_whose_fault_it_is() {
        let typed = r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"m"}"#;
        for (status, kind, body, want) in [
            (200, None, "{}", None),
            (307, None, "", Some(Fault::Elsewhere)),
            (400, Some("ValidationException"), "{}", Some(Fault::Client)),
            (400, None, typed, Some(Fault::Credentials)),
            (403, Some("ExpiredTokenException:http://internal.amazon.com/"), "{}", Some(Fault::Credentials)),
            (403, Some("AccessDeniedException"), "{}", Some(Fault::Credentials)),
            (403, None, "{}", Some(Fault::Credentials)),
            (404, Some("ResourceNotFoundException"), "{}", Some(Fault::Lost)),
            (408, Some("ModelTimeoutException"), "{}", Some(Fault::Late)),
            (424, Some("ModelErrorException"), "{}", Some(Fault::Server)),
            (429, Some("ThrottlingException"), "{}", Some(Fault::Pace)),
            (429, Some("ModelNotReadyException"), "{}", Some(Fault::Overloaded)),
            (400, Some("ServiceQuotaExceededException"), "{}", Some(Fault::Pace)),
            (500, Some("InternalServerException"), "{}", Some(Fault::Server)),
            (503, Some("ServiceUnavailableException"), "{}", Some(Fault::Overloaded)),
            (502, None, "<html>", Some(Fault::Server)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Fault::of_bedrock(status, body.as_bytes(), kind), want, "{status} {kind:?} {body}");
        }
    }

    #[test]
    fn reads_when_to_come_again() {
        type Case = (&'static [(&'static str, &'static str)], Option<u64>);
        // Sat, 21 Nov 2026 22:00:00 GMT.
        let now = Duration::from_secs(1_795_298_400);
        let cases: [Case; 20] = [
            (&[], None),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "7")], Some(7_000)),
            (&[("retry-after", " 1.5 ")], Some(1_500)),
            (&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250)),
            (&[("retry-after-ms", "x"), ("retry-after", "7")], Some(7_000)),
            (&[("retry-after", "Sat, 21 Nov 2026 22:00:30 GMT")], Some(30_000)),
            (&[("retry-after", "Sat, 21 Nov 2026 21:00:00 GMT")], Some(0)),
            (&[("retry-after", "Sun, 21 Nov 2027 21:00:00 GMT")], Some(3_600_000)),
            (&[("retry-after", "2592000")], Some(3_600_000)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "NaN")], None),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m0.5s")], Some(60_500)),
            (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "20ms")], Some(20)),
            (&[("x-ratelimit-remaining-tokens", "7"), ("x-ratelimit-reset-tokens", "20ms")], None),
            (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "soon")], None),
            (
                &[
                    ("anthropic-ratelimit-tokens-remaining", "0"),
                    ("anthropic-ratelimit-tokens-reset", "2026-11-21T22:00:30Z"),
                ],
                Some(30_000),
            ),
            (
                &[("retry-after", "-1"), ("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "9s")],
                Some(9_000),
            ),
            (
                &[("retry-after", "2"), ("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "9s")],
                Some(2_000),
            ),
        ];
        for (headers, want) in cases {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()))
                .collect();
            assert_eq!(retry_after(&map, now).map(|after| after.as_millis()), want.map(u128::from), "{headers:?}");
        }
    }
}
