//! Swin: attention within windows that are shifted in every other block (Liu et al. 2021).

use kiln::prelude::*;

use super::Port;

/// `[batch, h, w, channels]` → `[batch · windows, window², channels]`.
fn window_partition(x: &Tensor, window: usize) -> Tensor {
    x.with_dims(|[batch, h, w, channels]| {
        let parts = x.view([batch, h / window, window, w / window, window, channels]);
        parts.permute([0, 1, 3, 2, 4, 5]).reshape([batch * (h / window) * (w / window), window * window, channels])
    })
}

fn window_reverse(windows: &Tensor, window: usize, size: usize) -> Tensor {
    windows.with_dims(|[count, _, channels]| {
        let side = size / window;
        let parts = windows.view([count / (side * side), side, side, window, window, channels]);
        parts.permute([0, 1, 3, 2, 4, 5]).reshape([count / (side * side), size, size, channels])
    })
}

#[derive(Module)]
struct WindowAttention {
    heads: usize,
    relative_position_bias_table: Param,
    relative_position_index: State,
    qkv: Linear,
    proj: Linear,
}

impl WindowAttention {
    fn new(width: usize, window: usize, heads: usize, init: &mut Init) -> Self {
        let side = Tensor::arange(init.device(), 0, window as i32, 1);
        let coords = Tensor::stack(&Tensor::meshgrid(&[&side, &side]), 0).flatten(1, -1);
        let relative = coords.unsqueeze(2) - coords.unsqueeze(1) + (window as i32 - 1);
        let [down, right] = relative.unbind_into(0);
        let span = 2 * window as i32 - 1;
        Self {
            heads,
            relative_position_bias_table: init.trunc_normal(&[(span * span) as usize, heads], 0.0, 0.02, -2.0..2.0),
            relative_position_index: init.state(&(down * span + right)),
            qkv: Linear::new(width, 3 * width, init),
            proj: Linear::new(width, width, init),
        }
    }

    fn forward(&self, x: &Tensor, mask: Option<&State>) -> Tensor {
        x.with_dims(|[batch, area, width]| {
            let head = width / self.heads;
            let qkv = self.qkv.forward(x).reshape([batch, area, 3, self.heads, head]).permute([2, 0, 3, 1, 4]);
            let [q, k, v] = qkv.unbind_into(0);
            let attention = (q * (head as f64).powf(-0.5)).matmul(&k.transpose(-2, -1));
            let bias = self.relative_position_bias_table.index(&[&self.relative_position_index]).permute([2, 0, 1]);
            let mut attention = attention + bias.unsqueeze(0);
            if let Some(mask) = mask {
                attention = mask.with_dims(|[windows, _, _]| {
                    let by_image = attention.unflatten(0, [batch / windows, windows]);
                    (by_image + mask.unsqueeze(1).unsqueeze(0)).flatten(0, 1)
                });
            }
            self.proj.forward(&attention.softmax(-1).matmul(&v).transpose(1, 2).flatten(2, 3))
        })
    }
}

#[derive(Module)]
struct SwinBlock {
    size: usize,
    window: usize,
    shift: usize,
    norm1: LayerNorm,
    attn: WindowAttention,
    norm2: LayerNorm,
    mlp: Sequential,
    attn_mask: Option<State>,
}

impl SwinBlock {
    fn new(width: usize, size: usize, shift: usize, heads: usize, init: &mut Init) -> Self {
        let window = 4;
        let attn_mask = (shift > 0).then(|| {
            // parts of the rolled image that were not neighbours do not see each other
            let part = |i: usize| usize::from(i >= size - window) + usize::from(i >= size - shift);
            let parts = (0..size * size).map(|i| (3 * part(i / size) + part(i % size)) as f32).collect();
            let image = Tensor::from_vec(init.device(), parts, &[1, size, size, 1]);
            let windows = window_partition(&image, window).squeeze(-1);
            let apart = windows.unsqueeze(1).ne(windows.unsqueeze(2));
            init.state(&Tensor::where_(&apart, -100.0, 0.0))
        });
        Self {
            size,
            window,
            shift,
            norm1: LayerNorm::new(width, init),
            attn: WindowAttention::new(width, window, heads, init),
            norm2: LayerNorm::new(width, init),
            mlp: Sequential::new().push(Linear::new(width, 2 * width, init)).push(Gelu).push(Linear::new(
                2 * width,
                width,
                init,
            )),
            attn_mask,
        }
    }
}

impl Forward for SwinBlock {
    fn forward(&self, x: &Tensor) -> Tensor {
        let shift = self.shift as i64;
        let image = self.norm1.forward(x).unflatten(1, [self.size, self.size]);
        let rolled = image.roll([-shift, -shift], [1, 2]);
        let windows = self.attn.forward(&window_partition(&rolled, self.window), self.attn_mask.as_ref());
        let image = window_reverse(&windows, self.window, self.size).roll([shift, shift], [1, 2]);
        let x = x + image.flatten(1, 2);
        &x + self.mlp.forward(&self.norm2.forward(&x))
    }
}

#[derive(Module)]
struct PatchMerging {
    size: usize,
    norm: LayerNorm,
    reduction: Linear,
}

impl Forward for PatchMerging {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x.unflatten(1, [self.size, self.size]);
        let every_second = |row, column| x.slice(1, row, i64::MAX, 2).slice(2, column, i64::MAX, 2);
        let parts = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(row, column)| every_second(row, column));
        let joined = Tensor::cat(&parts, -1).flatten(1, 2);
        self.reduction.forward(&self.norm.forward(&joined))
    }
}

#[derive(Module)]
struct Swin {
    patch_embed: Conv2d,
    blocks: Vec<SwinBlock>,
    downsample: PatchMerging,
    last: SwinBlock,
    norm: LayerNorm,
    head: Linear,
}

#[test]
fn swin() {
    let port = Port::open("swin");
    let [x, y] = port.given(["x", "y"]);
    let model = port.model(|init| Swin {
        patch_embed: Conv2d::new(3, 8, 2, init).stride(2),
        blocks: vec![SwinBlock::new(8, 8, 0, 2, init), SwinBlock::new(8, 8, 2, 2, init)],
        downsample: PatchMerging { size: 8, norm: LayerNorm::new(32, init), reduction: Linear::no_bias(32, 16, init) },
        last: SwinBlock::new(16, 4, 0, 4, init),
        norm: LayerNorm::new(16, init),
        head: Linear::new(16, 4, init),
    });
    let mut sgd = Sgd::new(&model, 0.05).momentum(0.9).weight_decay(1e-4);
    port.train(&model, |_| {
        let patches = model.patch_embed.forward(&x).flatten(2, -1).transpose(1, 2);
        let z = model.blocks.iter().fold(patches, |z, block| block.forward(&z));
        let z = model.last.forward(&model.downsample.forward(&z));
        let loss = cross_entropy(&model.head.forward(&model.norm.forward(&z).mean_axes(1, false)), &y);
        let mut gradients = loss.backward()?;
        clip_grad_norm(&mut gradients, 5.0);
        sgd.step(&gradients)?;
        Ok([loss])
    });
}
