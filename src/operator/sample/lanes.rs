//! How many scrapes are under way at once.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Places for scrapes. Pods that did not answer last time have their own few, so that they delay only each other: each of them
/// takes its place for as long as a scrape may last.
pub struct Lanes {
    prompt: Semaphore,
    hung: Semaphore,
}

impl Lanes {
    /// So many places, and a quarter of that beside it for those that hung.
    pub fn new(places: usize) -> Self {
        Self {
            prompt: Semaphore::new(places),
            hung: Semaphore::new((places / 4).max(1)),
        }
    }

    /// Waits for a place. None is never closed, so that there is always one in the end.
    pub async fn enter(&self, has_hung: bool) -> Option<SemaphorePermit<'_>> {
        let lane = if has_hung { &self.hung } else { &self.prompt };
        lane.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

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
}
