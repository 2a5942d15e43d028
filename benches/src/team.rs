//! A team: the starter, who watches, and members, who work, each a process on one of a few CPUs.
//!
//! There may be more members than CPUs, so nobody spins at a meeting: all sleep on one futex. A
//! member that dies ends the run through the starter's supervisor (`peers.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use rustix::thread::futex;
use serde::Serialize;

use crate::clock::Clock;
use crate::cpus::pin;
use crate::error::{Doing, Result};
use crate::peers::{self, Job, Pair, Seat};
use crate::shared::{Region, Word};

/// One process's share in a team.
#[derive(Debug)]
pub(crate) struct Team {
    region: Arc<Region>,
    /// This process's place.
    pub(crate) seat: Seat,
}

impl Team {
    /// Starts a member for each task, number 1 first, round robin on these CPUs, and meets them. The
    /// starter keeps to the first CPU.
    ///
    /// # Errors
    /// `Os` when the system refuses memory, a process, or a CPU.
    pub(crate) fn start<T: Serialize>(cpus: &[usize], tasks: Vec<T>) -> Result<(Self, Clock)> {
        peers::supervise()?;
        pin(cpus[0])?;
        let clock = Clock::new();
        let (region, fd) = Region::create(0)?;
        let members = tasks.len() + 1;
        for (i, task) in tasks.into_iter().enumerate() {
            let fd = fd.try_clone().doing("sharing the region")?;
            let seat = Seat { member: i + 1, members };
            peers::spawn(cpu_of(cpus, i + 1), Some(seat), task, fd)?;
        }
        let team = Self { region: Arc::new(region), seat: Seat { member: 0, members } };
        team.meet()?;
        Ok((team, clock))
    }

    /// Makes this process a member, and meets the others.
    ///
    /// # Errors
    /// As [`peers::attach`].
    pub(crate) fn join<T>(job: &Job<T>, seat: Seat) -> Result<Self> {
        let team = Self { region: peers::attach(job)?, seat };
        team.meet()?;
        Ok(team)
    }

    /// Waits, asleep, until all of the team have come here.
    ///
    /// # Errors
    /// `Os` when the system refuses to sleep.
    pub(crate) fn meet(&self) -> Result<()> {
        let met = self.region.futex(Word::TeamMet);
        // RELAXED: this meeting cannot be over before this process has arrived, below.
        let meeting = met.load(Relaxed);
        let arrived = self.region.word(Word::TeamArrived);
        // SYNC team (pairs with the swap, and the loads of `met`): what all did before is visible to
        // the last to arrive, and by it to all.
        let before = arrived.fetch_add(1, AcqRel);
        if before + 1 == self.seat.members as u64 {
            // RELAXED: nobody arrives at the next meeting before the store below.
            arrived.store(0, Relaxed);
            // SYNC team.
            met.store(meeting.wrapping_add(1), Release);
            futex::wake(met, futex::Flags::empty(), i32::MAX as u32).doing("waking the team")?;
            return Ok(());
        }
        // SYNC team.
        while met.load(Acquire) == meeting {
            match futex::wait(met, futex::Flags::empty(), meeting, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).doing("waiting for the team"),
            }
        }
        Ok(())
    }

    /// Says a number, to be read after the next meeting.
    pub(crate) fn say(&self, nth: usize, value: u64) {
        // RELAXED: the meeting publishes it.
        self.region.seat(self.seat.member, nth).store(value, Relaxed);
    }

    /// Reads what a member said before the last meeting.
    pub(crate) fn said(&self, member: usize, nth: usize) -> u64 {
        // RELAXED: as above.
        self.region.seat(member, nth).load(Relaxed)
    }

    /// The pair of the starter and one member, for the floor.
    pub(crate) fn pair(&self) -> Pair {
        Pair::of(Arc::clone(&self.region), self.seat.member == 0)
    }

    /// Waits for the orderly end of all members.
    ///
    /// # Errors
    /// `Peer` when one failed.
    pub(crate) fn finish(self) -> Result<()> {
        peers::wait_for_peers()
    }
}

/// The CPU of a member.
pub(crate) fn cpu_of(cpus: &[usize], member: usize) -> usize {
    cpus[(member - 1) % cpus.len()]
}

/// The first member that is on another CPU than the starter.
pub(crate) const FLOOR_PARTNER: usize = 2;

#[cfg(test)]
mod tests {
    use super::{Seat, Team, cpu_of};
    use crate::shared::Region;
    use std::sync::Arc;

    #[test]
    fn nobody_leaves_a_meeting_before_all_have_come() {
        const MEMBERS: usize = 5;
        let region = Arc::new(Region::create(0).unwrap().0);
        let threads: Vec<_> = (0..MEMBERS)
            .map(|member| {
                let region = Arc::clone(&region);
                std::thread::spawn(move || {
                    let team = Team { region, seat: Seat { member, members: MEMBERS } };
                    for meeting in 1..=200 {
                        team.say(0, meeting);
                        team.meet().unwrap();
                        for other in 0..MEMBERS {
                            assert!(team.said(other, 0) >= meeting, "{other} has not come");
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn members_take_the_cpus_in_turn() {
        assert_eq!([1, 2, 3, 4].map(|member| cpu_of(&[5, 7], member)), [5, 7, 5, 7]);
    }
}
