//! A plan as a table.

use std::fmt::Write;

use super::plan::{JobPlan, TaskSpec};
use crate::queue::Side;

/// Lines of cells, each column as wide as its widest.
fn align(rows: &[Vec<String>], out: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

pub(super) fn table(plan: &JobPlan) -> String {
    let mut out = format!("job {}, {} processes\n\n", plan.job.name, plan.tasks.len());
    let mut rows = vec![row(&["task", "instances", "restarts", "reads", "sends to", "calls"])];
    let firsts = plan.tasks.iter().filter(|task| task.instance.index == 0);
    for task in firsts {
        rows.push(vec![
            task.instance.task.clone(),
            task.parallelism.to_string(),
            task.restart.max.to_string(),
            or_dash(reads(task)),
            or_dash(sends(task)),
            or_dash(task.services.keys().cloned().collect::<Vec<_>>().join(", ")),
        ]);
    }
    align(&rows, &mut out);
    out.push('\n');
    let mut rows = vec![row(&["ring", "from", "to", "mode", "packets", "bytes", "delivery"])];
    for ring in &plan.rings {
        let side = |side| if side == Side::Single { "s" } else { "m" };
        let geometry = ring.config.geometry().ok();
        let number = |what: fn(&crate::queue::Geometry) -> u64| {
            geometry.as_ref().map_or_else(String::new, |geometry| what(geometry).to_string())
        };
        rows.push(vec![
            ring.name.clone(),
            ring.from.clone(),
            ring.to.clone(),
            format!("{}p{}c", side(ring.config.producers), side(ring.config.consumers)),
            number(|geometry| geometry.entries()),
            number(|geometry| geometry.entries() * u64::from(geometry.unit_bytes)),
            (if ring.exactly_once { "exactly once" } else { "at least once" }).into(),
        ]);
    }
    align(&rows, &mut out);
    out
}

fn reads(task: &TaskSpec) -> String {
    match (&task.input, &task.serve) {
        (Some(input), _) if input.shared => format!("{} (shared)", input.ring),
        (Some(input), _) => input.ring.clone(),
        (None, Some(serve)) => serve.requests.clone(),
        (None, None) => String::new(),
    }
}

fn sends(task: &TaskSpec) -> String {
    let groups = task.output.strategies.iter().map(|(group, strategy)| {
        let targets =
            task.output.connections.iter().filter(|target| target.broadcast_index == *group);
        let names: Vec<_> = targets.map(|target| target.target_name.clone()).collect();
        match (names.first(), names.last()) {
            (Some(first), Some(last)) if names.len() > 2 => {
                format!("{first} … {last} ({strategy})")
            }
            _ => format!("{} ({strategy})", names.join(", ")),
        }
    });
    groups.collect::<Vec<_>>().join("; ")
}
