//! The space that a slot walks: axes that every layout walks alike are one, and the rest is counted by division.

use super::text::layout_of;
use super::{Inst, Refusal, Slot, Word};
use crate::layout::Layout;
use std::fmt::Write as _;

/// The space after axes have been merged, and how elements are counted in it.
pub(super) struct Grid {
    /// For each merged axis: its extent, and the name of its coordinate.
    pub(super) dims: Vec<(usize, String)>,
    /// Runs of the space's axes that became one.
    pub(super) runs: Vec<std::ops::Range<usize>>,
    /// Components of the types.
    pub(super) width: usize,
    /// Elements handled at once: as many, or one that fills all components.
    pub(super) lanes: usize,
    pub(super) linear: String,
}

impl Slot<'_, '_> {
    pub(super) fn layouts(&self) -> Vec<&Layout> {
        let of = |inst: &'_ Inst| match inst {
            Inst::Load { .. } | Inst::Iota(_) | Inst::Random { .. } | Inst::Gather { .. } | Inst::Masked { .. } => true,
            Inst::Primary
            | Inst::Const(_)
            | Inst::Scalar(_)
            | Inst::Apply { .. }
            | Inst::Check { .. }
            | Inst::Concat(_) => false,
        };
        self.insts.iter().filter(|(i, _)| of(i)).filter_map(|(i, _)| layout_of(i)).collect()
    }

    /// Runs of axes, within each index variable, that every layout walks as one.
    pub(super) fn runs(&self) -> Vec<(usize, Vec<std::ops::Range<usize>>)> {
        let layouts = self.layouts();
        let mut first = 0;
        let mut all = Vec::new();
        for (number, axis) in self.axes.iter().enumerate() {
            let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
            for d in first..first + axis.dims.len() {
                if self.space[d] == 1 && !layouts.iter().any(|l| l.masks(d)) {
                    continue;
                }
                let joins = runs.last().is_some_and(|run| {
                    run.end <= d
                        && layouts.iter().all(|l| {
                            let before = run.end - 1;
                            !l.masks(d)
                                && !run.clone().any(|r| l.masks(r))
                                && l.strides[before] == l.strides[d] * self.space[d] as isize
                        })
                });
                match runs.last_mut() {
                    Some(run) if joins => run.end = d + 1,
                    _ => runs.push(d..d + 1),
                }
            }
            first += axis.dims.len();
            all.push((number, runs));
        }
        all
    }

    /// The length of the rows of the space, if something is loaded that lies the other way round: along the axis before them.
    pub(crate) fn turned(&self) -> Option<usize> {
        let runs = self.runs();
        let [.., before, last] = &runs.last()?.1[..] else { return None };
        let extent = |run: &std::ops::Range<usize>| run.clone().map(|d| self.space[d]).product::<usize>();
        let along = |l: &Layout, run: &std::ops::Range<usize>| l.strides[run.end - 1].unsigned_abs();
        let lies = |inst: &Inst| match inst {
            Inst::Load { layout, .. } => along(layout, before) == 1 && along(layout, last) > 1,
            _ => false,
        };
        let long = extent(before).min(extent(last)) >= 16;
        (long && self.insts.iter().any(|(inst, _)| lies(inst))).then(|| extent(last))
    }

    /// Whether four neighbours can be handled at once, and whether that pays.
    pub(crate) fn widens(&self, tail: bool) -> bool {
        let runs = self.runs();
        let Some((_, last)) = runs.last() else { return false };
        let extent = |run: &std::ops::Range<usize>| run.clone().map(|d| self.space[d]).product::<usize>();
        let Some(inner) = last.last() else { return false };
        if extent(inner) % 4 == 0 {
            return true;
        }
        // a single straight run may read and write past its end, into the padding of the buffers
        let one = runs.iter().map(|(_, r)| r.len()).sum::<usize>() == 1;
        let d = inner.end - 1;
        let straight = |l: &&Layout| !l.masked() && (l.strides[d] == 0 || (l.strides[d] == 1 && l.offset % 4 == 0));
        let gathers = self.insts.iter().any(|(i, _)| matches!(i, Inst::Gather { .. } | Inst::Check { .. }));
        tail && one && !gathers && extent(inner) > 4 && self.layouts().iter().all(straight)
    }

    pub(super) fn grid(&mut self, width: usize, lanes: usize, tail: bool) -> Result<(Grid, String), Refusal> {
        let runs = self.runs();
        let mut text = String::new();
        let (mut dims, mut flat) = (Vec::new(), Vec::new());
        for (number, runs) in &runs {
            let name = self.axes[*number].name;
            let extents: Vec<usize> = runs.iter().map(|r| r.clone().map(|d| self.space[d]).product()).collect();
            let mut rest = name.to_string();
            let mut names = vec![String::new(); runs.len()];
            for k in (1..runs.len()).rev() {
                let size = self.kernel.param("u32", Word::Fixed(extents[k] as u32));
                let _ = writeln!(text, "    let {name}_q{k} = {rest} / {size};");
                let _ = writeln!(text, "    let {name}_{k} = {rest} - {name}_q{k} * {size};");
                names[k] = format!("{name}_{k}");
                rest = format!("{name}_q{k}");
            }
            if let Some(first) = names.first_mut() {
                *first = rest;
            }
            for ((run, extent), name) in runs.iter().zip(&extents).zip(&names) {
                flat.push(run.clone());
                dims.push((*extent, name.clone()));
            }
        }
        let inner = dims.last().map_or(1, |d| d.0);
        let last_axis_moves = runs.last().is_some_and(|(_, r)| !r.is_empty());
        if lanes == 4 && !(tail || (last_axis_moves && inner % 4 == 0)) {
            return Err(Refusal::Slot);
        }
        let linear = self.linear(&mut text);
        Ok((Grid { dims, runs: flat, width, lanes, linear }, text))
    }

    /// The number of the element in row-major order of the space.
    pub(super) fn linear(&mut self, text: &mut String) -> String {
        let mut number = self.axes[0].name.to_string();
        for axis in 1..self.axes.len() {
            let extent: usize = self.axes[axis].dims.iter().product();
            let name = self.axes[axis].name;
            let size = self.kernel.param("u32", Word::Fixed(extent as u32));
            number =
                if axis == 1 { format!("{number} * {size} + {name}") } else { format!("({number}) * {size} + {name}") };
        }
        if self.axes.len() == 1 {
            return number;
        }
        let _ = writeln!(text, "    let at = {number};");
        "at".into()
    }
}
