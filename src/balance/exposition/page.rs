//! What one page said.

use crate::balance::families::{self, Kind, MeterId, Names};

/// Which of a family's two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Counted when an RPC begins. Preferred: a stream counts when it arrives, not hours later when it ends.
    Started,
    /// Counted when an RPC ends.
    Handled,
}

/// The sums of all known families, over methods and codes, without health checks and reflection.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// By slot. `None` is "no such series on the page", which is not the same as zero.
    sums: Box<[Option<f64>]>,
    /// Slots that the page declares, a bit each. Without a series they are zero: some libraries show no more until the first RPC.
    declared: u128,
    /// Families of which a stream was counted, a bit each.
    streams: u64,
}

impl Page {
    pub(super) fn empty(names: &Names) -> Self {
        Self {
            sums: vec![None; names.slots().len()].into_boxed_slice(),
            declared: 0,
            streams: 0,
        }
    }

    pub(super) fn declare(&mut self, slot: usize) {
        self.declared |= 1 << (slot % 128);
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize, value: f64) {
        if let Some(sum) = self.sums.get_mut(slot) {
            *sum.get_or_insert(0.0) += value;
        }
    }

    pub(super) fn has_streams(&mut self, meter: usize) {
        self.streams |= 1 << (meter % 64);
    }

    pub(super) fn is_infinite(&self) -> bool {
        self.sums.iter().flatten().any(|sum| sum.is_infinite())
    }

    /// Whether the page has a counter of this family.
    pub fn shows(&self, meter: MeterId) -> bool {
        self.first(Kind::Started, meter.index()).is_some()
            || self.first(Kind::Handled, meter.index()).is_some()
    }

    /// Whether anything was counted under this family.
    pub fn has_counted(&self, meter: MeterId) -> bool {
        let counted = |kind| {
            self.first(kind, meter.index())
                .is_some_and(|(_, sum)| sum > 0.0)
        };
        counted(Kind::Started) || counted(Kind::Handled)
    }

    /// The families that the page has, best first.
    pub fn meters(&self) -> impl Iterator<Item = MeterId> {
        MeterId::all().filter(|meter| self.shows(*meter))
    }

    /// What the page says by one family.
    pub fn counters(&self, meter: MeterId) -> Counters {
        let first = |kind| self.first(kind, meter.index());
        let (started, handled) = (first(Kind::Started), first(Kind::Handled));
        let slot =
            |found: Option<(usize, f64)>| found.and_then(|(slot, _)| u8::try_from(slot).ok());
        let (connections_created, connections_open) = self.connections().unzip();
        Counters {
            started: started.map(|(_, sum)| sum),
            handled: handled.map(|(_, sum)| sum),
            open: first(Kind::Open).map(|(_, sum)| sum),
            connections_created,
            connections_open,
            streams: self.streams & (1 << (meter.index() % 64)) != 0,
            meter,
            spelling: Spelling {
                started: slot(started),
                handled: slot(handled),
            },
        }
    }

    /// Whether the page tells how many connections the server has.
    pub fn counts_connections(&self) -> bool {
        self.connections().is_some()
    }

    /// Connections made and open, by the first who counts both.
    fn connections(&self) -> Option<(f64, f64)> {
        (0..families::catalogue().connections.len()).find_map(|owner| {
            let sum = |kind| self.first(kind, owner).map(|(_, sum)| sum);
            let open = sum(Kind::ConnectionsOpen)?;
            let created = sum(Kind::ConnectionsCreated);
            let created = created.or_else(|| Some(sum(Kind::ConnectionsEnded)? + open))?;
            Some((created, open))
        })
    }

    /// The first spelling that the page has, and its sum. One that is only declared comes after one with series, since a line may
    /// declare several.
    fn first(&self, kind: Kind, owner: usize) -> Option<(usize, f64)> {
        let slots = families::names().slots().iter().enumerate();
        let own = || {
            slots
                .clone()
                .filter(|(_, slot)| slot.kind == kind && slot.owner == owner)
                .map(|(index, _)| index)
        };
        own()
            .find_map(|slot| Some((slot, (*self.sums.get(slot)?)?)))
            .or_else(|| {
                own()
                    .find(|slot| self.declared & (1 << (slot % 128)) != 0)
                    .map(|slot| (slot, 0.0))
            })
    }
}

/// The names that the sums were found under, as slots of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spelling {
    started: Option<u8>,
    handled: Option<u8>,
}

/// What a pod said by the family that its backend is judged by. `None` is "not on the page", which is not the same as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// RPCs begun since the server started.
    pub started: Option<f64>,
    /// RPCs ended since the server started.
    pub handled: Option<f64>,
    /// RPCs under way, where the server counts them apart.
    pub open: Option<f64>,
    /// Connections made since the server started.
    pub connections_created: Option<f64>,
    /// Connections open now.
    pub connections_open: Option<f64>,
    /// Whether any RPC was a stream.
    pub streams: bool,
    /// By which family.
    pub meter: MeterId,
    /// Under which of its names.
    pub spelling: Spelling,
}

impl Counters {
    /// Connections made and open, where the page has both.
    pub fn connections(&self) -> Option<(f64, f64)> {
        self.connections_created.zip(self.connections_open)
    }

    /// The sum of `family`.
    pub fn get(&self, family: Family) -> Option<f64> {
        match family {
            Family::Started => self.started,
            Family::Handled => self.handled,
        }
    }

    /// The name on the page of what [`get`](Self::get) gives.
    pub fn name(&self, family: Family) -> &'static str {
        let (slot, kind) = match family {
            Family::Started => (self.spelling.started, Kind::Started),
            Family::Handled => (self.spelling.handled, Kind::Handled),
        };
        let slots = families::names().slots();
        slot.and_then(|slot| slots.get(usize::from(slot)))
            .or_else(|| {
                let mut own = slots.iter().filter(|slot| slot.owner == self.meter.index());
                own.find(|slot| slot.kind == kind)
            })
            .map_or("", |slot| slot.name)
    }

    /// The counter to use when there is no other pod to agree with.
    pub fn preferred(&self) -> Option<Family> {
        [Family::Started, Family::Handled]
            .into_iter()
            .find(|family| self.get(*family).is_some())
    }

    /// RPCs that have begun and not ended, where the page tells.
    pub fn in_flight(&self) -> Option<f64> {
        self.open
            .or_else(|| Some((self.started? - self.handled?).max(0.0)))
    }
}
