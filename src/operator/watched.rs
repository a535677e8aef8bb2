//! What a watch keeps of one kind, and whether the API server lets the operator watch it at all.

use std::future::{pending, ready};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;
use tokio::time::{Instant, sleep_until};

/// How long a refused watch counts as refused: it is tried again after half a minute at the most, and where it then succeeds
/// nothing says so, since a watch begins without an event.
const WATCH_REFUSED: Duration = Duration::from_secs(90);

/// A watch's copy of one kind.
pub struct Watched<K: 'static>
where
    K: Resource<DynamicType = ()>,
{
    /// The objects; incomplete until the first list is in.
    pub copy: Store<K>,
    /// Whether it is. The copy's own [`Store::wait_until_ready`] wakes only the last of several tasks that wait.
    complete: watch::Receiver<bool>,
    refused: watch::Receiver<Option<Refusal>>,
}

/// A right that was missing when it was last asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Refusal {
    verb: &'static str,
    at: Instant,
}

impl Refusal {
    /// When it no longer counts, if not said again. A list that succeeds says so itself.
    fn lapses(self) -> Option<Instant> {
        (self.verb == "watch").then(|| self.at + WATCH_REFUSED)
    }

    fn stands(self, now: Instant) -> bool {
        self.lapses().is_none_or(|lapses| now < lapses)
    }
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    /// Waits until the copy is complete, or known never to be: then it says which right is missing.
    pub async fn settled(&self) -> Result<Option<&'static str>, RecvError> {
        let (mut complete, mut refused) = (self.complete.clone(), self.refused.clone());
        tokio::select! {
            complete = complete.wait_for(|complete| *complete) => { complete?; }
            Ok(_) = refused.wait_for(Option::is_some) => {}
        }
        let refused = self
            .refused
            .borrow()
            .filter(|refused| refused.stands(Instant::now()));
        Ok(refused.map(|refused| refused.verb))
    }

    /// Each time that the right goes or comes.
    pub fn turns(&self) -> impl Stream<Item = ()> + Send + use<K> {
        let mut refused = self.refused.clone();
        refused.mark_unchanged();
        stream::unfold((refused, None), |(mut refused, told)| async move {
            loop {
                let due = refused.borrow().and_then(Refusal::lapses);
                tokio::select! {
                    changed = refused.changed() => {
                        changed.ok()?;
                        return Some(((), (refused, None)));
                    }
                    () = at(due.filter(|due| told != Some(*due))) => {}
                }
                // Said again meanwhile, it lapses later.
                if refused.borrow().and_then(Refusal::lapses) == due {
                    return Some(((), (refused, due)));
                }
            }
        })
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// Watches one kind: the copy, and what changes in it. `strip` takes away what is never looked at.
pub fn watched<K, F>(
    objects: Api<K>,
    strip: F,
) -> (
    Watched<K>,
    impl Stream<Item = watcher::Result<K>> + Send + use<K, F>,
)
where
    F: FnMut(&mut K) + Send + 'static,
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (copy, writer) = reflector::store();
    let (completion, complete) = watch::channel(false);
    let (refusal, refused) = watch::channel(None);
    let changes = watcher(objects, watcher::Config::default())
        .default_backoff()
        .inspect(move |event| {
            if let Some(now) = verdict(event) {
                refusal.send_if_modified(|before| {
                    let at = Instant::now();
                    let now = now.map(|verb| Refusal { verb, at });
                    let verb = |refusal: Option<Refusal>| {
                        refusal
                            .filter(|refusal| refusal.stands(at))
                            .map(|refusal| refusal.verb)
                    };
                    verb(std::mem::replace(before, now)) != verb(now)
                });
            }
        })
        .modify(strip)
        .reflect(writer)
        .inspect(move |event| {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                completion.send_replace(true);
            }
        })
        .touched_objects();
    let kept = Watched {
        copy,
        complete,
        refused,
    };
    (kept, heard(changes))
}

