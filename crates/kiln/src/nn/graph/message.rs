//! Messages along edges: what all graph layers are made of.

use crate::ops::scatter_reduce::largest;
use crate::{DType, Lit, ScatterReduce, Tensor};

/// How the messages that reach a node become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean; zero at a node that none reaches.
    Mean,
    /// The largest of each feature; zero at a node that none reaches.
    Max,
}

/// The edges of a graph of `nodes` nodes, each from a source to a target.
///
/// Gathering and scattering are deterministic, gradients too. An edge that names a node which is not there is an
/// [`Error::Index`](crate::Error::Index) when a result is read.
#[derive(Clone)]
pub struct Messages {
    sources: Tensor,
    targets: Tensor,
    nodes: usize,
}

impl Messages {
    /// Along `edges [2, count]` of `I32`: sources, then targets, as in PyTorch Geometric.
    ///
    /// # Errors
    /// A tensor that carries [`Error::Shape`](crate::Error::Shape) or [`Error::DType`](crate::Error::DType).
    #[track_caller]
    pub fn new(edges: &Tensor, nodes: usize) -> Result<Self, Tensor> {
        let Ok(shape) = edges.shape() else { return Err(edges.clone()) };
        if shape.len() != 2 || shape[0] != 2 {
            return Err(Tensor::bad_shape("graph", &[edges], "edges are [2, count]: sources, then targets"));
        }
        if !edges.dtype().is_int() {
            return Err(Tensor::bad_dtype("graph", &[edges], "edges are i32 or u32"));
        }
        Ok(Self { sources: edges.select(0, 0), targets: edges.select(0, 1), nodes })
    }

    /// The same with an edge from each node to itself added at the end.
    #[must_use]
    pub fn with_loops(&self) -> Self {
        let loops = Tensor::arange(self.sources.device(), 0, self.nodes as i32, 1);
        let join = |ends: &Tensor| Tensor::cat(&[&ends.cast(DType::I32), &loops], 0);
        Self { sources: join(&self.sources), targets: join(&self.targets), nodes: self.nodes }
    }

    /// The number of edges.
    pub fn edges(&self) -> usize {
        self.sources.numel()
    }

    /// True for each edge from a node to itself, `[edges]`.
    pub fn loops(&self) -> Tensor {
        self.sources.eq(&self.targets)
    }

    /// What each edge's source holds: `x [nodes, ..]` → `[edges, ..]`.
    #[track_caller]
    pub fn at_sources(&self, x: &Tensor) -> Tensor {
        x.index_select(0, &self.sources)
    }

    /// What each edge's target holds: `x [nodes, ..]` → `[edges, ..]`.
    #[track_caller]
    pub fn at_targets(&self, x: &Tensor) -> Tensor {
        x.index_select(0, &self.targets)
    }

    /// What each node is sent: `messages [edges, ..]` → `[nodes, ..]`.
    #[track_caller]
    pub fn to_targets(&self, messages: &Tensor, how: Aggregation) -> Tensor {
        aggregate(messages, &self.targets, self.nodes, how)
    }

    /// How many edges reach each node, or the sum of their weights: `[nodes]`.
    #[track_caller]
    pub fn degree(&self, weights: Option<&Tensor>) -> Tensor {
        match weights {
            Some(weights) => self.to_targets(weights, Aggregation::Sum),
            None => self.to_targets(&Tensor::ones(self.sources.device(), [self.edges()]), Aggregation::Sum),
        }
    }

    /// The softmax of scores among the edges that reach one node: `[edges, ..]` → the same.
    #[track_caller]
    pub fn softmax(&self, scores: &Tensor) -> Tensor {
        if scores.shape().is_err() || self.edges() == 0 {
            return scores.clone();
        }
        // what is subtracted changes no weight, so it takes no gradient
        let top = largest(scores, &self.targets, self.nodes);
        let weights = (scores - self.at_targets(&top)).exp();
        let sum = self.to_targets(&weights, Aggregation::Sum);
        weights / self.at_targets(&sum)
    }
}

/// Rows of `x [rows, ..]` brought together by `index [rows]`: → `[count, ..]`.
#[track_caller]
pub(super) fn aggregate(x: &Tensor, index: &Tensor, count: usize, how: Aggregation) -> Tensor {
    let Ok(shape) = x.shape() else { return x.clone() };
    let mut dims = shape.to_vec();
    if dims.is_empty() {
        return Tensor::bad_shape("graph", &[x], "a row for each edge or node");
    }
    dims[0] = count;
    let zeros = Tensor::zeros(x.device(), dims).cast(x.dtype());
    match how {
        Aggregation::Sum => zeros.index_add(0, index, x),
        Aggregation::Mean => zeros.index_reduce(0, index, x, ScatterReduce::Mean, false),
        Aggregation::Max => zeros.index_reduce(0, index, x, ScatterReduce::Amax, false),
    }
}

/// The sum of the rows of each graph: `x [nodes, ..]`, `batch [nodes]` (the graph of each node) → `[graphs, ..]`.
#[track_caller]
pub fn global_add_pool(x: &Tensor, batch: &Tensor, graphs: usize) -> Tensor {
    aggregate(x, batch, graphs, Aggregation::Sum)
}

/// The mean of the rows of each graph; zero for a graph without nodes. As [`global_add_pool`].
#[track_caller]
pub fn global_mean_pool(x: &Tensor, batch: &Tensor, graphs: usize) -> Tensor {
    aggregate(x, batch, graphs, Aggregation::Mean)
}

/// The largest of each feature among the rows of each graph; zero for a graph without nodes. As
/// [`global_add_pool`].
#[track_caller]
pub fn global_max_pool(x: &Tensor, batch: &Tensor, graphs: usize) -> Tensor {
    aggregate(x, batch, graphs, Aggregation::Max)
}

/// A column `[rows, 1]` of a vector of one number a row.
#[track_caller]
pub(super) fn column(weights: &Tensor, rows: usize) -> Tensor {
    if weights.shape().is_ok_and(|shape| shape[..] != [rows]) {
        return Tensor::bad_shape("graph", &[weights], "one weight for each edge");
    }
    weights.unsqueeze(-1)
}

/// 1/√x, and 0 where x is not positive.
pub(super) fn inverse_root(x: &Tensor) -> Tensor {
    let positive = x.gt(Lit(0.0));
    let safe = Tensor::where_(&positive, x, Lit(1.0));
    Tensor::where_(&positive, safe.powf(-0.5), Lit(0.0))
}
