//! Philox4x32-10 on the host: the twin of `lib/philox.wgsl`. Words and uniforms have the same bits here as on every
//! adapter; normals agree to 1e-6.
//!
//! Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".

/// Four random words for a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let (high0, low0) = wide(0xd251_1f53, c[0]);
        let (high1, low1) = wide(0xcd9e_8d57, c[2]);
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c
}

/// One of 2⁶⁴ streams of a key. Element i is word i % 4 of `philox([i / 4, id[0], id[1], 0], key)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stream {
    /// The seed.
    pub key: [u32; 2],
    /// Which of the seed's streams.
    pub id: [u32; 2],
}

impl Stream {
    /// Stream number `id` of `seed`.
    pub fn new(seed: u64, id: u64) -> Stream {
        let halves = |v: u64| [v as u32, (v >> 32) as u32];
        Stream { key: halves(seed), id: halves(id) }
    }

    /// The four words of elements 4 q .. 4 q + 3.
    pub fn words(&self, q: u32) -> [u32; 4] {
        philox([q, self.id[0], self.id[1], 0], self.key)
    }

    /// The first `n` words.
    pub fn word_iter(self, n: usize) -> impl Iterator<Item = u32> {
        (0..n.div_ceil(4) as u32).flat_map(move |q| self.words(q)).take(n)
    }

    /// The first `n` uniforms in [0, 1).
    pub fn uniforms(self, n: usize) -> Vec<f32> {
        self.word_iter(n).map(uniform).collect()
    }

    /// The first `n` standard normals (Box & Muller 1958): radius and angle from the words (0, 1), and from (2, 3).
    pub fn normals(self, n: usize) -> Vec<f32> {
        let pair = |a: u32, b: u32| {
            let radius = (-2.0 * (f64::from((a >> 8) + 1) / f64::from(1u32 << 24)).ln()).max(0.0).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * f64::from(uniform(b))).sin_cos();
            [(radius * cos) as f32, (radius * sin) as f32]
        };
        let four = |[a, b, c, d]: [u32; 4]| [pair(a, b), pair(c, d)].concat();
        (0..n.div_ceil(4) as u32).flat_map(|q| four(self.words(q))).take(n).collect()
    }
}

/// A word as a number in [0, 1): its upper 24 bits.
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 / (1u32 << 24) as f32
}
