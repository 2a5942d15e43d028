//! Sleeping and waking: waiters' bits in the ring, a doorbell each, a futex. The ring itself is a
//! number of packets; a single producer's publication may wait in its store buffer.

use stateright::{Model, Property};

/// Waiters, and publishers at most.
pub(crate) const PROCS: usize = 2;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The protocol as it ships.
    None,
    /// The waiter's bit is set after the second look at the ring.
    BitAfterRecheck,
    /// A publisher clears all bits and wakes one waiter.
    ClearAllWakeOne,
    /// A waiter that leaves does not wake another.
    NoPassOn,
    /// The sleeper issues no membarrier.
    NoBarrier,
    /// Sleeps are not sliced.
    NoSlices,
    /// A waiter reads its doorbell after it has looked at the ring.
    DoorbellReadLate,
    /// A waiter that is woken, or whose slice ends, trusts that its bit is still set.
    BitNotSetAgain,
}

/// The bounds of one exploration.
#[derive(Clone, Debug)]
pub(crate) struct Sleep {
    pub(crate) name: &'static str,
    /// Puts of each publisher.
    pub(crate) puts: Vec<u8>,
    /// Packets of one put, which wakes one waiter.
    pub(crate) run: u8,
    /// Packets that each consumer takes before it goes away.
    pub(crate) quota: u8,
    /// Times that a waiter may leave for a reason of its own: deadline, another ring.
    pub(crate) leaves: u8,
    pub(crate) crashes: u8,
    /// Sleeps end by themselves.
    pub(crate) slices: bool,
    /// Publications wait in a store buffer, as those of a single producer.
    pub(crate) buffered: bool,
    pub(crate) mutant: Mutant,
    /// The one property to check; all when not given.
    pub(crate) only: Option<&'static str>,
}

/// Where a consumer is. `seen` is the doorbell's value before it looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Waiter {
    Try { waited: bool },
    ReadBell,
    SetBit { seen: u8 },
    Barrier { seen: u8 },
    Recheck { seen: u8 },
    LateBit { seen: u8 },
    LateBell,
    Wait { seen: u8 },
    Asleep { seen: u8 },
    ClearBit,
    SomeoneLeft,
    LookAgain,
    LoadOthers,
    ClearOther { id: u8 },
    RingOther { id: u8 },
    WakeOther { id: u8 },
    Gone,
    Dead,
}

/// Where a publisher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Publisher {
    Put,
    LoadWaiters,
    Clear { id: u8 },
    Ring { id: u8 },
    Wake { id: u8 },
    Done,
    Dead,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    packets: u8,
    buffered: [u8; PROCS],
    bits: [bool; PROCS],
    bells: [u8; PROCS],
    waiters: [Waiter; PROCS],
    took: [u8; PROCS],
    /// The waiter leaves for good once it has passed on.
    leaving: [bool; PROCS],
    publishers: [Publisher; PROCS],
    put: [u8; PROCS],
    leaves: u8,
    crashes: u8,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A waiter's next step.
    Waiter(u8),
    /// A waiter's reason of its own to stop waiting.
    Leave(u8),
    /// The end of a slice.
    Slice(u8),
    /// A publisher's next step; the number picks a waiter.
    Publisher(u8, u8),
    /// A publication becomes visible.
    Flush(u8),
    /// SIGKILL of a waiter.
    KillWaiter(u8),
    /// SIGKILL of a publisher.
    KillPublisher(u8),
}

impl State {
    fn flush(&mut self, p: usize) {
        self.packets += std::mem::take(&mut self.buffered[p]);
    }

    fn futex_wake(&mut self, id: u8) {
        let waiter = &mut self.waiters[usize::from(id)];
        if matches!(waiter, Waiter::Asleep { .. }) {
            *waiter = Waiter::Try { waited: true };
        }
    }

    fn waiter_can_step(&self, me: usize) -> bool {
        !matches!(self.waiters[me], Waiter::Asleep { .. } | Waiter::Gone | Waiter::Dead)
    }

    fn publisher_can_step(&self, me: usize) -> bool {
        !matches!(self.publishers[me], Publisher::Done | Publisher::Dead)
    }
}

impl Sleep {
    /// Two waiters, these publishers, nobody dies, nothing is sliced.
    pub(crate) fn new(name: &'static str, puts: &[u8], quota: u8) -> Self {
        Self {
            name,
            puts: puts.to_vec(),
            run: 1,
            quota,
            leaves: 0,
            crashes: 0,
            slices: false,
            buffered: false,
            mutant: Mutant::None,
            only: None,
        }
    }

    /// Breaks a rule.
    pub(crate) fn breaking(mut self, mutant: Mutant) -> Self {
        self.mutant = mutant;
        self
    }

    fn sliced(&self) -> bool {
        self.slices && self.mutant != Mutant::NoSlices
    }

    fn take(&self, w: &mut State, me: usize) {
        w.packets -= 1;
        w.took[me] += 1;
        w.leaving[me] = w.took[me] == self.quota;
    }

