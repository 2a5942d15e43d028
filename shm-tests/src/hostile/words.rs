//! A file's words, mapped: for whoever changes them behind everybody's back.

#![allow(unsafe_code, reason = "shared memory under test is written where no ringway would")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use ringway::shm::os::{Access, Mapping};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Words {
    mapping: Mapping,
    bytes: u64,
}

impl Words {
    /// Maps the first `bytes` bytes, a multiple of a page, of a file that has them.
    pub(crate) fn of(file: &File, bytes: u64) -> io::Result<Self> {
        let mapping = Mapping::of_file(file, 0, bytes, 0, Access::Shared)?;
        Ok(Self { mapping, bytes })
    }

    fn at(&self, at: u64, width: u64) -> *const u8 {
        let inside = at.is_multiple_of(width) && at.checked_add(width) <= Some(self.bytes);
        assert!(inside, "{width} bytes at {at} of {}", self.bytes);
        self.mapping.base().wrapping_add(at as usize).cast_const()
    }

    /// The 8 bytes at an offset, as a word.
    pub(crate) fn word(&self, at: u64) -> &AtomicU64 {
        let word: *const AtomicU64 = self.at(at, 8).cast();
        // SAFETY: inside the mapping, aligned, as `at` asserts; alive as long as `self`. Whoever else
        // maps the file reaches these bytes through atomics, or must bear that they change.
        unsafe { &*word }
    }

    /// The 4 bytes at an offset.
    pub(crate) fn half(&self, at: u64) -> &AtomicU32 {
        let word: *const AtomicU32 = self.at(at, 4).cast();
        // SAFETY: as above.
        unsafe { &*word }
    }

    /// Writes a word or half of one.
    pub(crate) fn store(&self, at: u64, wide: bool, value: u64) {
        if wide {
            self.word(at).store(value, Relaxed);
        } else {
            self.half(at).store(value as u32, Relaxed);
        }
    }
}
