//! Graph convolutions: GCN, GraphSAGE, GIN and the plain one.

use super::message::{Aggregation, Messages, column, inverse_root};
use crate::init::Init;
use crate::nn::{Forward, Linear, Module};
use crate::{Lit, Param, State, Tensor};

/// The rows of `x [nodes, width]`, or the error.
#[track_caller]
pub(super) fn nodes(name: &'static str, x: &Tensor, width: usize) -> Result<usize, Tensor> {
    let Ok(shape) = x.shape() else { return Err(x.clone()) };
    match shape[..] {
        [nodes, features] if features == width => Ok(nodes),
        _ => Err(Tensor::bad_shape(name, &[x], "x is [nodes, inputs]")),
    }
}

/// How many features a linear map takes.
fn width(lin: &Linear) -> usize {
    lin.weight.shape().map_or(0, |shape| shape[1])
}

pub(super) fn add(y: Tensor, bias: &Option<Param>) -> Tensor {
    match bias {
        Some(bias) => y + bias,
        None => y,
    }
}

/// Graph convolution: y = D^(−1/2) (A + I) D^(−1/2) x Wᵀ + b, D the degrees with the loops.
///
/// Shapes: `x [nodes, inputs]`, `edges [2, count]` → `[nodes, outputs]`; `lin.weight [outputs, inputs]` (Glorot),
/// `bias [outputs]` (zeros). A loop among the edges replaces the one that would be added, as in PyTorch Geometric.
///
/// Source: Kipf & Welling 2017, "Semi-supervised classification with graph convolutional networks", eq. 2.
#[derive(Module)]
pub struct GcnConv {
    /// W.
    pub lin: Linear,
    /// b.
    pub bias: Option<Param>,
    /// The weight of an added loop: 1, or 2 for "improved".
    pub loop_weight: f32,
    /// Whether each node has an edge to itself; true.
    pub add_self_loops: bool,
    /// Whether edges are scaled by the degrees of their ends; true.
    pub normalize: bool,
}

impl GcnConv {
    /// From `inputs` to `outputs` features.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let mut lin = Linear::no_bias(inputs, outputs, init);
        lin.weight = init.xavier_uniform(&[outputs, inputs], 1.0);
        let bias = Some(init.zeros(&[outputs]));
        Self { lin, bias, loop_weight: 1.0, add_self_loops: true, normalize: true }
    }

    /// The layer; `weights [count]` are those of the edges, 1 where they are not given.
    ///
    /// # Errors
    /// On evaluation, [`Error::Shape`](crate::Error::Shape) or [`Error::DType`](crate::Error::DType) for what does
    /// not fit; on reading, [`Error::Index`](crate::Error::Index) for an edge to a node that is not there.
    #[track_caller]
    pub fn run(&self, x: &Tensor, edges: &Tensor, weights: Option<&Tensor>) -> Tensor {
        let graph = match nodes("gcn_conv", x, width(&self.lin)).and_then(|nodes| Messages::new(edges, nodes)) {
            Ok(graph) => graph,
            Err(bad) => return bad,
        };
        let weights = match weights {
            Some(weights) => column(weights, graph.edges()),
            None => Tensor::ones(x.device(), [graph.edges(), 1]),
        };
        let x = self.lin.forward(x);
        // loops are not edges: each node adds its own share
        let (weights, loops) = if self.add_self_loops {
            let own = graph.loops().unsqueeze(-1);
            let given = graph.to_targets(&Tensor::where_(&own, &weights, Lit(0.0)), Aggregation::Sum);
            let has = graph.to_targets(&own.cast(crate::DType::F32), Aggregation::Sum).gt(Lit(0.0));
            let loops = Tensor::where_(&has, given, self.loop_weight);
            (Tensor::where_(&own, Lit(0.0), &weights), Some(loops))
        } else {
            (weights, None)
        };
        let mut scale = None;
        if self.normalize {
            let degree = graph.to_targets(&weights, Aggregation::Sum);
            scale = Some(inverse_root(&match &loops {
                Some(loops) => degree + loops,
                None => degree,
            }));
        }
        let scaled = |x: Tensor| match &scale {
            Some(scale) => x * scale,
            None => x,
        };
        // D^(−1/2) on both sides of the sum: one factor for each node instead of two for each edge
        let sent = scaled(x);
        let mut y = graph.to_targets(&(graph.at_sources(&sent) * weights), Aggregation::Sum);
        if let Some(loops) = loops {
            y = y + sent * loops;
        }
        add(scaled(y), &self.bias)
    }
}

/// GraphSAGE: y = W_l · (mean or maximum of the neighbours) + b + W_r · x.
///
/// Shapes: `x [nodes, inputs]`, `edges [2, count]` → `[nodes, outputs]`; `lin_l.weight`, `lin_r.weight`
/// `[outputs, inputs]`, `lin_l.bias [outputs]`.
///
/// Source: Hamilton, Ying & Leskovec 2017, "Inductive representation learning on large graphs", alg. 1.
#[derive(Module)]
pub struct SageConv {
    /// Of the neighbours.
    pub lin_l: Linear,
    /// Of the node itself; `None` leaves it out.
    pub lin_r: Option<Linear>,
    /// How the neighbours become one; their mean.
    #[module(skip)]
    pub aggregation: Aggregation,
    /// Whether the result is brought to length 1; false.
    pub normalize: bool,
}

