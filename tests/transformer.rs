//! Attention, transformers and positions against PyTorch in float64; caches and generation against the same model
//! without them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod sequence;
mod support;

use std::sync::Arc;

use kiln::nn::{
    AttentionArgs, DecoderMasks, Gpt2, Gpt2Options, GroupedQueryAttention, KvCache, LearnedPositions,
    MultiheadAttention, MultiheadOptions, Rotary, Sampling, SinusoidalPositions, Transformer, TransformerDecoder,
    TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer, TransformerOptions, alibi, causal_mask,
    generate,
};
use kiln::prelude::*;
use sequence::Reference;
use support::close;

#[test]
fn attention_agrees_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let init = &mut Init::new(&device, 0);
    let first = || MultiheadOptions { batch_first: true, ..Default::default() };
    let extra = MultiheadOptions { add_bias_kv: true, add_zero_attn: true, ..Default::default() };
    let own = MultiheadOptions { kdim: Some(4), vdim: Some(5), ..first() };
    let bare = MultiheadOptions { no_bias: true, ..Default::default() };
    let each = AttentionArgs { average_attn_weights: false, ..Default::default() };
    let output = AttentionArgs { need_weights: false, ..Default::default() };
    let cases = [
        ("plain", MultiheadAttention::new(6, 2, init), AttentionArgs::default()),
        ("cross", MultiheadAttention::with(6, 3, own, init), AttentionArgs::default()),
        ("single", MultiheadAttention::with(4, 1, bare, init), each),
        ("extra", MultiheadAttention::with(6, 2, extra, init), AttentionArgs::default()),
        ("heads", MultiheadAttention::with(6, 3, first(), init), each),
        ("causal", MultiheadAttention::new(6, 2, init), AttentionArgs { is_causal: true, ..output }),
        ("blind", MultiheadAttention::with(4, 2, first(), init), output),
        ("padded", MultiheadAttention::with(4, 2, first(), init), AttentionArgs::default()),
    ];
    for (name, layer, args) in cases {
        let case = reference.case(&format!("attention.{name}"));
        case.start(&layer);
        let [q, k, v] = ["q", "k", "v"].map(|part| case.get(part));
        let (mask, padding) = (case.find("attn_mask"), case.find("key_padding_mask"));
        let args = AttentionArgs { attn_mask: mask.as_ref(), key_padding_mask: padding.as_ref(), ..args };
        let (y, weights) = layer.run(&q, &k, &v, args);
        assert_eq!(weights.is_some(), args.need_weights);
        let outputs: Vec<(&str, &Tensor)> = [("y", &y)].into_iter().chain(weights.iter().map(|w| ("w", w))).collect();
        case.check(&layer, &[("q", &q), ("k", &k), ("v", &v)], &outputs);
        if name == "causal" {
            let implied = AttentionArgs { attn_mask: None, ..args };
            close("implied", &layer.run(&q, &k, &v, implied).0, &y, 1e-6);
            close("self", &layer.run(&q, &q, &q, args).0, &layer.run(&q, &q.clone(), &q.clone(), args).0, 1e-6);
        }
    }
}

#[test]
fn a_row_that_sees_nothing_is_nan_with_weights() {
    let device = Device::open().unwrap();
    let case = Reference::load(&device).case("attention.nan");
    let options = MultiheadOptions { batch_first: true, ..Default::default() };
    let layer = MultiheadAttention::with(4, 2, options, &mut Init::new(&device, 0));
    case.start(&layer);
    let (x, padding) = (case.get("x"), case.get("key_padding_mask"));
    let args = AttentionArgs { key_padding_mask: Some(&padding), ..Default::default() };
    let (y, weights) = layer.run(&x, &x, &x, args);
    close("y", &y, &case.get("y"), 1e-5);
    close("w", &weights.unwrap(), &case.get("w"), 1e-5);
}

fn small() -> TransformerOptions {
    TransformerOptions { dim_feedforward: 7, dropout: 0.0, ..Default::default() }
}

