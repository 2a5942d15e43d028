//! What a peer does to files and directories, as whatever user it runs as.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ringway::shm::directory::Directory;
use ringway::shm::inspect::SegmentSnapshot;
use ringway::shm::segment::{CleanOptions, Segment};

use super::{Answer, Words, err};

/// Runs a command that touches no queue of the peer.
pub(super) fn run(verb: &str, words: &mut Words<'_>) -> Answer {
    let path = Path::new(words.next()?);
    match verb {
        "ls" => {
            let entries = fs::read_dir(path).map_err(io)?;
            Ok(entries.count().to_string())
        }
        "names" => {
            let directory = Directory::open_existing(path, None).map_err(err)?;
            Ok(directory.names().map_err(err)?.len().to_string())
        }
        "mkdir" => {
            let mode = mode(words)?;
            fs::create_dir(path).map_err(io)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
            Ok(String::new())
        }
        "touch" => {
            let mode = mode(words)?;
            let mut options = fs::File::options();
            let file = options.write(true).create_new(true).mode(mode).open(path).map_err(io)?;
            file.set_permissions(fs::Permissions::from_mode(mode)).map_err(io)?;
            Ok(String::new())
        }
        "read" => Ok(fs::read(path).map_err(io)?.len().to_string()),
        "rm" => fs::remove_file(path).map_err(io).map(|()| String::new()),
        "clean" => {
            let directory = Directory::open_existing(path, None).map_err(err)?;
            let options = CleanOptions { discard: true, ..CleanOptions::default() };
            Segment::clean_abandoned(&directory, options).map_err(err).map(|all| format!("{all:?}"))
        }
        "look" => {
            let directory = Directory::open_existing(path, None).map_err(err)?;
            let name = words.next()?.parse().map_err(err)?;
            let segment = Segment::open_readonly(&directory, &name).map_err(err)?;
            let snapshot = SegmentSnapshot::take(&segment).map_err(err)?;
            Ok(snapshot.rings.len().to_string())
        }
        // Reads all that is read before anything is mapped, again and again.
        _ => {
            let directory = Directory::open_existing(path, None).map_err(err)?;
            let name = words.next()?.parse().map_err(err)?;
            let (mut whole, mut refused) = (0, 0);
            for _ in 0..words.number()? {
                match Segment::is_uuid(&directory, &name, [0; 16]) {
                    Ok(_) => whole += 1,
                    Err(ringway::error::OpenError::Corrupt { .. }) => refused += 1,
                    // Cut off between the look at its length and the reading.
                    Err(ringway::error::OpenError::Io { source, .. })
                        if source.kind() == std::io::ErrorKind::UnexpectedEof =>
                    {
                        refused += 1;
                    }
                    Err(error) => return Err(err(error)),
                }
            }
            Ok(format!("{whole} {refused}"))
        }
    }
}

fn mode(words: &mut Words<'_>) -> Result<u32, String> {
    let word = words.next()?;
    u32::from_str_radix(word, 8).map_err(|_| format!("Usage: {word} is no mode"))
}

fn io(error: std::io::Error) -> String {
    format!("{:?} {error}", error.kind())
}
