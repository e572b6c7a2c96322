//! The one way to ask the API server for something: with a deadline, and once. A client that retries by itself can sit in a
//! single call for minutes; trying again is the reconcile's business.

use std::future::Future;
use std::time::Duration;

use crate::error::Error;

/// How long the API server may take for one call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Waits for `ask`, but not for ever. `what` says what is asked for, in words that can follow "cannot": it begins every
/// message about a failure.
pub(crate) fn call<T>(
    what: &str,
    ask: impl Future<Output = kube::Result<T>>,
) -> impl Future<Output = Result<T, Error>> {
    call_within(DEADLINE, what, ask)
}

/// As [`call`], with another deadline.
pub(crate) async fn call_within<T>(
    after: Duration,
    what: &str,
    ask: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(after, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Api { what: what.to_owned(), source }),
        Err(_) => Err(Error::Deadline { what: what.to_owned(), after }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    #[tokio::test(start_paused = true)]
    async fn gives_up_on_a_silent_server() {
        let answer: Result<(), Error> = call("list pools", std::future::pending()).await;
        let error = answer.unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (Class::Transient, "list pools: no answer within 5 s"));
    }
}
