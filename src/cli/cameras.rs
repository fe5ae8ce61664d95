//! `watchpost cameras`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::flags::OutputFormat;
use super::{CliError, output};
use crate::config::{Config, DEFAULT_PATH};
use crate::source::V4l2Config;
use crate::source::cameras::{MediaGraph, Node, NodeVerdict, PadPlace, Size, survey};

#[derive(clap::Args)]
pub struct Args {
    /// Configuration whose size and rate the format is chosen for; without it, that of the packaged
    /// file or the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let wanted = match &args.config {
        Some(path) => Config::load(path)?.source.v4l2,
        // Listing cameras comes before configuring them.
        None => Config::load(DEFAULT_PATH.as_ref())
            .map_or_else(|_| V4l2Config::default(), |c| c.source.v4l2),
    };
    let nodes = survey(&wanted);
    for node in &nodes {
        if args.format.json {
            output::json_line(node)?;
        } else {
            tell(node, &wanted)?;
        }
    }
    let usable = nodes.iter().any(|n| matches!(n.verdict, NodeVerdict::Usable { .. }));
    if nodes.is_empty() && !args.format.json {
        output::line(
            "There is no video node. Plug a camera in; for a CSI camera see `watchpost doctor` \
             and the README's pipe commands.",
        )?;
    }
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(node: &Node, wanted: &V4l2Config) -> std::io::Result<()> {
    output::line(format!(
        "{}  {} ({}, {})",
        node.path.display(),
        node.card,
        node.driver,
        node.bus
    ))?;
    for link in &node.stable {
        output::line(format!("    {}", link.display()))?;
    }
    if let Some(usb) = &node.usb {
        output::line(format!("    {usb}"))?;
    }
    for format in &node.formats {
        let sizes: Vec<String> =
            format.sizes.iter().map(|(size, fps)| size_text(*size, *fps)).collect();
        let note = if format.readable { "" } else { " (not read)" };
        output::line(format!("    {}{note}: {}", format.fourcc, sizes.join(", ")))?;
    }
    if let Some(graph) = &node.media {
        tell_graph(graph)?;
    }
    match &node.verdict {
        NodeVerdict::Usable { format } => output::line(format!(
            "    usable: {format} for {}x{} at {} fps",
            wanted.width, wanted.height, wanted.fps
        )),
        NodeVerdict::Other { what } => output::line(format!("    no camera: {what}")),
        NodeVerdict::Trouble { what, remedy } => {
            output::line(format!("    trouble: {what}"))?;
            output::line(format!("    -> {remedy}"))
        }
    }
}

/// The way that pictures can take to the node, link by link.
fn tell_graph(graph: &MediaGraph) -> std::io::Result<()> {
    output::line(format!(
        "    behind {} ({}, {}): {} blocks",
        graph.device.display(),
        graph.driver,
        graph.model,
        graph.entities.len()
    ))?;
    let end = |at: PadPlace| {
        let (entity, pad) = graph.at(at);
        let format = pad.format.map_or_else(String::new, |f| format!(" [{f}]"));
        format!("\"{}\":{}{format}", entity.name, pad.number)
    };
    for link in &graph.links {
        let state = match (link.enabled, link.immutable) {
            (true, true) => "always",
            (true, false) => "enabled",
            (false, _) => "not enabled",
        };
        output::line(format!("      {} -> {} ({state})", end(link.from), end(link.to)))?;
    }
    Ok(())
}

fn size_text(size: Size, fps: Option<f32>) -> String {
    let size = match size {
        Size::Exactly(w, h) => format!("{w}x{h}"),
        Size::Between((w, h), (to_w, to_h)) => format!("{w}x{h} to {to_w}x{to_h}"),
    };
    // 29.97002997 is 29.97, and 30 is 30.
    fps.map_or(size.clone(), |fps| format!("{size} at {} fps", (fps * 100.0).round() / 100.0))
}
