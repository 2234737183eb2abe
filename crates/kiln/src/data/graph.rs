//! Graphs on the host: edge lists, and several graphs as one.

use crate::error::At;
use crate::{Device, Error, Result, Tensor};

/// A graph: features of its nodes and edges from sources to targets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// How many nodes there are.
    pub nodes: usize,
    /// `[nodes, width]` in row-major order.
    pub features: Vec<f32>,
    /// Where each edge starts and ends.
    pub edges: Vec<[i32; 2]>,
    /// One for each edge, where edges have weights.
    pub weights: Option<Vec<f32>>,
}

fn refuse<T>(name: &'static str, value: impl ToString, why: &'static str, at: At) -> Result<T> {
    Err(Error::Argument { op: "graph", name, value: value.to_string(), why, at })
}

impl Graph {
    /// Checks that every edge has its nodes and every list its length.
    ///
    /// # Errors
    /// [`Error::Argument`] names what does not fit.
    #[track_caller]
    pub fn check(&self) -> Result<()> {
        let at = At::here();
        if i32::try_from(self.nodes).is_err() {
            return refuse("nodes", self.nodes, "a 32-bit number", at);
        }
        let inside = |&end: &i32| usize::try_from(end).is_ok_and(|end| end < self.nodes);
        if let Some(edge) = self.edges.iter().find(|edge| !edge.iter().all(inside)) {
            return refuse("edges", format!("{edge:?} of {} nodes", self.nodes), "between nodes that are there", at);
        }
        if !self.features.len().is_multiple_of(self.nodes) {
            return refuse("features", self.features.len(), "as many for each node", at);
        }
        match &self.weights {
            Some(weights) if weights.len() != self.edges.len() => {
                refuse("weights", weights.len(), "one for each edge", at)
            }
            _ => Ok(()),
        }
    }

    /// How many edges reach each node.
    pub fn degree(&self) -> Vec<usize> {
        let mut degree = vec![0; self.nodes];
        for [_, target] in &self.edges {
            if let Some(count) = usize::try_from(*target).ok().and_then(|t| degree.get_mut(t)) {
                *count += 1;
            }
        }
        degree
    }

    /// The same with an edge from each node to itself at the end, with the given weight where edges have weights.
    #[must_use]
    pub fn add_self_loops(mut self, weight: f32) -> Self {
        self.edges.extend((0..self.nodes as i32).map(|node| [node, node]));
        if let Some(weights) = &mut self.weights {
            weights.resize(weights.len() + self.nodes, weight);
        }
        self
    }

    /// The same without edges from a node to itself.
    #[must_use]
    pub fn remove_self_loops(mut self) -> Self {
        if let Some(weights) = &mut self.weights {
            let mut edges = self.edges.iter();
            weights.retain(|_| edges.next().is_some_and(|[a, b]| a != b));
        }
        self.edges.retain(|[a, b]| a != b);
        self
    }

    /// The same with edges in order of source and target and each of them once; the weights of equal ones are added.
    #[must_use]
    pub fn coalesce(mut self) -> Self {
        let mut order: Vec<usize> = (0..self.edges.len()).collect();
        order.sort_by_key(|&i| self.edges[i]); // stable: sums are in the order of the list
        let mut edges: Vec<[i32; 2]> = Vec::with_capacity(order.len());
        let mut sums: Vec<f32> = Vec::with_capacity(order.len());
        for i in order {
            let weight = self.weights.as_ref().and_then(|w| w.get(i).copied()).unwrap_or(0.0);
            match (edges.last(), sums.last_mut()) {
                (Some(last), Some(sum)) if *last == self.edges[i] => *sum += weight,
                _ => {
                    edges.push(self.edges[i]);
                    sums.push(weight);
                }
            }
        }
        self.edges = edges;
        self.weights = self.weights.map(|_| sums);
        self
    }

    /// The same with each edge in both directions, then [`Graph::coalesce`]: the weights of two opposite edges, and
    /// of an edge from a node to itself with itself, are added, as in PyTorch Geometric.
    #[must_use]
    pub fn to_undirected(mut self) -> Self {
        let back: Vec<[i32; 2]> = self.edges.iter().map(|[a, b]| [*b, *a]).collect();
        self.edges.extend(back);
        if let Some(weights) = &mut self.weights {
            weights.extend_from_within(..);
        }
        self.coalesce()
    }
}

/// Several graphs as one that falls apart into them.
#[derive(Clone)]
pub struct GraphBatch {
    /// Features of all nodes, `[nodes, width]`.
    pub x: Tensor,
    /// `[2, count]` of `I32`: sources, then targets, counted through all graphs.
    pub edges: Tensor,
    /// `[count]`, where the graphs have weights.
    pub weights: Option<Tensor>,
    /// The graph of each node, `[nodes]` of `I32`.
    pub batch: Tensor,
    /// How many graphs there are.
    pub graphs: usize,
    /// The first node of each graph, and the number of all nodes at the end.
    pub offsets: Vec<usize>,
}

impl GraphBatch {
    /// Puts graphs side by side.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is none, one is not well formed, or widths or weights differ among them.
    #[track_caller]
    pub fn new(graphs: &[Graph], device: &Device) -> Result<Self> {
        let at = At::here();
        let Some(first) = graphs.first() else { return refuse("graphs", "[]", "at least one", at) };
        let nodes = graphs.iter().fold(0usize, |sum, graph| sum.saturating_add(graph.nodes));
        if i32::try_from(nodes).is_err() {
            return refuse("nodes", nodes, "fewer than 2³¹ in all", at);
        }
        let width = |g: &Graph| (g.nodes > 0).then(|| g.features.len() / g.nodes);
        let common = graphs.iter().find_map(width).unwrap_or(0);
        let (mut features, mut sources, mut targets, mut batch) =
            (Vec::<f32>::new(), Vec::new(), Vec::new(), Vec::new());
        let mut weights: Option<Vec<f32>> = first.weights.as_ref().map(|_| Vec::new());
        let mut offsets = vec![0];
        let mut offset = 0i32;
        for (index, graph) in graphs.iter().enumerate() {
            graph.check()?;
            if width(graph).is_some_and(|width| width != common) {
                return refuse("features", format!("graph {index}"), "as many for each node as in the others", at);
            }
            match (&mut weights, &graph.weights) {
                (Some(all), Some(own)) => all.extend(own),
                (None, None) => {}
                _ => return refuse("weights", format!("graph {index}"), "in all graphs or in none", at),
            }
            features.extend(&graph.features);
            sources.extend(graph.edges.iter().map(|edge| edge[0] + offset));
            targets.extend(graph.edges.iter().map(|edge| edge[1] + offset));
            batch.extend(std::iter::repeat_n(index as i32, graph.nodes));
            offset += graph.nodes as i32;
            offsets.push(offset as usize);
        }
        let count = sources.len();
        sources.extend(targets);
        Ok(Self {
            x: Tensor::from_vec(device, features, &[offset as usize, common]),
            edges: Tensor::from_vec(device, sources, &[2, count]),
            weights: weights.map(|weights| Tensor::from_vec(device, weights, &[count])),
            batch: Tensor::from_vec(device, batch, &[offset as usize]),
            graphs: graphs.len(),
            offsets,
        })
    }
}
