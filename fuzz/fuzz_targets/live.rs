//! The input says which words of a valid live segment are changed, into what, when, and what is then
//! done with it. The same plans as `mutate` draws from a seed.

#![no_main]

use std::sync::{LazyLock, Mutex, PoisonError};

use libfuzzer_sys::fuzz_target;
use shm_tests::hostile::Bytes;
use shm_tests::hostile::arena::{Arena, FILES};
use shm_tests::hostile::plan::Plan;
use shm_tests::hostile::status::Status;
use shm_tests::place::Place;

struct Bench {
    arena: Arena,
    status: Status,
    _place: Place,
}

static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| {
    let place = Place::new("");
    // No second thread: what an input does must be the same every time.
    let arena = Arena::new(place.segments(), false).expect("making the files");
    let status = Status::create(&place.logs().join("page")).expect("making the page");
    Mutex::new(Bench { arena, status, _place: place })
});

fuzz_target!(|data: &[u8]| {
    let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    let Bench { arena, status, .. } = &mut *bench;
    let plan = Plan::new(&mut Bytes(data), arena.images(), FILES);
    let outcome = arena.run(&plan, status, false).expect("writing the files");
    if let Some(panic) = outcome.panic {
        // The library's panics are caught, so that `mutate` can count them; here they end the run.
        eprintln!("{panic}\n{plan:#?}");
        std::process::abort();
    }
});
