"""GPT-2's way with text, in Python, for tests/tokens.rs.

    pip install regex numpy safetensors && python3 scripts/reference_gpt2_tokens.py

Writes tests/data/gpt2_tokens.safetensors (the class of every character, pieces and tokens of a text) and the two files of
a small vocabulary in GPT-2's format, tests/data/files/gpt2_vocab.json and gpt2_merges.txt. With --table it prints the
ranges of crates/kiln/src/data/tokens/marks.rs instead.

The pattern and the names of the bytes are those of GPT-2's encoder.py (OpenAI 2019, MIT licence); the rest is written
from its description: merge the pair of lowest rank until there is none.
"""

import json
import pathlib
import sys

import numpy as np
import regex
from safetensors.numpy import save_file

PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
DATA = pathlib.Path(__file__).parent.parent / "tests/data"

TEXT = """It's what they'd've said, weren't it? We'll see; I'm sure you're right.  Don't  SHOUT 'S'T\t\ttabs
\n\n   three spaces and a line\r\nÜberraschung 12345 ½ ⅷ x² naïve café cafe\u0301 हिन्दी ไทย 日本語 한국어 עברית
émigré 🙂🙃 👩‍👩‍👧 a\u00a0b\u2003c\u3000d e\x1cf g\u200bh low lower lowest low low widest newest the the there then
def f(x):\n    return x ** 2  # 100%\n"""


def classes():
    """The runs of characters of one class, from Unicode as the regex module has it: first character, class."""
    kinds = [("s", regex.compile(r"\s")), ("l", regex.compile(r"\p{L}")), ("n", regex.compile(r"\p{N}"))]
    runs, last = [], None
    for c in range(0x110000):
        surrogate = 0xD800 <= c < 0xE000
        kind = "-" if surrogate else next((k for k, p in kinds if p.match(chr(c))), "o")
        if kind != last:
            runs.append((c, "slno-".index(kind)))
            last = kind
    return runs


def byte_names():
    """The character that stands for each byte in the files: itself where it can be seen, else one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in seen]
    return {b: chr(b) for b in seen} | {b: chr(256 + i) for i, b in enumerate(rest)}, seen + rest


def merge(word, pair):
    out, at = [], 0
    while at < len(word):
        found = at + 1 < len(word) and (word[at], word[at + 1]) == pair
        out.append(word[at] + word[at + 1] if found else word[at])
        at += 2 if found else 1
    return out


def train(words, count):
    """The most frequent pair again and again, as in Sennrich et al. 2016."""
    merges = []
    for _ in range(count):
        pairs = {}
        for word in words:
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = [merge(word, best) for word in words]
    return merges


def encode(word, ranks):
    while len(word) > 1:
        pair = min(zip(word, word[1:]), key=lambda pair: ranks.get(pair, 1 << 30))
        if pair not in ranks:
            break
        word = merge(word, pair)
    return word


def main():
    names, order = byte_names()
    pieces = PATTERN.findall(TEXT)
    assert "".join(pieces) == TEXT
    words = [[names[b] for b in piece.encode()] for piece in pieces]
    merges = train(words, 60)
    tokens = [names[b] for b in order] + [a + b for a, b in merges] + ["<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    vocab = {token: number for number, token in enumerate(tokens)}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    encoded = [vocab[token] for word in words for token in encode(word, ranks)]
    (DATA / "files/gpt2_vocab.json").write_text(json.dumps(vocab))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (DATA / "files/gpt2_merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (DATA / "files/gpt2_text.txt").write_bytes(TEXT.encode())
    numbers = {
        "classes": np.array(classes(), np.int32).ravel(),
        "pieces": np.array([len(piece.encode()) for piece in pieces], np.int32),
        "tokens": np.array(encoded, np.int32),
    }
    save_file(numbers, DATA / "gpt2_tokens.safetensors")
    print(f"{len(pieces)} pieces, {len(encoded)} tokens, {len(vocab)} in the vocabulary")


def table():
    """Ranges of marks that Unicode calls alphabetic and that are no letters; between the ends of one is no letter."""
    letter, alphabetic = regex.compile(r"\p{L}"), regex.compile(r"\p{Alphabetic}")
    ranges, open_ = [], False
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        if letter.match(chr(c)):
            open_ = False
        elif alphabetic.match(chr(c)) and not regex.match(r"\p{N}", chr(c)):
            if open_:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
                open_ = True
    print(", ".join(f"{end:#x}" for pair in ranges for end in pair))


if __name__ == "__main__":
    table() if "--table" in sys.argv else main()
