//! Files to sets that can be in one cluster at the same time.
//!
//! An object that stands in two directories, not the same each time, is that of two environments: `overlays/prod` and
//! `overlays/staging`. Each such directory is a set of its own, together with what stands above or beside it only once; so is
//! each such file of a directory.
//!
//! ```text
//! deploy/service.yaml          Service a        ─┬─▶ set deploy/prod:    Service a, Deployment a (3 replicas)
//! deploy/prod/app.yaml         Deployment a  ────┤
//! deploy/staging/app.yaml      Deployment a  ────┴─▶ set deploy/staging: Service a, Deployment a (1 replica)
//! ```
//!
//! Within a file, and for files that are named one by one, the last one counts, as for `kubectl apply`; that is said.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use super::items::{Identity, Item, items, only};
use super::objects::Objects;
use crate::observed::Observer;

/// More environments than anybody looks through in one report.
const MOST: usize = 1_000;
/// Objects of all sets: what they share counts for each.
const MOST_OBJECTS: usize = 200_000;

/// What can be in one cluster at the same time.
pub struct Set {
    /// The directory or file that it is of; none where there is but one set.
    pub of: Option<String>,
    /// What is in it.
    pub objects: Objects,
}

/// An object or field that does not count, since another of its name does.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Repeated {
    /// The file of the one that does not count.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Its kind, namespace and name; of a field its name and the kind of its object.
    pub object: String,
    /// Where the one stands that counts.
    pub by: String,
}

/// `a.yaml:3: Deployment shop/a stands again in a.yaml:30, which is the one that counts`.
impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            object,
            by,
        } = self;
        write!(
            f,
            "{file}:{line}: {object} stands again in {by}, which is the one that counts"
        )
    }
}

/// How the objects fall apart.
#[derive(Default)]
pub struct Sets {
    /// Each by itself; none where nothing stands twice, so that all is one.
    apart: Vec<(Option<String>, Vec<usize>)>,
    /// Sets that are not looked at, since there are too many.
    pub left_out: usize,
    /// What does not count.
    pub repeated: BTreeSet<Repeated>,
}

impl Sets {
    /// Whether nothing stands twice.
    pub fn is_one(&self) -> bool {
        self.apart.is_empty()
    }

    /// Looks for what stands twice. In a cluster nothing does.
    pub fn of(objects: &Objects) -> Self {
        let mut sets = Self::default();
        if objects.observer != Observer::Manifests {
            return sets;
        }
        let items = items(objects);
        let mut seen = HashSet::new();
        if items
            .iter()
            .filter_map(|item| item.identity.as_ref())
            .all(|own| seen.insert(own))
        {
            return sets;
        }
        let (named, found): (Vec<&Item<'_>>, Vec<&Item<'_>>) =
            items.iter().partition(|item| item.within.is_none());
        let mut texts = Texts::default();
        let parts = split(found, 0, &mut texts, &mut sets.left_out);
        let mut objects = 0;
        for mut part in parts {
            part.items.extend(&named);
            objects += part.items.len();
            if objects > MOST_OBJECTS {
                sets.left_out += 1;
                continue;
            }
            let kept = sets.without_repeated(&part.items, &mut texts);
            sets.apart.push((part.of, kept));
        }
        sets
    }

    /// The last one of each name. That a directory has its own of what stands above it, or twice the same, needs no words.
    fn without_repeated(&mut self, items: &[&Item<'_>], texts: &mut Texts) -> Vec<usize> {
        let mut last: HashMap<&Identity<'_>, &Item<'_>> = HashMap::new();
        for item in items {
            let Some(identity) = &item.identity else {
                continue;
            };
            let Some(earlier) = last.insert(identity, item) else {
                continue;
            };
            let in_sight = item.within.is_none() || item.source.file == earlier.source.file;
            if in_sight && texts.of(earlier) != texts.of(item) {
                let (kind, namespace, name) = identity;
                self.repeated.insert(Repeated {
                    file: earlier.source.file.to_string(),
                    line: earlier.source.node.line,
                    object: format!("{kind} {namespace}/{name}"),
                    by: format!("{}:{}", item.source.file, item.source.node.line),
                });
            }
        }
        let counts = |item: &&&Item<'_>| {
            let identity = item.identity.as_ref();
            identity.is_none_or(|own| last.get(own).is_some_and(|last| last.at == item.at))
        };
        let mut kept: Vec<usize> = items.iter().filter(counts).map(|item| item.at).collect();
        kept.sort_unstable();
        kept
    }

