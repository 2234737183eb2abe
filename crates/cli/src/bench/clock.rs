//! Timing: wall time of batches that end with a wait, and GPU time from timestamps around every dispatch. Medians of
//! many repetitions, with the 20th and 80th percentile.

use std::time::Instant;

use kiln::Device;
use kiln::gpu::Clock;

use super::subject::Subject;
use crate::failure::Result;

/// Times of one thing, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p20: f64,
    pub(crate) p80: f64,
}

impl Spread {
    /// Of samples in any order; `None` of none.
    pub(crate) fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let last = samples.len().checked_sub(1)?;
        let at = |share: f64| samples[(last as f64 * share).round() as usize];
        Some(Self { median: at(0.5), p20: at(0.2), p80: at(0.8) })
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times {
    pub(crate) wall: Spread,
    /// `None` where the device has no timestamps, or where they contradict the wall clock.
    pub(crate) gpu: Option<Spread>,
    /// The longest dispatch and the longest submission of all timed runs in ms, by timestamps, or by the host's clock
    /// where there are none; `None` where timestamps contradict the wall clock.
    pub(crate) longest: Option<[f64; 2]>,
    /// Dispatches of one run.
    pub(crate) dispatches: u64,
    /// Wall times that the median is taken of.
    pub(crate) repetitions: usize,
}

impl Times {
    /// The time that rates are computed from, and its name.
    pub(crate) fn shown(&self) -> (Spread, &'static str) {
        match self.gpu {
            Some(gpu) => (gpu, "gpu"),
            None => (self.wall, "wall"),
        }
    }
}

/// Fewest repetitions, however long one takes.
const LEAST: usize = 5;
/// A batch between two waits takes about this long, so that waiting does not count; less where there is little time.
const BATCH_MS: f64 = 10.0;
/// Longest batch in runs: what is queued holds memory.
const MOST: usize = 64;

/// Measures for about `seconds`, after a warm-up of a fifth of that.
pub(crate) fn measure(device: &Device, subject: &mut Subject, seconds: f64) -> Result<Times> {
    let run = &mut subject.run;
    let single = warm_up(device, run, 0.2 * seconds)?;
    let inner = ((BATCH_MS.min(100.0 * seconds) / single) as usize).clamp(1, MOST);
    let mut wall = Vec::new();
    let start = Instant::now();
    let before = device.counters().dispatches;
    while wall.len() < LEAST || start.elapsed().as_secs_f64() < 0.5 * seconds {
        wall.push(batch(device, run, inner)?);
    }
    let runs = (wall.len() * inner) as u64;
    let dispatches = (device.counters().dispatches - before) / runs.max(1);
    let repetitions = wall.len();
    let wall = Spread::of(wall).unwrap_or(Spread { median: single, p20: single, p80: single });
    let (clock, gpu, longest) = profiled(device, run, 0.3 * seconds)?;
    let (gpu, longest) = match (clock, gpu) {
        (Clock::Host, _) => (None, Some(longest)),
        (Clock::Device, gpu) => {
            let gpu = gpu.filter(|gpu| believable(gpu, &wall));
            (gpu, gpu.map(|_| longest))
        }
    };
    Ok(Times { wall, gpu, longest, dispatches, repetitions })
}

/// Runs for so long, and at least twice; the time of the fastest run in ms.
fn warm_up(device: &Device, run: &mut dyn FnMut() -> Result<()>, seconds: f64) -> Result<f64> {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    for round in 0.. {
        best = best.min(batch(device, run, 1)?);
        if round >= 1 && start.elapsed().as_secs_f64() > seconds {
            break;
        }
    }
    Ok(best.max(1e-6))
}

/// Milliseconds a run, of `inner` runs and a wait.
fn batch(device: &Device, run: &mut dyn FnMut() -> Result<()>, inner: usize) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..inner {
        run()?;
    }
    device.wait()?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / inner as f64)
}

/// The dispatches of a run, added up, and the longest dispatch and submission of all runs, in ms.
fn profiled(
    device: &Device,
    run: &mut dyn FnMut() -> Result<()>,
    seconds: f64,
) -> Result<(Clock, Option<Spread>, [f64; 2])> {
    device.take_profile();
    device.profile(true);
    let timed = (|| {
        let (mut clock, mut samples, mut longest) = (Clock::Device, Vec::new(), [0.0_f64; 2]);
        let start = Instant::now();
        while samples.len() < LEAST || start.elapsed().as_secs_f64() < seconds {
            run()?;
            let profile = device.take_profile();
            clock = profile.clock;
            if profile.events.is_empty() {
                return Ok((clock, None, longest));
            }
            samples.push(profile.total() / 1e6);
            let [dispatch, submission] = profile.longest().map(|ns| ns / 1e6);
            longest = [longest[0].max(dispatch), longest[1].max(submission)];
        }
        Ok((clock, Spread::of(samples), longest))
    })();
    device.profile(false);
    timed
}

