//! What the terminal shows of what was found, and what keys change. Pure: a key or a snapshot in, a state out.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Backend, Key, PodOrder, Pods, Snapshot};

/// By what the backends are ordered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Trouble first.
    Trouble,
    /// Namespace and name.
    Name,
    /// Busiest first.
    Requests,
    /// Least even first.
    Evenness,
}

impl Order {
    const ALL: [Self; 4] = [Self::Trouble, Self::Name, Self::Requests, Self::Evenness];

    /// As the bottom line says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trouble => "trouble first",
            Self::Name => "by name",
            Self::Requests => "busiest first",
            Self::Evenness => "least even first",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL
            .iter()
            .position(|order| *order == self)
            .unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// What a key asks of the loop.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing but to draw.
    Stay,
    /// To look at this backend's pods, or no longer at any.
    Open(Option<Key>),
    /// To end.
    Quit,
}

/// The state of the screen.
pub struct View {
    /// In the order that is shown.
    pub backends: Vec<Backend>,
    /// What is left out of what is shown.
    pub cut: Option<String>,
    /// Of the opened backend.
    pub pods: Option<Pods>,
    /// The backend whose pods are shown.
    pub opened: Option<Key>,
    /// The order of the list.
    pub order: Order,
    /// The order of the opened backend's pods.
    pub pod_order: PodOrder,
    /// Why the last look failed; what is shown is older then.
    pub error: Option<String>,
    /// Whether anything was found yet.
    pub asked: bool,
    /// The first line of the pods that is shown.
    pub scrolled: usize,
    selected: Option<Key>,
}

impl View {
    /// Before anything was found.
    pub fn new(opened: Option<Key>) -> Self {
        Self {
            backends: Vec::new(),
            cut: None,
            pods: None,
            selected: opened.clone(),
            opened,
            order: Order::Trouble,
            pod_order: PodOrder::Busiest,
            error: None,
            asked: false,
            scrolled: 0,
        }
    }

    /// Takes what was found. The selection stays on its backend, wherever that is now.
    pub fn take(&mut self, found: anyhow::Result<Snapshot>) {
        self.asked = true;
        match found {
            Err(error) => self.error = Some(format!("{error:#}")),
            Ok(snapshot) => {
                self.error = None;
                self.backends = snapshot.backends;
                self.cut = snapshot.cut;
                // The answer to an earlier question is none to this.
                self.pods = snapshot
                    .pods
                    .filter(|pods| self.opened.as_ref() == Some(&pods.of));
                self.sort();
                if self.selection().is_none() {
                    self.selected = self.backends.first().map(|backend| backend.key.clone());
                }
            }
        }
    }

    /// Which line is selected.
    pub fn selection(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.backends
            .iter()
            .position(|backend| backend.key == *selected)
    }

