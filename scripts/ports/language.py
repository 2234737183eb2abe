"""Llama, a mixture of experts, translation by recurrence and by attention, Mamba."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class RMSNorm(nn.Module):
    """Hugging Face's LlamaRMSNorm."""

    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def repeat_kv(x, n):
    b, heads, time, width = x.shape
    return x[:, :, None, :, :].expand(b, heads, n, time, width).reshape(b, heads * n, time, width)


class LlamaAttention(nn.Module):
    def __init__(self, width, heads, kv_heads):
        super().__init__()
        self.head = width // heads
        self.heads, self.kv_heads = heads, kv_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * self.head, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * self.head, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, -1, self.head).transpose(1, 2)
        k = self.k_proj(x).view(b, t, -1, self.head).transpose(1, 2)
        v = self.v_proj(x).view(b, t, -1, self.head).transpose(1, 2)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        k, v = repeat_kv(k, self.heads // self.kv_heads), repeat_kv(v, self.heads // self.kv_heads)
        scores = q @ k.transpose(2, 3) / math.sqrt(self.head) + mask
        y = scores.softmax(dim=-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class LlamaMLP(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, width, heads, kv_heads, inner):
        super().__init__()
        self.self_attn, self.mlp = LlamaAttention(width, heads, kv_heads), LlamaMLP(width, inner)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(width), RMSNorm(width)

    def forward(self, x, *args):
        x = x + self.self_attn(self.input_layernorm(x), *args)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList([LlamaLayer(width, 4, 2, 24) for _ in range(2)])
        self.norm = RMSNorm(width)
        head = width // 4
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, head, 2) / head)), persistent=False)

    def forward(self, tokens):
        b, t = tokens.shape
        x = self.embed_tokens(tokens)
        angles = torch.arange(t)[:, None] * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        mask = torch.full((t, t), float("-inf")).triu(1)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), mask)
        return F.linear(self.norm(x), self.embed_tokens.weight)  # tied


def llama():
    model = Llama(13, 16)
    tokens = torch.randint(13, (2, 8))
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step(t):
        logits = model(tokens)
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, 13), tokens[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in opt.param_groups:
            group["lr"] = 3e-3 * min(1.0, (t + 1) / 3)
        opt.step()
        return [loss]

    return model, dict(tokens=tokens), step


class MoE(nn.Module):
    """Mixtral's sparse block: each token goes to its two best experts."""

    def __init__(self, width, experts, top_k):
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(width, 16), nn.SiLU(), nn.Linear(16, width)) for _ in range(experts)])
        self.top_k = top_k

    def forward(self, x):
        b, t, width = x.shape
        x = x.reshape(-1, width)
        probs = self.gate(x).softmax(dim=-1)
        weights, chosen = probs.topk(self.top_k, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        y = torch.zeros_like(x)
        mask = F.one_hot(chosen, len(self.experts)).permute(2, 1, 0)  # [experts, top_k, tokens]
        for i, expert in enumerate(self.experts):
            slot, token = torch.where(mask[i])
            y.index_add_(0, token, expert(x[token]) * weights[token, slot, None])
        # the load-balancing loss of the Switch transformer
        share = mask.sum(dim=1).to(x.dtype).mean(dim=1)
        aux = len(self.experts) * (share * probs.mean(dim=0)).sum()
        return y.reshape(b, t, width), aux


class MoeModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.moe, self.head = nn.Embedding(11, 8), nn.LayerNorm(8), MoE(8, 4, 2), nn.Linear(8, 11)

    def forward(self, tokens):
        x = self.embed(tokens)
        y, aux = self.moe(self.norm(x))
        return self.head(x + y), aux


def mixture_of_experts():
    model = MoeModel()
    tokens, labels = torch.randint(11, (3, 6)), torch.randint(11, (3, 6))
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)

    def step(t):
        logits, aux = model(tokens)
        ce = F.cross_entropy(logits.transpose(1, 2), labels)
        loss = ce + 0.01 * aux
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [ce, aux]

    return model, dict(tokens=tokens, labels=labels), step


class Encoder(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width, padding_idx=0)
        self.gru = nn.GRU(width, width, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(2 * width, width)

    def forward(self, src, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(src), lengths, batch_first=True, enforce_sorted=False)
        outputs, hidden = self.gru(packed)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        return outputs, torch.tanh(self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1)))


