//! Mappings of a file that a forked child does not inherit and a core dump leaves out.
//!
//! `memmap2` unmaps on drop wherever it runs; in a child the same addresses may belong to somebody
//! else by then, so mappings are made here, and dropping one in a child does nothing.

use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::fs::File;
use std::io;

use nix::libc::off_t;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::{Origin, page_bytes};

/// What a mapping may do to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes it.
    Shared,
    /// Sees it change, and cannot change it: a store would kill the process.
    ReadOnly,
}

impl Access {
    const fn protection(self) -> ProtFlags {
        match self {
            Self::Shared => ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE),
            Self::ReadOnly => ProtFlags::PROT_READ,
        }
    }
}

/// A range of addresses of our own.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<c_void>,
    bytes: NonZeroUsize,
    origin: Origin,
}

// SAFETY: an address range is owned by the process, not by a thread; this type only frees it.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method reads or writes the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of `file` from `offset`, both in whole pages, and, directly behind, the
    /// last `mirrored` of those bytes once more.
    ///
    /// # Errors
    /// What the system says. `InvalidInput` for a length of 0, or one that is no length.
    pub fn of_file(
        file: &File,
        offset: u64,
        bytes: u64,
        mirrored: u64,
        access: Access,
    ) -> io::Result<Self> {
        let total = bytes.checked_add(mirrored).and_then(to_length).ok_or(TOO_LONG)?;
        let all = Self::reserve(total)?;
        all.place(0, file, offset, bytes, access)?;
        if mirrored != 0 {
            all.place(bytes, file, offset + (bytes - mirrored), mirrored, access)?;
        }
        if access == Access::ReadOnly {
            // In a forked child it shows the same file, and nothing can be done to it there either.
            return Ok(all);
        }
        all.advise(MmapAdvise::MADV_DONTFORK)?;
        // A filesystem dump is better made by a tool; a core dump need not hold gigabytes.
        let _ = all.advise(MmapAdvise::MADV_DONTDUMP);
        Ok(all)
    }

    /// Maps one inaccessible page of `file`: keeps its open file description alive after the
    /// descriptor is closed. The caller holds the fork guard until this returns.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn pin(file: &File) -> io::Result<Self> {
        let bytes = to_length(page_bytes()).ok_or(TOO_LONG)?;
        // SAFETY: a new mapping, at an address of the kernel's choice, that nobody can access.
        let base =
            unsafe { mmap(None, bytes, ProtFlags::PROT_NONE, MapFlags::MAP_SHARED, file, 0) }?;
        let pinned = Self { base, bytes, origin: Origin::here() };
        pinned.advise(MmapAdvise::MADV_DONTFORK)?;
        Ok(pinned)
    }

    /// Reserves addresses without memory behind them.
    fn reserve(bytes: NonZeroUsize) -> io::Result<Self> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice, that nobody can access.
        let base = unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_NONE, flags) }?;
        Ok(Self { base, bytes, origin: Origin::here() })
    }

    /// Puts part of a file into the reserved addresses, `at` bytes from their start.
    fn place(
        &self,
        at: u64,
        file: &File,
        offset: u64,
        bytes: u64,
        access: Access,
    ) -> io::Result<()> {
        let length = to_length(bytes).ok_or(TOO_LONG)?;
        let offset = off_t::try_from(offset).map_err(|_| TOO_LONG)?;
        let end = at.checked_add(bytes).ok_or(TOO_LONG)?;
        if end > self.bytes.get() as u64 {
            return Err(TOO_LONG.into());
        }
        let address = NonZeroUsize::new(self.base.as_ptr() as usize + at as usize);
        let protection = access.protection();
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: MAP_FIXED replaces only what `reserve` got for us: `at + bytes` was checked
        // against it, and nobody has a pointer into it yet. The file has these bytes (segments are
        // allocated in full and never truncated; whoever truncates one gets SIGBUS, not corruption).
        unsafe { mmap(address, length, protection, flags, file, offset) }?;
        Ok(())
    }

    fn advise(&self, advice: MmapAdvise) -> io::Result<()> {
        // SAFETY: our own addresses; the advice used here never changes what this process reads.
        unsafe { madvise(self.base, self.bytes.get(), advice) }?;
        Ok(())
    }

    /// The first byte. Valid for as long as the mapping lives, in the process that made it; to be
    /// written only where the access allows it.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr().cast()
    }

    /// Length in bytes, the mirror included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.get()
    }

    /// In which process it is mapped.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

const TOO_LONG: io::ErrorKind = io::ErrorKind::InvalidInput;

fn to_length(bytes: u64) -> Option<NonZeroUsize> {
    usize::try_from(bytes)
        .ok()
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .and_then(NonZeroUsize::new)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child it is not mapped, and its addresses may belong to somebody else.
        if self.origin.is_here() {
            // SAFETY: our own addresses, and whoever kept a pointer kept this mapping as well.
            let _ = unsafe { munmap(self.base, self.bytes.get()) };
        }
    }
}
