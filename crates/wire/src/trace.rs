//! Traces: the W3C `traceparent` header, and spans as OTLP has them in JSON.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Who asks, within which trace: the value of `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never 0.
    pub trace: u128,
    /// The span that asks; never 0.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a header's value. One that is malformed begins no trace, as W3C has it; of later versions what is known is read.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let plain = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let fits = plain(version, 2) && plain(trace, 32) && plain(span, 16) && plain(flags, 2);
        if !fits || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        Some(Self { trace, span, sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1 })
    }
}

/// As the value of the header.
impl std::fmt::Display for TraceParent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Which end of a call a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Somebody asked this process.
    Server,
    /// This process asked somebody.
    Client,
}

/// What a span says of itself beside its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// A length of time, which is told in seconds.
    Time(Duration),
}

/// One span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span that asked for it.
    pub parent: Option<u64>,
    /// What was done, in few words.
    pub name: Cow<'static, str>,
    /// Which end it tells of.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end: u64,
    /// Why it failed, if it did.
    pub failed: Option<String>,
    /// What else there is to say, by OpenTelemetry's names where there is one.
    pub attributes: Vec<(&'static str, SpanValue)>,
}

/// Spans as the body of `POST /v1/traces`, in the name of this service.
#[must_use]
pub fn otlp(service: &str, spans: &[Span]) -> Vec<u8> {
    let named = Attribute { key: "service.name", value: Value::Text { string_value: service } };
    let export = Export {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: [named] },
            scope_spans: [ScopeSpans {
                scope: Scope { name: "quartermaster" },
                spans: spans.iter().map(OtlpSpan::of).collect(),
            }],
        }],
    };
    // Text and numbers always serialize, so the fallback is never seen.
    serde_json::to_vec(&export).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 1],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<OtlpSpan<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpan<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'a str,
    kind: u8,
    #[serde(serialize_with = "as_text")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "as_text")]
    end_time_unix_nano: u64,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text {
        #[serde(rename = "stringValue")]
        string_value: &'a str,
    },
    Number {
        #[serde(rename = "intValue", serialize_with = "as_text")]
        int_value: i64,
    },
    Flag {
        #[serde(rename = "boolValue")]
        bool_value: bool,
    },
    Double {
        #[serde(rename = "doubleValue")]
        double_value: f64,
    },
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    message: &'a str,
}

/// JSON has no integers of 64 bits; OTLP writes them as texts.
fn as_text<S: Serializer>(number: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.to_string())
}

impl<'a> OtlpSpan<'a> {
    fn of(span: &'a Span) -> Self {
        let attribute = |(key, value): &'a (&'static str, SpanValue)| Attribute {
            key,
            value: match value {
                SpanValue::Text(text) => Value::Text { string_value: text },
                SpanValue::Number(number) => Value::Number { int_value: *number },
                SpanValue::Flag(is) => Value::Flag { bool_value: *is },
                SpanValue::Time(time) => Value::Double { double_value: time.as_secs_f64() },
            },
        };
        Self {
            trace_id: format!("{:032x}", span.trace),
            span_id: format!("{:016x}", span.id),
            parent_span_id: span.parent.map(|id| format!("{id:016x}")),
            name: &span.name,
            kind: match span.kind {
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
            start_time_unix_nano: span.start,
            end_time_unix_nano: span.end,
            attributes: span.attributes.iter().map(attribute).collect(),
            status: span.failed.as_deref().map(|message| Status { code: 2, message }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_header() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(good).unwrap();
        assert_eq!((parent.span, parent.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parent.to_string(), good);
        assert!(!TraceParent::parse(&good.replace("-01", "-02")).unwrap().sampled);
        assert!(TraceParent::parse(&good.replacen("00", "cc", 1).replace("-01", "-01-more")).is_some());
        let bad = [
            "",
            "00",
            &good.replacen("00", "ff", 1),
            &good.replacen("00", "0", 1),
            &good.replace("4bf", "4BF"),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace("-01", "-01-more"),
            &good.replace("-01", ""),
            &good.replace("-01", "-0g"),
        ];
        for value in bad {
            assert_eq!(TraceParent::parse(value), None, "{value}");
        }
    }

    #[test]
    fn spans_have_the_shape_of_otlp() {
        let span = Span {
            trace: 1,
            id: 2,
            parent: Some(3),
            name: "request".into(),
            kind: SpanKind::Server,
            start: 4,
            end: u64::MAX,
            failed: Some("so".to_owned()),
            attributes: vec![
                ("a", SpanValue::Text("b\"".to_owned())),
                ("c", SpanValue::Number(-5)),
                ("d", SpanValue::Flag(true)),
                ("e", SpanValue::Time(Duration::from_millis(1250))),
            ],
        };
        let want = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},"scopeSpans":[{"scope":{"name":"quartermaster"},"spans":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","parentSpanId":"0000000000000003","name":"request","kind":2,"startTimeUnixNano":"4","endTimeUnixNano":"18446744073709551615","attributes":[{"key":"a","value":{"stringValue":"b\""}},{"key":"c","value":{"intValue":"-5"}},{"key":"d","value":{"boolValue":true}},{"key":"e","value":{"doubleValue":1.25}}],"status":{"code":2,"message":"so"}}]}]}]}"#;
        assert_eq!(String::from_utf8(otlp("s", &[span])).unwrap(), want);
    }
}
