//! Standard output: tables, JSON, and numbers for people.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde::Serialize;

use crate::cli::Common;
use crate::failure::{Failure, Result};

/// Standard output. A reader that goes away is an error like any other, and no panic.
pub(crate) struct Output {
    to: BufWriter<Stdout>,
    quiet: bool,
    pub(crate) json: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(common: &Common) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let stdout = io::stdout();
        Self {
            colour: stdout.is_terminal() && !plain,
            to: BufWriter::with_capacity(1 << 16, stdout),
            quiet: common.quiet,
            json: common.json,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.to.write_all(bytes).map_err(Failure::Output)
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    /// Prints a table under a title, unless it has no rows.
    pub(crate) fn section(&mut self, title: &str, table: Columns) -> Result<()> {
        if table.rows == 0 {
            return Ok(());
        }
        self.line("")?;
        if self.colour {
            self.line(&format!("\x1b[1m{title}\x1b[0m"))?;
        } else {
            self.line(title)?;
        }
        self.table(table)
    }

    pub(crate) fn table(&mut self, table: Columns) -> Result<()> {
        let Columns { mut table, .. } = table;
        table.force_no_tty();
        if self.colour {
            table.enforce_styling();
        }
        self.line(&table.trim_fmt())
    }

    /// Prints a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        serde_json::to_writer_pretty(&mut self.to, value)
            .map_err(|error| Failure::Output(error.into()))?;
        self.line("")
    }

    /// Prints a value as JSON in one line, for what goes on for ever.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        serde_json::to_writer(&mut self.to, value)
            .map_err(|error| Failure::Output(error.into()))?;
        self.line("")
    }

    /// Writes bytes that are the result itself, also where nothing else is printed.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).map_err(Failure::Output)
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.to.flush().map_err(Failure::Output)
    }

    /// Tells the user what is wrong, also where nothing else is printed.
    pub(crate) fn warn(&self, warning: &str) {
        // Nobody to tell if this fails.
        let _ = writeln!(io::stderr(), "shm-inspect: {warning}");
    }

    /// Tells the user something that is no part of the result.
    pub(crate) fn note(&self, note: &str) {
        if !self.quiet {
            // Nobody to tell if this fails.
            let _ = writeln!(io::stderr(), "shm-inspect: {note}");
        }
    }
}

/// A table with aligned columns and no lines.
pub(crate) struct Columns {
    table: Table,
    rows: usize,
}

impl Columns {
    /// Names the columns; those that start with `>` hold numbers.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(names.iter().map(|name| name.trim_start_matches('>')));
        for (index, name) in names.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                let left = if index == 0 { 0 } else { 1 };
                column.set_padding((left, 1));
                if name.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table, rows: 0 }
    }

    /// A table of names and values.
    pub(crate) fn pairs() -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        Self { table, rows: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.table.add_row(cells);
        if self.rows == 0
            && let Some(column) = self.table.column_mut(0)
        {
            column.set_padding((0, 1));
        }
        self.rows += 1;
    }
}

/// An ordinary cell. Nothing in it can move the cursor or change the colour.
pub(crate) fn cell(value: impl ToString) -> Cell {
    Cell::new_owned(printable(&value.to_string()))
}

/// A cell that needs attention.
pub(crate) fn bad(value: impl ToString) -> Cell {
    cell(value).fg(Color::Red)
}

/// A cell that needs attention when `wrong`.
pub(crate) fn bad_when(wrong: bool, value: impl ToString) -> Cell {
    if wrong { bad(value) } else { cell(value) }
}

/// A cell of several lines, which the caller made of printable characters.
pub(crate) fn lines(value: String) -> Cell {
    Cell::new_owned(value)
}

/// A number, or a dash for none.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// An id, or a dash for nobody.
pub(crate) fn id_or_dash(id: u16) -> String {
    or_dash(Some(id).filter(|&id| id != 0))
}

/// A text in which control characters are spelt out.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_debug());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// `yes`, `no` or `?`.
pub(crate) fn alive(alive: Option<bool>) -> &'static str {
    match alive {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    }
}

/// A share of 1 as a bar: `[#####.....]  50.0%`.
pub(crate) fn bar(share: f64) -> String {
    const WIDTH: usize = 10;
    let share = share.clamp(0.0, 1.0);
    // What is not empty shows, and what is not full leaves room.
    let least = usize::from(share > 0.0);
    let most = if share < 1.0 { WIDTH - 1 } else { WIDTH };
    let full = ((share * WIDTH as f64).round() as usize).clamp(least, most);
    format!("[{}{}] {:5.1}%", "#".repeat(full), ".".repeat(WIDTH - full), share * 100.0)
}

/// A number per second in four characters or so: `0`, `0.05`, `12`, `3.4k`, `120M`.
pub(crate) fn rate(per_second: f64) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if per_second >= unit {
            let value = per_second / unit;
            let digits = usize::from(value < 10.0);
            return format!("{value:.digits$}{name}");
        }
    }
    match per_second {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{small:.2}"),
        large => format!("{large:.0}"),
    }
}

/// A time in its two largest units: `3m 12s`, `250ms`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() > 0 => format!("{}ms", time.as_millis()),
        0 => format!("{}us", time.as_micros()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A wall-clock time as `2026-01-31T12:34:56Z`.
pub(crate) fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": years start in March, eras
    // have 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes as lines of 16, in hexadecimal and as text.
pub(crate) fn hex_lines(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(16) {
        if !text.is_empty() {
            text.push('\n');
        }
        for byte in chunk {
            let _ = write!(text, "{byte:02x} ");
        }
        for _ in chunk.len()..16.min(bytes.len()) {
            text.push_str("   ");
        }
        text.push('|');
        text.extend(chunk.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        }));
        text.push('|');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), date);
        }
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (ms, text) in [(0, "0us"), (5, "5ms"), (59_999, "59s"), (192_000, "3m 12s")] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(duration(Duration::from_secs(90_000)), "1d 1h");
    }

    #[test]
    fn a_bar_is_empty_or_full_only_where_the_ring_is() {
        assert_eq!(bar(0.0), "[..........]   0.0%");
        assert_eq!(bar(0.001), "[#.........]   0.1%");
        assert_eq!(bar(0.5), "[#####.....]  50.0%");
        assert_eq!(bar(0.999), "[#########.]  99.9%");
        assert_eq!(bar(1.0), "[##########] 100.0%");
    }

    #[test]
    fn rates_are_short() {
        let rates = [0.0, 0.054, 12.3, 3_400.0, 120e6, 2.5e9].map(rate);
        assert_eq!(rates, ["0", "0.05", "12", "3.4k", "120M", "2.5G"]);
    }

    #[test]
    fn payloads_are_shown_as_hex_and_text() {
        assert_eq!(hex_lines(b"a\x00"), "61 00 |a.|");
        let two = hex_lines(&[b'x'; 17]);
        let lengths: Vec<_> = two.lines().map(|line| line.find('|')).collect();
        assert_eq!(lengths, [Some(48), Some(48)]);
    }
}
