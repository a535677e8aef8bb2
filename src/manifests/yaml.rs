//! Text to documents, with a bound on everything that a hostile file could make large.
//!
//! The parser hands out events, so that each bound is checked before anything grows: depth and aliases when a node is begun,
//! the number of documents when one starts. The bytes are bounded by whoever reads them ([`Limits::file_bytes`]).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, StrInput, Tag};
use serde_json::Value;

use super::node::{Content, Node, VALUE};
use super::scalar;

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files.
    pub all_bytes: usize,
    /// Files.
    pub files: usize,
    /// Documents of one file.
    pub documents: usize,
    /// Lists and maps within each other.
    pub depth: usize,
    /// Bytes of one document with its aliases written out, each value counting 64 more.
    pub weight: usize,
    /// The same of all documents of all files: each is bounded, and a small file may have many of them.
    pub all_weight: usize,
}

impl Default for Limits {
    /// Far above what a cluster would store of one object (1.5 MiB), and what a chart renders.
    fn default() -> Self {
        Self {
            file_bytes: 16 << 20,
            all_bytes: 64 << 20,
            files: 10_000,
            documents: 10_000,
            depth: 64,
            weight: 48 << 20,
            all_weight: 128 << 20,
        }
    }
}

/// Why a text is not read, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// Counted from 1; 0 where no line is to blame.
    pub line: usize,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Unreadable {
    fn new(line: usize, why: impl Into<String>) -> Self {
        Self {
            line,
            why: why.into(),
        }
    }
}

/// Hands each document of a text to `take`, which may say why it takes no more; the ones before a fault are handed over too.
pub fn read(
    bytes: &[u8],
    limits: &Limits,
    mut take: impl FnMut(Rc<Node>) -> Result<(), String>,
) -> Result<(), Unreadable> {
    if bytes.len() > limits.file_bytes {
        let most = limits.file_bytes >> 20;
        return Err(Unreadable::new(
            0,
            format!("has more than {most} MiB: split it"),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        Unreadable::new(line, "is not UTF-8 text: save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::<StrInput<'_>>::new_from_str_with_options(text, options);
    let mut documents = 0;
    let mut composer = Composer::new(limits);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| told(text, &error))?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > limits.documents {
                let most = limits.documents;
                return Err(Unreadable::new(
                    span.start.line(),
                    format!("has more than {most} documents: split it"),
                ));
            }
        }
        let ended = matches!(event, Event::DocumentEnd);
        let taken = composer.take(event, span.start.line());
        taken.map_err(|error| Unreadable::new(error.line, error.why + hint(text)))?;
        if ended {
            let done = std::mem::replace(&mut composer, Composer::new(limits));
            if let Some(root) = done.root {
                let line = root.line;
                take(root).map_err(|why| Unreadable::new(line, why))?;
            }
        }
    }
    Ok(())
}

/// The parser's own words, and the remedy.
fn told(text: &str, error: &ScanError) -> Unreadable {
    let why = format!("is not YAML: {}{}", error.info(), hint(text));
    Unreadable::new(error.marker().line(), why)
}

/// The remedy where a template was meant to be rendered first.
pub(super) fn hint(text: &str) -> &'static str {
    if text.contains("{{") && text.contains("}}") {
        ": it looks like a template, render it first: helm template CHART | evenkeel check -f -"
    } else {
        ""
    }
}

/// Makes one document out of events, without recursion.
struct Composer<'a> {
    limits: &'a Limits,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

/// A list or map that has not ended.
struct Open {
    line: usize,
    anchor: usize,
    weight: usize,
    height: usize,
    content: Content,
    /// The key that waits for its value.
    key: Option<(String, usize)>,
}

impl<'a> Composer<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Unreadable> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = value(text, style, tag.as_deref());
                let weight = VALUE + value.as_str().map_or(0, str::len);
                let content = Content::Scalar(value);
                self.end(
                    Node {
                        line,
                        content,
                        weight,
                        height: 0,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start(line, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => self.start(line, anchor, Content::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                // An anchor whose own value contains the alias has not ended, and is not known yet.
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| {
                    Unreadable::new(
                        line,
                        "an alias stands within its own anchor: write the value out",
                    )
                })?;
                self.place(node, line)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, line: usize, anchor: usize, content: Content) -> Result<(), Unreadable> {
        if self.open.len() >= self.limits.depth {
            return Err(self.too_deep(line));
        }
        self.open.push(Open {
            line,
            anchor,
            weight: VALUE,
            height: 0,
            content,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(mut open) = self.open.pop() else {
            return Ok(());
        };
        merge(&mut open.content);
        let node = Node {
            line: open.line,
            content: open.content,
            weight: open.weight,
            height: open.height,
        };
        self.end(node, open.anchor)
    }

    fn end(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        let line = node.line;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node, line)
    }

    /// Puts a node where it belongs: it is the root, an item, a key or a key's value.
    fn place(&mut self, node: Rc<Node>, line: usize) -> Result<(), Unreadable> {
        if self.open.len() + node.height > self.limits.depth {
            return Err(self.too_deep(line));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.height = parent.height.max(node.height + 1);
        parent.weight = parent.weight.saturating_add(node.weight);
        if parent.weight > self.limits.weight {
            let most = self.limits.weight >> 20;
            return Err(Unreadable::new(
                line,
                format!(
                    "has a document of more than {most} MiB with its aliases written out: split it, or use fewer aliases"
                ),
            ));
        }
        match (&mut parent.content, parent.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some((key, at))) => entries.push((key, at, node)),
            (Content::Map(_), None) => parent.key = Some((key(&node, line)?, line)),
            (Content::Scalar(_), _) => {}
        }
        Ok(())
    }

    fn too_deep(&self, line: usize) -> Unreadable {
        let most = self.limits.depth;
        Unreadable::new(
            line,
            format!("is nested more than {most} deep: no Kubernetes object is"),
        )
    }
}

fn key(node: &Node, line: usize) -> Result<String, Unreadable> {
    match &node.content {
        Content::Scalar(Value::String(text)) => Ok(text.clone()),
        Content::Scalar(value) => Ok(value.to_string()),
        Content::List(_) | Content::Map(_) => Err(Unreadable::new(
            line,
            "has a list or map as a key: write the key as text",
        )),
    }
}

fn value(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
    if style == ScalarStyle::Plain && !is_text {
        scalar::plain(&text)
    } else {
        Value::String(text.into_owned())
    }
}

/// `<<: *other` brings in what the map does not say itself.
fn merge(content: &mut Content) {
    let Content::Map(entries) = content else {
        return;
    };
    if !entries.iter().any(|(key, _, _)| key == "<<") {
        return;
    }
    let (merged, mut own): (Vec<_>, Vec<_>) = std::mem::take(entries)
        .into_iter()
        .partition(|(key, _, _)| key == "<<");
    let mut known: HashSet<String> = own.iter().map(|(key, _, _)| key.clone()).collect();
    for (_, _, node) in merged {
        let maps = node
            .items()
            .map_or_else(|| vec![Rc::clone(&node)], <[_]>::to_vec);
        for map in maps {
            let Content::Map(more) = &map.content else {
                continue;
            };
            for (key, line, value) in more {
                if known.insert(key.clone()) {
                    own.push((key.clone(), *line, Rc::clone(value)));
                }
            }
        }
    }
    *entries = own;
}
