//! How long a GPU is held: the longest dispatch and the longest submission of a run. Windows resets a GPU after two
//! seconds, and a program that draws wants its turn; so Kiln cuts long dispatches into parts and programs into
//! submissions, and this is the count of how well that goes.

use super::row::{Row, round};

/// A dispatch and a submission should take no longer than this, in ms.
const MOST: [f64; 2] = [50.0, 250.0];

/// What the rows say of it, in a sentence or two; `None` if none was profiled.
pub(super) fn sentence(rows: &[Row]) -> Option<String> {
    let mut worst: [Option<(f64, &Row)>; 2] = [None; 2];
    for row in rows {
        let Some(longest) = row.measured.as_ref().and_then(|m| m.times.longest) else { continue };
        for (worst, ms) in worst.iter_mut().zip(longest) {
            if worst.is_none_or(|(most, _)| ms > most) {
                *worst = Some((ms, row));
            }
        }
    }
    let [(dispatch, slow), (submission, long)] = [worst[0]?, worst[1]?];
    let mut text = format!(
        "Longest dispatch: {} ms ({}). Longest submission: {} ms ({}).",
        round(dispatch),
        slow.op,
        round(submission),
        long.op
    );
    if dispatch > MOST[0] || submission > MOST[1] {
        text += &format!(" That is too long: at most {} and {} ms are wanted.", MOST[0], MOST[1]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn the_worst_rows_are_named() {
        let with = |op: &str, longest: [f64; 2]| {
            let mut row = row(op, [1.0, 2.0, 3.0]);
            row.measured.iter_mut().for_each(|m| m.times.longest = Some(longest));
            row
        };
        assert_eq!(sentence(&[row("old", [1.0, 2.0, 3.0])]), None);
        let fine = sentence(&[with("a", [9.0, 30.0]), with("b", [2.0, 200.0])]).unwrap_or_default();
        assert_eq!(fine, "Longest dispatch: 9.00 ms (a). Longest submission: 200 ms (b).");
        for longest in [[51.0, 51.0], [10.0, 251.0]] {
            assert!(sentence(&[with("a", longest)]).is_some_and(|text| text.contains("too long")));
        }
    }
}