/// The changes alone: a watch that fails is tried again by itself, and in the controller's hands its errors would hold up
/// the other watches, for ever where a right is missing.
pub fn heard<K>(
    changes: impl Stream<Item = watcher::Result<K>> + Send,
) -> impl Stream<Item = watcher::Result<K>> + Send
where
    K: Resource<DynamicType = ()> + Send,
{
    changes.filter(|change| {
        if let Err(error) = change {
            tracing::warn!(kind = %K::kind(&()), %error, "a watch failed and is started anew");
        }
        ready(change.is_ok())
    })
}

/// What an event says of the right: the verb that is refused, nothing refused, or nothing either way.
///
/// A first list begins with an event before the API server was asked.
#[expect(clippy::option_option, reason = "it may say nothing")]
fn verdict<K>(event: &watcher::Result<watcher::Event<K>>) -> Option<Option<&'static str>> {
    let forbidden = |code: u16| code == 403;
    let api = |error: &kube::Error| matches!(error, kube::Error::Api(s) if forbidden(s.code));
    let verb = match event {
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => return None,
        Ok(_) => return Some(None),
        Err(watcher::Error::InitialListFailed(error)) if api(error) => "list",
        Err(watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error))
            if api(error) =>
        {
            "watch"
        }
        Err(watcher::Error::WatchError(status)) if forbidden(status.code) => "watch",
        Err(_) => return None,
    };
    Some(Some(verb))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::StreamExt as _;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use kube::client::Body;
    use kube::core::Status;
    use kube::runtime::watcher::{Error, Event};
    use kube::{Api, Client};

    use super::{Instant, Refusal, WATCH_REFUSED, verdict, watched};

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status {
            code,
            ..Status::default()
        }))
    }

    /// An API server with an empty list, whose watches never tell anything.
    async fn empty(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch=true"))
        {
            std::future::pending::<()>().await;
        }
        let list = serde_json::json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": [],
        });
        Ok(Response::new(Body::from(list.to_string().into_bytes())))
    }

    #[tokio::test(start_paused = true)]
    async fn each_pass_that_waits_for_a_copy_is_woken() {
        let client = Client::new(tower::service_fn(empty), "default");
        let (pods, changes) = watched(Api::<Pod>::all(client), |_| ());
        let pods = Arc::new(pods);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let pods = pods.clone();
                tokio::spawn(async move { pods.settled().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let _changes = tokio::spawn(changes.for_each(|_| ready(())));
        for pass in waiting {
            let settled = tokio::time::timeout(Duration::from_secs(5), pass).await;
            assert_eq!(settled.unwrap().unwrap().unwrap(), None);
        }
    }

    #[test]
    fn only_a_refusal_is_one() {
        for (error, says) in [
            (Error::InitialListFailed(answer(403)), Some(Some("list"))),
            (Error::WatchStartFailed(answer(403)), Some(Some("watch"))),
            (Error::InitialListFailed(answer(500)), None),
            (Error::WatchStartFailed(answer(410)), None),
        ] {
            assert_eq!(verdict::<()>(&Err(error)), says);
        }
    }

    #[test]
    fn a_refused_watch_lapses_and_a_refused_list_does_not() {
        let at = Instant::now();
        let refused = |verb| Refusal { verb, at };
        assert!(refused("watch").stands(at));
        assert!(!refused("watch").stands(at + WATCH_REFUSED));
        assert!(refused("list").stands(at + 10 * WATCH_REFUSED));
    }

    #[test]
    fn a_list_that_has_only_begun_says_nothing() {
        assert_eq!(verdict::<()>(&Ok(Event::Init)), None);
        assert_eq!(verdict(&Ok(Event::InitApply(()))), None);
        assert_eq!(verdict::<()>(&Ok(Event::InitDone)), Some(None));
        assert_eq!(verdict(&Ok(Event::Apply(()))), Some(None));
    }
}
