//! What can go wrong with a reconcile, and the five classes of it, which decide when it is tried again.

use std::time::Duration;

use api::conditions::reason;
use kube::core::Status;
use operator_core::plan::Blocked;
use operator_core::pool::Invalid;

/// Why a reconcile did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The stored object does not fit its kind.
    #[error("the object cannot be read: {0}")]
    Undecodable(String),
    /// The spec has mistakes; they are in the status.
    #[error("the spec has mistakes: {}", joined(.0))]
    Invalid(Vec<Invalid>),
    /// Objects of the pool are somebody else's; they are named in the status.
    #[error("{}", joined(.0))]
    Blocked(Vec<Blocked>),
    /// The pool is not, or no longer, as the watch last told. The watch will tell, and that leads to the next look.
    #[error(
        "the pool has been changed or deleted since its watch last told of it; nothing is written for it until then"
    )]
    Behind,
    /// A watch has not delivered its first list.
    #[error("the first lists are still to come")]
    NotSynced,
    /// The API server did not answer.
    #[error("{what}: no answer within {} s", .after.as_secs())]
    Deadline {
        /// What was asked for.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The API server refused, or could not be talked to.
    #[error("{what}: {}", told(.source))]
    Api {
        /// What was asked for.
        what: String,
        /// What came back.
        source: kube::Error,
    },
    /// The reconcile itself is at fault. The log has the place.
    #[error("the operator has a fault: {0}")]
    Panicked(String),
}

/// How an error is to be met. The module `backoff` has the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Only a change of the object helps.
    Invalid,
    /// Something else has to happen first, and will tell.
    Waiting,
    /// Somebody else was faster; the next look will see it.
    Conflict,
    /// The API server is busy or away.
    Transient,
    /// We ask for what we may not have, or what is not an object.
    Bug,
}

impl Error {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Undecodable(_) | Self::Invalid(_) => Class::Invalid,
            Self::Blocked(_) | Self::NotSynced => Class::Waiting,
            Self::Behind => Class::Conflict,
            Self::Api { source: kube::Error::Api(status), .. } => class_of(status),
            Self::Deadline { .. } | Self::Api { .. } => Class::Transient,
            Self::Panicked(_) => Class::Bug,
        }
    }

    /// What people should read in the pool's conditions, as a reason and a message: an error that waiting will not cure.
    pub(crate) fn for_people(&self) -> Option<(&'static str, String)> {
        let reason = match (self, self.class()) {
            (Self::Blocked(_), _) => reason::BLOCKED,
            (Self::Api { .. }, Class::Bug) => reason::REFUSED,
            (Self::Api { source: kube::Error::Api(status), .. }, Class::Conflict)
                if has_cause(status, "FieldManagerConflict") =>
            {
                reason::BLOCKED
            }
            _ => return None,
        };
        Some((reason, self.to_string()))
    }

    /// Whether the API server says that the object breaks the rules of its kind.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.is_invalid())
    }

    /// Whether the API server says that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.is_not_found())
    }

    /// Whether the API server does not let us.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.is_forbidden())
    }
}

impl Class {
    pub(crate) const ALL: [Self; 5] = [Self::Invalid, Self::Waiting, Self::Conflict, Self::Transient, Self::Bug];

    /// The value of the metrics' `class` label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Bug => "bug",
        }
    }
}

fn class_of(status: &Status) -> Class {
    // A namespace on its way out forbids new objects; it will soon be gone, and the pool with it.
    if has_cause(status, "NamespaceTerminating") {
        return Class::Waiting;
    }
    if status.is_conflict() || status.is_already_exists() {
        return Class::Conflict;
    }
    if status.is_forbidden() || status.is_invalid() || status.code == 400 {
        return Class::Bug;
    }
    Class::Transient
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
}

/// The API server's own sentence where there is one; the error's debug form would repeat it with all its parts.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn joined<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(status: &Value, class: Class, condition: Option<&str>) {
        let parsed: Status = serde_json::from_value(status.clone()).unwrap();
        let error = Error::Api { what: "apply Deployment a/b".to_owned(), source: kube::Error::Api(parsed.boxed()) };
        assert_eq!(error.class(), class, "{status}");
        assert_eq!(error.for_people().map(|(reason, _)| reason), condition, "{status}");
    }

    #[test]
    fn what_a_person_must_resolve_is_told() {
        let name = "llama-engine".to_owned();
        let blocked = Error::Blocked(vec![Blocked::NotOurs { kind: operator_core::plan::ChildKind::Service, name }]);
        let (reason, message) = blocked.for_people().unwrap();
        assert_eq!(reason, "Blocked");
        assert!(message.starts_with("Service llama-engine exists, but was not made for this pool"), "{message}");
        assert_eq!(Error::NotSynced.for_people(), None);
    }

    #[test]
    fn answers_have_classes() {
        let answer = |code: u16, reason: &str, cause: &str| {
            json!({
                "status": "Failure", "code": code, "reason": reason, "message": "no",
                "details": {"causes": [{"reason": cause, "message": "", "field": ""}]},
            })
        };
        check(&answer(403, "Forbidden", ""), Class::Bug, Some("Refused"));
        check(&answer(403, "Forbidden", "NamespaceTerminating"), Class::Waiting, None);
        check(&answer(422, "Invalid", "FieldValueInvalid"), Class::Bug, Some("Refused"));
        check(&answer(409, "Conflict", "FieldManagerConflict"), Class::Conflict, Some("Blocked"));
        check(&answer(409, "Conflict", ""), Class::Conflict, None);
        check(&answer(409, "AlreadyExists", ""), Class::Conflict, None);
        for (code, reason) in
            [(404, "NotFound"), (429, "TooManyRequests"), (500, "InternalError"), (401, "Unauthorized")]
        {
            check(&answer(code, reason, ""), Class::Transient, None);
        }
    }
}
