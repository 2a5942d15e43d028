//! Torture: processes exchange numbered, checksummed packets while a supervisor kills them, at random
//! instants and at every named crash point, and restarts them; at the end everything is accounted for.
//!
//! | module | what |
//! |---|---|
//! | `points` | the crash points, and who comes there |
//! | `build` | the victims: the peer as it ships, and the peer with its crash points |
//! | `session` | what a whole run knows: its options, its programs, what was hit |
//! | `arena` | some rings and their processes, from creation to removal |
//! | `closing` | the closing of a ring, and its draining |
//! | `ending` | the end of an arena |
//! | `heir` | whoever gets a dead one's place, and dies of it |
//! | `cast` | the processes of an arena: started, killed, stopped, replaced |
//! | `scene` | processes that create, close, leave, destroy and clean, and die of it |
//! | `watch` | how soon packets go through again, and whether they ever do |
//! | `report` | what it all came to |
//!
//! An *arena* is a ring, or a ring with routers behind it that feed two more, all of random
//! shape, each in a segment of its own or all in one. Its life: somebody creates it (and may die of it); producers,
//! routers and consumers work, and are killed or stopped and replaced; somebody closes it; it is
//! drained while the killing goes on; the account is settled; somebody destroys it, or everybody
//! leaves, or somebody cleans up.

mod arena;
mod build;
mod cast;
mod closing;
mod ending;
mod heir;
mod points;
mod report;
mod scene;
mod session;
mod watch;

pub use build::Programs;
pub use points::{Actor, POINTS, Point, Rings, Shape};
pub use report::Report;
pub use session::{MODES, Options, run};
