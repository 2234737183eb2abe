//! Tuning: every variant of a family is measured on problems of each size class, on this adapter, when somebody asks
//! for it. The winners are kept on disk and used from then on; with the same file, the same variants are chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::device::{Device, lock};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::trial::{Bench, Family, Trial, family};

/// The variant that was fastest for a size class.
#[derive(Debug, Clone, PartialEq)]
pub struct Winner {
    /// The kernel family.
    pub family: &'static str,
    /// The size class.
    pub class: String,
    /// The variant's name.
    pub variant: String,
    /// Its time when it was measured, in µs; infinite if no variant gave the right answer.
    pub micros: f64,
    /// The variant that is taken without tuning, and its time; infinite if its answer was wrong.
    pub heuristic: (String, f64),
}

/// How far tuning is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Size classes done.
    pub done: usize,
    /// Size classes to do.
    pub total: usize,
    /// The family at work.
    pub family: &'static str,
    /// The size class at work.
    pub class: String,
    /// The variant to be measured next.
    pub variant: String,
}

/// Measures variants. Nothing runs before [`run`](Tuner::run).
///
/// ```no_run
/// # use kiln_device::{Device, Tuner};
/// let device = Device::open()?;
/// let winners = Tuner::new(&device).family("matmul")?.run(|progress| println!("{progress:?}"))?;
/// # Ok::<(), kiln_device::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tuner {
    device: Device,
    families: Vec<&'static Family>,
    limit: Duration,
    only: Vec<String>,
}

/// A variant must be this much faster than the heuristics' choice to be preferred: less is noise.
const MARGIN: f64 = 0.97;

impl Tuner {
    /// A tuner of all families, without a time limit.
    pub fn new(device: &Device) -> Tuner {
        let families = crate::kernels::FAMILIES.iter().collect();
        Tuner { device: device.clone(), families, limit: Duration::MAX, only: Vec::new() }
    }

