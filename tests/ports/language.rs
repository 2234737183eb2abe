//! Llama, a mixture of experts, Mamba.

use kiln::prelude::*;

use super::Port;

/// Hugging Face's LlamaRMSNorm; [`kiln::nn::RmsNorm`] is the same as one kernel.
#[derive(Module)]
struct RootMeanSquare {
    weight: Param,
    eps: f32,
}

impl RootMeanSquare {
    fn new(width: usize, eps: f32, init: &mut Init) -> Self {
        Self { weight: init.ones(&[width]), eps }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let variance = x.powf(2.0).mean_axes(-1, true);
        &self.weight * (x * (variance + self.eps).rsqrt())
    }
}

fn rotate_half(x: &Tensor) -> Tensor {
    let [a, b] = x.chunk_into(-1);
    Tensor::cat(&[&-b, &a], -1)
}

fn repeat_kv(x: &Tensor, times: usize) -> Tensor {
    x.with_dims(|[batch, heads, time, width]| {
        x.unsqueeze(2).expand([batch, heads, times, time, width]).reshape([batch, heads * times, time, width])
    })
}

#[derive(Module)]
struct LlamaAttention {
    head: usize,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

/// What all layers share.
struct Positions {
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
}

impl LlamaAttention {
    fn forward(&self, x: &Tensor, positions: &Positions) -> Tensor {
        let heads = |y: Tensor| y.unflatten(-1, [-1, self.head as i64]).transpose(1, 2);
        let turned = |y: Tensor| &y * &positions.cos + rotate_half(&y) * &positions.sin;
        let q = turned(heads(self.q_proj.forward(x)));
        let k = repeat_kv(&turned(heads(self.k_proj.forward(x))), 2);
        let v = repeat_kv(&heads(self.v_proj.forward(x)), 2);
        let scores = q.matmul(&k.transpose(2, 3)) / (self.head as f64).sqrt() + &positions.mask;
        self.o_proj.forward(&scores.softmax(-1).matmul(&v).transpose(1, 2).flatten(2, 3))
    }
}

#[derive(Module)]
struct LlamaMlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

#[derive(Module)]
struct LlamaLayer {
    self_attn: LlamaAttention,
    mlp: LlamaMlp,
    input_layernorm: RootMeanSquare,
    post_attention_layernorm: RootMeanSquare,
}

impl LlamaLayer {
    fn new(width: usize, heads: usize, inner: usize, init: &mut Init) -> Self {
        let head = width / heads;
        Self {
            self_attn: LlamaAttention {
                head,
                q_proj: Linear::no_bias(width, width, init),
                k_proj: Linear::no_bias(width, heads / 2 * head, init),
                v_proj: Linear::no_bias(width, heads / 2 * head, init),
                o_proj: Linear::no_bias(width, width, init),
            },
            mlp: LlamaMlp {
                gate_proj: Linear::no_bias(width, inner, init),
                up_proj: Linear::no_bias(width, inner, init),
                down_proj: Linear::no_bias(inner, width, init),
            },
            input_layernorm: RootMeanSquare::new(width, 1e-6, init),
            post_attention_layernorm: RootMeanSquare::new(width, 1e-6, init),
        }
    }

