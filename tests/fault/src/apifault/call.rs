//! What a request asks of the API server, and the log of it.

use std::time::Duration;

use http::Method;
use http::request::Parts;
use serde_json::Value;

use crate::content::{content, hash};

/// What is done with a resource, in the words of RBAC. A server-side apply is a [`Verb::Patch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words are Kubernetes' own")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// A request, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is to be done.
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural, such as `pods`; empty when the path is no resource's.
    pub resource: String,
    /// Such as `status`, or empty.
    pub subresource: String,
    /// Empty when the request is about all namespaces or none.
    pub namespace: String,
    /// Empty when the request is about a collection.
    pub name: String,
    /// The query, as it came.
    pub query: String,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked.
    pub ask: Ask,
    /// When it came in, counted from the start of the proxy.
    pub at: Duration,
    /// How long it took until it was answered or its client gave up; absent while it is under way. A watch is answered when
    /// it has begun.
    pub took: Option<Duration>,
    /// Status of the API server's answer, if the request got that far.
    pub code: Option<u16>,
    /// UID of the object in the API server's answer.
    pub uid: String,
    /// Resource version of the object in the API server's answer.
    pub revision: String,
    /// What the object in the API server's answer holds, as [`content`] tells; 0 without one.
    pub content: u64,
    /// Hash of the request's body.
    pub body: u64,
    /// UID that the request insists on: of the object it sends, or of the preconditions of a delete.
    pub insists: String,
    /// What was done to it, by the name of its fault.
    pub fault: Option<&'static str>,
}

impl Verb {
    /// The word of RBAC.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl Ask {
    /// Reads what is asked from method and path.
    #[must_use]
    pub fn of(method: &Method, path: &str, query: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next() {
            Some("api") => parts.next().map(|_| ""),
            Some("apis") => parts.next().zip(parts.next()).map(|(group, _version)| group),
            _ => None,
        };
        let rest: Vec<&str> = parts.collect();
        // `namespaces/x` alone is about the Namespace x; with more behind it, it says where.
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let part = |index: usize| (*rest.get(index).unwrap_or(&"")).to_owned();
        let (resource, name, subresource) = (part(0), part(1), part(2));
        let watch = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if name.is_empty() => Verb::DeleteCollection,
            Method::DELETE => Verb::Delete,
            _ if watch => Verb::Watch,
            _ if name.is_empty() && !resource.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        Self {
            verb,
            group: group.unwrap_or_default().to_owned(),
            resource,
            subresource,
            namespace: namespace.to_owned(),
            name,
            query: query.to_owned(),
        }
    }

    /// Whether it changes what is stored. Reviews of one's own rights are created, but not stored.
    #[must_use]
    pub fn mutates(&self) -> bool {
        !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch) && !self.resource.ends_with("reviews")
    }

    /// Whether it is an event, which may be lost without harm.
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.resource == "events"
    }

    /// Resource and subresource as RBAC writes them: `pods/status`.
    #[must_use]
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// Verb, resource and name in one line.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {} {}", self.verb.as_str(), self.full_resource(), self.name)
    }
}

impl Call {
    /// A call that has just come in.
    pub(super) fn new(parts: &Parts, body: &[u8], at: Duration) -> Self {
        let ask = Ask::of(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let insists = ["/metadata/uid", "/preconditions/uid"].iter().find_map(|path| sent.pointer(path)?.as_str());
        Self {
            at,
            took: None,
            code: None,
            uid: String::new(),
            revision: String::new(),
            content: 0,
            body: hash(body),
            insists: insists.unwrap_or_default().to_owned(),
            fault: None,
            ask,
        }
    }

    /// Notes the API server's answer.
    pub(super) fn answered(&mut self, code: u16, body: &[u8]) {
        self.code = Some(code);
        // The answer to a list is large, and about no one object.
        if self.ask.name.is_empty() && self.ask.verb != Verb::Create {
            return;
        }
        let object: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        (self.uid, self.revision) = (text("/metadata/uid"), text("/metadata/resourceVersion"));
        if !self.uid.is_empty() {
            self.content = content(&object);
        }
    }

    /// Whether it made an object.
    #[must_use]
    pub fn created(&self) -> bool {
        self.ask.mutates() && self.code == Some(201)
    }

    /// Whether it took an object away.
    #[must_use]
    pub fn deleted(&self) -> bool {
        matches!(self.ask.verb, Verb::Delete | Verb::DeleteCollection) && self.code.is_some_and(|code| code < 300)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_apart() {
        let check = |method: Method, path: &str, query: &str, want: (Verb, [&str; 5])| {
            let ask = Ask::of(&method, path, query);
            let got = [&ask.group, &ask.resource, &ask.subresource, &ask.namespace, &ask.name].map(String::as_str);
            assert_eq!((ask.verb, got), want, "{method} {path}?{query}");
        };
        check(Method::GET, "/api/v1/pods", "limit=500", (Verb::List, ["", "pods", "", "", ""]));
        check(Method::GET, "/api/v1/namespaces/a/pods", "watch=true&x=1", (Verb::Watch, ["", "pods", "", "a", ""]));
        check(Method::GET, "/api/v1/namespaces/a", "", (Verb::Get, ["", "namespaces", "", "", "a"]));
        check(Method::GET, "/version", "", (Verb::Get, ["", "", "", "", ""]));
        let deployment = "/apis/apps/v1/namespaces/a/deployments/d";
        check(Method::PATCH, deployment, "fieldManager=x", (Verb::Patch, ["apps", "deployments", "", "a", "d"]));
        check(Method::DELETE, deployment, "", (Verb::Delete, ["apps", "deployments", "", "a", "d"]));
        let scale = "/apis/apps/v1/namespaces/a/deployments/d/scale";
        check(Method::PUT, scale, "", (Verb::Update, ["apps", "deployments", "scale", "a", "d"]));
        let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let want = (Verb::Create, ["authorization.k8s.io", "selfsubjectaccessreviews", "", "", ""]);
        check(Method::POST, reviews, "", want);
        assert!(!Ask::of(&Method::POST, reviews, "").mutates());
        assert!(Ask::of(&Method::POST, "/api/v1/namespaces/a/events", "").mutates());
    }

    #[test]
    fn what_a_write_insists_on_is_noted() {
        let check = |body: &str, want: &str| {
            let (parts, ()) = http::Request::delete("/api/v1/namespaces/a/services/s").body(()).unwrap().into_parts();
            assert_eq!(Call::new(&parts, body.as_bytes(), Duration::ZERO).insists, want, "{body}");
        };
        check(r#"{"preconditions":{"uid":"u"}}"#, "u");
        check(r#"{"metadata":{"uid":"v"}}"#, "v");
        check("", "");
    }
}