#[test]
fn encoders_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let init = &mut Init::new(&device, 0);
    let batch = || TransformerOptions { batch_first: true, ..small() };

    let case = reference.case("transformer.encoder_layer");
    let layer = TransformerEncoderLayer::with(6, 2, small(), init);
    case.start(&layer);
    let (x, padding) = (case.get("x"), case.get("src_key_padding_mask"));
    let y = layer.run(&x, AttentionArgs { key_padding_mask: Some(&padding), ..Default::default() });
    case.check(&layer, &[("x", &x)], &[("y", &y)]);

    let case = reference.case("transformer.encoder_first");
    let options =
        TransformerOptions { norm_first: true, activation: Tensor::gelu, layer_norm_eps: 1e-3, bias: false, ..batch() };
    let layer = TransformerEncoderLayer::with(6, 3, options, init);
    case.start(&layer);
    let (x, mask) = (case.get("x"), case.get("src_mask"));
    let y = layer.run(&x, AttentionArgs { attn_mask: Some(&mask), ..Default::default() });
    case.check(&layer, &[("x", &x)], &[("y", &y)]);

    let case = reference.case("transformer.encoder");
    let layers = (0..2).map(|_| TransformerEncoderLayer::with(6, 2, batch(), init)).collect();
    let stack = TransformerEncoder::new(layers, Some(LayerNorm::new(6, init)));
    case.start(&stack);
    let x = case.get("x");
    let mask = causal_mask(&device, 4);
    close("mask", &mask.exp(), &case.get("mask").exp(), 0.0);
    let y = stack.run(&x, AttentionArgs { attn_mask: Some(&mask), is_causal: true, ..Default::default() });
    case.check(&stack, &[("x", &x)], &[("y", &y)]);
}

#[test]
fn decoders_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let init = &mut Init::new(&device, 0);

    let case = reference.case("transformer.decoder_layer");
    let layer = TransformerDecoderLayer::with(6, 2, small(), init);
    case.start(&layer);
    let (x, memory) = (case.get("x"), case.get("memory"));
    let (mask, padding) = (case.get("tgt_mask"), case.get("memory_key_padding_mask"));
    let masks = DecoderMasks {
        tgt: AttentionArgs { attn_mask: Some(&mask), ..Default::default() },
        memory: AttentionArgs { key_padding_mask: Some(&padding), ..Default::default() },
    };
    let y = layer.run(&x, &memory, masks);
    case.check(&layer, &[("x", &x), ("memory", &memory)], &[("y", &y)]);

    let case = reference.case("transformer.decoder");
    let options = TransformerOptions { norm_first: true, batch_first: true, activation: Tensor::gelu, ..small() };
    let layers = (0..2).map(|_| TransformerDecoderLayer::with(6, 3, options.clone(), init)).collect();
    let stack = TransformerDecoder::new(layers, None);
    case.start(&stack);
    let (x, memory, mask) = (case.get("x"), case.get("memory"), case.get("memory_mask"));
    let seen = AttentionArgs { attn_mask: Some(&mask), ..Default::default() };
    let y = stack.run(&x, &memory, DecoderMasks { memory: seen, ..Default::default() });
    case.check(&stack, &[("x", &x), ("memory", &memory)], &[("y", &y)]);

    let case = reference.case("transformer.whole");
    let options = TransformerOptions { dim_feedforward: 5, dropout: 0.0, batch_first: true, ..Default::default() };
    let model = Transformer::new(4, 2, [1, 2], options, init);
    case.start(&model);
    let (src, tgt, mask) = (case.get("src"), case.get("tgt"), case.get("tgt_mask"));
    let masks =
        DecoderMasks { tgt: AttentionArgs { attn_mask: Some(&mask), ..Default::default() }, ..Default::default() };
    let y = model.run(&src, &tgt, AttentionArgs::default(), masks);
    case.check(&model, &[("src", &src), ("tgt", &tgt)], &[("y", &y)]);
}

