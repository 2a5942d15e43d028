//! The end of an arena: somebody destroys its rings, or everybody leaves, or somebody cleans up; and
//! may die of it. Then nothing may be left.

use std::fs;
use std::path::Path;

use ringway::error::GetError;
use ringway::queue::Queue;
use ringway::shm::segment::{CleanOptions, Segment};

use crate::torture::arena::{Arena, Home, Wedged};
use crate::torture::points::{Actor, Shape};
use crate::torture::scene::Ending;

impl Arena<'_> {
    /// Somebody destroys each ring, or everybody leaves, or somebody cleans up, and may die of it;
    /// then nothing may be left.
    pub(super) fn end(&mut self) {
        self.session.watch.set_rings(Vec::new());
        // A segment of all rings ends once.
        let ends = if self.shared.is_some() { 1 } else { self.homes.len() };
        for ring in 0..ends {
            let Home { shape, json, .. } = &self.homes[ring];
            let (shape, open) = (*shape, format!("open q {json}"));
            let ended = match self.session.random.below(4) {
                0 | 1 => self.destroy(ring, shape, &open),
                _ if shape.ephemeral => self.leave(ring, shape, &open),
                _ => self.clean(ring, shape),
            };
            if ended.is_err() {
                self.session.report.wedged += 1;
            }
        }
        self.sweep();
        let left = files(self.place.segments());
        self.session.report.leftover_files += left.len() as u64;
        for file in left {
            self.session.report.remark(format!("{file} stayed behind"));
        }
    }

    fn destroy(&mut self, ring: usize, shape: Shape, open: &str) -> Result<(), Wedged> {
        let point = self.session.pick(Actor::Destroyer, shape);
        let commands = [open.to_owned(), "destroy q".to_owned()];
        let ending = self.play(point, &commands)?;
        let before_the_mark = ["gate.turn", "destroy.gate", "destroy.state_marked"];
        let marked = ending != Ending::Died
            || !point.is_some_and(|point| before_the_mark.contains(&point.name));
        let segment = self.homes[ring].segment.clone();
        let mut queue = None;
        for home in self.homes.iter_mut().rev().filter(|home| home.segment == segment) {
            queue = home.queue.take();
            let heard = queue.as_ref().map(Queue::try_get);
            if marked && !matches!(heard, Some(Err(GetError::Destroyed))) {
                let what = format!("{heard:?} after a death at {point:?} in destroying");
                self.session.fault(what);
            }
        }
        if self.session.random.below(2) == 0 {
            // Whoever opens it next finishes the removal and gets a new one, or finds it closed.
            drop(queue);
            self.play(None, &[open.to_owned(), "put q x now".into(), "destroy q".into()])?;
        } else if let Some(Err(error)) = queue.map(|queue| queue.destroy()) {
            self.session.fault(format!("destroying {}: {error:?}", self.homes[ring].name));
        }
        let file = self.place.segments().join(&segment);
        if file.exists() {
            self.session.fault(format!("{} was destroyed, and is there", self.homes[ring].name));
        }
        Ok(())
    }

    fn leave(&mut self, ring: usize, shape: Shape, open: &str) -> Result<(), Wedged> {
        self.let_go(ring);
        let point = self.session.pick(Actor::Leaver, shape);
        self.play(point, &[open.to_owned()])?;
        Ok(())
    }

    fn clean(&mut self, ring: usize, shape: Shape) -> Result<(), Wedged> {
        self.let_go(ring);
        let actor =
            if self.session.random.below(2) == 0 { Actor::Cleaner } else { Actor::Destroyer };
        let point = self.session.pick(actor, shape);
        self.play(point, &[format!("clean {}", self.place.segments().display())])?;
        Ok(())
    }

    /// Gives up our own part in a segment.
    fn let_go(&mut self, ring: usize) {
        let segment = self.homes[ring].segment.clone();
        let there = self.homes.iter_mut().filter(|home| home.segment == segment);
        there.for_each(|home| home.queue = None);
    }

    fn sweep(&mut self) {
        self.homes.iter_mut().for_each(|home| home.queue = None);
        let swept = Segment::clean_abandoned(&self.place.directory(), CleanOptions::default());
        if let Err(error) = swept {
            self.session.fault(format!("cleaning: {error:?}"));
        }
    }
}

/// Everything in a directory and below.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        }
    }
    found
}
