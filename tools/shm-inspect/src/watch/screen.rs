//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};

use super::state::{HISTORY, State};
use crate::output::{bar, duration, or_dash, printable, rate};
use crate::show::{blockers, life};
use crate::top::name;

const KEYS: &str = "s sort  r reverse  p pause  ↑↓ choose  +- interval  q quit";

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let chosen = state.rows.get(state.selected).map(|row| &state.looks[row.look]);
    // The participants of the chosen ring's segment get what they need, up to a third.
    let people = chosen.map_or(0, |look| look.participants.len() + 2);
    let people = (people as u16).min(frame.area().height / 3);
    let [head, rings, below, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(people),
        Constraint::Length(1),
    ])
    .areas(frame.area());

    let red = if state.colour { Style::new().fg(Color::Red) } else { Style::new() };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let waiting: u64 = state.looks.iter().flat_map(|look| &look.rings).map(|ring| ring.qsize).sum();
    let mut line = vec![Span::styled("shm-inspect", bold)];
    line.push(Span::raw(format!(
        "  {} segments, {} rings, {waiting} packets waiting  every {}, look {}, by {}{}",
        state.looks.len(),
        state.rows.len(),
        duration(state.interval),
        state.taken,
        state.sort.name(),
        if state.reverse { " reversed" } else { "" },
    )));
    if state.paused {
        line.push(Span::styled("  PAUSED", bold));
    }
    if let Some(error) = &state.error {
        line.push(Span::styled(format!("  {}", printable(error)), red));
    }
    frame.render_widget(Paragraph::new(Line::from(line)), head);

    let header = [
        "RING",
        "PUTS/S",
        "GETS/S",
        "WAITING",
        "IN FLIGHT",
        "OCCUPANCY",
        "OLDEST",
        "PUTS/S THEN",
        "BLOCKED BY",
    ];
    let rows = state.rows.iter().map(|row| {
        let look = &state.looks[row.look];
        let ring = &look.rings[row.ring];
        let about = if ring.consistent { "" } else { "~" };
        let closed =
            if ring.is_closed() { format!(" ({})", ring.state.name()) } else { String::new() };
        TableRow::new([
            Cell::new(format!("{}{closed}", printable(&name(look, &ring.name)))),
            Cell::new(or_dash(row.rates.map(|rates| rate(rates.puts)))),
            Cell::new(or_dash(row.rates.map(|rates| rate(rates.gets)))),
            Cell::new(format!("{about}{}", ring.qsize)),
            Cell::new(ring.in_flight.to_string()),
            Cell::new(bar(ring.occupancy)),
            Cell::new(or_dash(ring.oldest_waiting.map(duration))),
            Cell::new(state.sparkline(row)),
            Cell::new(Span::styled(blockers(look, ring), red)),
        ])
    });
    let longest = |row: &super::state::Row| {
        let look = &state.looks[row.look];
        // Its name, and ` (destroyed)` at most.
        let ring = &look.rings[row.ring];
        name(look, &ring.name).chars().count() + if ring.is_closed() { 12 } else { 0 }
    };
    let longest = state.rows.iter().map(longest).max().unwrap_or(0).clamp(8, 40);
    let widths = [
        Constraint::Length(longest as u16),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(20),
        Constraint::Length(7),
        Constraint::Length(HISTORY as u16),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(TableRow::new(header).style(bold))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut position = TableState::new().with_selected(Some(state.selected));
    frame.render_stateful_widget(table, rings, &mut position);

    if let Some(look) = chosen {
        let rows = look.participants.iter().map(|one| {
            let bad = one.alive == Some(false) || one.stopped == Some(true);
            TableRow::new([
                Cell::new(one.id.to_string()),
                Cell::new(one.pid.to_string()),
                Cell::new(printable(&one.name)),
                Cell::new(Span::styled(life(one), if bad { red } else { Style::new() })),
                Cell::new(or_dash(one.age.map(duration))),
            ])
        });
        let widths = [
            Constraint::Length(5),
            Constraint::Length(10),
            Constraint::Length(32),
            Constraint::Length(8),
            Constraint::Min(8),
        ];
        let of =
            format!("PARTICIPANTS of {}", printable(look.name.as_deref().unwrap_or("the copy")));
        let [title, list] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(below);
        frame.render_widget(Paragraph::new(Span::styled(of, bold)), title);
        let header = TableRow::new(["ID", "PID", "NAME", "ALIVE", "FOR"]).style(bold);
        frame.render_widget(Table::new(rows, widths).header(header), list);
    }
    frame.render_widget(Paragraph::new(KEYS), foot);
}
