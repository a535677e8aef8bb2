//! How many scrapes are under way at once, and whose turn it is.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// Scrapes under way at once for one backend.
const OF_ONE: usize = 16;
/// Scrapes under way at once for one namespace: half of all, so that its pods, however slow and in however many backends, leave
/// room for others', and one slow backend leaves room for the others beside it.
const OF_NAMESPACE: usize = 32;
/// Scrapes under way at once, over all backends.
const OF_ALL: usize = 64;

/// Places for scrapes. Pods that did not answer last time have their own few, so that they delay only each other: each of them
/// takes its place for as long as a scrape may last.
struct Lanes {
    prompt: Semaphore,
    hung: Semaphore,
}

impl Lanes {
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

/// The places of one namespace.
struct Namespace {
    places: Lanes,
    /// Who is the next of it to have one of those that all share. Only that one stands in line for them, so that the line is as long as
    /// there are namespaces in it, and each has its turn as often as any other.
    next: Lanes,
}

impl Namespace {
    fn new() -> Self {
        Self {
            places: Lanes::new(OF_NAMESPACE),
            next: Lanes::new(1),
        }
    }
}

/// The places that all backends share.
pub struct Hall {
    places: Lanes,
    /// Those of namespaces that have backends.
    namespaces: Mutex<HashMap<String, Weak<Namespace>>>,
}

impl Hall {
    /// All of them free.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            places: Lanes::new(OF_ALL),
            namespaces: Mutex::default(),
        })
    }

    /// The namespace's, the same for all its backends.
    fn of(&self, namespace: &str) -> Arc<Namespace> {
        let mut namespaces = self.namespaces.lock();
        if let Some(known) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        namespaces.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Namespace::new());
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&new));
        new
    }
}

/// Where one backend's scrapes are made: in places of its own, which are among its namespace's, which are among those that all share.
#[derive(Clone)]
pub struct Places {
    own: Arc<Lanes>,
    namespace: Arc<Namespace>,
    hall: Arc<Hall>,
}

impl Places {
    /// Of one more backend, in this namespace.
    pub fn new(hall: Arc<Hall>, namespace: &str) -> Self {
        Self {
            own: Arc::new(Lanes::new(OF_ONE)),
            namespace: hall.of(namespace),
            hall,
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
        // From the narrow to the wide, so that what waits holds no place that others could have.
        let _own = self.own.enter(has_hung).await;
        let _of_namespace = self.namespace.places.enter(has_hung).await;
        let next = self.namespace.next.enter(has_hung).await;
        let _shared = self.hall.places.enter(has_hung).await;
        drop(next);
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;
    use futures::future::join_all;
    use tokio::task::JoinSet;
    use tokio::time::timeout_at;

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

    /// The most that are under way at once, of one backend and of all in so many namespaces, where each of their pods takes a second to answer.
    async fn most_at_once(namespaces: usize, backends: usize, has_hung: bool) -> (usize, usize) {
        let (hall, of_all) = (Hall::new(), Count::default());
        let turn = Instant::now() + Duration::from_secs(5);
        let of_one: Vec<(Places, Count)> = (0..backends)
            .map(|backend| (backend % namespaces).to_string())
            .map(|namespace| (Places::new(hall.clone(), &namespace), Count::default()))
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
        assert_eq!(most_at_once(1, 1, false).await, (16, 16));
        assert_eq!(most_at_once(1, 10, false).await, (16, 32));
        assert_eq!(most_at_once(10, 10, false).await, (16, 64));
        assert_eq!(most_at_once(1, 1, true).await, (4, 4));
        assert_eq!(most_at_once(1, 10, true).await, (4, 8));
        assert_eq!(most_at_once(10, 10, true).await, (4, 16));
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// More scrapes than there are places, of two backends of this namespace; each takes so long.
    fn scrapes(hall: &Arc<Hall>, namespace: &str, has_hung: bool, long: Duration) -> JoinSet<()> {
        let mut scrapes = JoinSet::new();
        for _ in 0..2 {
            let places = Places::new(hall.clone(), namespace);
            for _ in 0..100 {
                let places = places.clone();
                let scrape = async move { tokio::time::sleep(long).await };
                scrapes.spawn(async move {
                    places.in_turn(Instant::now(), has_hung, scrape).await;
                });
            }
        }
        scrapes
    }

    /// Whether a scrape of this namespace that has its turn in half a second begins within the second after.
    async fn begins(hall: &Arc<Hall>, namespace: &str, has_hung: bool) -> bool {
        let turn = Instant::now() + SECOND / 2;
        let places = Places::new(hall.clone(), namespace);
        let scrape = places.in_turn(turn, has_hung, async {});
        timeout_at(turn + SECOND, scrape).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_leaves_room_for_others() {
        for has_hung in [false, true] {
            let hall = Hall::new();
            let _held = scrapes(&hall, "a", has_hung, SECOND * 100);
            assert!(begins(&hall, "b", has_hung).await);
            assert!(!begins(&hall, "a", has_hung).await, "all are taken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_that_wait_take_turns() {
        for has_hung in [false, true] {
            let hall = Hall::new();
            let slow = |number: usize| scrapes(&hall, &number.to_string(), has_hung, SECOND);
            let _held: Vec<_> = (0..10).map(slow).collect();
            assert!(begins(&hall, "b", has_hung).await);
        }
    }

    #[test]
    fn a_namespace_without_backends_is_forgotten() {
        let hall = Hall::new();
        let known = || hall.namespaces.lock().len();
        let (a, b) = (
            Places::new(hall.clone(), "a"),
            Places::new(hall.clone(), "b"),
        );
        assert_eq!(known(), 2);
        drop((a, b));
        let _c = Places::new(hall.clone(), "c");
        assert_eq!(known(), 1);
    }
}
