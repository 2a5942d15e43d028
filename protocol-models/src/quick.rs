//! scratch
#![allow(missing_docs)]
use crate::ring::scenario::*;
use stateright::{Checker, Model, HasDiscoveries};
pub fn run(s: Scenario) {
    let t = std::time::Instant::now();
    let name = s.name; let m = s.mutant;
    let c = s.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{name} {m:?}: {} states depth {} {:.1}s", c.unique_state_count(), c.max_depth(), t.elapsed().as_secs_f32());
    for (n, p) in c.discoveries() {
        println!("  BROKEN {n}");
        let last = p.last_state().clone();
        for a in p.into_actions() { print!("{a:?} "); }
        println!("\n{last:?}");
    }
}
pub fn main() {
    let a: Vec<String> = std::env::args().collect();
    let p = Put::of;
    match a[1].as_str() {
        "1" => run(Scenario::new("1p1c", 4).producer(&[p(1), p(2), p(1)]).consumer()),
        "2" => run(Scenario::new("2p1c", 4).producer(&[p(1), p(2)]).producer(&[p(2)]).consumer()),
        "3" => { let mut s = Scenario::new("2p2c crash", 4).producer(&[p(2)]).producer(&[p(1)]).consumer().consumer(); s.crashes = 1; run(s) }
        "4" => { let mut s = Scenario::new("2p2c crash2", 4).producer(&[p(2), p(1)]).producer(&[p(1), p(2)]).consumer().consumer(); s.crashes = 2; run(s) }
        "5" => { let mut s = Scenario::new("1p2c crash2", 2).producer(&[p(1), p(1), p(1)]).consumer().consumer(); s.crashes = 2; run(s) }
        "6" => { let mut s = Scenario::new("spsc", 4).producer(&[p(1), p(2), p(1)]).next_producer(0, &[p(1), p(2)]).consumer().next_consumer(2); s.crashes = 2; s.one_producer=true;s.one_consumer=true;s.leases=3; run(s) }
        "7" => { let mut s = Scenario::new("spmc", 4).producer(&[p(1), p(2)]).next_producer(0, &[p(1), p(1)]).consumer().consumer(); s.crashes = 2; s.one_producer=true; run(s) }
        "8" => { let mut s = Scenario::new("mpsc", 4).producer(&[p(1), p(2)]).producer(&[p(1), p(1)]).consumer().next_consumer(2); s.crashes = 2; s.one_consumer=true; s.leases=2;run(s) }
        "9" => { let mut s = Scenario::new("close mp", 2).producer(&[p(1), p(1)]).producer(&[p(1)]).consumer().consumer().closer(); s.crashes = 1; run(s) }
        "10" => { let mut s = Scenario::new("close sp", 2).producer(&[p(1), p(1)]).next_producer(0,&[p(1)]).consumer().next_consumer(2).closer(); s.crashes = 2; s.one_producer=true; s.one_consumer=true; s.leases=2; s.buffered=true;run(s) }
        _ => {}
    }
}
