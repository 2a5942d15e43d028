//! The transitions: whoever is alive takes its next step, a store buffer drains, or somebody dies,
//! between any two steps. Death is seen at once.

use stateright::{Model, Property};

use super::scenario::{Kind, Scenario};
use super::words::Ring;
use super::world::{MAX_LEASES, MAX_PACKETS, MAX_PROCS, Pc, Proc, World};
use super::{
    adopt, check, consumer_many, consumer_one, frontier, full, join, producer_many, producer_one,
};

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The participant takes its next step; the number picks among several.
    Step(u8, u8),
    /// The oldest store of the participant's buffer becomes visible.
    Flush(u8),
    /// SIGKILL.
    Kill(u8),
}

impl Scenario {
    /// Whether a participant has a step to take.
    pub(crate) fn can_step(&self, w: &World, me: usize) -> bool {
        match w.procs[me].pc {
            Pc::Dead | Pc::Done => false,
            Pc::Absent => self.roles[me].after.is_some_and(|before| w.procs[before].pc == Pc::Dead),
            _ => w.procs[me].buffer[3].is_none(),
        }
    }

    /// Whether a participant may die here: somebody must be left to consume.
    fn can_die(&self, w: &World, me: usize) -> bool {
        let alive = |p: usize| !matches!(w.procs[p].pc, Pc::Dead | Pc::Done | Pc::Absent);
        if w.crashes >= self.crashes || !alive(me) {
            return false;
        }
        self.roles[me].kind != Kind::Consumer
            || self.roles.iter().enumerate().any(|(p, role)| {
                p != me && role.kind == Kind::Consumer && (alive(p) || role.after == Some(me))
            })
    }

    /// Takes the step of one participant.
    pub(crate) fn step(&self, w: &mut World, me: usize, choice: u8) {
        let next = match w.procs[me].pc {
            Pc::Absent => join::start(self, w, me),
            Pc::Join(pc) => join::step(self, w, me, pc),
            Pc::PutMany(pc) => producer_many::step(self, w, me, pc),
            Pc::PutOne(pc) => producer_one::step(self, w, me, pc),
            Pc::Full(pc) => full::step(self, w, me, pc),
            Pc::GetMany(pc) => consumer_many::step(self, w, me, pc, choice),
            Pc::Adopt(pc) => adopt::step(self, w, me, pc),
            Pc::GetOne(pc) => consumer_one::step(self, w, me, pc, choice),
            Pc::Frontier(pc, after) => frontier::step(self, w, me, pc, after),
            Pc::Close(value) => join::close(self, w, value),
            pc @ (Pc::Dead | Pc::Done) => pc,
        };
        w.procs[me].pc = next;
        w.check_readers(self);
    }

    /// How many different steps a participant can take next.
    fn choices(&self, w: &World, me: usize) -> u8 {
        match w.procs[me].pc {
            Pc::GetMany(pc) => consumer_many::choices(self, w, me, pc),
            Pc::GetOne(pc) => consumer_one::choices(self, w, me, pc),
            _ => 1,
        }
    }
}

impl Model for Scenario {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let none = Proc { pc: Pc::Absent, call: 0, leases: [None; MAX_LEASES], buffer: [None; 4] };
        let mut w = World {
            ring: Ring::new(self.cap),
            procs: [none; MAX_PROCS],
            locks: [0; MAX_PROCS + 1],
            crashes: 0,
            gives: 0,
            put: 0,
            taken: 0,
            acked: 0,
            exposed: [0; MAX_PACKETS],
            told_closed: false,
            bad: 0,
        };
        for (me, role) in self.roles.iter().enumerate() {
            if role.after.is_none() {
                w.locks[usize::from(role.id)] = me as u8 + 1;
                w.procs[me].pc = join::begin(self, &w, me);
            }
        }
        vec![w]
    }

    fn actions(&self, w: &World, actions: &mut Vec<Action>) {
        if w.bad != 0 {
            return;
        }
        for me in 0..self.roles.len() {
            if self.can_step(w, me) {
                actions.extend((0..self.choices(w, me)).map(|c| Action::Step(me as u8, c)));
            }
            if w.procs[me].buffer[0].is_some() {
                actions.push(Action::Flush(me as u8));
            }
            if self.can_die(w, me) {
                actions.push(Action::Kill(me as u8));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut w = last.clone();
        match action {
            Action::Step(me, choice) => self.step(&mut w, usize::from(me), choice),
            Action::Flush(me) => w.flush(usize::from(me)),
            Action::Kill(me) => {
                w.kill(usize::from(me));
                w.crashes += 1;
            }
        }
        Some(w)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = check::properties();
        all.retain(|p| self.only.is_none_or(|name| p.name == name));
        all
    }
}