    fn step_waiter(&self, w: &mut State, me: usize) {
        let late = self.mutant == Mutant::BitAfterRecheck;
        w.waiters[me] = match w.waiters[me] {
            Waiter::Try { waited } if w.packets > 0 => {
                self.take(w, me);
                match (waited, w.leaving[me]) {
                    (true, _) => Waiter::ClearBit,
                    (false, true) => Waiter::Gone,
                    (false, false) => Waiter::Try { waited: false },
                }
            }
            Waiter::Try { waited: true } if self.mutant == Mutant::BitNotSetAgain => {
                Waiter::Wait { seen: w.bells[me] }
            }
            Waiter::Try { .. } => Waiter::ReadBell,
            Waiter::ReadBell if late => Waiter::Recheck { seen: w.bells[me] },
            Waiter::ReadBell => Waiter::SetBit { seen: w.bells[me] },
            Waiter::SetBit { seen } => {
                w.bits[me] = true;
                Waiter::Barrier { seen }
            }
            Waiter::Barrier { seen } => {
                if self.mutant != Mutant::NoBarrier {
                    (0..PROCS).for_each(|p| w.flush(p));
                }
                Waiter::Recheck { seen }
            }
            Waiter::Recheck { .. } if w.packets > 0 => {
                self.take(w, me);
                Waiter::ClearBit
            }
            Waiter::Recheck { seen } if late => Waiter::LateBit { seen },
            Waiter::Recheck { .. } if self.mutant == Mutant::DoorbellReadLate => Waiter::LateBell,
            Waiter::Recheck { seen } => Waiter::Wait { seen },
            Waiter::LateBit { seen } => {
                w.bits[me] = true;
                Waiter::Wait { seen }
            }
            Waiter::LateBell => Waiter::Wait { seen: w.bells[me] },
            Waiter::Wait { seen } if w.bells[me] != seen => Waiter::Try { waited: true },
            Waiter::Wait { seen } => Waiter::Asleep { seen },
            Waiter::ClearBit => {
                w.bits[me] = false;
                if self.mutant == Mutant::NoPassOn {
                    Self::back(w, me)
                } else {
                    Waiter::SomeoneLeft
                }
            }
            Waiter::SomeoneLeft if w.bits.contains(&true) => Waiter::LookAgain,
            Waiter::SomeoneLeft => Self::back(w, me),
            Waiter::LookAgain if w.packets > 0 => Waiter::LoadOthers,
            Waiter::LookAgain => Self::back(w, me),
            Waiter::LoadOthers => match (0..PROCS).find(|i| *i != me && w.bits[*i]) {
                Some(id) => Waiter::ClearOther { id: id as u8 },
                None => Self::back(w, me),
            },
            Waiter::ClearOther { id } => {
                if std::mem::take(&mut w.bits[usize::from(id)]) {
                    Waiter::RingOther { id }
                } else {
                    Waiter::LoadOthers
                }
            }
            Waiter::RingOther { id } => {
                w.bells[usize::from(id)] += 1;
                Waiter::WakeOther { id }
            }
            Waiter::WakeOther { id } => {
                w.futex_wake(id);
                Self::back(w, me)
            }
            end @ (Waiter::Asleep { .. } | Waiter::Gone | Waiter::Dead) => end,
        };
    }

    fn back(w: &State, me: usize) -> Waiter {
        if w.leaving[me] { Waiter::Gone } else { Waiter::Try { waited: false } }
    }

    fn step_publisher(&self, w: &mut State, me: usize, id: u8) {
        let next = |w: &State| {
            if w.put[me] == self.puts[me] { Publisher::Done } else { Publisher::Put }
        };
        w.publishers[me] = match w.publishers[me] {
            Publisher::Put => {
                w.put[me] += 1;
                w.buffered[me] += self.run;
                if !self.buffered {
                    w.flush(me);
                }
                Publisher::LoadWaiters
            }
            Publisher::LoadWaiters if w.bits.contains(&true) => Publisher::Clear { id },
            Publisher::LoadWaiters => next(w),
            Publisher::Clear { id } => {
                // A CAS drains the store buffer.
                w.flush(me);
                let won = std::mem::take(&mut w.bits[usize::from(id)]);
                if won && self.mutant == Mutant::ClearAllWakeOne {
                    w.bits = [false; PROCS];
                }
                if won { Publisher::Ring { id } } else { Publisher::LoadWaiters }
            }
            Publisher::Ring { id } => {
                w.bells[usize::from(id)] += 1;
                Publisher::Wake { id }
            }
            Publisher::Wake { id } => {
                w.futex_wake(id);
                next(w)
            }
            end @ (Publisher::Done | Publisher::Dead) => end,
        };
    }

