//! A scene of its own: somebody dies with all it can hold, and whoever gets its place, or comes to what
//! it left, dies of undoing that. Among processes at work others are mostly quicker to recover what a
//! dead one held.

use ringway::queue::{QueueConfig, Side};

use crate::peer::Peer;
use crate::torture::arena::{Arena, Wedged};
use crate::torture::points::{POINTS, Shape};

/// What somebody comes to that has a place of its own, and looks at what the dead one left.
const LOOKING: &str = "recover.locked";

/// What a joiner comes to that gets the dead one's place; and [`LOOKING`].
const UNDOING: [&str; 7] = [
    LOOKING,
    "return.between_word_and_hint",
    "recover.before_skip",
    "recover.after_skip",
    "scrub.after_forget",
    "scrub.between_leases_and_claims",
    "join.scrubbed",
];

impl Arena<'_> {
    /// Plays it with a ring of many consumers, which alone have leases that others can take.
    pub(super) fn haunt(&mut self, shape: Shape) -> Result<(), Wedged> {
        let several = shape.producers == Side::Multi;
        if shape.consumers != Side::Multi {
            return Ok(());
        }
        let hits = |name: &str| self.session.report.kills_by_point.get(name).copied().unwrap_or(0);
        let candidates = UNDOING.iter().filter(|name| several || !name.starts_with("recover."));
        let Some(name) = candidates.min_by_key(|name| hits(name)) else { return Ok(()) };
        let point = POINTS.iter().find(|point| point.name == *name);
        let config = QueueConfig {
            capacity_packets: Some(16),
            producers: shape.producers,
            consumers: shape.consumers,
            ..QueueConfig::default()
        };
        // One place for us, one for the dead one; its heir has to take it where there is no third.
        let places = if *name == LOOKING { 3 } else { 2 };
        let queue = self.place.queue("haunted", config).with_max_participants(places);
        let queue = queue.expect("a valid number of places");
        let open = format!("open q {}", queue.to_json());
        let put = |text: &str| queue.put_timeout(text.as_bytes(), crate::WATCHDOG);
        let mut wrong = Vec::new();
        wrong.extend(put("held").err().map(|error| format!("{error:?}")));
        let mut first = Peer::start(&self.session.programs.ordinary);
        for command in [open.as_str(), "lease q", if several { "reserve q x" } else { "qsize q" }] {
            let answer = first.ask(command);
            wrong.extend((!answer.starts_with("ok")).then_some(answer));
        }
        first.kill();
        self.session.killed(None);
        wrong.extend(put("behind").err().map(|error| format!("{error:?}")));
        let mut commands = vec![open];
        commands.extend((*name == LOOKING).then(|| "get q".to_owned()));
        self.play(point, &commands)?;
        let mut got = Vec::new();
        for _ in 0..2 {
            match queue.get_timeout(crate::WATCHDOG) {
                Ok(packet) => got.push((packet.payload, packet.delivery_count)),
                Err(error) => wrong.push(format!("{error:?}")),
            }
        }
        got.sort();
        if got != [(b"behind".to_vec(), 1), (b"held".to_vec(), 2)] || !wrong.is_empty() {
            self.session.fault(format!("after a death at {name}: got {got:?}, {wrong:?}"));
        }
        Ok(())
    }
}