    /// The families that can be tuned.
    pub fn families() -> Vec<&'static str> {
        crate::kernels::FAMILIES.iter().map(|family| family.name).collect()
    }

    /// Only this family.
    ///
    /// # Errors
    /// [`Error::Validation`](crate::Error::Validation) if there is none of that name.
    pub fn family(mut self, name: &str) -> Result<Tuner> {
        self.families = vec![family(name)?];
        Ok(self)
    }

    /// Only size classes whose names begin like this, or as in another call of this.
    pub fn class(mut self, start: &str) -> Tuner {
        self.only.push(start.to_string());
        self
    }

    /// Stops when this time is over. Classes that were not finished keep what they had.
    pub fn limit(self, limit: Duration) -> Tuner {
        Tuner { limit, ..self }
    }

    /// The size classes that [`run`](Self::run) will measure, with their families.
    pub fn classes(&self) -> Vec<(&'static str, String)> {
        self.trials().into_iter().map(|(family, trial)| (family.name, trial.class)).collect()
    }

    fn trials(&self) -> Vec<(&'static Family, Trial)> {
        let trials =
            |&family: &&'static Family| (family.tune)(self.device.caps()).into_iter().map(move |t| (family, t));
        let wanted = |(_, trial): &(&Family, Trial)| {
            self.only.is_empty() || self.only.iter().any(|start| trial.class.starts_with(start.as_str()))
        };
        self.families.iter().flat_map(trials).filter(wanted).collect()
    }

    /// Measures, class by class, and keeps the winners: each variant is run against the plain one first, and left out
    /// with a line in the log if its answer is another.
    ///
    /// # Errors
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Budget`](crate::Error::Budget) or
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) if the device has no room for a problem. What was measured
    /// until then is kept.
    pub fn run(&self, mut progress: impl FnMut(&Progress)) -> Result<Vec<Winner>> {
        let start = Instant::now();
        let trials = self.trials();
        let mut winners = Vec::new();
        for (done, (family, trial)) in trials.iter().enumerate() {
            let mut next = |variant: &str| {
                let (class, variant) = (trial.class.clone(), variant.to_string());
                progress(&Progress { done, total: trials.len(), family: family.name, class, variant });
                start.elapsed() < self.limit
            };
            let Some(winner) = measure(&self.device, family, trial, &mut next)? else { break };
            // where no variant was right there is nothing to choose
            if winner.micros.is_finite() {
                self.device.keep(family, &winner);
            }
            winners.push(winner);
        }
        Ok(winners)
    }
}

/// The fastest candidate; `None` if `next` said to stop.
fn measure(
    device: &Device,
    family: &Family,
    trial: &Trial,
    next: &mut dyn FnMut(&str) -> bool,
) -> Result<Option<Winner>> {
    let mut times: Vec<(f64, &str)> = Vec::new();
    if !next("plain") {
        return Ok(None);
    }
    let bench = Bench::new(device, trial)?;
    for candidate in &trial.candidates {
        if !next(&candidate.name) {
            return Ok(None);
        }
        let best = times.iter().map(|(time, _)| *time).fold(f64::INFINITY, f64::min);
        let timed = bench
            .judge(&candidate.stages)
            .and_then(|()| bench.time(&candidate.stages, best).map_err(|error| error.to_string()));
        device.check()?;
        match timed {
            Ok(time) => times.push((time, &candidate.name)),
            Err(why) => log::warn!("{} {} is left out of {}: {why}", family.name, candidate.name, trial.class),
        }
    }
    let heuristic = times.iter().find(|(_, name)| *name == trial.heuristic).map_or(f64::INFINITY, |(time, _)| *time);
    let (time, name) =
        times.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((heuristic, &trial.heuristic));
    let (time, name) = if time < heuristic * MARGIN { (time, name) } else { (heuristic, trial.heuristic.as_str()) };
    Ok(Some(Winner {
        family: family.name,
        class: trial.class.clone(),
        variant: name.to_string(),
        micros: time * 1e6,
        heuristic: (trial.heuristic.clone(), heuristic * 1e6),
    }))
}

/// The winners of a device. Read from disk when the first is asked for.
#[derive(Debug, Default)]
pub(crate) struct Winners(Mutex<Option<Table>>);

#[derive(Debug)]
struct Table {
    ledger: Ledger,
    known: BTreeMap<(&'static str, String), Winner>,
}

impl Device {
    /// The winners that choices of variants follow on this adapter and driver, tuned in this program or an earlier one.
    pub fn winners(&self) -> Vec<Winner> {
        self.winner_table(|table| table.known.values().cloned().collect())
    }

    /// The name of the winner of a size class, if it was tuned.
    pub(crate) fn winner(&self, family: &'static str, class: &str) -> Option<String> {
        let find = |table: &mut Table| table.known.get(&(family, class.to_string())).map(|w| w.variant.clone());
        self.winner_table(find)
    }

    /// Whether anything was tuned for this family.
    pub(crate) fn is_tuned(&self, family: &'static str) -> bool {
        self.winner_table(|table| table.known.keys().any(|(name, _)| *name == family))
    }

    /// Forgets every winner of this adapter, on disk too: the heuristics choose again.
    ///
    /// # Errors
    /// [`Error::Cache`](crate::Error::Cache) if the file cannot be written: then this device alone has forgotten them.
    pub fn forget_winners(&self) -> Result<()> {
        self.winner_table(|table| {
            table.known.clear();
            table.ledger.clear();
            table.ledger.try_save().map(drop)
        })
    }

    /// Writes the winners to disk, where they are kept after each size class, and says in which file; `None` where
    /// there is no cache folder. Before a long tuning, it tells whether anything would be kept.
    ///
    /// # Errors
    /// [`Error::Cache`](crate::Error::Cache) if the file cannot be written.
    pub fn save_winners(&self) -> Result<Option<PathBuf>> {
        self.winner_table(|table| Ok(table.ledger.try_save()?.map(Path::to_path_buf)))
    }

    fn keep(&self, family: &Family, winner: &Winner) {
        self.winner_table(|table| {
            let (heuristic, heuristic_micros) = &winner.heuristic;
            let value = format!("{} {:.3} {heuristic} {heuristic_micros:.3}", winner.variant, winner.micros);
            table.ledger.set(&format!("{}/{}", family.name, winner.class), family.version(), &value);
            table.ledger.save();
            table.known.insert((family.name, winner.class.clone()), winner.clone());
        });
    }

    fn winner_table<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = lock(&self.inner.winners.0);
        work(table.get_or_insert_with(|| {
            let ledger = Ledger::open("tuned", self);
            let mut known = BTreeMap::new();
            for family in crate::kernels::FAMILIES {
                for winner in ledger.rows(family.version()).filter_map(|(key, value)| parse(family.name, key, value)) {
                    known.insert((family.name, winner.class.clone()), winner);
                }
            }
            Table { ledger, known }
        }))
    }
}

/// A row of the table: `family/class`, then variant, µs, the heuristics' variant, its µs.
fn parse(family: &'static str, key: &str, value: &str) -> Option<Winner> {
    let class = key.strip_prefix(family)?.strip_prefix('/')?.to_string();
    let mut words = value.split(' ');
    let (variant, micros) = (words.next()?.to_string(), words.next()?.parse().ok()?);
    let heuristic: (String, f64) = (words.next()?.to_string(), words.next()?.parse().ok()?);
    // a damaged file: no time is negative, and only the heuristics' choice may have had a wrong answer
    let fine = f64::is_finite(micros) && micros >= 0.0 && heuristic.1 >= 0.0;
    fine.then_some(Winner { family, class, variant, micros, heuristic })
}