    fn forward(&self, x: &Tensor, positions: &Positions) -> Tensor {
        let x = x + self.self_attn.forward(&self.input_layernorm.forward(x), positions);
        let y = self.post_attention_layernorm.forward(&x);
        let gated = self.mlp.gate_proj.forward(&y).silu() * self.mlp.up_proj.forward(&y);
        x + self.mlp.down_proj.forward(&gated)
    }
}

#[derive(Module)]
struct Llama {
    embed_tokens: Embedding,
    layers: Vec<LlamaLayer>,
    norm: RootMeanSquare,
}

impl Forward for Llama {
    fn forward(&self, tokens: &Tensor) -> Tensor {
        let device = tokens.device();
        tokens.with_dims(|[_, time]| {
            let rates = 1.0 / Tensor::full(device, [2], 10000.0).pow(Tensor::arange(device, 0, 4, 2) / 4.0);
            let angles = Tensor::arange(device, 0.0, time as f64, 1.0).unsqueeze(1) * rates;
            let angles = Tensor::cat(&[&angles, &angles], -1);
            let mask = Tensor::full(device, [time, time], f32::NEG_INFINITY).triu(1);
            let positions = Positions { cos: angles.cos(), sin: angles.sin(), mask };
            let embedded = self.embed_tokens.forward(tokens);
            let x = self.layers.iter().fold(embedded, |x, layer| layer.forward(&x, &positions));
            self.norm.forward(&x).matmul(&self.embed_tokens.weight.t()) // tied
        })
    }
}

#[test]
fn llama() {
    let port = Port::open("llama");
    let [tokens] = port.given(["tokens"]);
    let model = port.model(|init| Llama {
        embed_tokens: Embedding::new(13, 16, init),
        layers: (0..2).map(|_| LlamaLayer::new(16, 4, 24, init)).collect(),
        norm: RootMeanSquare::new(16, 1e-6, init),
    });
    let mut adam = AdamW::new(&model, 3e-3).betas(0.9, 0.95).weight_decay(0.1);
    port.train(&model, |t| {
        adam.set_lr(3e-3 * (1.0f64).min((t + 1) as f64 / 3.0));
        let logits = model.forward(&tokens).range(1, ..-1);
        let loss = cross_entropy(&logits.flatten(0, 1), &tokens.range(1, 1..).flatten(0, 1));
        let mut gradients = loss.backward()?;
        clip_grad_norm(&mut gradients, 1.0);
        adam.step(&gradients)?;
        Ok([loss])
    });
}

#[derive(Module)]
struct Experts {
    gate: Linear,
    experts: Vec<Sequential>,
}

impl Experts {
    /// Each token goes to its two best experts. Every expert runs over all tokens and counts where it was chosen, so that
    /// shapes do not depend on the data and every step is the same plan.
    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let probabilities = self.gate.forward(x).softmax(-1);
        let (weights, chosen) = probabilities.topk(2, -1, true);
        let weights = &weights / weights.sum_axes(-1, true);
        let weights = probabilities.zeros_like().scatter(-1, &chosen, &weights);
        let outputs: Vec<Tensor> = self.experts.iter().map(|expert| expert.forward(x)).collect();
        let outputs = Tensor::stack(&outputs, -1);
        let y = (outputs * weights.unsqueeze(-2)).sum_axes(-1, false);
        (y, self.balance(&probabilities, &chosen))
    }

    /// The same by lists of the tokens of each expert, as in PyTorch: each list waits for the device.
    fn forward_sparse(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let [batch, time, width] = x.dims()?;
        let flat = x.reshape([batch * time, width]);
        let probabilities = self.gate.forward(&flat).softmax(-1);
        let (weights, chosen) = probabilities.topk(2, -1, true);
        let weights = &weights / weights.sum_axes(-1, true);
        let mut y = flat.zeros_like();
        for (number, expert) in self.experts.iter().enumerate() {
            let [token, slot] = chosen.eq(number).nonzero()?.unbind_into(1);
            let out = expert.forward(&flat.index_select(0, &token)) * weights.index(&[&token, &slot]).unsqueeze(1);
            y = y.index_add(0, &token, &out);
        }
        Ok((y.reshape([batch, time, width]), self.balance(&probabilities, &chosen)))
    }

    /// The load-balancing loss of the Switch transformer.
    fn balance(&self, probabilities: &Tensor, chosen: &Tensor) -> Tensor {
        let count = self.experts.len();
        let share = chosen.one_hot(count).sum_axes(-2, false).cast(DType::F32).reshape([-1, count as i64]);
        let probability = probabilities.reshape([-1, count as i64]);
        (share.mean_axes(0, false) * probability.mean_axes(0, false)).sum() * count
    }
}

#[derive(Module)]
struct ExpertModel {
    embed: Embedding,
    norm: LayerNorm,
    moe: Experts,
    head: Linear,
}

fn mixture(run: impl Fn(&Experts, &Tensor) -> Result<(Tensor, Tensor)>) {
    let port = Port::open("mixture_of_experts");
    let [tokens, labels] = port.given(["tokens", "labels"]);
    let expert =
        |init: &mut Init| Sequential::new().push(Linear::new(8, 16, init)).push(Silu).push(Linear::new(16, 8, init));
    let model = port.model(|init| ExpertModel {
        embed: Embedding::new(11, 8, init),
        norm: LayerNorm::new(8, init),
        moe: Experts { gate: Linear::no_bias(8, 4, init), experts: (0..4).map(|_| expert(init)).collect() },
        head: Linear::new(8, 11, init),
    });
    let mut adam = Adam::new(&model, 3e-3);
    port.train(&model, |_| {
        let x = model.embed.forward(&tokens);
        let (y, balance) = run(&model.moe, &model.norm.forward(&x))?;
        let loss = cross_entropy(&model.head.forward(&(x + y)).transpose(1, 2), &labels);
        adam.step(&(&loss + 0.01 * &balance))?;
        Ok([loss, balance])
    });
}

