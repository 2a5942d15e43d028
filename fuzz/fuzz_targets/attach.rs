//! The input is a whole file, after a byte that says whether its checksum is made right: so
//! what is behind it is reached at all.

#![no_main]

use std::sync::{LazyLock, Mutex, PoisonError};

use libfuzzer_sys::fuzz_target;
use shm_tests::hostile::arena::Arena;
use shm_tests::place::Place;

static BENCH: LazyLock<Mutex<(Arena, Place)>> = LazyLock::new(|| {
    let place = Place::new("");
    let arena = Arena::new(place.segments(), false).expect("making the files");
    Mutex::new((arena, place))
});

fuzz_target!(|data: &[u8]| {
    let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((first, rest)) = data.split_first() else { return };
    bench.0.try_file(rest, first & 1 != 0).expect("writing the file");
});
