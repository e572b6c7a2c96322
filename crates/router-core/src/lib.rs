//! Decides where a request goes: which policy a model name belongs to, which of its targets may answer, which
//! replica of a pool, and how a request that cannot be answered is refused.
//!
//! Functions over values only: no I/O, no clock; time and luck come as arguments. What changes in a built [`Table`] is what
//! each endpoint carries and how it stands, in a few atomic words. Start with [`Table::build`], then [`Course`] and
//! [`Attempt::begin`].

mod access;
mod attempt;
mod choose;
mod fault;
mod health;
mod load;
mod moment;
mod pick;
mod price;
mod reach;
pub mod read;
mod refusal;
mod remote;
mod resilience;
mod retry;
mod rules;
pub mod sigv4;
mod table;
mod volume;
mod word;

pub use access::{
    ACCOUNT, Access, Caller, Denied, Digest, Finding, Findings, Jwt, KeptKey, KeyError, KeySet, KeySetError, Keys,
    Oidc, Shown, Source, Unfit, Unsigned, Untrusted, digest,
};
pub use attempt::{Attempt, Verdict};
pub use choose::{Choice, Course};
pub use fault::{Fault, retry_after};
pub use health::{EjectionRules, Health, Standing};
pub use load::{Load, Work};
pub use moment::Moment;
pub use pick::{Want, session_key};
pub use price::Price;
pub use reach::{Allowed, BadAllowed, Reach};
pub use refusal::{BadTls, Idle, NoDial, Overload, Refusal, Upstream};
pub use remote::{
    Api, Aws, Fit, Operation, Pause, Remote, RemoteInput, Rest, SecretKey, Unreached, is_claude, lacks_path,
};
pub use resilience::{Reason, Resilience};
pub use retry::RetryBudget;
pub use rules::{BadRule, Circumstances, Costs, Decision, HowInput, MirrorInput, RuleInput, Rules};
pub use table::{
    Classifier, ClassifierInput, Endpoint, EndpointInput, Policy, PolicyInput, Pool, PoolInput, Table, Target,
    TargetInput, To, ToInput,
};
pub use volume::{Book, Counts, Day, Volume, day};
pub use word::Word;