#[test]
fn mixture_of_experts() {
    mixture(|experts, x| Ok(experts.forward(x)));
}

#[test]
fn mixture_of_experts_by_lists() {
    mixture(Experts::forward_sparse);
}

#[derive(Module)]
#[expect(non_snake_case)]
struct MambaBlock {
    in_proj: Linear,
    conv1d: Conv1d,
    x_proj: Linear,
    dt_proj: Linear,
    A_log: Param,
    D: Param,
    out_proj: Linear,
}

impl MambaBlock {
    const STATE: usize = 4;
    const RANK: usize = 2;

    fn new(width: usize, init: &mut Init) -> Self {
        let inner = 2 * width;
        let decays = Tensor::arange(init.device(), 1, Self::STATE as i32 + 1, 1).repeat([inner, 1]);
        Self {
            in_proj: Linear::no_bias(width, 2 * inner, init),
            conv1d: Conv1d::grouped(inner, inner, 3, inner, init).padding(2),
            x_proj: Linear::no_bias(inner, Self::RANK + 2 * Self::STATE, init),
            dt_proj: Linear::new(Self::RANK, inner, init),
            A_log: init.param(&decays.log()),
            D: init.ones(&[inner]),
            out_proj: Linear::no_bias(inner, width, init),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.with_dims(|[_, time, _]| {
            let [x, gate] = self.in_proj.forward(x).chunk_into(-1);
            let x = self.conv1d.forward(&x.transpose(1, 2)).narrow(2, 0, time).transpose(1, 2).silu();
            self.out_proj.forward(&(self.scan(&x) * gate.silu()))
        })
    }

    /// The selective scan h = exp(Δ A) h + Δ B u, y = C h + D u, step by step.
    fn scan(&self, u: &Tensor) -> Tensor {
        let a = -self.A_log.exp();
        let [delta, b, c] = self.x_proj.forward(u).split_into([Self::RANK, Self::STATE, Self::STATE], -1);
        let delta = self.dt_proj.forward(&delta).softplus();
        let decay = Tensor::einsum("bld,dn->bldn", &[&delta, &a]).exp();
        let input = Tensor::einsum("bld,bln,bld->bldn", &[&delta, &b, u]);
        let mut h = input.select(1, 0).zeros_like();
        let mut ys = Vec::new();
        for ((decay, input), c) in decay.unbind(1).iter().zip(input.unbind(1)).zip(c.unbind(1)) {
            h = decay * h + input;
            ys.push(Tensor::einsum("bdn,bn->bd", &[&h, &c]));
        }
        Tensor::stack(&ys, 1) + u * &self.D
    }
}

#[derive(Module)]
struct MambaLayer {
    norm: RootMeanSquare,
    mixer: MambaBlock,
}

#[derive(Module)]
struct Mamba {
    embedding: Embedding,
    layers: Vec<MambaLayer>,
    norm_f: RootMeanSquare,
    lm_head: Linear,
}

#[test]
fn mamba() {
    let port = Port::open("mamba");
    let [tokens] = port.given(["tokens"]);
    let model = port.model(|init| Mamba {
        embedding: Embedding::new(9, 8, init),
        layers: (0..2)
            .map(|_| MambaLayer { norm: RootMeanSquare::new(8, 1e-5, init), mixer: MambaBlock::new(8, init) })
            .collect(),
        norm_f: RootMeanSquare::new(8, 1e-5, init),
        lm_head: Linear::no_bias(8, 9, init),
    });
    let mut adam = AdamW::new(&model, 2e-3);
    port.train(&model, |_| {
        let embedded = model.embedding.forward(&tokens.range(1, ..-1));
        let x = model.layers.iter().fold(embedded, |x, layer| layer.mixer.forward(&layer.norm.forward(&x)) + x);
        let logits = model.lm_head.forward(&model.norm_f.forward(&x));
        let loss = cross_entropy(&logits.flatten(0, 1), &tokens.range(1, 1..).flatten(0, 1));
        adam.step(&loss)?;
        Ok([loss])
    });
}
