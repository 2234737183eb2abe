//! Losses that have weights of their own: a linear map to classes, and cross-entropy.

use super::{Forward, Linear, Module};
use crate::init::Init;
use crate::loss::CrossEntropy;
use crate::{Param, Tensor, composed};

/// Cross-entropy of many classes, sorted by falling frequency: the frequent ones have a softmax of their own, the rest
/// lie in clusters, each with one entry among the frequent ones and a thinner map of its own. PyTorch's
/// `AdaptiveLogSoftmaxWithLoss`, under its state-dict names (`head.weight`, `tail.0.0.weight`, `tail.0.1.weight`).
///
/// Shapes depend on no data here, so every cluster is computed for every row; what is saved is the clusters' thinner
/// weights and, in [`AdaptiveLogSoftmax::loss`], the table of all log-probabilities.
///
/// Source: Grave, Joulin, Cissé, Grangier & Jégou 2017, "Efficient softmax approximation for GPUs", §4.
///
/// ```
/// # use kiln::prelude::*; let device = Device::open()?;
/// let softmax = nn::AdaptiveLogSoftmax::new(8, 100, &[10, 40], &mut Init::new(&device, 0));
/// let (x, y) = (Tensor::ones(&device, [2, 8]), Tensor::new(&device, [3i32, 77]));
/// let (logp, loss) = softmax.loss(&x, &y);
/// assert!((loss.item()? + logp.mean().item()?).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module)]
pub struct AdaptiveLogSoftmax {
    /// To the frequent classes and the clusters.
    pub head: Linear,
    /// To the classes of each cluster: first to fewer features, then to the classes.
    pub tail: Vec<(Linear, Linear)>,
    /// Where the clusters begin, and the number of classes.
    #[module(skip)]
    cutoffs: Vec<usize>,
}

impl AdaptiveLogSoftmax {
    /// From `inputs` features to `classes`. Clusters begin at `cutoffs`, which grow; each has a map of 4 times fewer
    /// features than the one before.
    pub fn new(inputs: usize, classes: usize, cutoffs: &[usize], init: &mut Init) -> Self {
        Self::with(inputs, classes, cutoffs, 4.0, false, init)
    }

    /// The same with clusters of `div_value` times fewer features each, and a bias of the head.
    pub fn with(
        inputs: usize,
        classes: usize,
        cutoffs: &[usize],
        div_value: f64,
        head_bias: bool,
        init: &mut Init,
    ) -> Self {
        let ends: Vec<usize> = cutoffs.iter().copied().chain([classes]).collect();
        let outputs = ends[0] + cutoffs.len();
        let head = if head_bias { Linear::new(inputs, outputs, init) } else { Linear::no_bias(inputs, outputs, init) };
        let tail = ends.windows(2).enumerate().map(|(cluster, range)| {
            let thin = (inputs as f64 / div_value.powi(cluster as i32 + 1)) as usize;
            let size = range[1].saturating_sub(range[0]);
            (Linear::no_bias(inputs, thin, init), Linear::no_bias(thin, size, init))
        });
        Self { head, tail: tail.collect(), cutoffs: ends }
    }

    /// The log-probability of the class of each row, and the mean of their negatives.
    ///
    /// Shapes: `x [rows, inputs]`, `labels [rows]` of integers → `[rows]` and `[]`; one row of each without the first
    /// axis → `[]` and `[]`.
    ///
    /// # Errors
    /// The results carry [`Error::Shape`](crate::Error::Shape), [`Error::DType`](crate::Error::DType) or
    /// [`Error::Argument`](crate::Error::Argument) for what does not fit. A label that is no class is an
    /// [`Error::Index`](crate::Error::Index).
    #[track_caller]
    pub fn loss(&self, x: &Tensor, labels: &Tensor) -> (Tensor, Tensor) {
        composed(OP, || {
            if labels.rank() == 0 && x.rank() == 1 && labels.shape().is_ok() {
                let (logp, loss) = self.of_rows(&x.unsqueeze(0), &labels.unsqueeze(0));
                return (logp.squeeze(0), loss);
            }
            self.of_rows(x, labels)
        })
    }

    #[track_caller]
    fn of_rows(&self, x: &Tensor, labels: &Tensor) -> (Tensor, Tensor) {
        if let Err(bad) = self.checked(x) {
            return (bad.clone(), bad);
        }
        let (Ok([rows, _]), Ok(given)) = (x.dims::<2>(), labels.shape()) else {
            return (labels.clone(), labels.clone());
        };
        if given[..] != [rows] {
            let bad = Tensor::bad_shape(OP, &[x, labels], "a label for each row");
            return (bad.clone(), bad);
        }
        let (frequent, classes) = (self.cutoffs[0], self.cutoffs[self.cutoffs.len() - 1]);
        // the table notices a label that is no class
        let labels = Tensor::arange(x.device(), 0, classes as i32, 1).index_select(0, labels);
        let at = |logp: &Tensor, place: &Tensor| logp.gather(1, &place.unsqueeze(1)).squeeze(1);
        let head = self.head.forward(x).log_softmax(1);
        let mut logp = at(&head, &labels.clamp(0, frequent.max(1) as i32 - 1));
        for (cluster, range) in self.cutoffs.windows(2).enumerate() {
            let own = self.cluster(cluster, x);
            let inside = labels.ge(range[0] as i32).logical_and(labels.lt(range[1] as i32));
            let place = (&labels - range[0] as i32).clamp(0, (range[1] - range[0]) as i32 - 1);
            let joint = head.select(1, (frequent + cluster) as i64) + at(&own, &place);
            logp = Tensor::where_(&inside, joint, logp);
        }
        let loss = -logp.mean();
        (logp, loss)
    }

