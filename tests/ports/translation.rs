//! Translation by recurrence with additive attention, and by a transformer.

use kiln::nn::{AttentionArgs, DecoderMasks, GruCell, Transformer, TransformerOptions};
use kiln::prelude::*;

use super::Port;

#[derive(Module)]
struct Encoder {
    embedding: Embedding,
    gru: Gru,
    fc: Linear,
}

#[derive(Module)]
#[expect(non_snake_case)]
struct Bahdanau {
    Wa: Linear,
    Ua: Linear,
    Va: Linear,
}

impl Bahdanau {
    /// `query [batch, width]`, `keys [batch, time, 2 · width]`, `seen [batch, time]` → `[batch, 2 · width]`.
    fn forward(&self, query: &Tensor, keys: &Tensor, seen: &Tensor) -> Tensor {
        let sum = self.Wa.forward(query).unsqueeze(1) + self.Ua.forward(keys);
        let scores = self.Va.forward(&sum.tanh()).squeeze(2).masked_fill(&!seen, -1e9);
        scores.softmax(-1).unsqueeze(1).bmm(keys).squeeze(1)
    }
}

#[derive(Module)]
struct Decoder {
    embedding: Embedding,
    attention: Bahdanau,
    cell: GruCell,
    out: Linear,
}

#[derive(Module)]
struct Seq2Seq {
    encoder: Encoder,
    decoder: Decoder,
}

impl Seq2Seq {
    fn forward(&self, src: &Tensor, lengths: &Tensor, tgt: &Tensor) -> Tensor {
        let Self { encoder, decoder } = self;
        let (keys, h) = encoder.gru.run(&encoder.embedding.forward(src), None, Some(lengths));
        let both = Tensor::cat(&[&h.select(0, -2), &h.select(0, -1)], 1);
        let (mut hidden, seen) = (encoder.fc.forward(&both).tanh(), src.ne(0));
        let mut outputs = Vec::new();
        // teacher forcing
        for token in tgt.range(1, ..-1).unbind(1) {
            let embedded = decoder.embedding.forward(&token);
            let context = decoder.attention.forward(&hidden, &keys, &seen);
            hidden = decoder.cell.forward(&Tensor::cat(&[&embedded, &context], 1), Some(&hidden));
            outputs.push(decoder.out.forward(&Tensor::cat(&[&hidden, &context, &embedded], 1)));
        }
        Tensor::stack(&outputs, 1)
    }
}

#[test]
fn seq2seq() {
    let port = Port::open("seq2seq");
    let [src, lengths, tgt] = port.given(["src", "lengths", "tgt"]);
    let options = RecurrentOptions { bidirectional: true, batch_first: true, ..Default::default() };
    let model = port.model(|init| Seq2Seq {
        encoder: Encoder {
            embedding: Embedding::padded(12, 6, 0, init),
            gru: Gru::with(6, 6, options, init),
            fc: Linear::new(12, 6, init),
        },
        decoder: Decoder {
            embedding: Embedding::padded(12, 6, 0, init),
            attention: Bahdanau {
                Wa: Linear::new(6, 6, init),
                Ua: Linear::new(12, 6, init),
                Va: Linear::new(6, 1, init),
            },
            cell: GruCell::new(18, 6, init),
            out: Linear::new(24, 12, init),
        },
    });
    let mut adam = Adam::new(&model, 5e-3).eps(1e-6);
    let criterion = CrossEntropy { ignore_index: 0, ..Default::default() };
    port.train(&model, |_| {
        let logits = model.forward(&src, &lengths, &tgt);
        let loss = criterion.loss(&logits.flatten(0, 1), &tgt.range(1, 1..).flatten(0, 1));
        let mut gradients = loss.backward()?;
        clip_grad_norm(&mut gradients, 1.0);
        adam.step(&gradients)?;
        Ok([loss])
    });
}

#[derive(Module)]
struct PositionalEncoding {
    pe: State,
}

#[derive(Module)]
struct Translator {
    src_embed: Embedding,
    tgt_embed: Embedding,
    positions: PositionalEncoding,
    transformer: Transformer,
    generator: Linear,
}

impl Translator {
    fn new(vocabulary: usize, width: usize, init: &mut Init) -> Self {
        let device = init.device();
        let position = Tensor::arange(device, 0, 16, 1).unsqueeze(1);
        let rates = (Tensor::arange(device, 0, width as i32, 2) * (-(10000f64).ln() / width as f64)).exp();
        let angles = position * rates;
        let pe = Tensor::stack(&[&angles.sin(), &angles.cos()], -1).flatten(-2, -1).unsqueeze(0);
        let options =
            TransformerOptions { dim_feedforward: 2 * width, dropout: 0.0, batch_first: true, ..Default::default() };
        Self {
            positions: PositionalEncoding { pe: init.state(&pe) },
            src_embed: Embedding::new(vocabulary, width, init),
            tgt_embed: Embedding::new(vocabulary, width, init),
            transformer: Transformer::new(width, 2, [1, 1], options, init),
            generator: Linear::new(width, vocabulary, init),
        }
    }

    fn forward(&self, src: &Tensor, tgt: &Tensor) -> Tensor {
        let embed = |table: &Embedding, tokens: &Tensor| {
            let x = table.forward(tokens);
            x.with_dims(|[_, time, width]| &x * (width as f64).sqrt() + self.positions.pe.narrow(1, 0, time))
        };
        let (no_source, no_target) = (src.eq(0), tgt.eq(0));
        let source = AttentionArgs { key_padding_mask: Some(&no_source), ..Default::default() };
        let target = AttentionArgs { key_padding_mask: Some(&no_target), is_causal: true, ..Default::default() };
        let masks = DecoderMasks { tgt: target, memory: source };
        let (src, tgt) = (embed(&self.src_embed, src), embed(&self.tgt_embed, tgt));
        self.generator.forward(&self.transformer.run(&src, &tgt, source, masks))
    }
}

#[test]
fn translation() {
    let port = Port::open("translation");
    let [src, tgt] = port.given(["src", "tgt"]);
    let model = port.model(|init| Translator::new(10, 8, init));
    let mut adam = Adam::new(&model, 0.0).betas(0.9, 0.98).eps(1e-5);
    let criterion = CrossEntropy { ignore_index: 0, label_smoothing: 0.1, ..Default::default() };
    port.train(&model, |t| {
        let n = (t + 1) as f64;
        adam.set_lr(0.1 * (8f64).powf(-0.5) * n.powf(-0.5).min(n * (10f64).powf(-1.5)));
        let logits = model.forward(&src, &tgt.range(1, ..-1));
        let loss = criterion.loss(&logits.flatten(0, 1), &tgt.range(1, 1..).flatten(0, 1));
        adam.step(&loss)?;
        Ok([loss])
    });
}
