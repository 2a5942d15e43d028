//! A global allocator that counts, for the tests of what allocates nothing.

#![allow(unsafe_code, reason = "a global allocator cannot be had without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<Option<u64>> = const { Cell::new(None) };
}

fn count_one() {
    ALLOCATIONS.set(ALLOCATIONS.get().map(|count| count + 1));
}

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates
// nor unwinds, since the thread-local has a constant initializer and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` or `realloc` above, so from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as for `dealloc`, and the caller vouches for the new size.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// How many allocations `run` makes in this thread.
pub(crate) fn allocations(run: impl FnOnce()) -> u64 {
    ALLOCATIONS.set(Some(0));
    run();
    ALLOCATIONS.take().expect("counting")
}
