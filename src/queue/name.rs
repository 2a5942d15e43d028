//! Names of queues: what they may look like, and where a name comes from when none was given.
//!
//! Pure functions over strings, apart from [`generate`], which asks the kernel for random bytes.
//! Both ring-made kinds share one grammar, so that an id can move from one kind to the other:
//!
//! ```text
//! id      = segment [ ":" ring ]
//! segment = part *( "/" part )          at most 255 bytes
//! ring    = part                        at most 63 bytes
//! part    = 1*( A-Z a-z 0-9 "." "_" "-" ), but neither "." nor ".."
//! ```

use crate::error::OpenError;
use crate::shm::layout::MAX_RING_NAME;

/// Name of the ring of a segment that holds a single queue.
pub const DEFAULT_RING: &str = "queue";

/// Longest segment part of an id, in bytes.
const MAX_SEGMENT_BYTES: usize = 255;

/// Names the field that a reason is about.
pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> OpenError {
    OpenError::InvalidConfig { field, reason: reason.into() }
}

fn check_part(field: &'static str, part: &str, whole: &str) -> Result<(), OpenError> {
    if part.is_empty() {
        return Err(invalid(field, format!("{whole:?} is empty, or has an empty part")));
    }
    if part == "." || part == ".." {
        return Err(invalid(field, format!("{whole:?} has a part {part:?}")));
    }
    match part.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => {
            Err(invalid(field, format!("{c:?} in {whole:?} is not one of A-Z a-z 0-9 . _ -")))
        }
        None => Ok(()),
    }
}

fn check_segment(field: &'static str, segment: &str, whole: &str) -> Result<(), OpenError> {
    if segment.len() > MAX_SEGMENT_BYTES {
        let len = segment.len();
        return Err(invalid(field, format!("{len} bytes are more than {MAX_SEGMENT_BYTES}")));
    }
    segment.split('/').try_for_each(|part| check_part(field, part, whole))
}

/// Checks the name of a ring.
pub(crate) fn check_ring(field: &'static str, ring: &str) -> Result<(), OpenError> {
    if ring.len() > MAX_RING_NAME {
        let len = ring.len();
        return Err(invalid(field, format!("{len} bytes are more than {MAX_RING_NAME}")));
    }
    check_part(field, ring, ring)
}

/// Checks a whole id, and splits it into segment and ring.
pub(crate) fn split_id<'a>(
    field: &'static str,
    id: &'a str,
) -> Result<(&'a str, Option<&'a str>), OpenError> {
    let (segment, ring) = match id.split_once(':') {
        Some((segment, ring)) => (segment, Some(ring)),
        None => (id, None),
    };
    check_segment(field, segment, id)?;
    if let Some(ring) = ring {
        check_ring(field, ring)?;
    }
    Ok((segment, ring))
}

/// Makes a name that nobody else has: `q-` and 128 random bits in hexadecimal.
pub(crate) fn generate() -> Result<String, OpenError> {
    use std::fmt::Write;

    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(got) => filled += got,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(OpenError::Io {
                    path: "getrandom".into(),
                    doing: "generating a queue_id",
                    source: errno.into(),
                });
            }
        }
    }
    let mut name = String::with_capacity(2 + 2 * bytes.len());
    name.push_str("q-");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_grammar() {
        for good in ["a", "job-42", "team/ingest", "a.b_c-D9", "job-42:words", "x/y/z:r.1", "..."] {
            assert!(split_id("queue_id", good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        let long_ring = format!("a:{}", "x".repeat(64));
        for bad in [
            "", ":", "a:", ":b", "a:b:c", "/a", "a/", "a//b", ".", "..", "a/..", "a:.", "a:..",
            "a:b/c", "a b", "a\0", "ä", "a\n", &long, &long_ring,
        ] {
            let error = split_id("queue_id", bad).expect_err(bad);
            assert!(matches!(error, OpenError::InvalidConfig { field: "queue_id", .. }), "{bad}");
        }
    }

    #[test]
    fn generated_names_are_valid_and_differ() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 34);
        split_id("queue_id", &a).unwrap();
    }
}