impl SageConv {
    /// From `inputs` to `outputs` features, by the mean.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self {
            lin_l: Linear::new(inputs, outputs, init),
            lin_r: Some(Linear::no_bias(inputs, outputs, init)),
            aggregation: Aggregation::Mean,
            normalize: false,
        }
    }

    /// The layer: `x [nodes, inputs]`, `edges [2, count]` (sources, targets) → `[nodes, outputs]`.
    ///
    /// # Errors
    /// As [`GcnConv::run`].
    #[track_caller]
    pub fn run(&self, x: &Tensor, edges: &Tensor) -> Tensor {
        let graph = match nodes("sage_conv", x, width(&self.lin_l)).and_then(|nodes| Messages::new(edges, nodes)) {
            Ok(graph) => graph,
            Err(bad) => return bad,
        };
        let neighbours = graph.to_targets(&graph.at_sources(x), self.aggregation);
        let mut y = self.lin_l.forward(&neighbours);
        if let Some(lin) = &self.lin_r {
            y = y + lin.forward(x);
        }
        if !self.normalize {
            return y;
        }
        // the root's slope at zero is infinite: a row of zeros must not meet it
        let squares = y.square().sum_axes(-1, true);
        let tiny = squares.le(Lit(1e-24));
        let length = Tensor::where_(&tiny, Lit(1e-12), Tensor::where_(&tiny, Lit(1.0), &squares).sqrt());
        y / length
    }
}

/// The plain graph convolution: y = W_rel · Σ w x_neighbour + b + W_root · x.
///
/// Shapes: `x [nodes, inputs]`, `edges [2, count]` → `[nodes, outputs]`; `lin_rel.weight`, `lin_root.weight`
/// `[outputs, inputs]`, `lin_rel.bias [outputs]`.
///
/// Source: Morris et al. 2019, "Weisfeiler and Leman go neural", eq. 4.
#[derive(Module)]
pub struct GraphConv {
    /// Of the neighbours.
    pub lin_rel: Linear,
    /// Of the node itself.
    pub lin_root: Linear,
    /// How the neighbours become one; their sum.
    #[module(skip)]
    pub aggregation: Aggregation,
}

impl GraphConv {
    /// From `inputs` to `outputs` features, by the sum.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let (lin_rel, lin_root) = (Linear::new(inputs, outputs, init), Linear::no_bias(inputs, outputs, init));
        Self { lin_rel, lin_root, aggregation: Aggregation::Sum }
    }

    /// The layer; `weights [count]` are those of the edges, 1 where they are not given.
    ///
    /// # Errors
    /// As [`GcnConv::run`].
    #[track_caller]
    pub fn run(&self, x: &Tensor, edges: &Tensor, weights: Option<&Tensor>) -> Tensor {
        let graph = match nodes("graph_conv", x, width(&self.lin_rel)).and_then(|nodes| Messages::new(edges, nodes)) {
            Ok(graph) => graph,
            Err(bad) => return bad,
        };
        let mut sent = graph.at_sources(x);
        if let Some(weights) = weights {
            sent = sent * column(weights, graph.edges());
        }
        let neighbours = graph.to_targets(&sent, self.aggregation);
        self.lin_rel.forward(&neighbours) + self.lin_root.forward(x)
    }
}

/// What ε of a [`GinConv`] is.
enum Epsilon {
    Fixed(State),
    Trained(Param),
}

/// Graph isomorphism: y = nn((1 + ε) x + Σ x_neighbour).
///
/// Shapes: `x [nodes, inputs]`, `edges [2, count]` → what `nn` makes of `[nodes, inputs]`; `eps [1]`.
///
/// Source: Xu et al. 2019, "How powerful are graph neural networks?", eq. 4.1.
pub struct GinConv<M> {
    /// The network on each node, usually with two layers.
    pub nn: M,
    eps: Epsilon,
}

impl<M: Module> Module for GinConv<M> {
    fn visit(&self, visitor: &mut crate::nn::Visitor<'_>) {
        visitor.leaf(crate::nn::Leaf::Layer("GinConv"));
        visitor.field("nn", &self.nn);
        match &self.eps {
            Epsilon::Fixed(state) => visitor.field("eps", state),
            Epsilon::Trained(param) => visitor.field("eps", param),
        }
    }
}

impl<M: Forward> GinConv<M> {
    /// With a fixed ε, usually 0.
    pub fn new(nn: M, eps: f32, init: &Init) -> Self {
        Self { nn, eps: Epsilon::Fixed(init.state(&Tensor::full(init.device(), [1], eps))) }
    }

    /// With an ε that is trained, and starts so.
    pub fn trained(nn: M, eps: f32, init: &Init) -> Self {
        Self { nn, eps: Epsilon::Trained(init.constant(&[1], f64::from(eps))) }
    }

    /// The layer.
    ///
    /// # Errors
    /// As [`GcnConv::run`].
    #[track_caller]
    pub fn run(&self, x: &Tensor, edges: &Tensor) -> Tensor {
        let Ok(shape) = x.shape() else { return x.clone() };
        let nodes = match shape[..] {
            [nodes, _] => nodes,
            _ => return Tensor::bad_shape("gin_conv", &[x], "x is [nodes, inputs]"),
        };
        let graph = match Messages::new(edges, nodes) {
            Ok(graph) => graph,
            Err(bad) => return bad,
        };
        let neighbours = graph.to_targets(&graph.at_sources(x), Aggregation::Sum);
        let eps = match &self.eps {
            Epsilon::Fixed(state) => state.value(),
            Epsilon::Trained(param) => param.value(),
        };
        self.nn.forward(&(x * (eps + Lit(1.0)) + neighbours))
    }
}
