//! What one look at an object leads to: writes in order, the status to report, and when to look again.

use std::time::Duration;

use api::InferencePoolStatus;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// Everything that follows from one look at a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Writes, in the order in which they must happen. Empty when the cluster is as the pool wants it.
    pub changes: Vec<Change>,
    /// The whole new status.
    pub status: InferencePoolStatus,
    /// Children that cannot be brought into shape without a person. Nothing is sent for them.
    pub blocked: Vec<Blocked>,
    /// When to look again even if nothing happens.
    pub requeue: Duration,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Bring a child into the form given.
    Apply {
        /// The child as it should be: only the fields that are ours.
        child: Box<Child>,
        /// UID of the object that is there, or `None` to make a new one.
        uid: Option<String>,
        /// Paths of the fields that differ, for the log. Empty for a new object.
        because: Vec<String>,
    },
    /// Take a child away.
    Delete {
        /// What kind of child.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// Its UID; an object of the same name made since then stays.
        uid: String,
    },
}

/// An object that is made for a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// Gives the replicas a common name, and endpoints to find them by.
    Service(Service),
    /// Runs the replicas.
    Deployment(Box<Deployment>),
    /// Sets the pool's number of replicas by load.
    Autoscaler(HorizontalPodAutoscaler),
}

/// The kinds of [`Child`], in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    /// A `v1` Service.
    Service,
    /// An `apps/v1` Deployment.
    Deployment,
    /// An `autoscaling/v2` HorizontalPodAutoscaler.
    Autoscaler,
}

/// Why a child is left as it is although it is not as the pool wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// Somebody else made an object of this name.
    #[error(
        "{kind} {name} exists, but was not made for this pool; delete or rename it, or give the pool another name",
        kind = .kind.as_str()
    )]
    NotOurs {
        /// What kind of object.
        kind: ChildKind,
        /// Its name.
        name: String,
    },
    /// Somebody else set a field of our object to another value.
    #[error(
        "{kind} {name}: {path} was set by {manager:?}, and the operator does not overwrite it; set it back, or delete the \
         {kind} with --cascade=orphan to have it made anew",
        kind = .kind.as_str()
    )]
    Foreign {
        /// What kind of object.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// The field.
        path: String,
        /// Who set it: the field manager's name.
        manager: String,
    },
}

/// A change that people should hear of as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a change for the worse.
    pub warning: bool,
    /// The reason of the condition that changed.
    pub reason: String,
    /// The message of the condition that changed.
    pub message: String,
}

impl Child {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ChildKind {
        match self {
            Self::Service(_) => ChildKind::Service,
            Self::Deployment(_) => ChildKind::Deployment,
            Self::Autoscaler(_) => ChildKind::Autoscaler,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Service(o) => &o.metadata,
            Self::Deployment(o) => &o.metadata,
            Self::Autoscaler(o) => &o.metadata,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// As it is sent. Objects of Kubernetes always have a JSON form, so there is no error to tell.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Service(o) => serde_json::to_value(o),
            Self::Deployment(o) => serde_json::to_value(o),
            Self::Autoscaler(o) => serde_json::to_value(o),
        }
        .unwrap_or_default()
    }
}

impl ChildKind {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Service, Self::Deployment, Self::Autoscaler];

    /// The kind's name in Kubernetes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::Autoscaler => "HorizontalPodAutoscaler",
        }
    }
}