#[test]
fn positions_agree_with_their_papers() {
    let device = Device::open().unwrap();
    let case = Reference::load(&device).case("positions");
    let x = case.get("x");
    let (half, pairs) = (Rotary::new(9, 6, &device), Rotary::with_base(9, 6, 500.0, &device).interleaved());
    close("half", &half.forward(&x), &case.get("half"), 1e-5);
    close("pairs", &pairs.forward(&x), &case.get("interleaved"), 1e-5);
    let tail = x.narrow(1, 4, 5);
    close("later", &half.forward_at(&tail, 4), &case.get("half").narrow(1, 4, 5), 1e-5);
    // a turn keeps what is past its width
    let part = Rotary::new(9, 4, &device).forward(&x);
    close("rest", &part.narrow(-1, 4, 2), &x.narrow(-1, 4, 2), 0.0);
    close("turned", &part.narrow(-1, 0, 4), &Rotary::new(9, 4, &device).forward(&x.narrow(-1, 0, 4)), 0.0);
    let sines = SinusoidalPositions::new(9, 6, &device);
    close("sines", &sines.forward(&x.zeros_like()).select(0, 1), &case.get("sinusoidal"), 1e-6);
    close("sines later", &sines.forward_at(&tail, 4), &sines.forward(&x).narrow(1, 4, 5), 0.0);
    for heads in [4, 6] {
        close("alibi", &alibi(&device, heads, 3, 7, 2), &case.get(&format!("alibi{heads}")), 1e-6);
    }
    let learned = LearnedPositions::new(9, 6, &mut Init::new(&device, 0));
    close("learned", &learned.forward_at(&tail, 4), &(tail + learned.weight.narrow(0, 4, 5)), 0.0);

    let past = half.forward_at(&x, 1).to_vec::<f32>().unwrap_err();
    assert!(matches!(past, Error::Index { .. }), "{past}");
    for bad in [half.forward(&Tensor::zeros(&device, [3, 5])), Rotary::new(9, 3, &device).forward(&x)] {
        assert!(matches!(bad.eval().unwrap_err(), Error::Shape { .. }));
    }
}

#[test]
fn grouped_heads_agree_with_pytorch_and_with_their_cache() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let init = &mut Init::new(&device, 0);
    for (name, layer) in [
        ("grouped", GroupedQueryAttention::new(16, 4, 2, init).rotary(Arc::new(Rotary::new(8, 4, &device)))),
        ("multi_query", GroupedQueryAttention::new(12, 3, 1, init)),
    ] {
        let case = reference.case(&format!("transformer.{name}"));
        case.start(&layer);
        let x = case.get("x");
        let y = layer.forward(&x);
        case.check(&layer, &[("x", &x)], &[("y", &y)]);
        let hidden = causal_mask(&device, 5);
        close("mask", &layer.run(&x, Some(&hidden.reshape([1, 1, 5, 5])), false), &y, 1e-6);

        let cache = layer.cache(2, 7, init);
        let parts = [(0, 3), (3, 1), (4, 1)].map(|(at, len)| {
            let y = layer.run_cached(&x.narrow(1, at, len), &cache, at as usize);
            y.eval().unwrap();
            y
        });
        close("cached", &Tensor::cat(&parts, 1), &y, 1e-5);
        assert!(matches!(layer.run_cached(&x, &cache, 3).eval().unwrap_err(), Error::Argument { .. }));
    }
}

#[test]
fn gpt2_agrees_with_pytorch_and_with_its_cache() {
    let device = Device::open().unwrap();
    let case = Reference::load(&device).case("gpt2");
    let sizes = Gpt2Options { vocabulary: 13, context: 16, width: 8, layers: 2, heads: 2, dropout: 0.0 };
    let gpt = Gpt2::new(sizes, &mut Init::new(&device, 0));
    case.start(&gpt);
    let tokens = case.get("tokens");
    let logits = gpt.forward(&tokens);
    case.check(&gpt, &[], &[("y", &logits)]);

    let caches = gpt.caches(2);
    let start = gpt.forward_cached(&tokens.narrow(1, 0, 4), &caches, 0);
    close("prompt", &start, &logits.narrow(1, 0, 4), 1e-5);
    let mut counters = device.counters();
    for at in 4..9i64 {
        let token = Tensor::from_vec(&device, tokens.narrow(1, at, 1).to_vec::<i32>().unwrap(), &[2, 1]);
        if at == 6 {
            counters = device.counters();
        }
        let next = gpt.forward_cached(&token, &caches, at as usize).to_vec::<f32>().unwrap();
        let want = logits.narrow(1, at, 1).to_vec::<f32>().unwrap();
        assert!(next.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4), "token {at}");
    }
    let after = device.counters();
    assert_eq!(after.pipelines, counters.pipelines, "a new token compiles nothing");
    assert!(gpt.forward_cached(&tokens, &caches, 8).eval().is_err());
    assert!(gpt.forward_cached(&tokens, &caches[1..], 0).eval().is_err());
}

