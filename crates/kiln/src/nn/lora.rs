//! Low-rank adapters: what a trained model learns anew is a thin product beside each of a few weights.

mod peft;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use super::module::{Leaf, walk};
use super::pattern::{names, nothing};
use super::{Dropout, Forward, Module, Visitor};
use crate::error::At;
use crate::init::Init;
use crate::{Error, Param, Result, State, Tensor, store};

/// A place for an adapter in a layer with a weight of two axes. Empty at first; [`Lora::attach`] fills it.
#[derive(Default)]
pub struct Adaptable {
    held: Arc<RwLock<Option<Arc<Adapter>>>>,
    /// Whether the weight is `[inputs, outputs]` rather than `[outputs, inputs]`.
    transposed: bool,
}

/// x → B · A · dropout(x) · scale.
struct Adapter {
    /// `[rank, inputs]`.
    a: Param,
    /// `[outputs, rank]`.
    b: Param,
    scale: f64,
    dropout: Dropout,
}

impl Adaptable {
    /// For a layer whose weight is `[inputs, outputs]`.
    pub fn transposed() -> Self {
        Self { transposed: true, ..Self::default() }
    }

    /// `y [.., outputs]`, what the layer makes of `x [.., inputs]`, and what the adapter adds to that, if there is one:
    /// ((x·Aᵀ)·Bᵀ)·alpha/rank, two thin products instead of a full one.
    #[track_caller]
    pub fn adapted(&self, y: Tensor, x: &Tensor) -> Tensor {
        let Some(adapter) = self.get() else { return y };
        let Adapter { a, b, scale, dropout } = &*adapter;
        y + dropout.forward(x).matmul(&a.t()).matmul(&b.t()) * *scale
    }

    /// Whether there is an adapter.
    pub(super) fn is_filled(&self) -> bool {
        self.get().is_some()
    }

    fn get(&self) -> Option<Arc<Adapter>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Module for Adaptable {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.leaf(Leaf::Adaptable(self));
        if let Some(adapter) = self.get() {
            adapter.visit(visitor);
        }
    }
}

impl Module for Adapter {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.field("lora_A.weight", &self.a);
        visitor.field("lora_B.weight", &self.b);
        visitor.field("lora_dropout", &self.dropout);
    }
}

/// Settings of [`Lora`], with PEFT's defaults.
#[derive(Debug, Clone)]
pub struct LoraOptions {
    /// Rows of A and columns of B; 8.
    pub rank: usize,
    /// What B·A is multiplied by is alpha/rank; 8.
    pub alpha: f64,
    /// The probability of a zero in what A takes, while training; 0.
    pub dropout: f32,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self { rank: 8, alpha: 8.0, dropout: 0.0 }
    }
}

/// Adapters of chosen layers of a model, trained while the model itself is frozen: W + B·A · alpha/rank. B is zero at
/// first, so that nothing changes.
///
/// [`Linear`](super::Linear) and [`Projection`](super::Projection) (GPT-2's) take adapters, wherever they are in the
/// model. As a module this is the adapters alone, for an optimizer or a file, under PEFT's names
/// (`base_model.model.h.0.attn.c_attn.lora_A.weight`); in the model's own state dict they stand beside the weight.
/// Dropping it leaves them where they are.
///
/// Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", §4.1.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let mut init = Init::new(&device, 0);
/// let model = Sequential::new().push(Linear::new(16, 8, &mut init)).push(Relu).push(Linear::new(8, 2, &mut init));
/// let options = nn::LoraOptions { rank: 2, alpha: 4.0, ..Default::default() };
/// let lora = Lora::attach(&model, &["0"], options, &mut init)?;
/// assert_eq!(lora.num_parameters(), 2 * 16 + 8 * 2);
/// let mut adam = Adam::new(&lora, 1e-3);
/// adam.step(&model.forward(&Tensor::ones(&device, [4, 16])).square().mean())?;
/// lora.merge()?; // the model as it was made, with what was learned in its weight
/// # Ok::<(), Error>(())
/// ```
pub struct Lora {
    layers: Vec<Layer>,
    options: LoraOptions,
    /// The parameters that it froze.
    frozen: Vec<Param>,
}

/// A layer with an adapter.
struct Layer {
    path: String,
    weight: Param,
    place: Adaptable,
    adapter: Arc<Adapter>,
}

/// A layer that can have one: its path, its weight, the place.
type Found = (String, Param, Adaptable);

