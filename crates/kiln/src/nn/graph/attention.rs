//! Graph attention: edges weighted by what their ends hold.

use super::conv::{add, nodes};
use super::message::{Aggregation, Messages};
use crate::init::Init;
use crate::nn::{Dropout, Forward, Linear, Module};
use crate::{Lit, Param, Tensor};

/// Settings of graph attention, with PyTorch Geometric's defaults.
#[derive(Debug, Clone)]
pub struct GatOptions {
    /// Heads; 1.
    pub heads: usize,
    /// Whether the heads' results stand side by side (true) or their mean is taken.
    pub concat: bool,
    /// The slope of the leaky relu on the scores; 0.2.
    pub negative_slope: f32,
    /// The probability of a zero among the weights of the edges, while training; 0.
    pub dropout: f32,
    /// Whether each node has exactly one edge to itself; true.
    pub add_self_loops: bool,
    /// Whether a bias is added at the end (and to the projections of [`Gatv2Conv`]); true.
    pub bias: bool,
    /// Whether [`Gatv2Conv`] projects sources and targets alike; false.
    pub share_weights: bool,
}

impl Default for GatOptions {
    fn default() -> Self {
        Self {
            heads: 1,
            concat: true,
            negative_slope: 0.2,
            dropout: 0.0,
            add_self_loops: true,
            bias: true,
            share_weights: false,
        }
    }
}

impl GatOptions {
    /// Edges as set: a loop that is given counts no more where loops are added.
    fn edges(&self, edges: &Tensor, nodes: usize) -> Result<(Messages, Option<Tensor>), Tensor> {
        let graph = Messages::new(edges, nodes)?;
        if !self.add_self_loops {
            return Ok((graph, None));
        }
        let added = Tensor::arange(edges.device(), 0, nodes as i32, 1).lt(Lit(0.0)); // false for each
        let gone = Tensor::cat(&[&graph.loops(), &added], 0).unsqueeze(-1);
        Ok((graph.with_loops(), Some(gone)))
    }

    /// Scores to weights to results: `scores [edges, heads]`, `x [nodes, heads, outputs]`.
    fn finish(
        &self,
        graph: &Messages,
        scores: Tensor,
        gone: Option<&Tensor>,
        x: &Tensor,
        dropout: &Dropout,
        bias: &Option<Param>,
    ) -> Tensor {
        let scores = match gone {
            Some(gone) => Tensor::where_(gone, f32::NEG_INFINITY, scores),
            None => scores,
        };
        let weights = dropout.forward(&graph.softmax(&scores));
        let sent = graph.at_sources(x) * weights.unsqueeze(-1);
        let y = graph.to_targets(&sent, Aggregation::Sum);
        add(if self.concat { y.flatten(-2, -1) } else { y.mean_axes(-2, false) }, bias)
    }

    fn outputs(&self, outputs: usize) -> usize {
        if self.concat { self.heads * outputs } else { outputs }
    }
}

/// A linear map drawn by Glorot's rule, with biases of zero.
fn glorot(inputs: usize, outputs: usize, bias: bool, init: &mut Init) -> Linear {
    let mut lin = Linear::no_bias(inputs, outputs, init);
    lin.weight = init.xavier_uniform(&[outputs, inputs], 1.0);
    lin.bias = bias.then(|| init.zeros(&[outputs]));
    lin
}

/// Graph attention: α = softmax over a node's edges of leaky_relu(a_src·Wx_source + a_dst·Wx_target);
/// y = Σ α W x_source + b.
///
/// Shapes: `x [nodes, inputs]`, `edges [2, count]` → `[nodes, heads · outputs]`, or `[nodes, outputs]` without
/// `concat`; `lin.weight [heads · outputs, inputs]`, `att_src`, `att_dst [1, heads, outputs]`.
///
/// Source: Veličković et al. 2018, "Graph attention networks", eq. 3-6.
#[derive(Module)]
pub struct GatConv {
    /// W.
    pub lin: Linear,
    /// Of the source.
    pub att_src: Param,
    /// Of the target.
    pub att_dst: Param,
    /// b.
    pub bias: Option<Param>,
    dropout: Dropout,
    #[module(skip)]
    options: GatOptions,
    inputs: usize,
}

