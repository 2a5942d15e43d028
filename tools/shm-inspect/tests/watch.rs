//! The screen of `watch`, through a pseudo-terminal.

mod support;

use std::sync::Arc;

use ringway::queue::Side;
use support::screen::Screen;
use support::*;

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    let queue = descriptor(&place, "b", Side::Multi, Side::Multi).queue().unwrap();
    match job.as_str() {
        "lease" => {
            let _lease: ringway::queue::Lease = queue.lease().unwrap();
            ready_to_be_killed();
        }
        "busy" => {
            announce();
            loop {
                queue.put(b"packet").unwrap();
                queue.get().unwrap();
            }
        }
        other => panic!("unknown job {other}"),
    }
}

#[test]
fn the_screen_shows_rings_participants_and_rates_and_obeys_its_keys() {
    let place = Place::new();
    let (a, c) = (place.descriptor("a"), place.descriptor("c"));
    let (a, c) = (a.queue().unwrap(), c.queue().unwrap());
    a.put(b"one").unwrap();
    for _ in 0..5 {
        c.put(b"five").unwrap();
    }
    let _busy = Helper::start("busy", &place);
    let mut screen = Screen::start(&place, &["watch", "--interval", "0.05"], true);
    let rate = |text: &str, ring: &str| {
        let row = text.lines().find(|line| line.starts_with(ring))?;
        row.split_whitespace().nth(1).map(str::to_owned)
    };
    screen.wait_for("rate of b", |text| {
        rate(text, "b:queue").is_some_and(|rate| rate != "-" && rate != "0")
    });
    let text = screen.text();
    assert_eq!(screen.rings(), ["a:queue", "b:queue", "c:queue"]);
    for part in ["3 segments, 3 rings", "PARTICIPANTS of a", "[####", "q quit", "by ring"] {
        assert!(text.contains(part), "no {part}:\n{text}");
    }
    assert_eq!(rate(&text, "a:queue").as_deref(), Some("0"));
    // The history grows while packets pass.
    screen.wait_for("history", |text| {
        let row = text.lines().find(|line| line.starts_with("b:queue")).unwrap_or_default();
        row.chars().filter(|c| ('▁'..='█').contains(c)).count() >= 5
    });

    // By waiting packets: puts, gets, waiting.
    screen.press("sss");
    screen.wait_for("order by waiting packets", |text| text.contains("by waiting"));
    let waiting = |screen: &Screen| {
        let rings = screen.rings();
        rings.iter().position(|ring| ring == "c:queue")
            < rings.iter().position(|ring| ring == "a:queue")
    };
    assert!(waiting(&screen), "{}", screen.text());
    screen.press("r");
    screen.wait_for("reversed order", |text| text.contains("by waiting reversed"));
    assert!(!waiting(&screen), "{}", screen.text());
    screen.press("SSSr");
    screen.wait_for("order by name", |text| text.contains("by ring") && !text.contains("reversed"));
    screen.press("jj");
    screen.wait_for("participants of c", |text| text.contains("PARTICIPANTS of c"));
    screen.press("k");
    screen.wait_for("participants of b", |text| text.contains("PARTICIPANTS of b"));

    // Paused, it does not look any more; then it does.
    screen.press("p");
    screen.wait_for("pause", |text| text.contains("PAUSED"));
    let looks = |text: &str| {
        let (_, rest) = text.split_once("look ").unwrap();
        rest.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = looks(&screen.text());
    screen.press("+");
    screen.press("-");
    screen.wait_for("another interval", |text| text.contains("every 100ms"));
    assert_eq!(looks(&screen.text()), before);
    screen.press(" ");
    screen.wait_for("further looks", |text| looks(text) > before + 2);

    a.destroy().unwrap();
    screen.wait_for("one ring less", |text| text.contains("2 segments, 2 rings"));
    screen.press("q");
    assert_eq!(screen.end(), 0);
}

#[test]
fn the_screen_names_who_is_stopped_and_goes_without_colour() {
    for colour in [true, false] {
        let place = Place::new();
        let queue = place.descriptor("b").queue().unwrap();
        queue.put(b"held").unwrap();
        let helper = Helper::start("lease", &place);
        helper.stop();
        let mut screen = Screen::start(&place, &["watch", "b", "--interval", "0.05"], colour);
        let blocker = format!("(pid {}, stopped) reading", helper.pid());
        screen.wait_for("the stopped process", |text| text.contains(&blocker));
        let coloured = {
            let terminal = screen.terminal.lock().unwrap();
            let screen = terminal.screen();
            let mut cells = (0..24).flat_map(|row| (0..150).map(move |column| (row, column)));
            cells.any(|(row, column)| {
                screen.cell(row, column).unwrap().fgcolor() != vt100::Color::Default
            })
        };
        assert_eq!(coloured, colour);
        // Ctrl-C.
        screen.press("\x03");
        assert_eq!(screen.end(), 0);
    }
}

#[test]
fn tables_have_colour_on_a_terminal_only() {
    let place = Place::new();
    let queue = place.descriptor("b").queue().unwrap();
    queue.put(b"held").unwrap();
    let helper = Helper::start("lease", &place);
    helper.stop();
    for colour in [true, false] {
        let screen = Screen::start(&place, &["show", "b:queue"], colour);
        let terminal = Arc::clone(&screen.terminal);
        assert_eq!(screen.end(), 0);
        wait_until("all of it is on the screen", || {
            terminal.lock().unwrap().screen().contents().contains("MEMORY")
        });
        let terminal = terminal.lock().unwrap();
        let screen = terminal.screen();
        let mut cells = (0..24).flat_map(|row| (0..150).map(move |column| (row, column)));
        let special = cells.any(|(row, column)| {
            let cell = screen.cell(row, column).unwrap();
            cell.bold() || cell.fgcolor() != vt100::Color::Default
        });
        assert_eq!(special, colour);
    }
}

#[test]
fn watch_needs_a_terminal_and_something_to_watch() {
    let place = Place::new();
    let output = place.run(&["watch"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("needs a terminal"));
    for arguments in [&["watch", "nope"][..], &["watch", "--json"], &["watch", "-q"]] {
        assert_eq!(Screen::start(&place, arguments, true).end(), 2, "{arguments:?}");
    }
}
