//! What one look at an object leads to: writes in order, the status to report, and when to look again.

use std::time::Duration;

use api::InferencePoolStatus;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
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
        /// Version of the object, when its number of replicas has to be taken back from another field manager. Only such a
        /// write is forced, and it must hold for this version only: of that it is known that nothing else is forced with it.
        take_back: Option<String>,
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
    /// What the replicas run as.
    ServiceAccount(ServiceAccount),
    /// Who may reach the replicas, and where they may go.
    NetworkPolicy(Box<NetworkPolicy>),
    /// Gives the replicas a common name, and endpoints to find them by.
    Service(Box<Service>),
    /// Runs the replicas.
    Deployment(Box<Deployment>),
    /// How many replicas may be away while nodes are drained.
    PodDisruptionBudget(PodDisruptionBudget),
    /// Sets the pool's number of replicas by load.
    Autoscaler(HorizontalPodAutoscaler),
}

/// The kinds of [`Child`], in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    /// A `v1` ServiceAccount.
    ServiceAccount,
    /// A `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy,
    /// A `v1` Service.
    Service,
    /// An `apps/v1` Deployment.
    Deployment,
    /// A `policy/v1` PodDisruptionBudget.
    PodDisruptionBudget,
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

/// The same for whatever object a child is.
macro_rules! each {
    ($child:expr, $object:ident => $what:expr) => {
        match $child {
            Child::ServiceAccount($object) => $what,
            Child::NetworkPolicy($object) => $what,
            Child::Service($object) => $what,
            Child::Deployment($object) => $what,
            Child::PodDisruptionBudget($object) => $what,
            Child::Autoscaler($object) => $what,
        }
    };
}

impl Child {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ChildKind {
        match self {
            Self::ServiceAccount(_) => ChildKind::ServiceAccount,
            Self::NetworkPolicy(_) => ChildKind::NetworkPolicy,
            Self::Service(_) => ChildKind::Service,
            Self::Deployment(_) => ChildKind::Deployment,
            Self::PodDisruptionBudget(_) => ChildKind::PodDisruptionBudget,
            Self::Autoscaler(_) => ChildKind::Autoscaler,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        each!(self, o => &o.metadata)
    }

    /// Its metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        each!(self, o => &mut o.metadata)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// As it is sent. Objects of Kubernetes always have a JSON form, so there is no error to tell.
    #[must_use]
    pub fn to_json(&self) -> Value {
        each!(self, o => serde_json::to_value(o)).unwrap_or_default()
    }

    /// A child of this kind from its JSON form.
    ///
    /// # Errors
    /// When `object` is not one of that kind.
    pub fn from_json(kind: ChildKind, object: Value) -> serde_json::Result<Self> {
        Ok(match kind {
            ChildKind::ServiceAccount => Self::ServiceAccount(serde_json::from_value(object)?),
            ChildKind::NetworkPolicy => Self::NetworkPolicy(serde_json::from_value(object)?),
            ChildKind::Service => Self::Service(serde_json::from_value(object)?),
            ChildKind::Deployment => Self::Deployment(serde_json::from_value(object)?),
            ChildKind::PodDisruptionBudget => Self::PodDisruptionBudget(serde_json::from_value(object)?),
            ChildKind::Autoscaler => Self::Autoscaler(serde_json::from_value(object)?),
        })
    }
}

impl ChildKind {
    /// All of them, in the order in which they are written: what a pod needs comes before the pod.
    pub const ALL: [Self; 6] = [
        Self::ServiceAccount,
        Self::NetworkPolicy,
        Self::Service,
        Self::Deployment,
        Self::PodDisruptionBudget,
        Self::Autoscaler,
    ];

    /// The kind's name in Kubernetes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Autoscaler => "HorizontalPodAutoscaler",
        }
    }
}