impl GatConv {
    /// From `inputs` to `outputs` features a head.
    pub fn new(inputs: usize, outputs: usize, options: GatOptions, init: &mut Init) -> Self {
        let heads = options.heads;
        Self {
            lin: glorot(inputs, heads * outputs, false, init),
            att_src: init.xavier_uniform(&[1, heads, outputs], 1.0),
            att_dst: init.xavier_uniform(&[1, heads, outputs], 1.0),
            bias: options.bias.then(|| init.zeros(&[options.outputs(outputs)])),
            dropout: Dropout::new(options.dropout, init),
            options,
            inputs,
        }
    }

    /// The layer.
    ///
    /// # Errors
    /// As [`GcnConv::run`](super::GcnConv::run).
    #[track_caller]
    pub fn run(&self, x: &Tensor, edges: &Tensor) -> Tensor {
        let found = nodes("gat_conv", x, self.inputs).and_then(|n| Ok((n, self.options.edges(edges, n)?)));
        let (count, (graph, gone)) = match found {
            Ok(found) => found,
            Err(bad) => return bad,
        };
        let features = self.att_src.numel() / self.options.heads.max(1);
        let x = self.lin.forward(x).reshape([count, self.options.heads, features]);
        let along = |att: &Param| (&x * att).sum_axes(-1, false);
        let scores = graph.at_sources(&along(&self.att_src)) + graph.at_targets(&along(&self.att_dst));
        let scores = scores.leaky_relu(self.options.negative_slope);
        self.options.finish(&graph, scores, gone.as_ref(), &x, &self.dropout, &self.bias)
    }
}

/// Graph attention whose ranking of the sources depends on the target: α = softmax over a node's edges of
/// a·leaky_relu(W_l x_source + W_r x_target); y = Σ α W_l x_source + b.
///
/// Shapes: `x [nodes, inputs]`, `edges [2, count]` → `[nodes, heads · outputs]`, or `[nodes, outputs]` without
/// `concat`; `lin_l.weight`, `lin_r.weight [heads · outputs, inputs]`, `att [1, heads, outputs]`.
///
/// Source: Brody, Alon & Yahav 2022, "How attentive are graph attention networks?", eq. 7.
#[derive(Module)]
pub struct Gatv2Conv {
    /// Of the source.
    pub lin_l: Linear,
    /// Of the target; `None` if it is that of the source.
    pub lin_r: Option<Linear>,
    /// a.
    pub att: Param,
    /// b.
    pub bias: Option<Param>,
    dropout: Dropout,
    #[module(skip)]
    options: GatOptions,
    inputs: usize,
}

impl Gatv2Conv {
    /// From `inputs` to `outputs` features a head.
    pub fn new(inputs: usize, outputs: usize, options: GatOptions, init: &mut Init) -> Self {
        let (heads, bias) = (options.heads, options.bias);
        Self {
            lin_l: glorot(inputs, heads * outputs, bias, init),
            lin_r: (!options.share_weights).then(|| glorot(inputs, heads * outputs, bias, init)),
            att: init.xavier_uniform(&[1, heads, outputs], 1.0),
            bias: bias.then(|| init.zeros(&[options.outputs(outputs)])),
            dropout: Dropout::new(options.dropout, init),
            options,
            inputs,
        }
    }

    /// The layer.
    ///
    /// # Errors
    /// As [`GcnConv::run`](super::GcnConv::run).
    #[track_caller]
    pub fn run(&self, x: &Tensor, edges: &Tensor) -> Tensor {
        let found = nodes("gatv2_conv", x, self.inputs).and_then(|n| Ok((n, self.options.edges(edges, n)?)));
        let (count, (graph, gone)) = match found {
            Ok(found) => found,
            Err(bad) => return bad,
        };
        let features = self.att.numel() / self.options.heads.max(1);
        let split = |y: Tensor| y.reshape([count, self.options.heads, features]);
        let left = split(self.lin_l.forward(x));
        let right = self.lin_r.as_ref().map_or_else(|| left.clone(), |lin| split(lin.forward(x)));
        let sum = graph.at_sources(&left) + graph.at_targets(&right);
        let scores = (sum.leaky_relu(self.options.negative_slope) * &self.att).sum_axes(-1, false);
        self.options.finish(&graph, scores, gone.as_ref(), &left, &self.dropout, &self.bias)
    }
}