    /// The objects of each set; none if all are one.
    pub fn cut<'a>(&'a self, objects: &'a Objects) -> impl Iterator<Item = Set> + 'a {
        self.apart.iter().map(move |(of, set)| Set {
            of: of.clone(),
            objects: only(objects, set),
        })
    }
}

/// What can be in one cluster, of the objects below one directory; what is more its own comes later.
struct Part<'a> {
    /// The directory or file that it is of, if it is but one of several.
    of: Option<String>,
    items: Vec<&'a Item<'a>>,
}

/// What stands in a directory: its own files (none), and each directory, or file that is at odds with another, by its name.
type Children<'a, 'b> = BTreeMap<Option<&'b str>, Vec<&'a Item<'a>>>;

fn split<'a>(
    items: Vec<&'a Item<'a>>,
    depth: usize,
    texts: &mut Texts,
    left_out: &mut usize,
) -> Vec<Part<'a>> {
    let place = items.first().map(|item| item.place(depth));
    let mut children = children(items, depth, texts);
    let contested = contested(&children, texts);
    let mut common = children.remove(&None).unwrap_or_default();
    let mut apart: Vec<Part<'_>> = Vec::new();
    for (child, items) in children {
        let is_file = items.first().is_some_and(|item| item.is_in(depth));
        let of = items.first().map(|item| {
            if is_file {
                item.source.file.to_string()
            } else {
                item.place(depth + 1)
            }
        });
        let mut parts = if is_file {
            vec![Part { of: None, items }]
        } else {
            split(items, depth + 1, texts, left_out)
        };
        if parts.len() > 1 {
            apart.append(&mut parts);
        } else if contested.contains(&child) {
            apart.extend(parts.into_iter().map(|part| Part {
                of: of.clone(),
                ..part
            }));
        } else {
            common.extend(parts.into_iter().flat_map(|part| part.items));
        }
    }
    if apart.is_empty() {
        return vec![Part {
            of: None,
            items: common,
        }];
    }
    if contested.contains(&None) {
        apart.insert(
            0,
            Part {
                of: place,
                items: Vec::new(),
            },
        );
    }
    *left_out += apart.len().saturating_sub(MOST);
    apart.truncate(MOST);
    for part in &mut apart {
        part.items = [common.as_slice(), &part.items].concat();
    }
    apart
}

fn children<'a>(items: Vec<&'a Item<'a>>, depth: usize, texts: &mut Texts) -> Children<'a, 'a> {
    let (own, below): (Vec<&Item<'_>>, Vec<&Item<'_>>) =
        items.into_iter().partition(|item| item.is_in(depth));
    let mut children: Children<'_, '_> = BTreeMap::new();
    for item in own {
        children
            .entry(Some(item.source.file.as_ref()))
            .or_default()
            .push(item);
    }
    // Files of one directory belong together, but for those that have the same object otherwise.
    let at_odds = contested(&children, texts);
    let (apart, together): (Children<'_, '_>, Children<'_, '_>) = children
        .into_iter()
        .partition(|(file, _)| at_odds.contains(file));
    let mut children = apart;
    children.insert(None, together.into_values().flatten().collect());
    for item in below {
        let child = item.within.as_ref().and_then(|within| within.get(depth));
        children
            .entry(child.map(String::as_str))
            .or_default()
            .push(item);
    }
    children
}

/// Which of a directory's own files (none) and directories have an object that another one has otherwise.
fn contested<'a>(
    children: &BTreeMap<Option<&'a str>, Vec<&Item<'_>>>,
    texts: &mut Texts,
) -> BTreeSet<Option<&'a str>> {
    let mut stand: HashMap<&Identity<'_>, Vec<(Option<&str>, &Item<'_>)>> = HashMap::new();
    for (child, items) in children {
        for item in items {
            if let Some(identity) = &item.identity {
                stand.entry(identity).or_default().push((*child, item));
            }
        }
    }
    let mut contested = BTreeSet::new();
    for all in stand.into_values() {
        let [(child, item), others @ ..] = all.as_slice() else {
            continue;
        };
        let differ = others
            .iter()
            .any(|(_, other)| texts.of(other) != texts.of(item));
        if differ && others.iter().any(|(other, _)| other != child) {
            contested.extend(all.iter().map(|(child, _)| *child));
        }
    }
    contested
}

/// Objects as they were written, for those that need comparing.
#[derive(Default)]
struct Texts(HashMap<usize, Rc<Value>>);

impl Texts {
    fn of(&mut self, item: &Item<'_>) -> Rc<Value> {
        let text = self.0.entry(item.at);
        Rc::clone(text.or_insert_with(|| Rc::new(item.source.node.value())))
    }
}
