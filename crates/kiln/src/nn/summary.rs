//! What each layer of a model makes, holds and costs.

use std::collections::HashMap;
use std::fmt;

use super::module::{Leaf, Module, walk};
use crate::ops::work::{Work, work};
use crate::{Result, Tensor};

/// A line of a [`Summary`]: a layer with parameters or buffers, or an operation without that multiplies or pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRow {
    /// The layer's path; of an operation without parameters, that of the part of the model it was made in, as far as it
    /// is known.
    pub path: String,
    /// The layer's type; of an operation, its name.
    pub kind: String,
    /// Shape of its last result; `None` if the output does not depend on it.
    pub output: Option<Vec<usize>>,
    /// Elements of its parameters.
    pub parameters: usize,
    /// Products that are summed, in all its uses.
    pub multiply_adds: u64,
    /// Bytes of its results: of each product, pooling or look-up; of other layers, of the last.
    pub bytes: usize,
}

/// The layers of a model, what they make, hold and cost. `Display` writes it as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// In the order in which they run; what does not run is at the end.
    pub rows: Vec<SummaryRow>,
    /// Elements of all parameters; a shared one counts once.
    pub parameters: usize,
    /// Elements of those that are trained.
    pub trainable: usize,
    /// Bytes of all parameters and buffers.
    pub held_bytes: usize,
}

/// What each layer of `model` makes, holds and costs, read off `output`: the result of its forward pass, which is not
/// run. A pass over zeros does; for layers that behave differently in training, the mode is the model's. (What a pass in
/// training mode leaves in running statistics is an expression of that pass until it is evaluated, and would count again.)
///
/// Multiply-adds are those of matrix products, convolutions, recurrence and attention (whole, also where it is causal).
/// Bytes are those of what the rows make, without activation functions, which join the kernels of the layers; what a
/// training step needs in all is in [`Device::plans`](crate::Device::plans). A parameter that several layers share is
/// of the first, and has a row for each way it is used. Layers that neither hold parameters or buffers nor multiply nor
/// pool have no row.
///
/// # Errors
/// What `output` carries.
///
/// ```
/// # use kiln::prelude::*;
/// # let device = Device::open()?;
/// let mut init = Init::new(&device, 0);
/// let model = Sequential::new().push(Linear::new(4, 8, &mut init)).push(Relu).push(Linear::new(8, 2, &mut init));
/// let summary = nn::summary(&model, &model.forward(&Tensor::zeros(&device, [3, 4])))?;
/// assert_eq!(summary.multiply_adds(), 3 * (4 * 8 + 8 * 2));
/// println!("{summary}");
/// # Ok::<(), Error>(())
/// ```
pub fn summary<M: Module + ?Sized>(model: &M, output: &Tensor) -> Result<Summary> {
    output.shape()?;
    let layers = Layers::of(model);
    let mut rows: Vec<SummaryRow> = Vec::new();
    // the row of each layer; one with a single parameter has a row for each kind of work done with it
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    let mut row_of: Vec<Option<usize>> = Vec::new(); // of each work
    for work in work(output) {
        let layer = work.cells.iter().find_map(|id| layers.of_cell.get(id)).map(|&at| &layers.list[at]);
        let row = match layer {
            Some(layer) => {
                let use_ = if layer.count == 1 && work.own { work.name } else { "" };
                Some(*known.entry((&layer.path, use_)).or_insert_with(|| {
                    let first = rows.iter().all(|row| row.path != layer.path);
                    rows.push(if first { layers.row(layer) } else { row(&layer.path, work.name) });
                    rows.len() - 1
                }))
            }
            // attention between the projections of its layer
            None => work.joins.and_then(|earlier| row_of[earlier]).or_else(|| {
                work.own.then(|| {
                    let path = work.scope.as_deref().unwrap_or_default();
                    rows.push(row(path, layers.innermost(path).unwrap_or(work.name)));
                    rows.len() - 1
                })
            }),
        };
        if let Some(row) = row {
            rows[row].add(&work);
        }
        row_of.push(row);
    }
    let idle: Vec<_> = layers.list.iter().filter(|layer| rows.iter().all(|row| row.path != layer.path)).collect();
    rows.extend(idle.into_iter().map(|layer| layers.row(layer)));
    let (params, states) = (model.parameters(), model.named_states());
    let count = |trained: bool| params.iter().filter(|p| !trained || p.trainable()).map(|p| p.numel()).sum();
    let held_bytes = params.iter().map(|p| p.numel() * p.dtype().bytes()).sum::<usize>()
        + states.iter().map(|(_, s)| s.numel() * s.dtype().bytes()).sum::<usize>();
    Ok(Summary { rows, parameters: count(false), trainable: count(true), held_bytes })
}

