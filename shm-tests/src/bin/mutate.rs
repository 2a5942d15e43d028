//! Mutates segments before and during everything that can be done with them, and counts what comes
//! of it. See `shm_tests::hostile`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use shm_tests::hostile::fleet::{Task, Total};
use shm_tests::hostile::image;
use shm_tests::hostile::plan::{PHASES, Region};
use shm_tests::hostile::status::{Counter, ERRORS};
use shm_tests::hostile::worker;
use shm_tests::place::Place;

const HELP: &str = "\
Mutates every region of valid live segments, before and during attach, put, get, lease, close,
inspect and recovery, and counts panics, crashes and hangs, which must be 0.

Usage: cargo run --release -p shm-tests --bin mutate -- [OPTIONS]

Options:
      --segments N   how many segments [default: 20000]
      --seed X       what all of it follows from [default: the clock]
      --jobs N       processes at a time [default: one for each CPU]
      --json         print the count as JSON
      --replay I     run segment I of the seed only, in this process, and tell what it does
      --times N      with --replay: so many times [default: 1]
      --seeds DIR    write the intact segments into a directory, as a corpus of fuzz/attach
  -h, --help         print this

The work is done by other processes: one that dies by a signal is a crash of the segment it was at.
A hang is a `try_*` that takes over a second, an operation with a deadline that ends over a second
after it, or another operation that takes over 12 seconds. The machine may be loaded, or stop
everything for a while, so a suspected hang is first tried again, alone, three times; only if it
hangs each time it is counted, and as `slow` otherwise.

A segment counts as reported when some operation returned an error that an intact segment does not
give, and as undetected when everything went on as if nothing had happened, which is allowed: no
checksum covers what changes all the time.

Exit code: 0 if nothing panicked, crashed or hung, every region was at least a hundredth of all
segments, and damage was reported in at least a fifth of them; 1 otherwise; 2 for a wrong call.

Examples:
  mutate --segments 1000000 --json
  mutate --seed 42 --replay 1234 --times 1000
  mutate --seeds fuzz/corpus/attach
";

struct Options {
    segments: u64,
    seed: u64,
    jobs: u64,
    json: bool,
    replay: Option<u64>,
    times: u64,
}

enum Call {
    Help,
    Worker(Vec<String>),
    Seeds(PathBuf),
    Run(Options),
}

fn main() -> ExitCode {
    match parse() {
        Ok(Call::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Call::Worker(arguments)) => ending(work(&arguments).map(|()| true)),
        Ok(Call::Seeds(directory)) => ending(write_seeds(&directory).map(|()| true)),
        Ok(Call::Run(options)) => ending(run(&options)),
        Err(error) => {
            eprintln!("mutate: {error}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn ending(result: std::io::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutate: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Call, lexopt::Error> {
    use lexopt::prelude::*;
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut options = Options {
        segments: 20_000,
        seed: clock.map_or(1, |now| now.as_micros() as u64),
        jobs: std::thread::available_parallelism().map_or(2, |cpus| cpus.get() as u64),
        json: false,
        replay: None,
        times: 1,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Call::Help),
            Long("worker") => {
                let rest = parser.raw_args()?.map(|argument| argument.string());
                return Ok(Call::Worker(rest.collect::<Result<_, _>>()?));
            }
            Long("seeds") => return Ok(Call::Seeds(parser.value()?.into())),
            Long("segments") => options.segments = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("jobs") => options.jobs = parser.value()?.parse::<u64>()?.clamp(1, 64),
            Long("json") => options.json = true,
            Long("replay") => options.replay = Some(parser.value()?.parse()?),
            Long("times") => options.times = parser.value()?.parse()?,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Call::Run(options))
}

fn work(arguments: &[String]) -> std::io::Result<()> {
    let wrong = || std::io::Error::other("a worker is started by mutate itself");
    let [arena, page, log, from, step, to, seed] = arguments else { return Err(wrong()) };
    let number = |text: &String| text.parse::<u64>().map_err(|_| wrong());
    let paths = (arena.as_ref(), page.as_ref(), log.as_ref());
    worker::work(paths, (number(from)?, number(step)?, number(to)?), number(seed)?)
}

/// The intact segments, each behind the byte that has its checksum made right.
fn write_seeds(directory: &Path) -> std::io::Result<()> {
    let place = Place::new("");
    std::fs::create_dir_all(directory)?;
    for (index, image) in image::all(place.segments())?.iter().enumerate() {
        let bytes = [&[1], image.bytes.as_slice()].concat();
        std::fs::write(directory.join(format!("image-{index}")), bytes)?;
    }
    Ok(())
}

fn run(options: &Options) -> std::io::Result<bool> {
    let program: PathBuf = std::env::current_exe()?;
    // A directory in shared memory, gone in the end whatever happens.
    let place = Place::new(&program);
    if let Some(index) = options.replay {
        return worker::replay(place.logs(), options.seed, index, options.times);
    }
    let task = Task {
        program,
        place: place.logs().to_owned(),
        segments: options.segments,
        seed: options.seed,
        jobs: options.jobs.min(options.segments.max(1)),
    };
    let bar = if std::io::stderr().is_terminal() {
        let style =
            ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} ({per_sec}, {eta})")
                .map_err(std::io::Error::other)?;
        ProgressBar::new(options.segments).with_style(style)
    } else {
        ProgressBar::hidden()
    };
    let total = task.run(|done| bar.set_position(done))?;
    bar.finish_and_clear();
    if options.json {
        println!("{:#}", total.json());
    } else {
        print_table(&total);
    }
    for finding in &total.findings {
        eprintln!("{} at segment {}: {}", finding.kind, finding.index, finding.what);
        eprintln!(
            "  again: cargo run --release -p shm-tests --bin mutate -- --seed {} --replay {} --times 1000",
            options.seed, finding.index
        );
    }
    Ok(total.passed())
}

fn print_table(total: &Total) {
    let segments = total.count(Counter::Segments);
    let line = |what: &str, count: u64| {
        let share = 100.0 * count as f64 / segments.max(1) as f64;
        println!("{what:<22} {count:>10}  {share:>5.1} %");
    };
    line("segments", segments);
    for (index, (region, _)) in Region::ALL.iter().enumerate() {
        line(&format!("  in {}", region.name()), total.count(Counter::Region(index)));
    }
    for (index, phase) in PHASES.iter().enumerate() {
        line(&format!("  at {phase}"), total.count(Counter::Phase(index)));
    }
    line("  all the while", total.count(Counter::During));
    line("errors reported", total.count(Counter::Reported));
    for (index, error) in ERRORS.iter().enumerate() {
        line(&format!("  {error}"), total.count(Counter::Error(index)));
    }
    line("undetected", total.count(Counter::Undetected));
    for (what, count) in [
        ("panics", total.count(Counter::Panics)),
        ("crashes", total.crashes),
        ("hangs", total.hangs),
        ("slow", total.slow.len() as u64),
    ] {
        println!("{what:<22} {count:>10}");
    }
    println!("seed {}", total.json()["seed"]);
}
