//! Trust is measured: when a class of fast variants is first used on an adapter and driver, it is run once on a small
//! problem whose answer the host knows. The verdict is kept on disk; a class that is wrong is put aside with one line
//! in the log.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::device::{Device, lock};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::trial::{Bench, Trial, family};

/// What a self-test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The kernel family.
    pub family: &'static str,
    /// The class of variants.
    pub class: String,
    /// What is wrong; `None` for a class that may be used.
    pub wrong: Option<String>,
    /// How long the test took, the driver's compiler included.
    pub took: Duration,
}

/// The verdicts of a device. Read from disk when the first is asked for.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Mutex<Option<Table>>);

#[derive(Debug)]
struct Table {
    ledger: Ledger,
    /// By family and class.
    known: HashMap<(&'static str, String), Verdict>,
}

const RIGHT: &str = "right";

impl Verdict {
    /// The row of the table: µs, then what is wrong.
    fn row(&self) -> String {
        format!("{} {}", self.took.as_micros(), self.wrong.as_deref().unwrap_or(RIGHT))
    }

    fn parse(family: &'static str, class: &str, row: &str) -> Option<Verdict> {
        let (micros, found) = row.split_once(' ')?;
        let wrong = (found != RIGHT).then(|| found.to_string());
        Some(Verdict { family, class: class.into(), wrong, took: Duration::from_micros(micros.parse().ok()?) })
    }
}

impl Table {
    fn open(device: &Device) -> Table {
        let ledger = Ledger::open("verdicts", device);
        let mut known = HashMap::new();
        for family in crate::kernels::FAMILIES {
            for (key, value) in ledger.rows(family.version()) {
                let class = key.strip_prefix(family.name).and_then(|rest| rest.strip_prefix('/'));
                if let Some(verdict) = class.and_then(|class| Verdict::parse(family.name, class, value)) {
                    known.insert((family.name, verdict.class.clone()), verdict);
                }
            }
        }
        Table { ledger, known }
    }
}

impl Device {
    /// Whether variants of this class may be used: tested now if it never was on this adapter and driver.
    pub(crate) fn trusts(&self, family: &'static str, class: &str) -> bool {
        let known = |table: &mut Table| table.known.get(&(family, class.to_string())).map(|v| v.wrong.is_none());
        if let Some(right) = self.verdict_table(known) {
            return right;
        }
        let trial = crate::trial::family(family).ok().and_then(|family| (family.test)(self.caps(), class));
        // what the device cannot run is no one's choice, and needs no verdict
        trial.is_none_or(|trial| self.self_test(family, &trial).is_ok_and(|verdict| verdict.wrong.is_none()))
    }

    /// Runs a self-test now and keeps its verdict, on disk too, instead of an earlier one. Kiln does this by itself with
    /// each family's own trial; here a program can add a case that went wrong for it.
    ///
    /// # Errors
    /// [`Error::Validation`](crate::Error::Validation) for a family that does not exist. That a candidate cannot be
    /// compiled or run is a verdict.
    pub fn self_test(&self, name: &str, trial: &Trial) -> Result<Verdict> {
        let family = family(name)?;
        let start = Instant::now();
        let judged = Bench::new(self, trial).map_err(|error| error.to_string()).and_then(|bench| {
            trial.candidates.iter().try_for_each(|candidate| {
                bench.judge(&candidate.stages).map_err(|why| format!("{}: {why}", candidate.name))
            })
        });
        // a device that is gone says nothing about its kernels
        self.check()?;
        let took = Duration::from_micros(start.elapsed().as_micros() as u64);
        let verdict = Verdict { family: family.name, class: trial.class.clone(), wrong: judged.err(), took };
        if let Some(why) = &verdict.wrong {
            log::warn!("{name} kernels of class `{}` are put aside on {}: {why}", verdict.class, self.caps().name);
        }
        self.verdict_table(|table| {
            let key = format!("{}/{}", verdict.family, verdict.class);
            table.known.insert((verdict.family, verdict.class.clone()), verdict.clone());
            table.ledger.set(&key, family.version(), &verdict.row());
            table.ledger.save();
        });
        Ok(verdict)
    }

    /// What self-tests have found on this adapter and driver, in this program or an earlier one.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut all: Vec<Verdict> = self.verdict_table(|table| table.known.values().cloned().collect());
        all.sort_by(|a, b| (a.family, &a.class).cmp(&(b.family, &b.class)));
        all
    }

    fn verdict_table<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = lock(&self.inner.verdicts.0);
        work(table.get_or_insert_with(|| Table::open(self)))
    }
}