/// The file that is published holds the causal masks of the blocks too.
#[test]
fn masks_in_a_file_of_gpt2_are_left_out_and_named() {
    let device = Device::open().unwrap();
    let sizes = Gpt2Options { vocabulary: 13, context: 4, width: 8, layers: 2, heads: 2, dropout: 0.0 };
    let [published, gpt] = [1, 2].map(|seed| Gpt2::new(sizes.clone(), &mut Init::new(&device, seed)));
    let mut dict = published.state_dict();
    for mask in ["h.0.attn.bias", "h.1.attn.bias"] {
        dict.insert(mask.to_string(), Tensor::ones(&device, [1, 1, 4, 4]).tril(0));
    }
    assert!(matches!(gpt.load_state_dict(&dict), Err(Error::State(_))));
    let report = gpt.load_matching(&dict).unwrap();
    assert_eq!(report.unexpected, ["h.0.attn.bias", "h.1.attn.bias"]);
    assert!(report.missing.is_empty() && report.mismatched.is_empty());
    let tokens = Tensor::new(&device, [[1i32, 12, 3]]);
    let [want, got] = [&published, &gpt].map(|model| model.forward(&tokens).to_vec::<f32>().unwrap());
    assert_eq!(want, got);
}

#[test]
fn generation_with_a_cache_is_generation_without() {
    let device = Device::open().unwrap();
    let sizes = Gpt2Options { vocabulary: 13, context: 16, width: 8, layers: 1, heads: 2, dropout: 0.2 };
    let gpt = Gpt2::new(sizes, &mut Init::new(&device, 4));
    gpt.eval();
    let settings = [
        Sampling::greedy(),
        Sampling { temperature: 2.0, seed: 3, ..Default::default() },
        Sampling { top_k: 4, top_p: 0.7, seed: 5, ..Default::default() },
    ];
    for sampling in settings {
        let mut sampler = sampling.clone().sampler().unwrap();
        let caches = gpt.caches(1);
        let cached = |tokens: &Tensor, position| gpt.forward_cached(tokens, &caches, position);
        let fast = generate(&device, &[1, 2, 3], 6, None, &mut sampler, cached).unwrap();

        let mut sampler = sampling.sampler().unwrap();
        let mut text: Vec<i32> = Vec::new();
        let whole = |tokens: &Tensor, _| {
            text.extend(tokens.to_vec::<i32>().unwrap());
            gpt.forward(&Tensor::from_slice(&device, &text, &[1, text.len()]))
        };
        let slow = generate(&device, &[1, 2, 3], 6, None, &mut sampler, whole).unwrap();
        assert_eq!(fast, slow);
        assert_eq!(fast.len(), 6);
    }
    let mut sampler = Sampling::greedy().sampler().unwrap();
    let always = |_: &Tensor, _| Tensor::new(&device, [[0.0, 2.0, 1.0]]);
    assert_eq!(generate(&device, &[0], 5, Some(1), &mut sampler, always).unwrap(), [1]);
    assert!(generate(&device, &[], 5, None, &mut sampler, always).is_err());
}

#[test]
fn a_cache_of_several_pages_holds_what_was_put_there() {
    let device = Device::open().unwrap();
    let rng = Rng::new(&device, 8);
    let (heads, kv, capacity, width) = (4usize, 2usize, 200usize, 3usize);
    let whole = [heads, kv, kv].map(|heads| rng.normal([2, heads, capacity, width]));
    Tensor::eval_all(&whole).unwrap();
    let want = {
        let [q, k, v] = &whole;
        q.scaled_dot_product_attention(k, v, &Attention { causal: true, gqa: true, ..Default::default() })
    };
    let cache = KvCache::new(2, kv, capacity, width, &device);
    let look = |from: usize, count: usize| {
        let [q, k, v] = [0, 1, 2].map(|i| whole[i].narrow(2, from as i64, count));
        let got = cache.attend(&q, &k, &v, from).unwrap().to_vec::<f32>().unwrap();
        let want = want.narrow(2, from as i64, count).to_vec::<f32>().unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{count} from {from}: {got} is not {want}");
        }
    };
    // several at once, one by one over the ends of pages, many over several pages, then back and on
    look(0, 5);
    (5..8).for_each(|at| look(at, 1));
    look(8, 54);
    (62..67).for_each(|at| look(at, 1));
    look(67, 70);
    (137..140).for_each(|at| look(at, 1));
    look(120, 1); // a page back
    (121..130).for_each(|at| look(at, 1));
    look(130, 62);
    (192..200).for_each(|at| look(at, 1));
    look(3, 2);
    // what is handed out whole
    let [k, v] = [1, 2].map(|i| whole[i].narrow(2, 5, 4));
    let (keys, values) = cache.append(&k, &v, 5).unwrap();
    let rows = |t: &Tensor| t.narrow(2, 0, 9).to_vec::<f32>().unwrap();
    assert_eq!((rows(&keys), rows(&values)), (rows(&whole[1]), rows(&whole[2])));
    assert!(cache.attend(&whole[0].narrow(2, 0, 1), &k, &v, 9).is_err());
    assert!(cache.attend(&whole[0].narrow(2, 0, 4), &k, &v, 197).is_err());
}

