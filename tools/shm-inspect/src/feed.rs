//! `put` and `get`: rings for shell scripts.

use std::io::{self, BufRead, Read};

use ringway::error::GetError;
use ringway::queue::{Queue, RecordKind, Wait};
use ringway::routing::Packet;

use crate::Found;
use crate::cli::{Common, Framing, GetArgs, PutArgs};
use crate::decode::{self, Decoded};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::target::join;

pub(crate) fn put(common: &Common, args: &PutArgs, output: &mut Output) -> Result<Found> {
    let queue = join(common, &args.ring, "put")?;
    let mut input = io::stdin().lock();
    let mut packets = 0_u64;
    let problem = loop {
        let record = match read_record(&mut input, args.framing, packets) {
            Ok(Some(record)) => record,
            Ok(None) => break None,
            Err(error) => break Some(format!("standard input: {error}")),
        };
        let wait = args.timeout.map_or(Wait::Forever, Wait::at_most);
        if let Err(problem) = put_one(&queue, args, record, wait) {
            break Some(problem);
        }
        packets += 1;
    };
    if output.json {
        output.json(&serde_json::json!({ "ring": args.ring, "packets": packets }))?;
    }
    if let Some(problem) = &problem {
        output.warn(&format!("after {packets} packets: {problem}"));
    }
    Ok(Found::when(problem.is_some()))
}

fn put_one(
    queue: &Queue,
    args: &PutArgs,
    record: Vec<u8>,
    wait: Wait,
) -> std::result::Result<(), String> {
    if !args.packet {
        let put = queue.put_record(RecordKind::RAW, &record, wait);
        return put.map_err(|error| error.to_string());
    }
    let mut packet = Packet::new(record);
    if let Some(key) = &args.key {
        packet = packet.with_key(key.as_str());
    }
    let mut bytes = vec![0; packet.encoded_len()];
    packet.encode_into(&mut bytes).map_err(|error| error.to_string())?;
    queue.put_record(RecordKind::PACKET, &bytes, wait).map_err(|error| error.to_string())
}

/// Reads one record; `None` at the end.
fn read_record(
    input: &mut impl BufRead,
    framing: Framing,
    before: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut record = Vec::new();
    match framing {
        Framing::Lines => {
            if input.read_until(b'\n', &mut record)? == 0 {
                return Ok(None);
            }
            if record.last() == Some(&b'\n') {
                record.pop();
            }
        }
        Framing::Prefixed => {
            if input.fill_buf()?.is_empty() {
                return Ok(None);
            }
            let mut len = [0; 4];
            input.read_exact(&mut len)?;
            let len = u32::from_le_bytes(len);
            let read = input.take(len.into()).read_to_end(&mut record)?;
            if read != len as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // An empty input is an empty packet.
        Framing::Whole if before != 0 => return Ok(None),
        Framing::Whole => {
            input.read_to_end(&mut record)?;
        }
    }
    Ok(Some(record))
}

pub(crate) fn get(common: &Common, args: &GetArgs, output: &mut Output) -> Result<Found> {
    let queue = join(common, &args.ring, "get")?;
    let wanted = if args.all || args.follow { u64::MAX } else { args.packets };
    let mut packets = 0;
    while packets < wanted {
        let wait = match (args.all, args.timeout) {
            (true, _) => Wait::No,
            (false, Some(timeout)) => Wait::at_most(timeout),
            (false, None) => Wait::Forever,
        };
        let lease = match queue.lease_record(wait) {
            Ok(lease) => lease,
            // That was all.
            Err(GetError::Empty | GetError::Draining { .. }) if args.all => break,
            Err(GetError::Closed) if args.all || args.follow => break,
            Err(error) => {
                output.warn(&format!("after {packets} packets: {error}"));
                return Ok(Found::Findings);
            }
        };
        write_record(args, lease.kind().0, &lease, output)?;
        // Not before it is written: otherwise the next consumer gets it.
        output.flush()?;
        lease.ack();
        packets += 1;
    }
    if args.all && packets == 0 {
        output.note("no packet waits");
    }
    Ok(Found::Fine)
}

fn write_record(args: &GetArgs, kind: u8, bytes: &[u8], output: &mut Output) -> Result<()> {
    if output.json {
        let format = if args.wire { crate::cli::Format::Hex } else { crate::cli::Format::Auto };
        return output.json_line(&Decoded::of(kind, bytes, bytes.len(), usize::MAX, format));
    }
    let decoded = if args.wire { None } else { decode::packet(kind, bytes, bytes.len()) };
    let payload = decoded.as_ref().map_or(bytes, |(_, payload)| payload);
    match args.framing {
        Framing::Lines => {
            output.raw(payload)?;
            output.raw(b"\n")
        }
        Framing::Prefixed => {
            let len = u32::try_from(payload.len())
                .map_err(|_| Failure::Usage("a packet too long for its prefix".into()))?;
            output.raw(&len.to_le_bytes())?;
            output.raw(payload)
        }
        Framing::Whole => output.raw(payload),
    }
}
