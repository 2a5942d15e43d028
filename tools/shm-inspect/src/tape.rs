//! The form of recordings. `docs/inspect.md` describes it.
//!
//! ```text
//! file    "RWTAPE\0\x01" · started, u64: nanoseconds since 1970 · length of the name, u32 · SEGMENT:RING
//!         frames
//! packet  01 · nanoseconds since the start, u64 · record kind, u8 · length, u32 · payload
//! missed  02 · packets, u64
//! ```
//!
//! Numbers are little-endian. A recording that was cut off ends in the middle of a frame; those before
//! it can be read.

use std::io::{self, ErrorKind, Read, Write};

const MAGIC: &[u8; 8] = b"RWTAPE\0\x01";
const PACKET: u8 = 1;
const MISSED: u8 = 2;
/// Longer names and payloads than any ring has.
const MOST_BYTES: u32 = 1 << 31;

/// One frame of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Packet { at_ns: u64, kind: u8, payload: Vec<u8> },
    Missed(u64),
}

pub(crate) fn write_header(to: &mut impl Write, started_ns: u64, ring: &str) -> io::Result<()> {
    to.write_all(MAGIC)?;
    to.write_all(&started_ns.to_le_bytes())?;
    to.write_all(&(ring.len() as u32).to_le_bytes())?;
    to.write_all(ring.as_bytes())
}

pub(crate) fn write_packet(
    to: &mut impl Write,
    at_ns: u64,
    kind: u8,
    payload: &[u8],
) -> io::Result<()> {
    to.write_all(&[PACKET])?;
    to.write_all(&at_ns.to_le_bytes())?;
    to.write_all(&[kind])?;
    to.write_all(&(payload.len() as u32).to_le_bytes())?;
    to.write_all(payload)
}

pub(crate) fn write_missed(to: &mut impl Write, packets: u64) -> io::Result<()> {
    to.write_all(&[MISSED])?;
    to.write_all(&packets.to_le_bytes())
}

/// Reads the header, and says which ring was recorded.
///
/// # Errors
/// `InvalidData` for what is no recording.
pub(crate) fn read_header(from: &mut impl Read) -> io::Result<String> {
    let no_tape = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut magic = [0; 8];
    let read = from.read_exact(&mut magic);
    if read.is_err() || magic != *MAGIC {
        return Err(no_tape("no recording of shm-inspect, or of another version"));
    }
    let _started: [u8; 8] = array(from)?;
    let name = bytes(from)?;
    String::from_utf8(name).map_err(|_| no_tape("the name of its ring is no text"))
}

/// Reads the next frame; `None` at the end.
///
/// # Errors
/// `UnexpectedEof` in the middle of a frame; `InvalidData` for what is none.
pub(crate) fn read_frame(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut tag = [0];
    match from.read_exact(&mut tag) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    match tag[0] {
        PACKET => {
            let at_ns = u64::from_le_bytes(array(from)?);
            let [kind] = array(from)?;
            Ok(Some(Frame::Packet { at_ns, kind, payload: bytes(from)? }))
        }
        MISSED => Ok(Some(Frame::Missed(u64::from_le_bytes(array(from)?)))),
        other => {
            let what = format!("a frame of kind {other}, which there is not");
            Err(io::Error::new(ErrorKind::InvalidData, what))
        }
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes behind their length. What the length says is not believed before the bytes are there.
fn bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let len = u32::from_le_bytes(array(from)?);
    if len > MOST_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("{len} bytes in one packet")));
    }
    let mut bytes = Vec::new();
    let read = from.take(len.into()).read_to_end(&mut bytes)?;
    if read != len as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_reads_as_it_was_written_and_its_form_does_not_change() {
        let mut tape = Vec::new();
        write_header(&mut tape, 1, "s:r").unwrap();
        write_packet(&mut tape, 258, 2, b"hi").unwrap();
        write_missed(&mut tape, 7).unwrap();
        let golden = "52575441504500010100000000000000\
            03000000733a72\
            010201000000000000020200000068690207000000000000\
            00";
        assert_eq!(crate::output::hex(&tape), golden);
        let mut from = &tape[..];
        assert_eq!(read_header(&mut from).unwrap(), "s:r");
        let packet = Frame::Packet { at_ns: 258, kind: 2, payload: b"hi".to_vec() };
        assert_eq!(read_frame(&mut from).unwrap(), Some(packet));
        assert_eq!(read_frame(&mut from).unwrap(), Some(Frame::Missed(7)));
        assert_eq!(read_frame(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_or_garbage_is_an_error() {
        let mut tape = Vec::new();
        write_packet(&mut tape, 1, 0, b"payload").unwrap();
        for len in 1..tape.len() {
            let error = read_frame(&mut &tape[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len}");
        }
        assert!(read_frame(&mut &[9_u8, 9][..]).is_err());
        assert!(read_header(&mut &b"RWTAPE\0\x02rest and more"[..]).is_err());
    }
}