    /// The log-probabilities of all classes: `x [rows, inputs]` → `[rows, classes]`.
    #[track_caller]
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        composed(OP, || {
            if let Err(bad) = self.checked(x) {
                return bad;
            }
            let head = self.head.forward(x).log_softmax(1);
            let mut parts = vec![head.narrow(1, 0, self.cutoffs[0])];
            for cluster in 0..self.tail.len() {
                let entry = head.narrow(1, (self.cutoffs[0] + cluster) as i64, 1);
                parts.push(self.cluster(cluster, x) + entry);
            }
            Tensor::cat(&parts, 1)
        })
    }

    /// The most probable class of each row: `x [rows, inputs]` → `[rows]` of `I32`.
    #[track_caller]
    pub fn predict(&self, x: &Tensor) -> Tensor {
        self.log_prob(x).argmax(1, false)
    }

    /// The log-probabilities of the classes of a cluster, within it.
    #[track_caller]
    fn cluster(&self, cluster: usize, x: &Tensor) -> Tensor {
        let (thin, own) = &self.tail[cluster];
        own.forward(&thin.forward(x)).log_softmax(1)
    }

    /// The error of settings or an input that do not fit.
    #[track_caller]
    fn checked(&self, x: &Tensor) -> Result<(), Tensor> {
        if x.shape().is_err() {
            return Err(x.clone());
        }
        if self.cutoffs[0] == 0 || self.tail.is_empty() || self.cutoffs.windows(2).any(|pair| pair[0] >= pair[1]) {
            let value = format!("{:?}", self.cutoffs);
            return Err(x.bad_argument(OP, "cutoffs, classes", value, "at least one cutoff; above 0, and growing"));
        }
        if x.rank() != 2 {
            return Err(Tensor::bad_shape(OP, &[x], "x is [rows, inputs]"));
        }
        Ok(())
    }
}

const OP: &str = "adaptive_log_softmax";

/// A linear map and the cross-entropy of its results: PyTorch's `LinearCrossEntropyLoss`, under its state-dict names.
///
/// Shapes: `x [rows, inputs]`, `labels [rows, outputs..]` of integers, or class probabilities
/// `[rows, classes, outputs..]` → `[]`, or the shape of the labels without reduction.
#[derive(Module)]
pub struct LinearCrossEntropy {
    /// To classes × outputs; without bias, unless one is put here.
    pub linear: Linear,
    /// Weights, smoothing and reduction.
    #[module(skip)]
    pub loss: CrossEntropy,
    classes: usize,
    #[module(skip)]
    outputs: Vec<usize>,
}

impl LinearCrossEntropy {
    /// From `inputs` features to `classes`, for labels with the further axes `outputs`; often there are none.
    pub fn new(inputs: usize, classes: usize, outputs: &[usize], init: &mut Init) -> Self {
        let all = classes * outputs.iter().product::<usize>();
        let linear = Linear::no_bias(inputs, all, init);
        Self { linear, loss: CrossEntropy::default(), classes, outputs: outputs.to_vec() }
    }

    /// Adds a bias.
    #[must_use]
    pub fn bias(mut self, init: &mut Init) -> Self {
        let shape = self.linear.weight.shape().map(|shape| shape.to_vec()).unwrap_or_default();
        let [outputs, inputs] = shape[..] else { return self };
        let bias: Param = init.fan_in_uniform(&[outputs], inputs);
        self.linear.bias = Some(bias);
        self
    }

    /// Sets weights, smoothing and reduction.
    #[must_use]
    pub fn loss(mut self, loss: CrossEntropy) -> Self {
        self.loss = loss;
        self
    }

    /// The loss of `x` against `labels`.
    ///
    /// # Errors
    /// As [`CrossEntropy::loss`].
    #[track_caller]
    pub fn forward(&self, x: &Tensor, labels: &Tensor) -> Tensor {
        composed("linear_cross_entropy", || {
            let logits = self.linear.forward(x);
            let Ok(shape) = logits.shape() else { return logits };
            let outer = &shape[..shape.rank().saturating_sub(1)];
            let logits = logits.reshape([outer, &[self.classes], &self.outputs[..]].concat());
            self.loss.loss(&logits, labels)
        })
    }
}
