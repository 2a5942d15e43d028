//! The progress bar is for people: on a terminal, and nowhere else.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::harness::{Place, finish, text};

/// How every line of the bar begins.
const BAR: &str = "\u{1b}[2K";

#[test]
fn a_progress_bar_is_shown_on_a_terminal_and_only_there() {
    let place = Place::new();
    let file = place.file("text", &b"to be or not to be\n".repeat(400_000));
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let name = OsStr::from_bytes(name.as_bytes());
    let theirs = OpenOptions::new().read(true).write(true).open(name).unwrap();

    let mut command = place.command("--json", &[&file]);
    let child = command.env("TERM", "xterm").stderr(theirs).spawn().unwrap();
    // The command holds their end, too.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut terminal, mut shown) = (std::fs::File::from(terminal), Vec::new());
        // Where nobody has the other end open, this is an error and not an end.
        let _ = terminal.read_to_end(&mut shown);
        text(&shown)
    });
    let output = finish(child);
    let shown = reader.join().unwrap();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(" of 7") && shown.contains("left"), "no bar: {shown:?}");
    assert!(shown.contains("2400000 words, 4 distinct"), "no summary: {shown:?}");
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts["words"], 2_400_000, "standard output is untouched");

    let output = place.run("--json", &[&file]);
    let summary = text(&output.stderr);
    assert!(summary.contains("2400000 words, 4 distinct") && !summary.contains(BAR), "{summary:?}");
    assert!(!summary.contains('\r') && !summary.contains("left"), "{summary:?}");
    place.assert_nothing_left();
}