/// Timestamps of some drivers are wrong by orders of magnitude. Dispatches cannot take much longer than the runs they
/// are part of, and a long run is mostly dispatches. The bounds leave room for a machine that does other things too.
fn believable(gpu: &Spread, wall: &Spread) -> bool {
    gpu.median > 0.0 && gpu.p20 < 4.0 * wall.p80 + 0.1 && (wall.median < 20.0 || gpu.p80 > 0.1 * wall.p20)
}

/// Two subjects measured in turn, on one clock.
#[derive(Debug, PartialEq)]
pub(crate) struct Paired {
    pub(crate) times: [Spread; 2],
    /// Which clock the times are of.
    pub(crate) clock: &'static str,
    /// Whether there were GPU times, which contradict the wall clock.
    pub(crate) contradicted: bool,
    pub(crate) rounds: usize,
}

/// Measures two subjects in turn, A B A B, so that whatever else happens on the machine happens to both.
pub(crate) fn interleave(pair: [(&Device, &mut Subject); 2], seconds: f64, gpu: bool) -> Result<Paired> {
    let mut pair = pair;
    let mut inner = [1; 2];
    for (side, (device, subject)) in pair.iter_mut().enumerate() {
        let single = warm_up(device, &mut subject.run, 0.1 * seconds)?;
        inner[side] = ((BATCH_MS / single) as usize).clamp(1, MOST);
    }
    let (mut wall, mut stamped) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let start = Instant::now();
    while wall[1].len() < LEAST || start.elapsed().as_secs_f64() < seconds {
        for (side, (device, subject)) in pair.iter_mut().enumerate() {
            wall[side].push(batch(device, &mut subject.run, inner[side])?);
            let stamps = if gpu { inner[side].min(8) } else { 0 };
            for _ in 0..stamps {
                stamped[side].extend(gpu_times_once(device, &mut subject.run)?);
            }
        }
    }
    let rounds = wall[0].len();
    let none = Spread { median: f64::NAN, p20: f64::NAN, p80: f64::NAN };
    let wall = wall.map(|samples| Spread::of(samples).unwrap_or(none));
    Ok(on_one_clock(wall, stamped.map(Spread::of), rounds))
}

/// The GPU's times if both have them and neither contradicts its wall times, else those.
fn on_one_clock(wall: [Spread; 2], gpu: [Option<Spread>; 2], rounds: usize) -> Paired {
    let [Some(a), Some(b)] = gpu else { return Paired { times: wall, clock: "wall", contradicted: false, rounds } };
    if believable(&a, &wall[0]) && believable(&b, &wall[1]) {
        Paired { times: [a, b], clock: "gpu", contradicted: false, rounds }
    } else {
        Paired { times: wall, clock: "wall", contradicted: true, rounds }
    }
}

/// The dispatches of one run, added up, in ms; `None` where it was the host that timed them.
fn gpu_times_once(device: &Device, run: &mut dyn FnMut() -> Result<()>) -> Result<Option<f64>> {
    device.profile(true);
    let ran = run();
    let profile = device.take_profile();
    device.profile(false);
    ran?;
    Ok((profile.clock == Clock::Device && !profile.events.is_empty()).then(|| profile.total() / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let spread = Spread::of((1..=11).rev().map(f64::from).collect());
        assert_eq!(spread, Some(Spread { median: 6.0, p20: 3.0, p80: 9.0 }));
        assert_eq!(Spread::of(vec![2.0]), Some(Spread { median: 2.0, p20: 2.0, p80: 2.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn timestamps_that_contradict_the_wall_clock_are_not_believed() {
        let spread = |ms: f64| Spread { median: ms, p20: ms, p80: ms };
        assert!(believable(&spread(9.0), &spread(10.0)) && believable(&spread(0.001), &spread(0.05)));
        assert!(!believable(&spread(1000.0), &spread(10.0)));
        assert!(!believable(&spread(0.01), &spread(100.0)) && !believable(&spread(0.0), &spread(1.0)));
    }

    #[test]
    fn two_sides_are_compared_on_a_clock_that_both_can_be_believed_on() {
        let spread = |ms: f64| Spread { median: ms, p20: ms, p80: ms };
        let wall = [spread(10.0), spread(20.0)];
        let of = |a: Option<f64>, b: Option<f64>| {
            let paired = on_one_clock(wall, [a.map(spread), b.map(spread)], 5);
            (paired.times[1].median, paired.clock, paired.contradicted)
        };
        assert_eq!(of(Some(9.0), Some(19.0)), (19.0, "gpu", false));
        assert_eq!(of(Some(9.0), Some(0.01)), (20.0, "wall", true));
        assert_eq!(of(Some(9e3), Some(19.0)), (20.0, "wall", true));
        assert_eq!(of(Some(9.0), None), (20.0, "wall", false));
        assert_eq!(of(None, None), (20.0, "wall", false));
    }
}
