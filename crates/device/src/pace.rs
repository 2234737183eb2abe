//! Where a program is cut into submissions. No submission should run long: Windows resets a GPU after two seconds,
//! and a host that draws frames wants its turn. None should be tiny either: each costs the host 70-100 µs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::program::Step;

/// Dispatches in a submission.
const MOST: usize = 512;
/// How long a submission should run.
const TARGET: Duration = Duration::from_millis(50);
/// Runs that are timed, after the first, in which drivers still compile. The shortest counts: waiting in the queue and
/// late polling only add.
const TIMED: u32 = 8;
/// Before anything was timed: a slow GPU moves this many bytes in the target time.
const FIRST: u64 = 500 << 20;

/// The submissions of a program.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The work of each step up to and with it, in bytes moved as far as the host can tell.
    work: Vec<u64>,
    cuts: Vec<Range<usize>>,
    timer: Arc<Timer>,
    used: u64,
    runs: u32,
}

/// What the device's callback writes.
#[derive(Debug)]
struct Timer {
    shortest: AtomicU64,
    running: AtomicBool,
}

/// An estimate of a step's work: what it binds, and some for each invocation.
pub(crate) fn work(step: &Step, bound: u64) -> u64 {
    let size = |dims: [u32; 3]| dims.iter().map(|&n| u64::from(n)).fold(1, u64::saturating_mul);
    let invocations = size(step.groups).saturating_mul(size(step.kernel.workgroup()));
    bound.saturating_add(invocations.saturating_mul(16)).min(1 << 40)
}

impl Pace {
    /// Cuts for steps of this much work each.
    pub(crate) fn new(work: impl IntoIterator<Item = u64>) -> Pace {
        let mut sum = 0_u64;
        let work: Vec<u64> = work
            .into_iter()
            .map(|w| {
                sum += w;
                sum
            })
            .collect();
        let cuts = cut(&work, FIRST);
        let timer = Arc::new(Timer { shortest: AtomicU64::new(u64::MAX), running: AtomicBool::new(false) });
        Pace { work, cuts, timer, used: u64::MAX, runs: 0 }
    }

    /// Cuts anew after a run was measured to be shorter than known.
    pub(crate) fn update(&mut self) {
        let shortest = self.timer.shortest.load(Relaxed);
        if shortest < self.used {
            self.used = shortest;
            let parts = (shortest / TARGET.as_nanos() as u64 + 1).max(1);
            self.cuts = cut(&self.work, self.work.last().map_or(1, |all| all / parts + 1));
        }
    }

    /// How many submissions there are: at least one, so that copies have a place.
    pub(crate) fn submissions(&self) -> usize {
        self.cuts.len()
    }

    /// The steps of a submission.
    pub(crate) fn cut(&self, i: usize) -> Range<usize> {
        self.cuts[i].clone()
    }

    /// Times this run, which was submitted just now, if few have been timed so far and none is under way.
    pub(crate) fn time(&mut self, queue: &wgpu::Queue) {
        if self.runs <= TIMED && !self.timer.running.load(Relaxed) {
            self.runs += 1;
            if self.runs == 1 {
                return;
            }
            self.timer.running.store(true, Relaxed);
            let (start, timer) = (Instant::now(), self.timer.clone());
            queue.on_submitted_work_done(move || {
                timer.shortest.fetch_min(start.elapsed().as_nanos() as u64, Relaxed);
                timer.running.store(false, Relaxed);
            });
        }
    }
}

/// Ranges of at most `MOST` steps and about `most` work each; at least one range, so that copies have a place.
fn cut(work: &[u64], most: u64) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let (mut start, mut done) = (0, 0);
    for (i, &sum) in work.iter().enumerate() {
        if i > start && (i - start >= MOST || sum - done > most) {
            cuts.push(start..i);
            (start, done) = (i, work[i - 1]);
        }
    }
    cuts.push(start..work.len());
    cuts
}

#[cfg(test)]
mod tests {
    use super::{MOST, Pace, Range, cut};
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn every_step_is_in_one_submission() {
        assert!(cut(&[], 10) == vec![Range::default()], "copies need a submission");
        assert_eq!(cut(&[5, 10, 15, 115, 120], 10), [0..2, 2..3, 3..4, 4..5]);
        let even: Vec<u64> = (1..=1500).collect();
        assert_eq!(cut(&even, u64::MAX), [0..MOST, MOST..2 * MOST, 2 * MOST..1500]);
    }

    #[test]
    fn a_long_run_is_cut_by_time() {
        let mut pace = Pace::new((0..100).map(|_| 1));
        assert_eq!(pace.submissions(), 1);
        for (measured, submissions) in [(490_000_000, 10), (900_000_000, 10), (1_000_000, 1)] {
            pace.timer.shortest.fetch_min(measured, Relaxed);
            pace.update();
            assert_eq!(pace.submissions(), submissions, "{measured} ns");
        }
    }
}
