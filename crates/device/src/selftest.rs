//! Trust is measured: when a class of fast variants is first used on an adapter and driver, it is run once against
//! the plain variant. The verdict is kept on disk; a class that is wrong is put aside with one line in the log.

use std::collections::HashMap;
use std::sync::Mutex;

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
}

/// The verdicts of a device. Read from disk when the first is asked for.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Mutex<Option<Table>>);

#[derive(Debug)]
struct Table {
    ledger: Ledger,
    /// By family and class.
    known: HashMap<(&'static str, String), Option<String>>,
}

const RIGHT: &str = "right";

impl Table {
    fn open(device: &Device) -> Table {
        let ledger = Ledger::open("verdicts", device);
        let mut known = HashMap::new();
        for family in crate::kernels::FAMILIES {
            for (key, value) in ledger.rows(family.version()) {
                if let Some(class) = key.strip_prefix(family.name).and_then(|rest| rest.strip_prefix('/')) {
                    known.insert((family.name, class.to_string()), (value != RIGHT).then(|| value.to_string()));
                }
            }
        }
        Table { ledger, known }
    }
}

impl Device {
    /// Whether variants of this class may be used: tested now if it never was on this adapter and driver.
    pub(crate) fn trusts(&self, family: &'static str, class: &str) -> bool {
        let known = self.verdict_table(|table| table.known.get(&(family, class.to_string())).cloned());
        if let Some(known) = known {
            return known.is_none();
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
        let judged = Bench::new(self, trial).map_err(|error| format!("the plain variant: {error}")).and_then(|bench| {
            trial.candidates.iter().try_for_each(|candidate| {
                bench.judge(&candidate.stages).map_err(|why| format!("{}: {why}", candidate.name))
            })
        });
        // a device that is gone says nothing about its kernels
        self.check()?;
        let verdict = Verdict { family: family.name, class: trial.class.clone(), wrong: judged.err() };
        if let Some(why) = &verdict.wrong {
            log::warn!("{name} kernels of class `{}` are put aside on {}: {why}", verdict.class, self.caps().name);
        }
        self.verdict_table(|table| {
            let key = format!("{}/{}", verdict.family, verdict.class);
            table.known.insert((verdict.family, verdict.class.clone()), verdict.wrong.clone());
            table.ledger.set(&key, family.version(), verdict.wrong.as_deref().unwrap_or(RIGHT));
            table.ledger.save();
        });
        Ok(verdict)
    }

    /// What self-tests have found on this adapter and driver, in this program or an earlier one.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut all: Vec<Verdict> = self.verdict_table(|table| {
            let verdict = |((family, class), wrong): (&(&'static str, String), &Option<String>)| Verdict {
                family,
                class: class.clone(),
                wrong: wrong.clone(),
            };
            table.known.iter().map(verdict).collect()
        });
        all.sort_by(|a, b| (a.family, &a.class).cmp(&(b.family, &b.class)));
        all
    }

    fn verdict_table<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = lock(&self.inner.verdicts.0);
        work(table.get_or_insert_with(|| Table::open(self)))
    }
}
