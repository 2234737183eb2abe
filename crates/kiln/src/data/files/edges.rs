//! Edge lists: a line for each edge, `source target` or `source target weight`, separated by commas, tabs or spaces.
//! Blank lines and lines that begin with `#` or `%` are skipped.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use super::read_file;
use super::text::{Lines, at_line};
use crate::Result;
use crate::data::Graph;

/// What a file of edges holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EdgeList {
    /// How many nodes there are: one more than the greatest number, or as many as names.
    pub nodes: usize,
    /// Where each edge starts and ends.
    pub edges: Vec<[i32; 2]>,
    /// One for each edge, where the file has a third field.
    pub weights: Option<Vec<f32>>,
    /// The names of the nodes in the order in which they first appear, where nodes have names.
    pub names: Vec<String>,
}

/// How an edge list is written. By default nodes are numbers from 0 and there is no header.
#[derive(Debug, Clone, Default)]
pub struct EdgeFile {
    header: bool,
    named: bool,
}

impl EdgeFile {
    /// Numbers from 0, no header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the first line that is neither blank nor a comment is skipped.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// Sets whether nodes have names instead of numbers.
    #[must_use]
    pub fn named(mut self, named: bool) -> Self {
        self.named = named;
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if it cannot be read, [`Error::Malformed`](crate::Error::Malformed) with the
    /// line of what is no edge.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<EdgeList> {
        self.parse(&read_file(path.as_ref())?, path)
    }

    /// The edges in the bytes of a file; errors call it `name`.
    ///
    /// # Errors
    /// As for [`read`](EdgeFile::read), from its content.
    pub fn parse(&self, bytes: &[u8], name: impl AsRef<Path>) -> Result<EdgeList> {
        let path = name.as_ref();
        let mut lines = Lines::new(BufReader::new(bytes), path);
        let mut list = EdgeList::default();
        let mut weights = Vec::new();
        let mut numbers: BTreeMap<String, i32> = BTreeMap::new();
        let mut width = None;
        let mut header = self.header;
        while let Some(text) = lines.next().transpose()? {
            let text = text.trim();
            if text.is_empty() || text.starts_with(['#', '%']) || std::mem::take(&mut header) {
                continue;
            }
            let line = lines.line();
            let bad = |expected: &str, found: &str| at_line(path, line, expected, format!("{found:?}"));
            let fields: Vec<&str> = match text.contains([',', '\t']) {
                true => text.split([',', '\t']).map(str::trim).collect(),
                false => text.split_whitespace().collect(),
            };
            match (fields.len(), width) {
                (2 | 3, None) => width = Some(fields.len()),
                (n, Some(width)) if n == width => {}
                (_, Some(3)) => return Err(bad("source, target and weight", text)),
                _ => return Err(bad("source and target", text)),
            }
            let mut edge = [0; 2];
            for (end, &field) in edge.iter_mut().zip(&fields) {
                *end = match self.named {
                    true if field.is_empty() => return Err(bad("the name of a node", text)),
                    true => node(&mut numbers, &mut list.names, field),
                    false => field
                        .parse()
                        .ok()
                        .filter(|&id| (0..i32::MAX).contains(&id))
                        .ok_or_else(|| bad("the number of a node, from 0", field))?,
                };
                list.nodes = list.nodes.max(*end as usize + 1);
            }
            list.edges.push(edge);
            if let Some(weight) = fields.get(2) {
                let number: Option<f32> = weight.parse().ok().filter(|weight: &f32| weight.is_finite());
                weights.push(number.ok_or_else(|| bad("a weight", weight))?);
            }
        }
        list.weights = (width == Some(3)).then_some(weights);
        Ok(list)
    }
}

/// The number of the node with this name.
fn node(numbers: &mut BTreeMap<String, i32>, names: &mut Vec<String>, name: &str) -> i32 {
    if let Some(&number) = numbers.get(name) {
        return number;
    }
    let number = names.len() as i32;
    numbers.insert(name.to_string(), number);
    names.push(name.to_string());
    number
}

impl EdgeList {
    /// The graph with these edges and `features` `[nodes, width]`.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if there are not as many features for each node.
    #[track_caller]
    pub fn graph(self, features: Vec<f32>) -> Result<Graph> {
        let graph = Graph { nodes: self.nodes, features, edges: self.edges, weights: self.weights };
        graph.check()?;
        Ok(graph)
    }
}