/// What one query finds among rows of keys and values.
fn found(q: &[f32], rows: &[[Vec<f32>; 2]]) -> Vec<f64> {
    let dot = |k: &[f32]| q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let weights: Vec<f64> = rows.iter().map(|[k, _]| (dot(k) / (q.len() as f64).sqrt()).exp()).collect();
    let mean = |i| rows.iter().zip(&weights).map(|([_, v], w)| w * f64::from(v[i])).sum::<f64>();
    (0..q.len()).map(|i| mean(i) / weights.iter().sum::<f64>()).collect()
}

#[test]
fn a_cache_holds_nothing_of_steps_that_were_refused() {
    let device = Device::open().unwrap();
    let (capacity, width) = (200usize, 2usize);
    let cache = KvCache::new(1, 1, capacity, width, &device);
    let mut rows: Vec<[Vec<f32>; 2]> = Vec::new();
    let mut attempt = 0;
    let mut step = |from: usize, count: usize, refused: bool| {
        attempt += 1;
        let drawn = Rng::new(&device, attempt).normal([3, 1, 1, count, width]);
        let list = drawn.to_vec::<f32>().unwrap();
        let part = |which: usize, row: usize| list[(which * count + row) * width..][..width].to_vec();
        let at: Vec<i32> = (0..count as i32).map(|row| if refused { 1000 } else { row }).collect();
        let [q, k, v] = [0, 1, 2].map(|which| drawn.select(0, which));
        let got = cache.attend(&q, &k.index_select(2, &Tensor::new(&device, at)), &v, from).unwrap().to_vec::<f32>();
        if refused {
            assert!(matches!(got, Err(Error::Index { .. })), "{got:?}");
            return;
        }
        rows.truncate(from);
        let mut want = Vec::new();
        for row in 0..count {
            rows.push([part(1, row), part(2, row)]);
            want.extend(found(&part(0, row), &rows));
        }
        for (got, want) in got.unwrap().iter().zip(want) {
            let near = (f64::from(*got) - want).abs() <= 1e-5 * (1.0 + want.abs());
            assert!(near, "attempt {attempt}, {count} from {from}: {got} is not {want}");
        }
    };
    (0..62).for_each(|at| step(at, 1, false));
    // the last place of a page, the first of the next, and over its end
    for (at, count) in [(62, 1), (63, 1), (64, 1), (65, 62), (127, 1), (128, 1)] {
        step(at, count, true);
        step(at, count, true);
        step(at, count, false);
    }
    // one by one, then many that reach past the page, refused; taken back; back over the end of a page
    (129..140).for_each(|at| step(at, 1, false));
    step(140, 55, true);
    (140..143).for_each(|at| step(at, 1, false));
    step(100, 3, true);
    (143..145).for_each(|at| step(at, 1, false));
    step(126, 4, false);
    step(127, 3, true);
    (127..131).for_each(|at| step(at, 1, false));
    let mut word = 7u64;
    let mut draw = |below: u64| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((word >> 33) % below) as usize
    };
    let mut end = 131;
    for _ in 0..40 {
        let from = if draw(3) == 0 { draw(end as u64 + 1) } else { end };
        let count = [1, 1, 1 + draw(70)][draw(3)].min(capacity - from);
        let refused = draw(3) == 0;
        if count > 0 {
            step(from, count, refused);
            // a step that was refused is followed by one that does not stand on it
            end = if refused { from } else { from + count };
        }
    }
}

