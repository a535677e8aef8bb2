//! How many scrapes are under way at once, and whose turn it is.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// Scrapes under way at once for one backend.
const OF_ONE: usize = 16;
/// Scrapes under way at once, over all backends of a scope.
const OF_ALL: usize = 64;

/// Places for scrapes. Pods that did not answer last time have their own few, so that they delay only each other: each of them
/// takes its place for as long as a scrape may last.
pub struct Lanes {
    prompt: Semaphore,
    hung: Semaphore,
}

impl Lanes {
    /// Those that all backends share.
    pub fn of_all() -> Arc<Self> {
        Arc::new(Self::new(OF_ALL))
    }

    /// So many places, and a quarter of that beside it for those that hung.
    fn new(places: usize) -> Self {
        Self {
            prompt: Semaphore::new(places),
            hung: Semaphore::new((places / 4).max(1)),
        }
    }

    /// Waits for a place. None is never closed, so that there is always one in the end.
    async fn enter(&self, has_hung: bool) -> Option<SemaphorePermit<'_>> {
        let lane = if has_hung { &self.hung } else { &self.prompt };
        lane.acquire().await.ok()
    }
}

/// Where one backend's scrapes are made: in places of its own, which are among those that all share.
#[derive(Clone)]
pub struct Places {
    own: Arc<Lanes>,
    shared: Arc<Lanes>,
}

impl Places {
    /// Of one more backend.
    pub fn new(shared: Arc<Lanes>) -> Self {
        Self {
            own: Arc::new(Lanes::new(OF_ONE)),
            shared,
        }
    }

    /// Does the work as soon as its turn has come and it has its places.
    pub async fn in_turn<T>(
        &self,
        turn: Instant,
        has_hung: bool,
        work: impl Future<Output = T>,
    ) -> T {
        // A schedule, not a wait for anything.
        sleep_until(turn).await;
        // Its own first, so that what waits there holds no place that others could have.
        let _own = self.own.enter(has_hung).await;
        let _shared = self.shared.enter(has_hung).await;
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn pods_that_hung_leave_the_others_their_places() {
        let lanes = Lanes::new(4);
        let held = lanes.enter(true).await;
        assert!(lanes.enter(true).now_or_never().is_none(), "one at a time");
        let mut prompt = Vec::new();
        for _ in 0..4 {
            prompt.push(lanes.enter(false).now_or_never().unwrap());
        }
        assert!(lanes.enter(false).now_or_never().is_none());
        drop(held);
        assert!(lanes.enter(true).now_or_never().is_some());
    }

    /// How many are under way, and the most that were at any time.
    #[derive(Default)]
    struct Count {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Count {
        fn begin(&self) {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
        }

        fn end(&self) {
            self.now.fetch_sub(1, Ordering::Relaxed);
        }

        fn most(&self) -> usize {
            self.most.load(Ordering::Relaxed)
        }
    }

    /// The most that are under way at once, of one backend and of all, where each of their pods takes a second to answer.
    async fn most_at_once(backends: usize, has_hung: bool) -> (usize, usize) {
        let (shared, of_all) = (Lanes::of_all(), Count::default());
        let turn = Instant::now() + Duration::from_secs(5);
        let of_one: Vec<(Places, Count)> = (0..backends)
            .map(|_| (Places::new(shared.clone()), Count::default()))
            .collect();
        let scrape = |of_one: &Count| {
            of_one.begin();
            of_all.begin();
            assert!(Instant::now() >= turn, "before its turn");
        };
        let works = of_one.iter().flat_map(|(places, of_one)| {
            let (scrape, of_all) = (&scrape, &of_all);
            (0..100).map(move |_| {
                places.in_turn(turn, has_hung, async move {
                    scrape(of_one);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    of_one.end();
                    of_all.end();
                })
            })
        });
        join_all(works).await;
        let most = of_one.iter().map(|(_, count)| count.most()).max();
        (most.unwrap_or_default(), of_all.most())
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_asked_at_once_and_no_more() {
        assert_eq!(most_at_once(1, false).await, (16, 16));
        assert_eq!(most_at_once(10, false).await, (16, 64));
        assert_eq!(most_at_once(1, true).await, (4, 4));
        assert_eq!(most_at_once(10, true).await, (4, 16));
    }
}
