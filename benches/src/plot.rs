//! Curves as SVG: a percentile curve, or throughput over the size of the payload.

use std::path::Path;

use plotters::prelude::*;

use crate::error::{BenchError, Result};

/// One curve.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// What it is.
    pub(crate) label: String,
    /// Where it goes.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Names a curve.
    pub(crate) fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points }
    }
}

/// Draws times over percentiles: the horizontal axis counts nines, the vertical one is logarithmic.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn percentiles(file: &Path, title: &str, unit: &str, curves: &[Curve]) -> Result<()> {
    let percent = |nines: &f64| {
        let decimals = (*nines - 2.0).max(0.0).round() as usize;
        format!("{:.decimals$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
    };
    draw(file, title, ("percentile", &percent), unit, curves)
}

/// Draws rates over sizes: both axes are logarithmic, the points' first numbers being log₂ of bytes.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn rates(file: &Path, title: &str, curves: &[Curve]) -> Result<()> {
    let size = |log2: &f64| match log2.round() as u32 {
        bits @ 0..10 => format!("{} B", 1_u64 << bits),
        bits @ 10..20 => format!("{} KiB", 1_u64 << (bits - 10)),
        bits => format!("{} MiB", 1_u64 << (bits - 20).min(40)),
    };
    draw(file, title, ("payload", &size), "GB/s", curves)
}

type Naming<'a> = (&'a str, &'a dyn Fn(&f64) -> String);

fn draw(
    file: &Path,
    title: &str,
    (x_axis, x_name): Naming<'_>,
    y_axis: &str,
    curves: &[Curve],
) -> Result<()> {
    render(file, title, (x_axis, x_name), y_axis, curves).map_err(|error| BenchError::Os {
        doing: format!("drawing {}", file.display()),
        source: std::io::Error::other(error.to_string()),
    })
}

fn render(
    file: &Path,
    title: &str,
    (x_axis, x_name): Naming<'_>,
    y_axis: &str,
    curves: &[Curve],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let bounds = |of: &dyn Fn(&(f64, f64)) -> f64| {
        points()
            .map(of)
            .fold((f64::INFINITY, 0.0_f64), |(least, most), v| (least.min(v), most.max(v)))
    };
    let (x_least, x_most) = bounds(&|point| point.0);
    let (y_least, y_most) = bounds(&|point| point.1.max(1e-6));
    if points().next().is_none() {
        return Err("there is nothing to draw".into());
    }

    let root = SVGBackend::new(file, (860, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            x_least..x_most.max(x_least + 1.0),
            (y_least * 0.8..y_most * 1.25).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(x_axis)
        .y_desc(y_axis)
        .x_labels((x_most - x_least).round() as usize + 2)
        .x_label_formatter(x_name)
        .light_line_style(BLACK.mix(0.05))
        .draw()?;
    for (i, curve) in curves.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))?
            .label(&curve.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(curve.points.iter().map(|&at| Circle::new(at, 2, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Curve, percentiles, rates};

    #[test]
    fn drawings_are_svg_with_every_label() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("curve.svg");
        let curves = [
            Curve::new("ring", vec![(0.0, 120.0), (1.0, 140.0), (3.0, 900.0)]),
            Curve::new("floor", vec![(0.0, 110.0), (3.0, 400.0)]),
        ];
        percentiles(&file, "one way", "ns", &curves).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for label in ["ring", "floor", "one way", "99.9 %", "percentile"] {
            assert!(svg.contains(label), "{label} in {svg}");
        }

        rates(&file, "stream", &[Curve::new("copy", vec![(5.0, 1.0), (20.0, 14.0)])]).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        assert!(svg.contains("1 MiB") && svg.contains("GB/s"), "{svg}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let file = std::path::Path::new("/nonexistent/curve.svg");
        let curve = [Curve::new("ring", vec![(0.0, 1.0)])];
        let error = percentiles(file, "t", "ns", &curve).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/curve.svg"), "{error}");
    }
}
