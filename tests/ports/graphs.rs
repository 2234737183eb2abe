//! Graph networks written by hand on edge lists, and what is learnt from two views of the same.

use kiln::ScatterReduce;
use kiln::prelude::*;

use super::Port;

#[derive(Module)]
struct Gin {
    eps: Param,
    mlp: Sequential,
    edge: Embedding,
}

impl Gin {
    fn forward(&self, x: &Tensor, [source, target]: &[Tensor; 2], kind: &Tensor) -> Tensor {
        let messages = (x.index_select(0, source) + self.edge.forward(kind)).relu();
        let summed = x.zeros_like().index_add(0, target, &messages);
        self.mlp.forward(&((1.0 + &self.eps) * x + summed))
    }
}

#[derive(Module)]
struct Gat {
    lin: Linear,
    att_src: Param,
    att_dst: Param,
}

impl Gat {
    fn forward(&self, x: &Tensor, [source, target]: &[Tensor; 2]) -> Tensor {
        let h = self.lin.forward(x).unflatten(1, [2, 4]);
        let (a, b) = ((&h * &self.att_src).sum_axes(-1, false), (&h * &self.att_dst).sum_axes(-1, false));
        let e = (a.index_select(0, source) + b.index_select(0, target)).leaky_relu(0.2);
        // the softmax over the edges that end in a node
        let index = target.unsqueeze(1).expand_as(&e);
        let top = a.full_like(f32::NEG_INFINITY).scatter_reduce(0, &index, &e, ScatterReduce::Amax, false);
        let e = (e - top.index_select(0, target)).exp();
        let all = a.zeros_like().scatter_add(0, &index, &e);
        let weights = e / (all.index_select(0, target) + 1e-16);
        let messages = weights.unsqueeze(2) * h.index_select(0, source);
        h.zeros_like().index_add(0, target, &messages).flatten(1, 2)
    }
}

#[derive(Module)]
struct Molecules {
    atoms: Embedding,
    conv1: Gin,
    conv2: Gat,
    head: Linear,
}

#[test]
fn molecules() {
    let port = Port::open("molecules");
    let [atoms, edges, kind, batch, y] = port.given(["atoms", "edges", "kind", "batch", "y"]);
    let edges: [Tensor; 2] = edges.unbind_into(0);
    let model = port.model(|init| Molecules {
        atoms: Embedding::new(5, 6, init),
        conv1: Gin {
            eps: init.zeros(&[1]),
            mlp: Sequential::new()
                .push(Linear::no_bias(6, 8, init))
                .push(BatchNorm1d::new(8, init))
                .push(Relu)
                .push(Linear::new(8, 8, init)),
            edge: Embedding::new(3, 6, init),
        },
        conv2: Gat {
            lin: Linear::no_bias(8, 8, init),
            att_src: init.xavier_uniform(&[1, 2, 4], 1.0),
            att_dst: init.xavier_uniform(&[1, 2, 4], 1.0),
        },
        head: Linear::new(16, 2, init),
    });
    let device = &port.device;
    let mut adam = Adam::new(&model, 5e-3);
    port.train(&model, |_| {
        let x = model.conv1.forward(&model.atoms.forward(&atoms), &edges, &kind).relu();
        let x = model.conv2.forward(&x, &edges).elu(1.0);
        let count = Tensor::zeros(device, [3]).index_add(0, &batch, &Tensor::ones(device, [12]));
        let mean = Tensor::zeros(device, [3, 8]).index_add(0, &batch, &x) / count.unsqueeze(1);
        let index = batch.unsqueeze(1).expand_as(&x);
        let top = Tensor::full(device, [3, 8], -1e9).scatter_reduce(0, &index, &x, ScatterReduce::Amax, true);
        let logits = model.head.forward(&Tensor::cat(&[mean, top], 1));
        // an assay that was not made is NaN
        let known = !y.isnan();
        let each = BinaryCrossEntropy { reduction: Reduction::None, ..Default::default() };
        let losses = each.loss(&logits, &Tensor::where_(&known, &y, 0.0));
        let loss = (losses * &known).sum() / known.sum();
        adam.step(&loss)?;
        Ok([loss])
    });
}

#[derive(Module)]
struct SimClr {
    backbone: Sequential,
    projector: Sequential,
    logit_scale: Param,
}

impl SimClr {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.projector.forward(&self.backbone.forward(x)).normalize(2.0, -1)
    }
}

#[test]
fn simclr() {
    let port = Port::open("simclr");
    let [a, b] = port.given(["a", "b"]);
    let model = port.model(|init| SimClr {
        backbone: Sequential::new().push(Linear::new(6, 12, init)).push(Relu),
        projector: Sequential::new()
            .push(Linear::no_bias(12, 12, init))
            .push(BatchNorm1d::new(12, init))
            .push(Relu)
            .push(Linear::no_bias(12, 5, init))
            .push(BatchNorm1d::new(5, init).no_affine()),
        logit_scale: init.constant(&[], 2.0),
    });
    let mut sgd = Sgd::new(&model, 0.1).momentum(0.9).nesterov().weight_decay(1e-4);
    let device = &port.device;
    let (itself, partner) = (Tensor::eye(device, 12), (Tensor::arange(device, 0, 12, 1) + 6) % 12);
    port.train(&model, |_| {
        let z = Tensor::cat(&[model.forward(&a), model.forward(&b)], 0);
        let logits = (z.matmul(&z.t()) * model.logit_scale.exp()).masked_fill(&itself, f32::NEG_INFINITY);
        let loss = cross_entropy(&logits, &partner);
        sgd.step(&loss)?;
        Ok([loss])
    });
}
