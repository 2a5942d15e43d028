//! Prefetches, instructions that change when something happens, and never what; and what CPU this is.

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

/// The lines of so many bytes, from the one in which they begin on.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn lines_of(start: *const u8, bytes: usize) -> impl Iterator<Item = *const u8> {
    (0..bytes).step_by(64).map(move |offset| start.wrapping_add(offset))
}

/// Says whether a line that another CPU has written is ours alone once we have read it, as if we had written it,
/// too: so on Intel's servers. Elsewhere both have it then. `cargo run --release -p ringway-bench --example
/// bare_ring` shows it.
#[cfg(not(loom))]
pub(crate) fn reading_takes_lines() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static INTEL: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *INTEL.get_or_init(|| {
            let leaf = core::arch::x86_64::__cpuid(0);
            [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