/// What a model says of its layers.
struct Layers {
    /// The type of what is at each path.
    kinds: HashMap<String, &'static str>,
    /// Those that hold parameters or buffers, in the model's order.
    list: Vec<Layer>,
    /// The place in that of each parameter's and buffer's layer.
    of_cell: HashMap<u64, usize>,
}

struct Layer {
    path: String,
    /// Its parameters and buffers, and the elements of the parameters.
    count: usize,
    parameters: usize,
}

impl Layers {
    fn of<M: Module + ?Sized>(model: &M) -> Self {
        let mut found = Self { kinds: HashMap::new(), list: Vec::new(), of_cell: HashMap::new() };
        walk(model, |path, leaf| match leaf {
            Leaf::Layer(kind) => drop(found.kinds.entry(path.to_string()).or_insert(kind)),
            Leaf::Param(param) => found.add(path, param.id(), param.numel()),
            Leaf::State(state) => found.add(path, state.id(), 0),
            _ => {}
        });
        found
    }

    /// A parameter or buffer; one that is shared is of its first layer.
    fn add(&mut self, path: &str, id: u64, parameters: usize) {
        if self.of_cell.contains_key(&id) {
            return;
        }
        let layer = path.rsplit_once('.').map_or("", |(layer, _)| layer);
        let at = self.list.iter().position(|known| known.path == layer).unwrap_or_else(|| {
            self.list.push(Layer { path: layer.to_string(), count: 0, parameters: 0 });
            self.list.len() - 1
        });
        self.list[at].count += 1;
        self.list[at].parameters += parameters;
        self.of_cell.insert(id, at);
    }

    /// The row of a layer that has not run yet.
    fn row(&self, layer: &Layer) -> SummaryRow {
        let kind = self.kinds.get(&layer.path).copied().unwrap_or_default();
        SummaryRow { parameters: layer.parameters, ..row(&layer.path, kind) }
    }

    /// The type of what is at `path`, if no other layers are in it.
    fn innermost(&self, path: &str) -> Option<&'static str> {
        let inside =
            |other: &String| path.is_empty() || other.strip_prefix(path).is_some_and(|end| end.starts_with('.'));
        let around = self.kinds.keys().any(|other| other != path && inside(other));
        self.kinds.get(path).copied().filter(|_| !around)
    }
}

fn row(path: &str, kind: &str) -> SummaryRow {
    let (path, kind) = (path.to_string(), kind.to_string());
    SummaryRow { path, kind, output: None, parameters: 0, multiply_adds: 0, bytes: 0 }
}

impl SummaryRow {
    fn add(&mut self, work: &Work) {
        self.output = Some(work.shape.to_vec());
        self.multiply_adds += work.multiply_adds;
        // a bias or a scale changes what is there, another product is another result
        self.bytes = if work.own { self.bytes + work.bytes } else { self.bytes.max(work.bytes) };
    }
}

impl Summary {
    /// Products that are summed, in all rows.
    pub fn multiply_adds(&self) -> u64 {
        self.rows.iter().map(|row| row.multiply_adds).sum()
    }

    /// Bytes of what all rows make.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.bytes).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["layer", "kind", "output", "parameters", "multiply-adds", "bytes"].map(String::from);
        let lines = self.rows.iter().map(|row| {
            let output = row.output.as_ref().map_or("not run".to_string(), |shape| format!("{shape:?}"));
            let [parameters, work, bytes] = [row.parameters as u64, row.multiply_adds, row.bytes as u64].map(grouped);
            [row.path.clone(), row.kind.clone(), output, parameters, work, bytes]
        });
        let [parameters, work, bytes] =
            [self.parameters as u64, self.multiply_adds(), self.bytes() as u64].map(grouped);
        let total = ["all".into(), String::new(), String::new(), parameters, work, bytes];
        let table: Vec<[String; 6]> = std::iter::once(head).chain(lines).chain([total]).collect();
        let mut widths = [0; 6];
        for line in &table {
            line.iter().zip(&mut widths).for_each(|(cell, width)| *width = (*width).max(cell.chars().count()));
        }
        let [a, b, c, d, e, g] = widths;
        for line in &table {
            let [path, kind, output, parameters, work, bytes] = line;
            writeln!(f, "{path:<a$}  {kind:<b$}  {output:<c$}  {parameters:>d$}  {work:>e$}  {bytes:>g$}")?;
        }
        let [trained, held] = [self.trainable as u64, self.held_bytes as u64].map(grouped);
        writeln!(f, "{trained} parameters are trained; parameters and buffers take {held} bytes")
    }
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
