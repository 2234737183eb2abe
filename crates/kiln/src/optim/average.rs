//! Averages of weights over training: EMA and SWA.

use crate::nn::{Leaf, Mode, Module, Visitor, walk};
use crate::{DType, Lit, Result, State, Tensor};

/// Averages of a model's weights, beside the model: PyTorch's `AveragedModel`. With n the number of averages so far:
/// ```text
/// SWA:  a = a + (p − a) / (n + 1)             a = p in the first
/// EMA:  a = decay · a + (1 − decay) · p
/// ```
/// Buffers (running statistics) are copied, or averaged too. [`swap`](AveragedModel::swap) exchanges averages and
/// weights, to evaluate or to save the model, and again to go on. As a [`Module`] it is its cells, by PyTorch's names
/// (`n_averaged`, `module.…`), for checkpoints.
///
/// Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", alg. 1.
///
/// ```
/// # use kiln::prelude::*; use kiln::optim::AveragedModel;
/// # let device = Device::open()?;
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let mut sgd = Sgd::new(&model, 0.1);
/// let average = AveragedModel::ema(&model, 0.99);
/// for _ in 0..3 {
///     sgd.step(&model.forward(&Tensor::ones(&device, &[8, 3])).square().mean())?;
///     average.update()?;
/// }
/// let loss = average.during(|| model.forward(&Tensor::ones(&device, &[8, 3])).square().mean().item())?;
/// # assert!(loss.is_finite());
/// # Ok::<(), Error>(())
/// ```
pub struct AveragedModel {
    /// Path, cell of the model, its average.
    weights: Vec<(String, State, State)>,
    buffers: Vec<(String, State, State)>,
    /// `None` averages all alike.
    decay: Option<f64>,
    use_buffers: bool,
    count: Option<State>,
}

impl AveragedModel {
    /// Averages that count all updates alike: stochastic weight averaging.
    pub fn swa<M: Module + ?Sized>(model: &M) -> Self {
        Self::new(model, None)
    }

    /// Averages that keep `decay` (PyTorch's is 0.999) of what they were.
    pub fn ema<M: Module + ?Sized>(model: &M, decay: f64) -> Self {
        Self::new(model, Some(decay))
    }

    fn new<M: Module + ?Sized>(model: &M, decay: Option<f64>) -> Self {
        let beside = |(path, state): (String, State)| {
            let average = state.group().state(&state.value());
            (path, state, average)
        };
        let params = model.named_parameters().into_iter().map(|(path, param)| (path, State::clone(&param)));
        let weights: Vec<_> = params.map(beside).collect();
        let count = weights.first().map(|(_, state, _)| state.group().state(&Tensor::new(state.device(), 0i32)));
        let buffers = model.named_states().into_iter().map(beside).collect();
        Self { weights, buffers, decay, use_buffers: false, count }
    }

    /// Averages running statistics too; by default they are copied.
    #[must_use]
    pub fn use_buffers(mut self) -> Self {
        self.use_buffers = true;
        self
    }

    /// How many updates there were. Reading it waits for the device.
    ///
    /// # Errors
    /// What the device says.
    pub fn n_averaged(&self) -> Result<usize> {
        self.count.as_ref().map_or(Ok(0), |count| Ok(count.item_as::<i32>()? as usize))
    }

    /// Takes the present weights into the averages, in one plan.
    ///
    /// # Errors
    /// What the device says.
    pub fn update(&self) -> Result<()> {
        let Some(count) = &self.count else { return Ok(()) };
        let n = count.value();
        let share = match self.decay {
            Some(decay) => n.zeros_like().cast(DType::F32) + (1.0 - decay),
            None => (n.cast(DType::F32) + Lit(1.0)).recip(),
        };
        let first = n.eq(0);
        let mut updates = vec![(count.clone(), &n + 1)];
        let averaged = |state: &State, average: &State| {
            let (p, a) = (state.value(), average.value());
            Tensor::where_(&first, &p, &a + (&p - &a) * &share)
        };
        for (_, state, average) in &self.weights {
            updates.push((average.clone(), averaged(state, average)));
        }
        for (_, state, average) in &self.buffers {
            let value =
                if self.use_buffers && state.dtype().is_float() { averaged(state, average) } else { state.value() };
            updates.push((average.clone(), value));
        }
        crate::step(&[], updates, &[])
    }

    /// Exchanges the model's weights and buffers with the averages.
    ///
    /// # Errors
    /// What the device says.
    pub fn swap(&self) -> Result<()> {
        let both = self.weights.iter().chain(&self.buffers);
        let swapped =
            both.flat_map(|(_, state, average)| [(state.clone(), average.value()), (average.clone(), state.value())]);
        crate::step(&[], swapped.collect(), &[])
    }

    /// Runs `body` with the averages in the model, and puts the weights back.
    ///
    /// # Errors
    /// What `body` gives, or the device says.
    pub fn during<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        self.swap()?;
        let result = body();
        self.swap()?;
        result
    }
}

impl Module for AveragedModel {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        if let Some(count) = &self.count {
            visitor.field("n_averaged", count);
        }
        for (path, _, average) in self.weights.iter().chain(&self.buffers) {
            visitor.field(format_args!("module.{path}"), average);
        }
    }
}

/// Makes the running statistics of batch norms anew: the mean over all batches of `data`, as `forward` sees them with
/// the present weights. What averaged weights need before they are used, since they were never trained with.
///
/// # Errors
/// What a batch gives.
///
/// Source: `torch.optim.swa_utils.update_bn`.
pub fn update_bn<M: Module + ?Sized, B>(
    model: &M,
    data: impl IntoIterator<Item = B>,
    forward: impl Fn(&B) -> Tensor,
) -> Result<()> {
    let states = model.named_states();
    let of = |name: &str| -> Vec<State> {
        states.iter().filter(|(path, _)| path.rsplit('.').next() == Some(name)).map(|(_, s)| s.clone()).collect()
    };
    let (means, vars, counts) = (of("running_mean"), of("running_var"), of("num_batches_tracked"));
    if means.is_empty() {
        return Ok(());
    }
    let mut reset = Vec::new();
    reset.extend(means.iter().chain(&counts).map(|s| (s.clone(), s.zeros_like())));
    reset.extend(vars.iter().map(|s| (s.clone(), s.ones_like())));
    crate::step(&[], reset, &[])?;
    let mut training = Vec::new();
    modes(model, |mode| {
        training.push(mode.training());
        mode.set(true);
        mode.set_averaging(true);
    });
    let run = data.into_iter().try_for_each(|batch| {
        forward(&batch).shape()?;
        Tensor::eval_all(&means.iter().chain(&vars).chain(&counts).map(|s| &**s).collect::<Vec<_>>())
    });
    let mut before = training.into_iter();
    modes(model, |mode| {
        mode.set_averaging(false);
        mode.set(before.next().unwrap_or(true));
    });
    run
}

fn modes<M: Module + ?Sized>(model: &M, mut body: impl FnMut(&Mode)) {
    walk(model, |_, leaf| {
        if let Leaf::Mode(mode) = leaf {
            body(mode);
        }
    });
}
