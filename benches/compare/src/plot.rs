//! Bars as SVG: a picture a group of workloads, in it a panel a workload, in that a bar an engine.
//!
//! Each panel has a scale of its own, which starts at zero; the values stand beside the bars. Colours follow the
//! reader's light or dark scheme.

use std::fmt::Write;

use crate::engine::Form;
use crate::engines;
use crate::results::Results;
use crate::table::{engine_name, figure};
use crate::workloads::{self, Plot, RAW, Workload};

/// The pictures, with their file names.
pub(crate) fn pictures(results: &Results) -> Vec<(String, String)> {
    let groups = [
        (Plot::Durable, "durable"),
        (Plot::Buffered, "buffered"),
        (Plot::Reads, "reads"),
        (Plot::OpenAndSize, "open-and-size"),
        (Plot::Together, "together"),
    ];
    groups
        .into_iter()
        .filter_map(|(group, name)| {
            let of_group = workloads::ALL
                .iter()
                .filter(|workload| workload.plot == group);
            let panels: Vec<_> = of_group
                .filter_map(|workload| Panel::of(results, workload))
                .collect();
            (!panels.is_empty()).then(|| (format!("{name}.svg"), picture(results, &panels)))
        })
        .collect()
}

struct Panel {
    title: String,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    value: f64,
    class: &'static str,
}

impl Panel {
    fn of(results: &Results, workload: &Workload) -> Option<Self> {
        let bar = |name: String, class| {
            let median = results.median(workload.name, &name)?;
            Some(Bar {
                name,
                value: median.value,
                class,
            })
        };
        let mut bars: Vec<_> = engines::ALL
            .iter()
            .flat_map(|kind| {
                let class = if kind.name == "annals" { "own" } else { "peer" };
                let grouped =
                    (kind.form == Form::Database).then(|| bar(engine_name(kind, true), class));
                [bar(engine_name(kind, false), class), grouped.flatten()]
            })
            .flatten()
            .collect();
        if bars.is_empty() {
            return None;
        }
        let greatest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        let raw = bar(RAW.to_owned(), "raw");
        // Where nobody comes near the limit its bar would leave the others nothing to be told apart by.
        let (near, far) = match raw {
            Some(raw) if raw.value > 2.0 * greatest => (None, Some(raw)),
            raw => (raw, None),
        };
        bars.extend(near);
        bars.sort_by(|one, other| {
            let order = other.value.total_cmp(&one.value);
            if workload.higher_is_better {
                order
            } else {
                order.reverse()
            }
        });
        let better = if workload.higher_is_better {
            "more"
        } else {
            "less"
        };
        let far = far.map_or(String::new(), |raw| {
            format!("; raw limit {}", figure(raw.value))
        });
        let title = format!(
            "{}: {}, {} ({better} is better{far})",
            workload.name, workload.what, workload.unit
        );
        Some(Self { title, bars })
    }

    fn height(&self) -> f64 {
        TITLE_HEIGHT + BAR_HEIGHT * self.bars.len() as f64 + PANEL_GAP
    }
}

fn picture(results: &Results, panels: &[Panel]) -> String {
    let height = panels.iter().map(Panel::height).sum::<f64>() + FOOT_HEIGHT;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
<style>
text {{ fill: #24292f }} .title {{ font-weight: 600 }} .foot {{ font-size: 11px; fill: #57606a }}
.own {{ fill: #b35900 }} .peer {{ fill: #7d8ea3 }} .raw {{ fill: none; stroke: #7d8ea3; stroke-dasharray: 3 2 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }} .foot {{ fill: #9198a1 }} .own {{ fill: #f0883e }} .peer {{ fill: #6e7f94 }}
}}
</style>
"#
    );
    let mut top = 0.0;
    for panel in panels {
        draw(&mut svg, panel, top);
        top += panel.height();
    }
    let machine = &results.machine;
    let foot = format!(
        "{} UTC, {}, {} cores, {}, {}; {} events; medians of {} round{}",
        results.date,
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.file_system,
        figure(results.events as f64),
        results.rounds,
        if results.rounds == 1 { "" } else { "s" },
    );
    let _ = writeln!(
        svg,
        r#"<text class="foot" x="8" y="{}">{}</text>"#,
        top + 12.0,
        escaped(&foot)
    );
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, panel: &Panel, top: f64) {
    let title = escaped(&panel.title);
    let _ = writeln!(
        svg,
        r#"<text class="title" x="8" y="{}">{title}</text>"#,
        top + 18.0
    );
    let greatest = panel
        .bars
        .iter()
        .map(|bar| bar.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    for (place, bar) in panel.bars.iter().enumerate() {
        let y = top + TITLE_HEIGHT + BAR_HEIGHT * place as f64;
        let len = (bar.value / greatest * BAR_LEN).max(1.0);
        let (text_y, bar_y, bar_height) = (y + 14.0, y + 3.0, BAR_HEIGHT - 6.0);
        let name = escaped(&bar.name);
        let _ = writeln!(
            svg,
            r#"<text x="{}" y="{text_y}" text-anchor="end">{name}</text><rect class="{}" x="{BAR_START}" y="{bar_y}" width="{len:.1}" height="{bar_height}" rx="2"/><text x="{:.1}" y="{text_y}">{}</text>"#,
            BAR_START - 8.0,
            bar.class,
            BAR_START + len + 6.0,
            figure(bar.value),
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const WIDTH: f64 = 760.0;
const BAR_START: f64 = 116.0;
const BAR_LEN: f64 = 540.0;
const BAR_HEIGHT: f64 = 20.0;
const TITLE_HEIGHT: f64 = 28.0;
const PANEL_GAP: f64 = 14.0;
const FOOT_HEIGHT: f64 = 22.0;
