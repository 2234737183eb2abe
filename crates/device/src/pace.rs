//! Where a program is cut: long dispatches into parts, dispatches into submissions. Nothing should hold a GPU for long:
//! Windows resets one after two seconds, and a host that draws frames wants its turn. No submission should be tiny
//! either: each costs the host 70-100 µs.
//!
//! What a step takes is estimated from what it binds and what its launcher says that it computes; what the whole takes
//! is measured as the program runs, and corrects the estimates. The parts of a step are ranges of its workgroups, so
//! the bits of a result do not depend on them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::caps::Caps;
use crate::program::{Step, fold_groups};

/// Dispatches in a submission.
const MOST: usize = 512;
/// Slices in a submission.
const SLICES: u32 = 4;
/// Runs that are timed, after the first, in which drivers still compile. The shortest counts: waiting in the queue and
/// late polling only add.
const TIMED: u32 = 8;
/// Workgroups in a row of a folded grid. A part has whole rows, or less than one, since what a grid has past its end
/// would be done again by the next part.
const ROW: u64 = 65_535;

/// What a step asks of the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How long it takes, in ns, before anything was timed.
    ns: u64,
    groups: [u32; 3],
    /// How many parts there can be, at most.
    divisible: bool,
}

/// A dispatch: some of a step's workgroups, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) step: usize,
    /// Which of the step's parts it is.
    pub(crate) number: u32,
    /// The number of its first workgroup.
    pub(crate) first: u32,
    pub(crate) groups: [u32; 3],
}

/// The dispatches and submissions of a program.
#[derive(Debug)]
pub(crate) struct Pace {
    loads: Vec<Load>,
    slice: Duration,
    parts: Vec<Part>,
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

impl Load {
    /// An estimate for a step that binds so many bytes, on a slow machine of the device's kind.
    pub(crate) fn new(caps: &Caps, step: &Step, bound: u64) -> Load {
        let size = |dims: [u32; 3]| dims.iter().map(|&n| u64::from(n)).fold(1, u64::saturating_mul);
        let invocations = size(step.groups).saturating_mul(size(step.kernel.workgroup()));
        let bytes = bound.saturating_add(invocations.saturating_mul(16));
        // bytes and operations in a ns
        let (moves, computes) = if caps.is_cpu() { (2, 8) } else { (10, 200) };
        let ns = (bytes / moves).saturating_add(step.ops / computes).min(1 << 40);
        Load { ns, groups: step.groups, divisible: step.kernel.divisible() }
    }

    /// The parts of step number `step`, each of about a slice, if all of it takes `ns`.
    fn parts(&self, step: usize, ns: u64, slice: Duration) -> impl Iterator<Item = Part> + use<> {
        let groups = self.groups;
        let all = u64::from(groups[0]) * u64::from(groups[1]);
        let in_order = groups[2] == 1 && (groups[1] == 1 || u64::from(groups[0]) == ROW);
        let count = if self.divisible && in_order { ns / nanos(slice).max(1) + 1 } else { 1 };
        let each = match all.div_ceil(count).max(1) {
            each if count == 1 || each > all => all.max(1),
            each if each > ROW => each.next_multiple_of(ROW),
            each => each,
        };
        (0..all.div_ceil(each).max(1)).map(move |number| {
            let first = number * each;
            let groups = if first == 0 && each >= all { groups } else { fold_groups(each.min(all - first)) };
            Part { step, number: number as u32, first: first as u32, groups }
        })
    }
}

impl Pace {
    /// Cuts for these steps.
    pub(crate) fn new(loads: Vec<Load>, slice: Duration) -> Pace {
        let timer = Arc::new(Timer { shortest: AtomicU64::new(u64::MAX), running: AtomicBool::new(false) });
        let mut pace = Pace { loads, slice, parts: Vec::new(), cuts: Vec::new(), timer, used: u64::MAX, runs: 0 };
        pace.divide(1.0);
        pace
    }

    /// Parts and submissions, if the steps take `scale` times as long as was estimated.
    fn divide(&mut self, scale: f64) {
        let took = |load: &Load| (load.ns as f64 * scale) as u64;
        let loads = self.loads.iter().enumerate();
        self.parts = loads.flat_map(|(i, load)| load.parts(i, took(load), self.slice)).collect();
        let mut sum = 0;
        let until: Vec<u64> = self
            .parts
            .iter()
            .map(|part| {
                let load = &self.loads[part.step];
                let share = |groups: [u32; 3]| groups.iter().map(|&n| f64::from(n)).product::<f64>();
                sum += (took(load) as f64 * share(part.groups) / share(load.groups).max(1.0)) as u64;
                sum
            })
            .collect();
        self.cuts = cut(&until, nanos(self.slice.saturating_mul(SLICES)));
    }

