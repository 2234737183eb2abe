//! The judge of a result: what it should be, in f64 and in plain loops on the host. A large result is judged at places
//! spread over all of it, its first and last among them.

/// What a result should be, block by block: an element, or a row.
pub(crate) struct Twin {
    /// Elements of the result.
    elements: usize,
    /// Elements of a block.
    block: usize,
    /// Operations that a block takes.
    cost: usize,
    compute: Box<dyn Fn(usize) -> Vec<f64>>,
}

/// Operations that one judgement may take: about a quarter of a second.
const BUDGET: usize = 40_000_000;

impl Twin {
    /// A result whose element `i` is `value(i)`, at a cost of so many operations each.
    pub(crate) fn each(elements: usize, cost: usize, value: impl Fn(usize) -> f64 + 'static) -> Self {
        Self { elements, block: 1, cost, compute: Box::new(move |i| vec![value(i)]) }
    }

    /// A result whose row `r`, of `cols` elements, is `row(r)`.
    pub(crate) fn rows(rows: usize, cols: usize, cost: usize, row: impl Fn(usize) -> Vec<f64> + 'static) -> Self {
        Self { elements: rows * cols, block: cols, cost, compute: Box::new(row) }
    }

    /// The greatest |got − want| / (1 + |want|); infinite where one of them is NaN and the other is not, or where the
    /// lengths differ.
    pub(crate) fn error(&self, got: &[f32]) -> f64 {
        if got.len() != self.elements {
            return f64::INFINITY;
        }
        let blocks = self.elements / self.block.max(1);
        let samples = (BUDGET / self.cost.max(1)).clamp(1, 1 << 20).min(blocks);
        let judge = |block: usize| {
            let want = (self.compute)(block);
            let got = &got[block * self.block..][..self.block];
            got.iter().zip(&want).map(|(&got, &want)| distance(got, want)).fold(0.0, f64::max)
        };
        // Past the samples that all would be, equal steps with the first and the last block.
        let place = |i: usize| if samples == 1 { blocks - 1 } else { i * (blocks - 1) / (samples - 1) };
        let spread = (0..samples).map(|i| if samples == blocks { i } else { place(i) });
        spread.map(judge).fold(0.0, f64::max)
    }
}

fn distance(got: f32, want: f64) -> f64 {
    if got == want as f32 || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    let error = (f64::from(got) - want).abs() / (1.0 + want.abs());
    if error.is_nan() { f64::INFINITY } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_is_found_and_a_missing_one_too() {
        let twin = Twin::each(1000, 1, |i| i as f64);
        let mut got: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        assert_eq!(twin.error(&got), 0.0);
        got[517] += 1.0;
        assert!(twin.error(&got) > 1e-3);
        got[517] = f32::NAN;
        assert_eq!(twin.error(&got), f64::INFINITY);
        assert_eq!(twin.error(&got[..999]), f64::INFINITY);
    }

    #[test]
    fn a_costly_twin_is_asked_at_the_first_and_the_last_element() {
        let twin = Twin::each(1000, BUDGET / 10, |i| i as f64);
        for wrong in [0, 999] {
            let got: Vec<f32> = (0..1000).map(|i| if i == wrong { -7.0 } else { i as f32 }).collect();
            assert!(twin.error(&got) > 0.1);
        }
    }
}
