//! A scripted process: reads commands from stdin, one a line, and answers each with one line, `ok …`
//! or `err VARIANT …`. See `shm_tests::script` for the commands. Started with three more words,
//! it is one of `shm_tests::starter`.

use std::io::{BufRead, Write};
use std::path::Path;

use shm_tests::script::Script;

fn main() {
    // The test thread that started us is our parent; its death is ours, whatever we are doing.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .expect("asking to die with the test");
    let test = std::env::args().nth(1).and_then(|pid| pid.parse().ok());
    if test.is_some_and(|test: i32| nix::unistd::getppid().as_raw() != test) {
        return;
    }
    // Not a scripted peer, but one of very many.
    let words: Vec<String> = std::env::args().skip(2).collect();
    if let [role, doors, json] = words.as_slice() {
        let told = shm_tests::starter::run(role, Path::new(doors), json);
        std::process::exit(i32::from(told.is_err()));
    }
    let mut script = Script::default();
    answer("ok ready");
    let mut line = String::new();
    loop {
        line.clear();
        // Unlocked before the command runs: a forked child looks at stdin as well.
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
        answer(&script.run(line.trim_end()));
    }
}

fn answer(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads: the test is over.
    let told = writeln!(out, "{text}").and_then(|()| out.flush());
    if told.is_err() {
        std::process::exit(0);
    }
}
