//! What a target that is no pool is asked.

use router_core::{Policy, Remote};

use super::ask::Ask;
use super::limits::Limits;
use crate::secrets::{Credentials, KeyFault};
use crate::surface::Surface;

/// What a target is asked, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) surface: Surface,
    pub(crate) limits: &'a Limits,
    pub(crate) policy: &'a Policy,
    pub(crate) target: &'a Remote,
    pub(crate) key: Result<Option<&'a Credentials>, KeyFault>,
    /// No other target is left.
    pub(crate) last: bool,
}
