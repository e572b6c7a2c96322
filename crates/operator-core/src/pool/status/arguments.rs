//! Whether the arguments of a pool's engine could be checked.

use api::conditions::reason;

use super::Because;
use crate::engine;
use crate::pool::ValidPool;

/// Whether every argument is known to the engine's version. What is known to be wrong has been refused before.
pub(super) fn known(pool: &ValidPool) -> (bool, Because) {
    let range = || {
        let ((major, minor), (_, newest)) = (engine::oldest(), engine::newest());
        format!("{major}.{minor} to {major}.{newest}")
    };
    match pool.version {
        _ if !pool.doubts.is_empty() => (false, (reason::ARGUMENTS_DOUBTFUL, pool.doubts.join("; "))),
        None => {
            let message = "vLLM's version cannot be told from the image's tag, so its arguments are passed on unchecked; \
                           say it in spec.engine.version";
            (false, (reason::VERSION_UNKNOWN, message.to_owned()))
        }
        Some(version) if engine::known(version).is_none() => {
            let message = format!("only the arguments of vLLM {} are known, so they are passed on unchecked", range());
            (false, (reason::VERSION_UNKNOWN, message))
        }
        Some(_) => (true, (reason::VALID, "the engine's version knows every argument".to_owned())),
    }
}
