//! Prefetches: instructions that change when something happens, and never what.

#![allow(unsafe_code, reason = "one of the named places: instructions that have no safe cover")]

/// Fetches a line for writing, ahead of its use; any address will do.
#[inline(always)]
pub(crate) fn prefetch_for_write(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: prefetching accesses nothing in the sense of the memory model; any address is allowed.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(loom)))]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(loom, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = line;
}

/// Fetches a line for reading, ahead of its use; any address will do, also one that is mapped no more.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn prefetch_for_read(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching accesses nothing in the sense of the memory model; any address is allowed.
    unsafe {
        core::arch::asm!("prefetcht0 [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
