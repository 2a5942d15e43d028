//! Every named crash point, and who can be made to come there.
//!
//! `docs/protocol.md` says what survivors do; a test holds this table against the source.

use ringway::queue::Side;

/// Who comes to a crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A process that puts.
    Producer,
    /// A process that gets.
    Consumer,
    /// A process that puts or gets, while it opens the queue, sleeps or wakes others.
    Worker,
    /// A consumer of a ring that is closed.
    Drainer,
    /// A process that is the first to open the queue.
    Creator,
    /// A process that closes the queue.
    Closer,
    /// A process that leaves in order.
    Leaver,
    /// A process that destroys the queue.
    Destroyer,
    /// A process that cleans up.
    Cleaner,
}

/// In which rings a crash point can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// In all.
    All,
    /// Of many producers.
    ManyProducers,
    /// Of one producer.
    OneProducer,
    /// Of many consumers.
    ManyConsumers,
    /// Of one consumer.
    OneConsumer,
    /// Of many on at least one side.
    ManyOfSome,
    /// Of one on at least one side, to him who plays that role.
    RoleOfOne,
    /// In segments that go with the last to leave.
    Ephemeral,
}

/// A crash point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its name in the source.
    pub name: &'static str,
    /// Who comes there.
    pub actor: Actor,
    /// Where.
    pub rings: Rings,
    /// How many times it may be passed before the death: more for what happens at every packet.
    pub passes: u64,
}

const fn point(name: &'static str, actor: Actor, rings: Rings, passes: u64) -> Point {
    Point { name, actor, rings, passes }
}

/// All of them.
pub const POINTS: &[Point] = {
    use Actor::{Cleaner, Closer, Consumer, Creator, Destroyer, Drainer, Leaver, Producer, Worker};
    use Rings::{
        All, Ephemeral, ManyConsumers, ManyOfSome, ManyProducers, OneConsumer, OneProducer,
        RoleOfOne,
    };
    &[
        point("claim.between_claim_and_tail", Producer, ManyProducers, 500),
        point("claim.after_tail", Producer, ManyProducers, 500),
        point("write.after_copy", Producer, All, 500),
        point("commit.before_stamp", Producer, ManyProducers, 300),
        point("commit.after_stamp", Producer, ManyProducers, 300),
        point("run.between_stamps", Producer, ManyProducers, 300),
        point("commit_single.before_stamp", Producer, OneProducer, 500),
        point("commit_single.between_stamp_and_tail", Producer, OneProducer, 500),
        point("start_producer.between_tail_and_intent", Producer, OneProducer, 1),
        point("help.before_tail", Producer, ManyProducers, 3),
        point("large_claim.announced", Producer, All, 5),
        point("take.between_word_and_head", Consumer, ManyConsumers, 500),
        point("take.after_head", Consumer, ManyConsumers, 500),
        point("take.between_words_of_run", Consumer, ManyConsumers, 100),
        point("take_single.after_peek", Consumer, OneConsumer, 500),
        point("release.before_word", Consumer, ManyConsumers, 500),
        point("release.between_word_and_frontier", Consumer, ManyConsumers, 500),
        point("ack_single.before_stamp", Consumer, OneConsumer, 300),
        point("ack_single.after_stamp", Consumer, OneConsumer, 100),
        point("frontier.between_head_and_frontier", Consumer, ManyConsumers, 300),
        point("give_back.between_word_and_hint", Consumer, ManyConsumers, 10),
        point("adopt.after_hint", Consumer, ManyConsumers, 10),
        point("adopt.before_word", Consumer, ManyConsumers, 3),
        point("adopt.after_count", Consumer, ManyConsumers, 3),
        point("help.before_head", Consumer, ManyConsumers, 3),
        point("return.between_word_and_hint", Worker, ManyConsumers, 2),
        point("recover.locked", Worker, ManyOfSome, 2),
        point("recover.before_skip", Worker, ManyProducers, 1),
        point("recover.after_skip", Worker, ManyProducers, 1),
        point("sleep.registered", Worker, All, 20),
        point("sleep.woken", Worker, All, 20),
        point("sleep.left", Worker, All, 20),
        point("wake.before_futex", Worker, All, 50),
        point("role.locked", Worker, RoleOfOne, 1),
        point("touch.published", Worker, All, 1),
        point("attach.gate", Worker, All, 1),
        point("join.locked", Worker, All, 1),
        point("join.scrubbed", Worker, All, 1),
        point("join.cleared", Worker, All, 1),
        point("join.written", Worker, All, 1),
        point("join.published", Worker, All, 1),
        point("scrub.after_forget", Worker, All, 1),
        point("scrub.between_leases_and_claims", Worker, All, 1),
        point("seal.before_claim", Drainer, ManyProducers, 1),
        point("seal.after_claim", Drainer, ManyProducers, 1),
        point("create.reserved", Creator, All, 1),
        point("create.written", Creator, All, 1),
        point("create.joined", Creator, All, 1),
        point("create.named", Creator, All, 1),
        point("close.between_closing_and_barrier", Closer, All, 1),
        point("close.after_closed", Closer, All, 1),
        point("leave.freed", Leaver, All, 1),
        point("leave.gate", Leaver, Ephemeral, 1),
        point("leave.left", Leaver, Ephemeral, 1),
        point("gate.turn", Destroyer, All, 1),
        point("destroy.gate", Destroyer, All, 1),
        point("destroy.state_marked", Destroyer, All, 1),
        point("destroy.marked", Destroyer, All, 1),
        point("destroy.unlinked", Destroyer, All, 1),
        point("clean.locked", Cleaner, All, 1),
    ]
};

