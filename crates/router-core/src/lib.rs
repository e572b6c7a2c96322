//! Decides where a request goes: which policy a model name belongs to, which of its pools answers, which replica of the
//! pool, and how a request that cannot be answered is refused.
//!
//! Functions over values only: no I/O, no clock; luck comes as an argument. The one thing that changes in a built
//! [`Table`] is how many requests each endpoint carries. Start with [`Table::build`], then [`choose()`] and [`pick()`].

mod choose;
mod load;
mod pick;
mod refusal;
mod table;

pub use choose::{Choice, choose};
pub use load::{InFlight, Load};
pub use pick::pick;
pub use refusal::{Idle, Overload, Refusal};
pub use table::{Endpoint, EndpointInput, Policy, PolicyInput, Pool, PoolInput, Table, Target, TargetInput};
