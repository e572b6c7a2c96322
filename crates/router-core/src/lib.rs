//! Decides where a request goes: which policy a model name belongs to, which of its pools answers, which replica of the
//! pool, and how a request that cannot be answered is refused.
//!
//! Functions over values only: no I/O, no clock; time and luck come as arguments. What changes in a built [`Table`] is what
//! each endpoint carries and how it stands, in a few atomic words. Start with [`Table::build`], then [`choose()`] and
//! [`Attempt::begin`].

mod attempt;
mod choose;
mod health;
mod load;
mod moment;
mod pick;
mod refusal;
mod retry;
mod table;
mod word;

pub use attempt::{Attempt, Verdict};
pub use choose::{Choice, choose};
pub use health::{EjectionRules, Health, Standing};
pub use load::{Load, Work};
pub use moment::Moment;
pub use pick::{Want, session_key};
pub use refusal::{Idle, Overload, Refusal};
pub use retry::RetryBudget;
pub use table::{Endpoint, EndpointInput, Policy, PolicyInput, Pool, PoolInput, Table, Target, TargetInput};
pub use word::Word;
