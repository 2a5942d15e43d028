//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

/// Printed by `--help`.
pub(crate) const HELP: &str = "\
Counts words in a pipeline of processes connected by shared-memory rings.

Usage: wordcount [OPTIONS] [FILE...]

A word is a longest run of letters and digits (char::is_alphanumeric), lower-cased. Bytes that are
not UTF-8 separate words. Without FILE the project's own documentation is counted.

Options:
      --splitters N     processes that split text into words, 1 to 256 [default: 2]
      --counters N      processes that count words, 1 to 256 [default: 2]
      --top K           how many of the most frequent words to print [default: 20]
      --json            print one JSON object: words, distinct, top, processes, elapsed_s
      --max-word BYTES  longest word that must fit the rings [default: as long as the largest
                        file, but 64 KiB at least and 1 MiB at most]
      --in-process      do the same work in this process alone, without rings, to compare
  -h, --help            print this

The result goes to standard output, COUNT WORD in each line; progress and a summary of all rings go
to standard error.

Exit status: 0 done; 1 the job failed; 2 wrong arguments, or a file that cannot be read; 130
interrupted.

Examples:
  wordcount                                    the project's own documentation
  wordcount --top 5 book.txt letters/*.txt     the five most frequent words of some files
  wordcount --splitters 3 --counters 4 --json big.txt
  zcat big.txt.gz | wordcount /dev/stdin
";

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) splitters: u32,
    pub(crate) counters: u32,
    pub(crate) top: usize,
    pub(crate) json: bool,
    pub(crate) max_word: Option<usize>,
    pub(crate) in_process: bool,
    pub(crate) files: Vec<PathBuf>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Help,
    Run(Args),
}

const MAX_INSTANCES: u32 = 256;
const MAX_WORD: u64 = 64 << 20;

/// Reads the command line.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Request, lexopt::Error> {
    let mut parser = lexopt::Parser::from_iter(arguments);
    let mut args = Args {
        splitters: 2,
        counters: 2,
        top: 20,
        json: false,
        max_word: None,
        in_process: false,
        files: Vec::new(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Request::Help),
            Long("splitters") => args.splitters = number(&mut parser, 1, MAX_INSTANCES.into())?,
            Long("counters") => args.counters = number(&mut parser, 1, MAX_INSTANCES.into())?,
            Long("top") => args.top = number(&mut parser, 0, u32::MAX.into())?,
            Long("max-word") => args.max_word = Some(number(&mut parser, 1, MAX_WORD)?),
            Long("json") => args.json = true,
            Long("in-process") => args.in_process = true,
            Value(file) => args.files.push(file.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Request::Run(args))
}

/// The value of an option: a number from `min` to `max`.
fn number<T: TryFrom<u64>>(
    parser: &mut lexopt::Parser,
    min: u64,
    max: u64,
) -> Result<T, lexopt::Error> {
    let value = parser.value()?;
    let number = value.parse::<u64>()?;
    let in_range = (min..=max).contains(&number);
    let number = in_range.then(|| T::try_from(number).ok()).flatten();
    number.ok_or_else(|| format!("{} is not in {min}..={max}", value.to_string_lossy()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, lexopt::Error> {
        super::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_and_files_mix() {
        let Ok(Request::Run(args)) = parse("wordcount a --splitters 3 --top=0 b --json -- --c")
        else {
            panic!("not a run");
        };
        assert_eq!((args.splitters, args.counters, args.top, args.json), (3, 2, 0, true));
        assert_eq!(args.files, ["a", "b", "--c"].map(PathBuf::from));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["--splitters 0", "--counters 257", "--top -1", "--top", "--json=1", "--no"] {
            assert!(parse(&format!("wordcount {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse("wordcount --no-such --help").is_err());
        assert!(matches!(parse("wordcount x --help"), Ok(Request::Help)));
    }
}
