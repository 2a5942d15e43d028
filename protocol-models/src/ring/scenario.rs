//! What one exploration is about: who takes part, what they do, and which rule is broken on purpose.

use super::words::Age;

/// One call of a producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    /// Units of the record, or records of one unit each when `run`.
    pub(crate) n: u8,
    /// One claim for `n` records.
    pub(crate) run: bool,
    /// The reservation is dropped, not committed.
    pub(crate) dropped: bool,
}

impl Put {
    /// A record of `n` units.
    pub(crate) const fn of(n: u8) -> Self {
        Self { n, run: false, dropped: false }
    }
    /// A run of `n` records.
    pub(crate) const fn run(n: u8) -> Self {
        Self { n, run: true, dropped: false }
    }
    /// A reservation of `n` units that is dropped.
    pub(crate) const fn dropped(n: u8) -> Self {
        Self { n, run: false, dropped: true }
    }
    /// Packets that the call counts for.
    pub(crate) fn packets(self) -> u8 {
        if self.run { self.n } else { 1 }
    }
}

/// What a participant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Puts, one call after another.
    Producer,
    /// Gets for ever, until closed.
    Consumer,
    /// Closes the ring.
    Closer,
}

/// One participant.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) kind: Kind,
    pub(crate) puts: Vec<Put>,
    /// Starts only when that participant is dead.
    pub(crate) after: Option<usize>,
    /// Its id in stamps and claims.
    pub(crate) id: u8,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The protocol as it ships.
    None,
    /// The frontier is advanced without the head first.
    FrontierWithoutHead,
    /// Whoever advances the frontier over several records moves the head only from the first.
    HeadFromFrontierOnly,
    /// A record is taken with a plain store.
    TakeWithoutCas,
    /// A run taken at once is split first word first.
    SplitFirstToLast,
    /// Whoever helps the head moves it by one record over a run taken at once.
    HelpRunShort,
    /// A dead reader's run is returned first word first.
    ReturnFirstToLast,
    /// A dead reader's run is returned without its lock.
    ReturnRunWithoutLock,
    /// A dead reader's run is returned under its lock, as it was before the lock was taken.
    ReturnRunUnread,
    /// A joiner scrubs records, and no runs.
    ScrubLeavesRuns,
    /// A joiner scrubs up to the head, and not at it.
    ScrubStopsAtHead,
    /// A run is committed first entry first.
    RunFirstToLast,
    /// A recoverer does not take the dead participant's lock, except to return a run.
    RecoverWithoutLock,
    /// A producer at a full ring returns what a dead reader holds without that lock.
    ReturnWithoutLock,
    /// A joiner publishes itself without scrubbing.
    JoinWithoutScrub,
    /// One consumer: `peek` is stored after exposure.
    PeekAfterExposure,
    /// A consumer believes the closer's flag, and does not seal.
    SealByFlag,
    /// A producer helps past the seal.
    HelpPastClosed,
    /// One producer stores its intent after it loads `closed`.
    IntentAfterClosed,
    /// A consumer that sees `closed` believes it without a membarrier.
    CloseWithoutBarrier,
    /// A new single producer starts at `tail`.
    NoRollOver,
    /// Acknowledgements live in a private word that is stored later.
    LazyAck,
    /// The successor of a dead consumer does not roll `head` before it starts.
    NoRollAtStart,
    /// The successor goes on where it was, though its `head` has rolled past.
    CursorBehindHead,
    /// A returned record is announced to nobody.
    NoHintNoScan,
    /// Whoever adopts a record does not set the hint again for those after it.
    HintNotSetAgain,
    /// Words are compared modulo four laps.
    WrappingLaps,
    /// A redelivery is exposed before the count in the entry is raised.
    CountNotRaised,
    /// A redelivery is counted when the record is given back, and again when it is adopted.
    CountedTwice,
    /// A refusal is believed without a last look.
    NoLastLook,
    /// Whoever helps the frontier takes a claim word of a later lap for a sign that it is late.
    HelperBelievesClaim,
    /// `Closed` is returned at the seal, though another may still hold a lease.
    ClosedAtSeal,
    /// `maxsize` is checked against a later `tail` than the claim's.
    MaxsizeAgainstStaleTail,
}

