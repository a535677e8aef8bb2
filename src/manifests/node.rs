//! A document as it was written: values with the lines that they stand on.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value};

/// What a value takes besides its text, about.
pub(super) const VALUE: usize = 64;

/// A value and its line.
#[derive(Debug)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    /// The value.
    pub content: Content,
    /// What the value weighs written out, aliases too.
    pub weight: usize,
    /// Levels below it, aliases too.
    pub height: usize,
}

/// What a node is. Aliases share what they stand for.
#[derive(Debug)]
pub enum Content {
    /// A single value.
    Scalar(Value),
    /// A list.
    List(Vec<Rc<Node>>),
    /// A map: each key with its line.
    Map(Vec<(String, usize, Rc<Node>)>),
}

impl Node {
    /// A value that nobody wrote down: there are no lines.
    pub fn of(value: &Value) -> Rc<Self> {
        let content = match value {
            Value::Array(items) => Content::List(items.iter().map(Self::of).collect()),
            Value::Object(fields) => {
                let field = |(key, value): (&String, &Value)| (key.clone(), 0, Self::of(value));
                Content::Map(fields.iter().map(field).collect())
            }
            scalar => Content::Scalar(scalar.clone()),
        };
        let weight = match &content {
            Content::Scalar(value) => value.as_str().map_or(0, str::len),
            Content::List(items) => items.iter().map(|item| item.weight).sum(),
            Content::Map(fields) => {
                let field =
                    |(key, _, value): &(String, usize, Rc<Self>)| VALUE + key.len() + value.weight;
                fields.iter().map(field).sum()
            }
        };
        Rc::new(Self {
            line: 0,
            content,
            weight: VALUE + weight,
            height: 0,
        })
    }

    /// A field of a map.
    pub fn get(&self, key: &str) -> Option<&Rc<Self>> {
        Some(&self.entry(key)?.2)
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<&[Rc<Self>]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value with aliases written out. Its depth and weight are bounded where the node is made.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(|item| item.value()).collect(),
            Content::Map(entries) => {
                let fields = entries.iter();
                let fields = fields.map(|(key, _, value)| (key.clone(), value.value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The line of a path such as `spec.containers[0].ports`, or of as much of it as is written.
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (step.strip_suffix(']'), node.items()) {
                (Some(index), Some(items)) => {
                    let index: Option<usize> = index.parse().ok();
                    index
                        .and_then(|index| items.get(index))
                        .map(|item| (item.line, item))
                }
                _ => node.entry(step).map(|(_, line, value)| (*line, value)),
            };
            let Some((at, below)) = next else { break };
            line = at;
            node = below;
        }
        line
    }

    /// A key that a map within has twice, with the lines of the first and of the next: only the last counts.
    pub fn written_twice(&self) -> Option<(&str, usize, usize)> {
        match &self.content {
            Content::Scalar(_) => None,
            Content::List(items) => items.iter().find_map(|item| item.written_twice()),
            Content::Map(entries) => {
                let mut seen = HashMap::new();
                let mut all = entries.iter();
                let twice = all.find_map(|(key, line, _)| {
                    let first = seen.insert(key.as_str(), *line)?;
                    Some((key.as_str(), first, *line))
                });
                let mut below = entries.iter().map(|(.., value)| value);
                twice.or_else(|| below.find_map(|value| value.written_twice()))
            }
        }
    }

    /// The last of that name counts, as everywhere in Kubernetes.
    fn entry(&self, key: &str) -> Option<&(String, usize, Rc<Self>)> {
        match &self.content {
            Content::Map(entries) => entries.iter().rev().find(|(name, _, _)| name == key),
            _ => None,
        }
    }
}
