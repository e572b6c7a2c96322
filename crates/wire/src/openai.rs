//! OpenAI's shapes, as far as a router needs them: a request's few routing fields, the error body, the list of models.

mod answer;
mod error;
mod models;
pub mod outline;
mod scan;

pub use answer::flaw;
pub use error::ErrorBody;
pub use models::{ListedModel, model_entry, model_list};
pub use scan::{Fields, Model, ScanError, ScanProblem, Splice, StreamOptions, scan, splice};