    /// Cuts anew after a run was measured to be shorter than known. Whether it did.
    pub(crate) fn update(&mut self) -> bool {
        let shortest = self.timer.shortest.load(Relaxed);
        let anew = shortest < self.used;
        if anew {
            self.used = shortest;
            let estimate: u64 = self.loads.iter().map(|load| load.ns).sum();
            self.divide(shortest as f64 / estimate.max(1) as f64);
        }
        anew
    }

    /// How many submissions there are: at least one, so that copies have a place.
    pub(crate) fn submissions(&self) -> usize {
        self.cuts.len()
    }

    /// The dispatches of a submission.
    pub(crate) fn cut(&self, i: usize) -> &[Part] {
        &self.parts[self.cuts[i].clone()]
    }

    /// How many parts each step has.
    pub(crate) fn counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.loads.len()];
        self.parts.iter().for_each(|part| counts[part.step] += 1);
        counts
    }

    /// Times this run, which was begun at `start` and is submitted now, if few have been timed so far and none is under
    /// way. Some drivers do the work within the call that submits it, so it counts from before that.
    pub(crate) fn time(&mut self, queue: &wgpu::Queue, start: Instant) {
        if self.runs <= TIMED && !self.timer.running.load(Relaxed) {
            self.runs += 1;
            if self.runs == 1 {
                return;
            }
            self.timer.running.store(true, Relaxed);
            let timer = self.timer.clone();
            queue.on_submitted_work_done(move || {
                timer.shortest.fetch_min(start.elapsed().as_nanos() as u64, Relaxed);
                timer.running.store(false, Relaxed);
            });
        }
    }
}

/// In nanoseconds; 584 years at most.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Ranges of at most `MOST` dispatches and about `most` ns each; at least one range, so that copies have a place.
fn cut(until: &[u64], most: u64) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let (mut start, mut done) = (0, 0);
    for (i, &sum) in until.iter().enumerate() {
        if i > start && (i - start >= MOST || sum - done > most) {
            cuts.push(start..i);
            (start, done) = (i, until[i - 1]);
        }
    }
    cuts.push(start..until.len());
    cuts
}

#[cfg(test)]
mod tests {
    use super::{Duration, Load, MOST, Pace, Range, cut};
    use std::sync::atomic::Ordering::Relaxed;

    const SLICE: Duration = Duration::from_micros(12_500);

    fn load(ns: u64, groups: [u32; 3], divisible: bool) -> Load {
        Load { ns, groups, divisible }
    }

    #[test]
    fn every_dispatch_is_in_one_submission() {
        assert!(cut(&[], 10) == vec![Range::default()], "copies need a submission");
        assert_eq!(cut(&[5, 10, 15, 115, 120], 10), [0..2, 2..3, 3..4, 4..5]);
        let even: Vec<u64> = (1..=1500).collect();
        assert_eq!(cut(&even, u64::MAX), [0..MOST, MOST..2 * MOST, 2 * MOST..1500]);
    }

    #[test]
    fn a_long_run_is_cut_by_time() {
        let mut pace = Pace::new(vec![load(1, [1, 1, 1], true); 100], SLICE);
        assert_eq!(pace.submissions(), 1);
        for (measured, submissions) in [(490_000_000, 10), (900_000_000, 10), (1_000_000, 1)] {
            pace.timer.shortest.fetch_min(measured, Relaxed);
            pace.update();
            assert_eq!(pace.submissions(), submissions, "{measured} ns");
        }
    }

    #[test]
    fn a_long_dispatch_is_cut_into_its_workgroups() {
        for (ns, groups, divisible, parts) in [
            (1, [7, 1, 1], true, 1),
            (100_000_000, [1000, 1, 1], true, 9),
            (100_000_000, [1000, 1, 1], false, 1),
            (100_000_000, [3, 1, 1], true, 3),
            (100_000_000, [40, 40, 1], true, 1), // a grid of one's own
            (100_000_000, [40, 1, 40], true, 1),
            (100_000_000, [0, 1, 1], true, 1),
            (30_000_000, [65_535, 4, 1], true, 2),
        ] {
            let all: Vec<_> = load(ns, groups, divisible).parts(3, ns, SLICE).collect();
            assert_eq!(all.len(), parts, "{ns} ns of {groups:?}");
            let mut next = 0;
            for (number, part) in all.iter().enumerate() {
                assert_eq!((part.step, part.number, part.first), (3, number as u32, next));
                next += part.groups.iter().product::<u32>();
            }
            assert_eq!(next, groups.iter().product(), "{ns} ns of {groups:?}");
        }
    }
}