/// The bounds of one exploration.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) cap: u8,
    pub(crate) one_producer: bool,
    pub(crate) one_consumer: bool,
    /// Waiting packets at most; 0: no bound.
    pub(crate) maxsize: u8,
    pub(crate) roles: Vec<Role>,
    /// Participants that may die.
    pub(crate) crashes: u8,
    /// Leases that may be given back.
    pub(crate) gives: u8,
    /// Consumers look at the recovery hint.
    pub(crate) hint: bool,
    /// Consumers scan when idle.
    pub(crate) idle_scan: bool,
    /// Records one `get_many` takes at most.
    pub(crate) batch: u8,
    /// A release helps the frontier only where its position is a multiple of this; 0: never.
    pub(crate) frontier_step: u8,
    /// Leases one consumer of a single-consumer ring holds at once.
    pub(crate) leases: u8,
    /// Participant locks are modelled, and ids are used again.
    pub(crate) locks: bool,
    /// The single producer's stores wait in a store buffer until they are flushed.
    pub(crate) buffered: bool,
    pub(crate) mutant: Mutant,
    /// The one property to check; all when not given.
    pub(crate) only: Option<&'static str>,
}

impl Scenario {
    /// A ring of `cap` entries, many to many, with nobody in it.
    pub(crate) fn new(name: &'static str, cap: u8) -> Self {
        Self {
            name,
            cap,
            one_producer: false,
            one_consumer: false,
            maxsize: 0,
            roles: Vec::new(),
            crashes: 0,
            gives: 0,
            hint: false,
            idle_scan: true,
            batch: 1,
            frontier_step: 2,
            leases: 1,
            locks: false,
            buffered: false,
            mutant: Mutant::None,
            only: None,
        }
    }

    /// Adds a participant with an id of its own.
    fn with(mut self, kind: Kind, puts: &[Put], after: Option<usize>) -> Self {
        let id = self.roles.len() as u8 + 1;
        self.roles.push(Role { kind, puts: puts.to_vec(), after, id });
        self
    }

    /// Adds a producer.
    pub(crate) fn producer(self, puts: &[Put]) -> Self {
        self.with(Kind::Producer, puts, None)
    }

    /// Adds a producer that starts when `after` is dead.
    pub(crate) fn next_producer(self, after: usize, puts: &[Put]) -> Self {
        self.with(Kind::Producer, puts, Some(after))
    }

    /// Adds a consumer.
    pub(crate) fn consumer(self) -> Self {
        self.with(Kind::Consumer, &[], None)
    }

    /// Adds a consumer that starts when `after` is dead.
    pub(crate) fn next_consumer(self, after: usize) -> Self {
        self.with(Kind::Consumer, &[], Some(after))
    }

    /// Lets the participant added last use the id of the one it follows.
    pub(crate) fn under_its_id(mut self) -> Self {
        if let Some(after) = self.roles.last().and_then(|r| r.after) {
            let id = self.roles[after].id;
            if let Some(last) = self.roles.last_mut() {
                last.id = id;
            }
        }
        self
    }

    /// Adds a closer.
    pub(crate) fn closer(self) -> Self {
        self.with(Kind::Closer, &[], None)
    }

    /// Breaks a rule.
    pub(crate) fn breaking(mut self, mutant: Mutant) -> Self {
        self.mutant = mutant;
        self
    }

    /// Whether the rule is broken here.
    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == mutant
    }

    /// Whether somebody will close the ring.
    pub(crate) fn closes(&self) -> bool {
        self.roles.iter().any(|r| r.kind == Kind::Closer)
    }

    /// The entry of a position.
    pub(crate) fn index(&self, pos: u8) -> usize {
        usize::from(pos % self.cap)
    }

    /// The lap of a position.
    pub(crate) fn lap(&self, pos: u8) -> u8 {
        pos / self.cap
    }

    /// How a word of lap `lap` compares with position `pos`.
    pub(crate) fn age(&self, lap: u8, pos: u8) -> Age {
        let want = self.lap(pos);
        if self.is(Mutant::WrappingLaps) {
            return match want.wrapping_sub(lap) % 4 {
                0 => Age::Same,
                1 => Age::Older,
                _ => Age::Newer,
            };
        }
        match lap.cmp(&want) {
            std::cmp::Ordering::Less => Age::Older,
            std::cmp::Ordering::Equal => Age::Same,
            std::cmp::Ordering::Greater => Age::Newer,
        }
    }

    /// Number of the first packet of call `call` of participant `who`.
    pub(crate) fn packet(&self, who: usize, call: usize) -> u8 {
        let before: u8 = self.roles[..who].iter().flat_map(|r| &r.puts).map(|p| p.packets()).sum();
        before + self.roles[who].puts[..call].iter().map(|p| p.packets()).sum::<u8>()
    }

    /// The numbers of all later packets of the producer of packet `packet`, as a set.
    pub(crate) fn later(&self, packet: u8) -> u16 {
        let mut first = 0;
        for role in &self.roles {
            let end = first + role.puts.iter().map(|p| p.packets()).sum::<u8>();
            if packet < end {
                return ((1u16 << end) - 1) & !((1u16 << (packet + 1)) - 1);
            }
            first = end;
        }
        0
    }
}