#[test]
fn sampling_follows_its_settings() {
    let logits: Vec<f32> = [0.5f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln()).collect();
    let shares = |sampling: Sampling| {
        let mut sampler = sampling.sampler().unwrap();
        let mut counts = [0u32; 4];
        (0..4000).for_each(|_| counts[sampler.pick(&logits).unwrap()] += 1);
        counts.map(|n| f64::from(n) / 4000.0)
    };
    // four standard deviations of a mean of 4000 coins are at most 0.032
    let near = |got: [f64; 4], want: [f64; 4]| got.iter().zip(want).all(|(g, w)| (g - w).abs() < 0.032);
    let base = Sampling { seed: 9, ..Default::default() };
    assert!(near(shares(base.clone()), [0.5, 0.25, 0.125, 0.125]));
    assert!(near(shares(Sampling { temperature: 0.5, ..base.clone() }), [0.727, 0.182, 0.045, 0.045]));
    assert!(near(shares(Sampling { top_k: 2, ..base.clone() }), [0.667, 0.333, 0.0, 0.0]));
    assert!(near(shares(Sampling { top_p: 0.6, ..base.clone() }), [0.667, 0.333, 0.0, 0.0]));
    assert_eq!(shares(Sampling { top_p: 0.0, ..base.clone() })[0], 1.0);
    assert_eq!(shares(Sampling::greedy())[0], 1.0);
    assert_eq!(shares(base.clone()), shares(base.clone()));
    assert_ne!(shares(Sampling { seed: 10, ..base.clone() }), shares(base.clone()));

    let mut sampler = base.clone().sampler().unwrap();
    assert_eq!(sampler.pick(&[f32::NEG_INFINITY, 0.0]).unwrap(), 1);
    for bad in [&[f32::NAN, 0.0][..], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY; 2], &[]] {
        assert!(sampler.pick(bad).is_err(), "{bad:?}");
    }
    assert!(Sampling { temperature: -1.0, ..base.clone() }.sampler().is_err());
    assert!(Sampling { top_p: 1.5, ..base }.sampler().is_err());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 0);
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let (x, layer) = (zeros(&[3, 2, 6]), MultiheadAttention::new(6, 2, init));
    let with = |args| layer.run(&x, &x, &x, args).0;
    let (wrong, ints, long) = (zeros(&[2, 3]), Tensor::full(&device, [3, 3], 1i32), zeros(&[2, 4]));
    let masked = |mask| AttentionArgs { attn_mask: Some(mask), ..Default::default() };
    let cache = KvCache::new(1, 2, 4, 3, &device);
    let bad = [
        MultiheadAttention::new(6, 4, init).forward(&x),
        layer.forward(&zeros(&[3, 2, 5])),
        layer.run(&x, &zeros(&[3, 1, 6]), &x, AttentionArgs::default()).0,
        layer.run(&x, &zeros(&[4, 2, 6]), &x, AttentionArgs::default()).0,
        with(masked(&wrong)),
        with(masked(&ints)),
        with(AttentionArgs { key_padding_mask: Some(&long), ..Default::default() }),
        GroupedQueryAttention::new(6, 3, 2, init).forward(&x),
        GroupedQueryAttention::new(6, 2, 1, init).forward(&wrong),
        TransformerEncoderLayer::with(6, 2, small(), init).forward(&wrong),
    ];
    for y in bad {
        let error = y.eval().unwrap_err();
        assert!(matches!(error, Error::Shape { .. } | Error::DType { .. } | Error::Argument { .. }), "{error}");
    }
    assert!(cache.append(&zeros(&[1, 2, 1, 4]), &zeros(&[1, 2, 1, 3]), 0).is_err());
    assert!(cache.append(&zeros(&[1, 2, 2, 3]), &zeros(&[1, 2, 2, 3]), 3).is_err());
    assert!(cache.append(&zeros(&[1, 2, 0, 3]), &zeros(&[1, 2, 0, 3]), 0).is_err());
    let gap = cache.append(&zeros(&[1, 2, 1, 3]), &zeros(&[1, 2, 1, 3]), 1).unwrap_err().to_string();
    assert!(gap.contains("1, past 0"), "{gap}");
    let stack = TransformerEncoder::new(vec![TransformerEncoderLayer::with(6, 2, small(), init)], None);
    let error = stack.forward(&zeros(&[3, 2, 5])).eval().unwrap_err().to_string();
    assert!(error.contains("layers.0"), "{error}");
}
