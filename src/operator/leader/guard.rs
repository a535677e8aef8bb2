//! Every write asks, right before it goes out, whether the Lease is still ours; and one without an answer is given up when it is not.
//!
//! Here and not where things are decided: a process can be stopped between a decision and its write, for as long as it takes
//! another to become the leader.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request};
use tower::{BoxError, Layer, Service};

use super::Term;
use crate::operator::traces;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Nothing was written, or nobody knows whether it was: the Lease's term is over.
#[derive(Debug, thiserror::Error)]
#[error("not written: the Lease was not renewed in time, and another process may hold it")]
pub struct Over;

/// Lets reads pass, and writes while the term lasts. Without a term there is only one process.
#[derive(Clone)]
pub struct Guard(Option<Term>);

impl Guard {
    /// For the writes of this term.
    pub fn new(term: Option<Term>) -> Self {
        Self(term)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            term: self.0.clone(),
            inner,
        }
    }
}

/// A guarded way to the API server.
#[derive(Clone)]
pub struct Guarded<S> {
    term: Option<Term>,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Error: Into<BoxError>>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Answer<S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads {
            traces::wrote();
        }
        let Some(term) = self.term.clone().filter(|_| !reads) else {
            let answer = self.inner.call(request);
            return Box::pin(async { answer.await.map_err(Into::into) });
        };
        let Some(write) = term.write() else {
            return Box::pin(async { Err(Over.into()) });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = tokio::select! {
                // The term first: what waits for a connection has not been sent yet.
                biased;
                () = term.over() => return Err(Over.into()),
                answer = answer => answer.map_err(Into::into)?,
            };
            write.answered();
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::Instant;
    use tower::ServiceExt as _;

    use super::super::decide::{DEADLINE, UNACKNOWLEDGED};
    use super::super::term::Moment;
    use super::*;

    /// Whether a request was answered, and how many came through.
    async fn asked(term: Option<Term>, method: Method, answers: bool) -> (bool, usize) {
        let through = Arc::new(AtomicUsize::new(0));
        let count = through.clone();
        let server = tower::service_fn(move |_: Request<()>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Ok::<_, BoxError>(())
            }
        });
        let request = Request::builder().method(method).body(()).unwrap();
        let answer = Guard::new(term).layer(server).oneshot(request).await;
        (answer.is_ok(), through.load(Ordering::Relaxed))
    }

    /// A term of which this is left.
    fn left(rest: Duration) -> Term {
        let term = Term::default();
        let mut begun = Moment::now();
        begun.steady -= DEADLINE.checked_sub(rest).unwrap();
        term.renewed(begun);
        term
    }

    #[tokio::test]
    async fn writes_pass_only_while_the_term_lasts() {
        let over = left(Duration::ZERO);
        for (term, method, passes) in [
            (Some(left(DEADLINE)), Method::PATCH, true),
            (Some(over.clone()), Method::GET, true),
            (Some(over.clone()), Method::PATCH, false),
            (Some(over.clone()), Method::POST, false),
            (Some(over.clone()), Method::DELETE, false),
            (Some(over), Method::PUT, false),
            // Before it was ever held.
            (Some(Term::default()), Method::PATCH, false),
            (None, Method::PATCH, true),
        ] {
            let said = format!("{term:?} {method}");
            let expected = (passes, usize::from(passes));
            assert_eq!(asked(term, method, true).await, expected, "{said}");
        }
    }

    #[tokio::test]
    async fn a_write_without_an_answer_ends_with_the_term() {
        let soon = left(Duration::from_millis(50));
        assert_eq!(asked(Some(soon), Method::PATCH, false).await, (false, 1));
    }

    #[tokio::test]
    async fn a_renewal_lengthens_the_term_and_its_end_is_final() {
        let term = left(Duration::from_millis(50));
        term.renewed(Moment::now());
        let longer = tokio::time::timeout(Duration::from_millis(100), term.over()).await;
        assert!(longer.is_err() && term.holds());
        term.end();
        assert!(!term.holds());
        term.renewed(Moment::now());
        assert!(!term.holds(), "by a renewal that was under way");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_answer_is_left_behind() {
        let answered = left(DEADLINE);
        assert!(asked(Some(answered.clone()), Method::PATCH, true).await.0);
        assert_eq!(answered.silent_from(), None);

        let late = left(Duration::from_secs(1));
        assert!(!asked(Some(late.clone()), Method::PATCH, false).await.0);
        assert_eq!(late.silent_from(), Some(Instant::now() + UNACKNOWLEDGED));

        let dropped = left(DEADLINE);
        let write = asked(Some(dropped.clone()), Method::PATCH, false);
        let given_up = tokio::time::timeout(Duration::from_secs(1), write).await;
        assert!(given_up.is_err());
        assert_eq!(dropped.silent_from(), Some(Instant::now() + UNACKNOWLEDGED));
    }
}
