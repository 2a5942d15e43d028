//! `watch`: a screen that refreshes.

mod screen;
mod state;

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::Found;
use crate::cli::{Common, WatchArgs};
use crate::failure::{Failure, Result};
use crate::looks::readable;
use state::State;

pub(crate) fn run(common: &Common, args: &WatchArgs) -> Result<Found> {
    use std::io::IsTerminal;
    if common.json || common.quiet {
        return Err(Failure::Usage("watch is a screen and nothing else; see list and top".into()));
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::Usage("watch needs a terminal; see list, top and metrics".into()));
    }
    let named: Vec<_> = args.segment.iter().cloned().collect();
    let mut state = State::new(args.interval, colourful());
    // What is not there is an error now; what vanishes later is shown.
    state.looked(Ok(readable(common, &named)?));
    let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
    let done = refresh(common, &named, &mut state, &mut terminal);
    // Whatever happened: the terminal is to be usable.
    let restored = ratatui::try_restore().map_err(Failure::Output);
    done.and(restored)?;
    Ok(Found::Fine)
}

fn colourful() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn refresh(
    common: &Common,
    named: &[String],
    state: &mut State,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<()> {
    let mut due = Instant::now() + state.interval;
    loop {
        terminal.draw(|frame| screen::draw(frame, state)).map_err(Failure::Output)?;
        let left = due.saturating_duration_since(Instant::now());
        if event::poll(left).map_err(Failure::Output)? {
            // Keys that came together are drawn together.
            loop {
                if let Event::Key(key) = event::read().map_err(Failure::Output)?
                    && key.kind == KeyEventKind::Press
                {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    if key.code == KeyCode::Char('c') && control || !state.key(key.code) {
                        return Ok(());
                    }
                }
                if !event::poll(Duration::ZERO).map_err(Failure::Output)? {
                    break;
                }
            }
        }
        if Instant::now() >= due {
            due = Instant::now() + state.interval;
            if !state.paused {
                state.looked(readable(common, named));
            }
        }
    }
}