    /// The opened backend.
    pub fn opened(&self) -> Option<&Backend> {
        let opened = self.opened.as_ref()?;
        self.backends.iter().find(|backend| backend.key == *opened)
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Step {
        let code = match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Step::Quit;
            }
            code => code,
        };
        match code {
            KeyCode::Char('q') => Step::Quit,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace if self.opened.is_some() => {
                self.opened = None;
                self.pods = None;
                Step::Open(None)
            }
            KeyCode::Enter | KeyCode::Right
                if self.opened.is_none() && self.selection().is_some() =>
            {
                self.opened.clone_from(&self.selected);
                self.scrolled = 0;
                Step::Open(self.opened.clone())
            }
            KeyCode::Up | KeyCode::Char('k') => self.travel(-1),
            KeyCode::Down | KeyCode::Char('j') => self.travel(1),
            KeyCode::PageUp => self.travel(-10),
            KeyCode::PageDown => self.travel(10),
            KeyCode::Char('s') => {
                if self.opened.is_some() {
                    self.pod_order = self.pod_order.next();
                } else {
                    self.order = self.order.next();
                }
                self.sort();
                Step::Stay
            }
            _ => Step::Stay,
        }
    }

    fn travel(&mut self, lines: isize) -> Step {
        let travelled = |from: usize, count: usize| {
            from.saturating_add_signed(lines)
                .min(count.saturating_sub(1))
        };
        if self.opened.is_some() {
            let count = self.pods.as_ref().map_or(0, |pods| pods.rows.len());
            self.scrolled = travelled(self.scrolled, count);
        } else if let Some(from) = self.selection() {
            let to = travelled(from, self.backends.len());
            self.selected = Some(self.backends[to].key.clone());
        }
        Step::Stay
    }

    fn sort(&mut self) {
        if let Some(pods) = &mut self.pods {
            pods.sort(self.pod_order);
        }
        // Stable, and by name first: what is equal keeps its place from look to look.
        self.backends.sort_by(|a, b| a.key.cmp(&b.key));
        match self.order {
            Order::Name => {}
            Order::Trouble => self.backends.sort_by_key(|backend| match backend.balanced {
                Some(false) => 0,
                None => 1,
                Some(true) => 2,
            }),
            Order::Requests => self.backends.sort_by(|a, b| {
                let rate = |backend: &Backend| backend.requests_per_second.unwrap_or(-1.0);
                rate(b).total_cmp(&rate(a))
            }),
            Order::Evenness => self.backends.sort_by(|a, b| {
                let evenness = |backend: &Backend| backend.evenness().unwrap_or(f64::INFINITY);
                evenness(a).total_cmp(&evenness(b))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{backend, pods};
    use super::*;

    fn pressed(view: &mut View, code: KeyCode) -> Step {
        view.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn listed() -> View {
        let mut view = View::new(None);
        view.take(Ok(Snapshot {
            backends: vec![
                backend("a", Some(true), 2.0, 50.0),
                backend("b", Some(false), 1.0, 10.0),
                backend("c", None, 1.9, 90.0),
            ],
            ..Snapshot::default()
        }));
        view
    }

    fn names(view: &View) -> String {
        view.backends
            .iter()
            .map(|backend| &*backend.key.name)
            .collect()
    }

    #[test]
    fn s_goes_through_the_orders() {
        let mut view = listed();
        let mut seen = vec![names(&view)];
        for _ in 0..4 {
            pressed(&mut view, KeyCode::Char('s'));
            seen.push(names(&view));
        }
        assert_eq!(seen, ["bca", "abc", "cab", "bca", "bca"]);
    }

    #[test]
    fn the_selection_stays_on_its_backend() {
        let mut view = listed();
        pressed(&mut view, KeyCode::Down);
        assert_eq!(view.selection(), Some(1));
        pressed(&mut view, KeyCode::Char('s'));
        assert_eq!(view.selection(), Some(2), "c is the last by name");
        pressed(&mut view, KeyCode::PageDown);
        assert_eq!(view.selection(), Some(2));
        pressed(&mut view, KeyCode::PageUp);
        assert_eq!(view.selection(), Some(0));
    }

    #[test]
    fn a_backend_is_opened_and_closed() {
        let mut view = listed();
        let Step::Open(Some(opened)) = pressed(&mut view, KeyCode::Enter) else {
            panic!("not opened");
        };
        assert_eq!(opened.name, "b");
        let answer = |of: &str| Snapshot {
            backends: vec![backend(of, None, 1.0, 1.0)],
            cut: None,
            pods: Some(pods(of, &[3.0, 1.0])),
        };
        view.take(Ok(answer("c")));
        assert!(view.pods.is_none(), "the answer to an earlier question");
        view.take(Ok(answer("b")));
        assert!(view.pods.is_some());
        pressed(&mut view, KeyCode::PageDown);
        assert_eq!(view.scrolled, 1, "no further than the last pod");
        assert_eq!(pressed(&mut view, KeyCode::Esc), Step::Open(None));
        assert!(view.pods.is_none() && view.opened.is_none());
        assert_eq!(pressed(&mut view, KeyCode::Esc), Step::Stay);
        assert_eq!(pressed(&mut view, KeyCode::Char('q')), Step::Quit);
    }

    #[test]
    fn s_orders_the_pods_of_the_opened_one_and_leaves_the_list() {
        let mut view = listed();
        pressed(&mut view, KeyCode::Enter);
        let look = |view: &mut View| {
            let mut found = pods("b", &[1.0, 3.0, 2.0]);
            found.rows[0].requests_per_second = None;
            let backends = view.backends.clone();
            view.take(Ok(Snapshot {
                backends,
                cut: None,
                pods: Some(found),
            }));
        };
        look(&mut view);
        let mut seen = Vec::new();
        for _ in 0..4 {
            // What was chosen stays with the next look.
            look(&mut view);
            let rows = &view.pods.as_ref().unwrap().rows;
            let order: Vec<_> = rows.iter().map(|pod| pod.name.clone()).collect();
            pressed(&mut view, KeyCode::Char('s'));
            seen.push(order.join(" "));
        }
        let (busiest, idlest) = ("b-1 b-2 b-0", "b-2 b-1 b-0");
        assert_eq!(seen, [busiest, idlest, "b-0 b-1 b-2", busiest]);
        assert_eq!((view.order, &*names(&view)), (Order::Trouble, "bca"));
    }

    #[test]
    fn a_look_that_failed_leaves_what_was_seen() {
        let mut view = listed();
        view.take(Err(anyhow::anyhow!("no answer")));
        assert_eq!(view.error.as_deref(), Some("no answer"));
        assert_eq!(view.backends.len(), 3);
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(quit), Step::Quit);
    }

    #[test]
    fn keys_do_nothing_where_there_is_nothing() {
        let mut view = View::new(None);
        for code in [
            KeyCode::Enter,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Char('s'),
        ] {
            assert_eq!(pressed(&mut view, code), Step::Stay);
        }
    }
}
