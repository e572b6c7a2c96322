//! Money in integers: amounts in nano-dollars, prices of tokens, and what a request costs.
//!
//! No float touches money, and every division rounds up, so that what is reckoned here is never less than what is owed.
//! Start with [`prices::find`] and [`Model::cost`](prices::Model::cost).

mod decimal;
mod money;
pub mod prices;

pub use decimal::{BadDecimal, scaled};
pub use money::Money;
