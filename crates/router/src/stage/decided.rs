//! What was decided about a request, as it is told to its client and to the log.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header by which a client names its target, and is told of it.
pub(super) const TARGET: HeaderName = HeaderName::from_static("x-quartermaster-target");
const RULE: HeaderName = HeaderName::from_static("x-quartermaster-rule");
const COMPLEXITY: HeaderName = HeaderName::from_static("x-quartermaster-complexity");

/// Headers by which the router tells clients what was decided.
pub(super) const OURS: [HeaderName; 3] = [TARGET, RULE, COMPLEXITY];

/// What the rules said, for the answer's headers and the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    /// The rule that decided; `None` where none did.
    pub(crate) rule: Option<Box<str>>,
    /// How hard the request is, with the points, if a rule asked.
    pub(crate) complexity: Option<String>,
}

impl Decided {
    /// Tells the client, who may not know what a target is but can tell others.
    pub(crate) fn tell(&self, target: Option<&str>, headers: &mut HeaderMap) {
        let all = [(RULE, self.rule.as_deref()), (COMPLEXITY, self.complexity.as_deref()), (TARGET, target)];
        for (name, value) in all {
            // Names of rules and targets, and words for points, always make a header.
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}