impl Lora {
    /// Freezes `model` and puts an adapter beside each layer that one of `patterns` names, as in
    /// [`freeze_matching`](Module::freeze_matching): `h.*.attn.c_attn`, `**.fc*`. A is drawn as PEFT draws it
    /// (`kaiming_uniform(a=√5)`).
    ///
    /// # Errors
    /// [`Error::Argument`] if a pattern names no layer that takes an adapter, a layer has one already, or for a rank of 0.
    /// Nothing has been changed then.
    #[track_caller]
    pub fn attach<M: Module + ?Sized>(
        model: &M,
        patterns: &[&str],
        options: LoraOptions,
        init: &mut Init,
    ) -> Result<Self> {
        if options.rank == 0 {
            let (value, why, at) = (options.rank.to_string(), "at least 1", At::here());
            return Err(Error::Argument { op: "lora", name: "rank", value, why, at });
        }
        let found = places(model);
        if patterns.is_empty() {
            return Err(nothing("lora", "", "at least one"));
        }
        if let Some(pattern) = patterns.iter().find(|pattern| !found.iter().any(|(path, ..)| names(pattern, path))) {
            return Err(nothing("lora", pattern, "names no layer that takes an adapter"));
        }
        let chosen: Vec<Found> =
            found.into_iter().filter(|(path, ..)| patterns.iter().any(|pattern| names(pattern, path))).collect();
        if let Some((path, ..)) = chosen.iter().find(|(_, _, place)| place.get().is_some()) {
            return Err(nothing("lora", path, "has an adapter already"));
        }
        let mut layers = Vec::new();
        for (path, weight, place) in chosen {
            let [first, second] = weight.dims::<2>()?;
            let [outputs, inputs] = if place.transposed { [second, first] } else { [first, second] };
            let adapter = Arc::new(Adapter {
                a: init.fan_in_uniform(&[options.rank, inputs], inputs),
                b: init.zeros(&[outputs, options.rank]),
                scale: options.alpha / options.rank as f64,
                dropout: Dropout::new(options.dropout, init),
            });
            layers.push(Layer { path, weight, place, adapter });
        }
        let frozen: Vec<Param> = model.parameters().into_iter().filter(|param| param.trainable()).collect();
        frozen.iter().for_each(|param| param.set_trainable(false));
        for layer in &layers {
            *layer.place.held.write().unwrap_or_else(PoisonError::into_inner) = Some(layer.adapter.clone());
        }
        Ok(Self { layers, options, frozen })
    }

    /// The paths of the layers.
    pub fn paths(&self) -> Vec<&str> {
        self.layers.iter().map(|layer| layer.path.as_str()).collect()
    }

    /// Writes the adapters and nothing else, with what [`Lora::load`] needs to know.
    ///
    /// # Errors
    /// As for [`store::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut notes = store::Metadata::new();
        notes.insert(ALPHA.to_string(), self.options.alpha.to_string());
        store::save_tensors(&self.state_dict(), &notes, path)
    }

    /// Freezes `model` and puts the adapters of a file from [`Lora::save`] beside its layers. For those of PEFT there is
    /// [`Lora::load_peft`].
    ///
    /// # Errors
    /// As for [`store::load`]; [`Error::File`] if the file says no alpha or holds no adapters; as for
    /// [`attach`](Lora::attach) if they are not this model's. The model is unchanged then.
    #[track_caller]
    pub fn load<M: Module + ?Sized>(model: &M, path: impl AsRef<Path>, init: &mut Init) -> Result<Self> {
        let path = path.as_ref();
        let (dict, notes) = store::load_tensors(init.device(), path)?;
        let bad = |why: &str| Error::File { path: path.to_owned(), why: why.to_string() };
        let alpha =
            notes.get(ALPHA).and_then(|alpha| alpha.parse().ok()).ok_or_else(|| bad("it says no lora_alpha"))?;
        let layers: Vec<(&str, &Tensor)> = (dict.iter())
            .filter_map(|(name, a)| Some((name.strip_prefix(PREFIX)?.strip_suffix(".lora_A.weight")?, a)))
            .collect();
        let rank = match layers.first() {
            Some((_, a)) => a.dims::<2>()?[0],
            None => return Err(bad("it holds no adapters")),
        };
        let paths: Vec<&str> = layers.iter().map(|(path, _)| *path).collect();
        let lora = Self::attach(model, &paths, LoraOptions { rank, alpha, dropout: 0.0 }, init)?;
        match lora.load_state_dict(&dict) {
            Ok(()) => Ok(lora),
            Err(error) => {
                lora.detach();
                Err(error.of_file(path))
            }
        }
    }

    /// Adds the adapters to the weights and takes them away: the model computes the same without them. What was frozen
    /// is trained again.
    ///
    /// # Errors
    /// What the device says; the adapters stay in the model then.
    pub fn merge(self) -> Result<()> {
        let merged = self.layers.iter().map(|Layer { weight, place, adapter, .. }| {
            let product = adapter.b.value().matmul(&adapter.a.value()) * adapter.scale;
            (State::clone(weight), weight.value() + if place.transposed { product.t() } else { product })
        });
        crate::step(&[], merged.collect(), &[])?; // all at once or not at all
        self.detach();
        Ok(())
    }

    /// Takes the adapters away: the model is what it was before. What was frozen is trained again.
    pub fn detach(self) {
        for layer in &self.layers {
            *layer.place.held.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.frozen.iter().for_each(|param| param.set_trainable(true));
    }
}

const PREFIX: &str = "base_model.model.";
const ALPHA: &str = "lora_alpha";

impl Module for Lora {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for layer in &self.layers {
            visitor.field(format_args!("{PREFIX}{}", layer.path), &*layer.adapter);
        }
    }
}

/// The layers of `model` that take an adapter. A weight that several share is of the first.
fn places<M: Module + ?Sized>(model: &M) -> Vec<Found> {
    let params: std::collections::HashMap<String, Param> = model.named_parameters().into_iter().collect();
    let mut found = Vec::new();
    walk(model, |path, leaf| {
        let weight = if path.is_empty() { "weight".to_string() } else { format!("{path}.weight") };
        if let (Leaf::Adaptable(place), Some(weight)) = (leaf, params.get(&weight)) {
            let place = Adaptable { held: place.held.clone(), transposed: place.transposed };
            found.push((path.to_string(), weight.clone(), place));
        }
    });
    found
}