    /// Whether a packet waits while everybody who could take it sleeps, and nobody will wake them.
    fn lost(&self, w: &State) -> bool {
        let asleep = |p: &Waiter| matches!(p, Waiter::Asleep { .. });
        w.packets > 0
            && w.waiters.iter().any(asleep)
            && (0..PROCS)
                .all(|p| !w.waiter_can_step(p) && !w.publisher_can_step(p) && w.buffered[p] == 0)
    }

    /// Whether the survivors take every packet, when nobody dies any more.
    fn comes_to_rest(&self, w: &State) -> bool {
        let mut w = w.clone();
        for _ in 0..200 {
            let idle =
                |p: &Waiter| matches!(p, Waiter::Asleep { .. } | Waiter::Gone | Waiter::Dead);
            let willing = w.waiters.iter().any(|p| !matches!(p, Waiter::Gone | Waiter::Dead));
            let published = (0..PROCS).all(|p| !w.publisher_can_step(p) && w.buffered[p] == 0);
            if published && w.waiters.iter().all(idle) && (w.packets == 0 || !willing) {
                return true;
            }
            for p in 0..PROCS {
                w.flush(p);
                if w.publisher_can_step(p) {
                    let id = w.bits.iter().position(|b| *b).unwrap_or(0) as u8;
                    self.step_publisher(&mut w, p, id);
                }
                if w.waiter_can_step(p) {
                    self.step_waiter(&mut w, p);
                } else if self.sliced() && w.packets > 0 {
                    end_slice(&mut w, p);
                }
            }
        }
        false
    }
}

/// The end of a slice: the waiter looks again, and registers again.
fn end_slice(w: &mut State, me: usize) {
    if matches!(w.waiters[me], Waiter::Asleep { .. }) {
        w.waiters[me] = Waiter::Try { waited: true };
    }
}

impl Model for Sleep {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut publishers = [Publisher::Done; PROCS];
        publishers[..self.puts.len()].fill(Publisher::Put);
        vec![State {
            packets: 0,
            buffered: [0; PROCS],
            bits: [false; PROCS],
            bells: [0; PROCS],
            waiters: [Waiter::Try { waited: false }; PROCS],
            took: [0; PROCS],
            leaving: [false; PROCS],
            publishers,
            put: [0; PROCS],
            leaves: 0,
            crashes: 0,
        }]
    }

    fn actions(&self, w: &State, actions: &mut Vec<Action>) {
        let dies = w.crashes < self.crashes;
        for me in 0..PROCS {
            let id = me as u8;
            let there = !matches!(w.waiters[me], Waiter::Gone | Waiter::Dead);
            if w.waiter_can_step(me) {
                actions.push(Action::Waiter(id));
            }
            let waiting = matches!(
                w.waiters[me],
                Waiter::Asleep { .. } | Waiter::Wait { .. } | Waiter::Try { waited: true }
            );
            if waiting && w.leaves < self.leaves {
                actions.push(Action::Leave(id));
            }
            if self.sliced() && matches!(w.waiters[me], Waiter::Asleep { .. }) {
                actions.push(Action::Slice(id));
            }
            if there && dies {
                actions.push(Action::KillWaiter(id));
            }
            if w.publisher_can_step(me) {
                let choice = w.publishers[me] == Publisher::LoadWaiters;
                let set = (0..PROCS).filter(|i| choice && w.bits[*i]);
                let before = actions.len();
                actions.extend(set.map(|i| Action::Publisher(id, i as u8)));
                if actions.len() == before {
                    actions.push(Action::Publisher(id, 0));
                }
                if dies {
                    actions.push(Action::KillPublisher(id));
                }
            }
            if w.buffered[me] > 0 {
                actions.push(Action::Flush(id));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut w = last.clone();
        match action {
            Action::Waiter(me) => self.step_waiter(&mut w, usize::from(me)),
            Action::Leave(me) => {
                w.leaves += 1;
                w.leaving[usize::from(me)] = true;
                w.waiters[usize::from(me)] = Waiter::ClearBit;
            }
            Action::Slice(me) => end_slice(&mut w, usize::from(me)),
            Action::Publisher(me, id) => self.step_publisher(&mut w, usize::from(me), id),
            Action::Flush(me) => w.flush(usize::from(me)),
            Action::KillWaiter(me) => {
                w.crashes += 1;
                w.waiters[usize::from(me)] = Waiter::Dead;
            }
            Action::KillPublisher(me) => {
                w.crashes += 1;
                w.flush(usize::from(me));
                w.publishers[usize::from(me)] = Publisher::Dead;
            }
        }
        Some(w)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("no wake-up lost", |s: &Self, w: &State| s.sliced() || !s.lost(w)),
            Property::always("survivors take all", |s: &Self, w: &State| s.comes_to_rest(w)),
            Property::sometimes("somebody slept and woke", |_, w: &State| {
                w.bells != [0; PROCS] && w.took.iter().sum::<u8>() > 0
            }),
        ];
        all.retain(|p| self.only.is_none_or(|name| p.name == name));
        all
    }
}
