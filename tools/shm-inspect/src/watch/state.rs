//! What the screen shows, and what keys do to it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ratatui::crossterm::event::KeyCode;
use ringway::shm::inspect::SegmentSnapshot;

use crate::failure::Result;
use crate::looks::{Before, Rates};

/// Looks that the history of a ring goes back.
pub(super) const HISTORY: usize = 24;
const FASTEST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(60);

/// What the rings are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Puts,
    Gets,
    Waiting,
    Occupancy,
    Oldest,
}

impl Sort {
    const ALL: [Self; 6] =
        [Self::Name, Self::Puts, Self::Gets, Self::Waiting, Self::Occupancy, Self::Oldest];

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "ring",
            Self::Puts => "puts/s",
            Self::Gets => "gets/s",
            Self::Waiting => "waiting",
            Self::Occupancy => "occupancy",
            Self::Oldest => "oldest",
        }
    }
}

/// One ring, as a row: where it is in the looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) look: usize,
    pub(super) ring: usize,
    pub(super) rates: Option<Rates>,
}

type Key = ([u8; 16], String);

pub(super) struct State {
    pub(super) interval: Duration,
    pub(super) colour: bool,
    pub(super) paused: bool,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    pub(super) looks: Vec<SegmentSnapshot>,
    pub(super) rows: Vec<Row>,
    pub(super) selected: usize,
    /// Why the last look failed.
    pub(super) error: Option<String>,
    pub(super) taken: u64,
    before: Before,
    history: HashMap<Key, VecDeque<f64>>,
}

impl State {
    pub(super) fn new(interval: Duration, colour: bool) -> Self {
        Self {
            interval: interval.clamp(FASTEST, SLOWEST),
            colour,
            paused: false,
            sort: Sort::Name,
            reverse: false,
            looks: Vec::new(),
            rows: Vec::new(),
            selected: 0,
            error: None,
            taken: 0,
            before: Before::default(),
            history: HashMap::new(),
        }
    }

    /// Takes over a new look, or says that there was none.
    pub(super) fn looked(&mut self, looks: Result<Vec<SegmentSnapshot>>) {
        let looks = match looks {
            Ok(looks) => looks,
            Err(error) => {
                self.error = Some(error.to_string());
                return;
            }
        };
        self.error = None;
        self.taken += 1;
        let chosen = self.chosen_key();
        let rates = self.before.rates(&looks);
        let mut history = HashMap::new();
        self.rows.clear();
        for (at, (look, rates)) in looks.iter().zip(&rates).enumerate() {
            for (ring, rates) in rates.iter().enumerate() {
                let key = (look.uuid, look.rings[ring].name.clone());
                let mut past = self.history.remove(&key).unwrap_or_default();
                if let Some(rates) = rates {
                    past.push_back(rates.puts);
                }
                while past.len() > HISTORY {
                    past.pop_front();
                }
                history.insert(key, past);
                self.rows.push(Row { look: at, ring, rates: *rates });
            }
        }
        (self.looks, self.history) = (looks, history);
        self.order(chosen);
    }

    /// Does what a key says; `false`: quit.
    pub(super) fn key(&mut self, key: KeyCode) -> bool {
        let chosen = self.chosen_key();
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.step(1),
            KeyCode::Char('S') => self.sort = self.sort.step(Sort::ALL.len() - 1),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Char('+') => self.interval = (self.interval / 2).max(FASTEST),
            KeyCode::Char('-') => self.interval = (self.interval * 2).min(SLOWEST),
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.rows.len().saturating_sub(1));
                return true;
            }
            KeyCode::Up | KeyCode::Char('k') => {
                self.selected = self.selected.saturating_sub(1);
                return true;
            }
            _ => return true,
        }
        self.order(chosen);
        true
    }

    fn key_of(&self, row: &Row) -> Key {
        let look = &self.looks[row.look];
        (look.uuid, look.rings[row.ring].name.clone())
    }

    fn chosen_key(&self) -> Option<Key> {
        self.rows.get(self.selected).map(|row| self.key_of(row))
    }

    /// Sorts the rows, and keeps the chosen ring chosen.
    fn order(&mut self, chosen: Option<Key>) {
        let (looks, sort) = (&self.looks, self.sort);
        let by_name = |a: &Row, b: &Row| {
            let name = |row: &Row| (&looks[row.look].name, row.ring);
            name(a).cmp(&name(b))
        };
        let rate = |row: &Row, pick: fn(&Rates) -> f64| row.rates.as_ref().map_or(-1.0, pick);
        let ring = |row: &Row| &looks[row.look].rings[row.ring];
        // The largest first; names from the first.
        self.rows.sort_by(|a, b| match sort {
            Sort::Name => by_name(a, b),
            Sort::Puts => rate(b, |r| r.puts).total_cmp(&rate(a, |r| r.puts)),
            Sort::Gets => rate(b, |r| r.gets).total_cmp(&rate(a, |r| r.gets)),
            Sort::Waiting => ring(b).qsize.cmp(&ring(a).qsize),
            Sort::Occupancy => ring(b).occupancy.total_cmp(&ring(a).occupancy),
            Sort::Oldest => ring(b).oldest_waiting.cmp(&ring(a).oldest_waiting),
        });
        if self.reverse {
            self.rows.reverse();
        }
        let at = chosen.and_then(|key| self.rows.iter().position(|row| self.key_of(row) == key));
        self.selected = at.unwrap_or(self.selected).min(self.rows.len().saturating_sub(1));
    }

    /// The puts per second of a ring in the last looks, as a line of blocks, the latest at the right.
    pub(super) fn sparkline(&self, row: &Row) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let Some(past) = self.history.get(&self.key_of(row)) else { return String::new() };
        let most = past.iter().copied().fold(0.0, f64::max);
        let block = |&rate: &f64| {
            // Nothing at all is the lowest block; the most is the highest.
            let height = if most > 0.0 { rate / most * 7.0 } else { 0.0 };
            BLOCKS[(height.ceil() as usize).min(7)]
        };
        past.iter().map(block).collect()
    }
}