class Bahdanau(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.Wa, self.Ua, self.Va = nn.Linear(width, width), nn.Linear(2 * width, width), nn.Linear(width, 1)

    def forward(self, query, keys, mask):
        scores = self.Va(torch.tanh(self.Wa(query).unsqueeze(1) + self.Ua(keys))).squeeze(2)
        weights = F.softmax(scores.masked_fill(~mask, -1e9), dim=-1).unsqueeze(1)
        return torch.bmm(weights, keys).squeeze(1)


class Decoder(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width, padding_idx=0)
        self.attention = Bahdanau(width)
        self.cell = nn.GRUCell(3 * width, width)
        self.out = nn.Linear(4 * width, vocab)


class Seq2Seq(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.encoder, self.decoder = Encoder(vocab, width), Decoder(vocab, width)

    def forward(self, src, lengths, tgt):
        keys, hidden = self.encoder(src, lengths)
        mask = src != 0
        outputs = []
        for t in range(tgt.shape[1] - 1):  # teacher forcing
            embedded = self.decoder.embedding(tgt[:, t])
            context = self.decoder.attention(hidden, keys, mask)
            hidden = self.decoder.cell(torch.cat([embedded, context], dim=1), hidden)
            outputs.append(self.decoder.out(torch.cat([hidden, context, embedded], dim=1)))
        return torch.stack(outputs, dim=1)


def seq2seq():
    model = Seq2Seq(12, 6)
    src, tgt = torch.randint(1, 12, (3, 5)), torch.randint(1, 12, (3, 5))
    lengths = torch.tensor([3, 5, 4])
    for row, n in enumerate(lengths):
        src[row, n:] = 0
    tgt[0, 3:] = 0
    opt = torch.optim.Adam(model.parameters(), lr=5e-3, eps=1e-6)

    def step(t):
        logits = model(src, lengths, tgt)
        loss = F.cross_entropy(logits.reshape(-1, 12), tgt[:, 1:].reshape(-1), ignore_index=0)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        return [loss]

    return model, dict(src=src, lengths=lengths, tgt=tgt), step


class PositionalEncoding(nn.Module):
    """PyTorch's tutorial."""

    def __init__(self, width, longest=16):
        super().__init__()
        position = torch.arange(longest).unsqueeze(1)
        div = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        pe = torch.zeros(1, longest, width)
        pe[0, :, 0::2] = torch.sin(position * div)
        pe[0, :, 1::2] = torch.cos(position * div)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[:, : x.size(1)]


class Translator(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.src_embed, self.tgt_embed = nn.Embedding(vocab, width), nn.Embedding(vocab, width)
        self.positions = PositionalEncoding(width)
        self.transformer = nn.Transformer(width, 2, 1, 1, 2 * width, dropout=0.0, batch_first=True)
        self.generator = nn.Linear(width, vocab)
        self.width = width

    def forward(self, src, tgt):
        hidden = src == 0
        causal = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
        a = self.positions(self.src_embed(src) * math.sqrt(self.width))
        b = self.positions(self.tgt_embed(tgt) * math.sqrt(self.width))
        y = self.transformer(a, b, tgt_mask=causal, src_key_padding_mask=hidden, tgt_key_padding_mask=(tgt == 0).to(causal.dtype).masked_fill(tgt == 0, float("-inf")), memory_key_padding_mask=hidden)
        return self.generator(y)


def translation():
    model = Translator(10, 8)
    src, tgt = torch.randint(1, 10, (2, 6)), torch.randint(1, 10, (2, 5))
    src[0, 4:], tgt[1, 3:] = 0, 0
    # a softmax takes no notice of the keys' bias, whose gradient is rounding alone: a larger eps than usual
    opt = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-5)
    width, warmup = 8, 10

    def step(t):
        n = t + 1
        for group in opt.param_groups:
            group["lr"] = 0.1 * width**-0.5 * min(n**-0.5, n * warmup**-1.5)
        logits = model(src, tgt[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, 10), tgt[:, 1:].reshape(-1), ignore_index=0, label_smoothing=0.1)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(src=src, tgt=tgt), step


class MambaBlock(nn.Module):
    """The names of johnma2006/mamba-minimal."""

    def __init__(self, width, state=4, dt_rank=2, kernel=3):
        super().__init__()
        inner = 2 * width
        self.inner, self.state, self.dt_rank = inner, state, dt_rank
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, dt_rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1).repeat(inner, 1).to(torch.get_default_dtype())))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        b, length, _ = x.shape
        x, res = self.in_proj(x).split([self.inner, self.inner], dim=-1)
        x = self.conv1d(x.transpose(1, 2))[:, :, :length].transpose(1, 2)
        x = F.silu(x)
        y = self.ssm(x) * F.silu(res)
        return self.out_proj(y)

    def ssm(self, u):
        b, length, d = u.shape
        A = -torch.exp(self.A_log)
        delta, B, C = self.x_proj(u).split([self.dt_rank, self.state, self.state], dim=-1)
        delta = F.softplus(self.dt_proj(delta))
        deltaA = torch.exp(torch.einsum("bld,dn->bldn", delta, A))
        deltaBu = torch.einsum("bld,bln,bld->bldn", delta, B, u)
        x = torch.zeros(b, d, self.state)
        ys = []
        for i in range(length):
            x = deltaA[:, i] * x + deltaBu[:, i]
            ys.append(torch.einsum("bdn,bn->bd", x, C[:, i, :]))
        return torch.stack(ys, dim=1) + u * self.D


class Mamba(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList([nn.ModuleDict(dict(norm=RMSNorm(width, 1e-5), mixer=MambaBlock(width))) for _ in range(2)])
        self.norm_f = RMSNorm(width, 1e-5)
        self.lm_head = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer["mixer"](layer["norm"](x)) + x
        return self.lm_head(self.norm_f(x))


def mamba():
    model = Mamba(9, 8)
    tokens = torch.randint(9, (2, 7))
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def step(t):
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
        return [loss]

    return model, dict(tokens=tokens), step


PORTS = [llama, mixture_of_experts, seq2seq, translation, mamba]
