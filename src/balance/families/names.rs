//! The names of the catalogue as the reader needs them: which line of a page is wanted, and for what.

use super::{Catalogue, Condition};

/// What a series counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// RPCs begun.
    Started,
    /// RPCs ended.
    Handled,
    /// RPCs under way.
    Open,
    /// Connections made.
    ConnectionsCreated,
    /// Connections that ended.
    ConnectionsEnded,
    /// Connections open.
    ConnectionsOpen,
}

impl Kind {
    /// Connections are the process's, whichever of its servers is asked about.
    pub fn is_of_connections(self) -> bool {
        matches!(
            self,
            Self::ConnectionsCreated | Self::ConnectionsEnded | Self::ConnectionsOpen
        )
    }
}

/// One name that a series may have.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The name.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// Whose it is: the index in the catalogue's list of families, or of connections.
    pub owner: usize,
    /// The label with the service.
    pub service: Option<&'static str>,
    /// The label with service and method.
    pub method: Option<&'static str>,
    /// Any of these tells a stream.
    pub streams: &'static [Condition],
    /// What every series must fit.
    pub only: &'static [Condition],
    /// What no series may fit.
    pub unless: &'static [Condition],
    /// Of the labels that these are about, the lengths of their names, a bit each: other labels need no closer look.
    lengths: u64,
}

impl Slot {
    /// Whether a label of so long a name may be one that counts here.
    #[inline]
    pub fn may_look_at(&self, length: usize) -> bool {
        self.lengths & bit(length) != 0
    }

    fn with_lengths(mut self) -> Self {
        let conditions = [self.streams, self.only, self.unless];
        let labels = conditions.iter().flat_map(|conditions| conditions.iter());
        let labels = labels.map(|condition| &*condition.label);
        for label in labels.chain(self.service).chain(self.method) {
            self.lengths |= bit(label.len());
        }
        self
    }
}

/// Names of 63 bytes and more share one.
fn bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Bits of the filter: a few hundred times the number of beginnings, so that hardly a foreign name passes.
const FILTER_BITS: u64 = 1 << 14;
/// Bytes of a name that the filter looks at; every name has more.
pub const BEGINNING: usize = 8;

/// All names, found by the bytes on a page.
#[derive(Debug)]
pub struct Names {
    /// By their first bytes.
    filter: Box<[u64]>,
    /// By their last bytes and their length, since the names of one library begin alike.
    endings: Box<[u64]>,
    /// Sorted by name.
    found: Vec<(&'static [u8], usize)>,
    /// What a `# TYPE` line calls them; sorted.
    declared: Vec<(&'static [u8], usize)>,
    slots: Vec<Slot>,
}

impl Names {
    /// Prepares a catalogue.
    pub fn of(catalogue: &'static Catalogue) -> Self {
        let slots = slots(catalogue);
        let none = vec![0; usize::try_from(FILTER_BITS / 64).unwrap_or_default()];
        let mut names = Self {
            filter: none.clone().into_boxed_slice(),
            endings: none.into_boxed_slice(),
            found: Vec::new(),
            declared: Vec::new(),
            slots: Vec::new(),
        };
        for (index, slot) in slots.iter().enumerate() {
            let name = slot.name.as_bytes();
            names.found.push((name, index));
            names.declared.push((name, index));
            // OpenMetrics declares a counter without its suffix, and both formats so declare a histogram.
            for suffix in [&b"_total"[..], b"_count"] {
                if let Some(family) = name.strip_suffix(suffix) {
                    names.declared.push((family, index));
                }
            }
            if let Some((word, bit)) = beginning(name).map(place) {
                names.filter[word] |= bit;
            }
            if let Some((word, bit)) = ending(name).map(place) {
                names.endings[word] |= bit;
            }
        }
        names.found.sort_unstable();
        names.declared.sort_unstable();
        names.slots = slots;
        names
    }

    /// Whether a name that begins like this may be wanted. Hardly ever wrong, and never where one is.
    #[inline]
    pub fn may_begin(&self, line: &[u8]) -> bool {
        beginning(line)
            .map(place)
            .is_some_and(|(word, bit)| self.filter.get(word).is_some_and(|known| known & bit != 0))
    }

    /// The series of exactly this name.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let (word, bit) = place(ending(name)?);
        if self.endings.get(word)? & bit == 0 {
            return None;
        }
        self.found
            .binary_search_by(|(known, _)| (*known).cmp(name))
            .ok()
            .map(|index| self.found[index].1)
    }

    /// The series that a `# TYPE` line of this name declares.
    pub fn declared<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let first = self.declared.partition_point(|(known, _)| *known < name);
        self.declared[first..]
            .iter()
            .take_while(move |(known, _)| *known == name)
            .map(|(_, index)| *index)
    }

    /// All of them, in the order of the catalogue.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

fn beginning(name: &[u8]) -> Option<u64> {
    let bytes = name.first_chunk::<BEGINNING>()?;
    Some(u64::from_le_bytes(*bytes))
}

fn ending(name: &[u8]) -> Option<u64> {
    let bytes = name.last_chunk::<BEGINNING>()?;
    Some(u64::from_le_bytes(*bytes) ^ name.len() as u64)
}

/// The word and the bit of a filter.
fn place(beginning: u64) -> (usize, u64) {
    // 2⁶⁴ over the golden ratio: it spreads what differs in any byte over the upper bits.
    let hash = beginning.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS.trailing_zeros());
    let word = usize::try_from(hash / 64).unwrap_or_default();
    (word, 1 << (hash % 64))
}

fn slots(catalogue: &'static Catalogue) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (owner, meter) in catalogue.families.iter().enumerate() {
        for (kind, names) in [
            (Kind::Started, &meter.started),
            (Kind::Handled, &meter.handled),
            (Kind::Open, &meter.open),
        ] {
            slots.extend(names.iter().map(|name| Slot {
                name,
                kind,
                owner,
                service: meter.labels.service.as_deref(),
                method: meter.labels.method.as_deref(),
                streams: &meter.labels.streams,
                only: &meter.only,
                unless: &meter.unless,
                lengths: 0,
            }));
        }
    }
    for (owner, counted) in catalogue.connections.iter().enumerate() {
        for (kind, names) in [
            (Kind::ConnectionsCreated, &counted.created),
            (Kind::ConnectionsEnded, &counted.ended),
            (Kind::ConnectionsOpen, &counted.open),
        ] {
            slots.extend(names.iter().map(|name| Slot {
                name,
                kind,
                owner,
                service: None,
                method: None,
                streams: &[],
                only: &[],
                unless: &[],
                lengths: 0,
            }));
        }
    }
    slots.into_iter().map(Slot::with_lengths).collect()
}