/// The shape of a ring, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Who puts.
    pub producers: Side,
    /// Who gets.
    pub consumers: Side,
    /// The segment goes with the last to leave.
    pub ephemeral: bool,
}

impl Point {
    /// Says whether `actor` can be made to come here in such a ring.
    #[must_use]
    pub fn is_reached(&self, actor: Actor, shape: Shape) -> bool {
        let working = matches!(actor, Actor::Producer | Actor::Consumer);
        let same = self.actor == actor || (self.actor == Actor::Worker && working);
        let one = |side| side == Side::Single;
        same && match self.rings {
            Rings::All => true,
            Rings::ManyProducers => !one(shape.producers),
            Rings::OneProducer => one(shape.producers),
            Rings::ManyConsumers => !one(shape.consumers),
            Rings::OneConsumer => one(shape.consumers),
            Rings::ManyOfSome => !(one(shape.producers) && one(shape.consumers)),
            Rings::RoleOfOne if actor == Actor::Producer => one(shape.producers),
            Rings::RoleOfOne => one(shape.consumers),
            Rings::Ephemeral => shape.ephemeral,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn named(directory: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named(&path, names);
                continue;
            }
            let source = fs::read_to_string(path).unwrap();
            for rest in source.split("crash_point(\"").skip(1) {
                names.extend(rest.split('"').next().map(str::to_owned));
            }
        }
    }

    #[test]
    fn the_table_has_every_crash_point_of_the_library_and_no_other() {
        let mut source = BTreeSet::new();
        named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), &mut source);
        assert!(source.len() > 50, "{source:?}");
        let table: BTreeSet<String> = POINTS.iter().map(|point| point.name.to_owned()).collect();
        assert_eq!(source, table);
        assert_eq!(table.len(), POINTS.len(), "a point twice");
    }

    #[test]
    fn every_crash_point_is_reached_by_somebody_in_some_ring() {
        use Actor::{Cleaner, Closer, Consumer, Creator, Destroyer, Drainer, Leaver, Producer};
        let actors = [Producer, Consumer, Drainer, Creator, Closer, Leaver, Destroyer, Cleaner];
        let sides = [Side::Single, Side::Multi];
        for point in POINTS {
            let reached = actors.iter().any(|&actor| {
                sides.iter().any(|&producers| {
                    sides.iter().any(|&consumers| {
                        let ephemeral = true;
                        point.is_reached(actor, Shape { producers, consumers, ephemeral })
                    })
                })
            });
            assert!(reached, "{point:?}");
        }
    }
}
