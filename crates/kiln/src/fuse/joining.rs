//! Groups while they are being made: which ones a node could join, and which of those it cannot because they run before
//! something that the node needs.

use super::Group;
use std::collections::{BinaryHeap, HashMap};

/// Up to so many elements a dispatch costs more than the work, and what is alike only in size is put together.
const SMALL: usize = 256;

/// Groups that may still get members.
#[derive(Default)]
pub(super) struct Joining {
    pub(super) groups: Vec<Group>,
    /// Groups that need each one.
    after: Vec<Vec<usize>>,
    /// More than that of every group that must run before.
    level: Vec<u32>,
    /// The small maps of each size.
    by_size: HashMap<usize, Vec<usize>>,
    /// The other maps, by the memory of their size that their first member reads.
    by_read: HashMap<u32, Vec<usize>>,
}

impl Joining {
    pub(super) fn add(&mut self, group: Group) -> usize {
        self.groups.push(group);
        self.after.push(Vec::new());
        self.level.push(0);
        self.groups.len() - 1
    }

    /// Lets others join a map of so many elements, whose first member reads `alike`.
    pub(super) fn open_map(&mut self, at: usize, size: usize, alike: &[u32]) {
        if size <= SMALL {
            self.by_size.entry(size).or_default().push(at);
        } else {
            alike.iter().for_each(|&read| self.by_read.entry(read).or_default().push(at));
        }
    }

    /// Puts a node that reads `reads` into a group, which has its needs from now on.
    pub(super) fn join(&mut self, at: usize, node: u32, reads: &[u32], needs: &[usize]) {
        let group = &mut self.groups[at];
        if group.heavy != Some(node) {
            group.members.push(node);
        }
        for &read in reads {
            if !group.reads.contains(&read) && !group.makes(read) {
                group.reads.push(read);
            }
        }
        for &need in needs {
            if need != at && !group.before.contains(&need) {
                group.before.push(need);
                self.after[need].push(at);
            }
        }
        self.raise(at);
    }

    /// Restores that a group's level is above those before it, once it may have got more of them.
    fn raise(&mut self, at: usize) {
        let mut stack = vec![at];
        while let Some(at) = stack.pop() {
            let least = self.groups[at].before.iter().map(|&before| self.level[before] + 1).max().unwrap_or(0);
            if least > self.level[at] {
                self.level[at] = least;
                stack.extend(&self.after[at]);
            }
        }
    }

    /// Groups that a node of so many elements could join, the latest first: `makers` make what it reads, and others
    /// read the same memory or are small too.
    pub(super) fn candidates(
        &self,
        mut makers: Vec<usize>,
        size: usize,
        alike: &[u32],
    ) -> impl Iterator<Item = usize> + '_ {
        let mut small: &[usize] = &[];
        if size <= SMALL {
            small = self.by_size.get(&size).map_or(&[], Vec::as_slice);
        } else {
            makers.extend(alike.iter().filter_map(|read| self.by_read.get(read)).flatten());
        }
        makers.sort_unstable();
        makers.dedup();
        std::iter::from_fn(move || {
            let next = makers.last().max(small.last()).copied()?;
            makers.pop_if(|last| *last == next);
            if let [rest @ .., last] = small
                && *last == next
            {
                small = rest;
            }
            Some(next)
        })
    }

    /// The groups that must run before one of `needs`.
    pub(super) fn earlier(&self, needs: &[usize]) -> Earlier {
        let mut earlier = Earlier { seen: vec![false; self.groups.len()], open: BinaryHeap::new() };
        needs.iter().for_each(|&need| earlier.pass(self, need));
        earlier
    }
}

/// Groups that must run before some others, found as far back as it is asked for.
pub(super) struct Earlier {
    seen: Vec<bool>,
    /// Those found whose own needs have not been looked at, by level.
    open: BinaryHeap<(u32, usize)>,
}

impl Earlier {
    fn pass(&mut self, joining: &Joining, group: usize) {
        for &before in &joining.groups[group].before {
            if !std::mem::replace(&mut self.seen[before], true) {
                self.open.push((joining.level[before], before));
            }
        }
    }

    /// Whether `at` is one of them.
    pub(super) fn holds(&mut self, joining: &Joining, at: usize) -> bool {
        while let Some(&(level, next)) = self.open.peek()
            && level > joining.level[at]
        {
            self.open.pop();
            self.pass(joining, next);
        }
        self.seen[at]
    }
}
