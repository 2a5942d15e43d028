//! The closing of a ring: somebody closes it, and may die of it; then it is drained, while the killing
//! goes on.

use std::time::Duration;

use crate::torture::arena::{Arena, PACE, Wedged};
use crate::torture::cast::{Fate, Job};
use crate::torture::points::Actor;
use crate::torture::scene::Patience;

/// How long a drain may take, while this process runs.
const DRAIN: Duration = Duration::from_secs(60);

impl Arena<'_> {
    /// Somebody closes the ring, and may die of it; then it is drained, while the killing goes on.
    pub(super) fn close(&mut self, ring: usize) -> Result<(), Wedged> {
        let shape = self.homes[ring].shape;
        let takes = |job: Job| job.source() == Some(ring);
        if let Some(i) = self.jobs.iter().position(|job| takes(*job))
            && let Some(point) = self.session.pick(Actor::Drainer, shape)
        {
            if let Some(victim) = &mut self.cast[i] {
                victim.kill(self.session, None);
            }
            let job = self.jobs[i];
            let mut patience = Patience::new(DRAIN);
            while let Some(victim) = &mut self.cast[i] {
                if victim.tend(self.session) != Fate::Lives {
                    self.cast[i] = None;
                } else if !patience.wait(PACE) {
                    return Err(Wedged);
                }
            }
            self.cast[i] = Some(self.start(job, Some(point)));
        }
        if self.session.random.below(3) != 0 {
            let point = self.session.pick(Actor::Closer, shape);
            let json = &self.homes[ring].json;
            self.play(point, &[format!("open q {json}"), "close q".to_owned()])?;
        }
        if let Some(queue) = &self.homes[ring].queue
            && let Err(error) = queue.close()
        {
            self.session.fault(format!("closing {}: {error:?}", self.homes[ring].name));
        }
        self.homes[ring].closed = true;
        let mut patience = Patience::new(DRAIN);
        let goal = self.session.report.kills + self.session.random.below(4);
        while self
            .cast
            .iter()
            .flatten()
            .any(|victim| victim.job == Job::Put(ring) || takes(victim.job))
        {
            self.session.watch.excuse();
            self.look_after_everybody();
            if self.session.report.kills < goal {
                self.kill_now_and_then(takes);
            }
            if !patience.wait(PACE) {
                let name = &self.homes[ring].name;
                self.session.report.remark(format!("{name} was closed, and is not drained"));
                return Err(Wedged);
            }
        }
        if let Some(queue) = &self.homes[ring].queue {
            let (waiting, leased) = (queue.qsize(), queue.in_flight());
            if (waiting, leased) != (0, 0) {
                let name = &self.homes[ring].name;
                let what = format!("{name} is drained, but {waiting} wait and {leased} are leased");
                self.session.report.remark(what);
                return Err(Wedged);
            }
        }
        Ok(())
    }
}
