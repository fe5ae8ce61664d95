//! What is missing between sensor and node, and the lines to type. Pure.
//!
//! The lines follow the kernel's documentation of the families (`rkisp1`, `imx7-csi`,
//! `qcom-camss`, `vimc`) and their drivers (`mxc-isi`, `sun6i-csi`, `sun4i-csi`, `rcar_vin`), but
//! carry the names, numbers and sizes of the graph that was found:
//! * each link of the way is enabled, and another one into the same pad is disabled before;
//! * the sensor's present format is set at each pad down to the node, or a mosaic where a debayer
//!   waits for one;
//! * after what makes colours, the format that the family's converter gives.

use super::formats::{PadFormat, RGB888_1X24, YUV8_1X24, YUYV8_2X8};
use super::graph::{MediaEntity, MediaFunction, MediaGraph, MediaLink, PadPlace};

/// What to do about a node's graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphAdvice {
    /// The graph does not have this node.
    NoNode,
    /// No sensor leads to it.
    NoSensor,
    /// The node would get the sensor's mosaic, of which watchpost makes no picture.
    Mosaic {
        /// What the sensor gives.
        format: PadFormat,
    },
    /// Links and formats fit, as far as the kernel says.
    Fits,
    /// These lines set it up.
    SetUp {
        /// What is not as it has to be.
        missing: String,
        /// One command each.
        lines: Vec<String>,
        /// Whether an image processor is on the way, which needs a control loop for a good picture.
        processed: bool,
    },
}

/// Judges the way to the video node with these numbers.
pub fn advise(graph: &MediaGraph, node: (u32, u32)) -> GraphAdvice {
    let Some(node) = graph.video(node) else { return GraphAdvice::NoNode };
    let way = graph.way_to(node);
    let Some(first) = way.first() else { return GraphAdvice::NoSensor };
    let sensor = graph.pad(first.from).format;
    let steps = formats(graph, &way, sensor);
    if let (Some(format), Some(end)) = (sensor, steps.end)
        && end.is_mosaic()
    {
        return GraphAdvice::Mosaic { format };
    }
    let Some(missing) = missing(graph, &way) else { return GraphAdvice::Fits };
    let mut lines = links(graph, &way);
    lines.extend(steps.lines);
    GraphAdvice::SetUp {
        missing,
        lines,
        processed: way.iter().any(|l| function(graph, l.to) == MediaFunction::ImageProcessor),
    }
}

/// What reaches the video node with these numbers: the format and size that it has to be set to,
/// too.
/// `None` where the kernel does not say, or nothing reaches it.
pub fn arriving(graph: &MediaGraph, node: (u32, u32)) -> Option<PadFormat> {
    let way = graph.way_to(graph.video(node)?);
    let last = way.last().filter(|link| link.enabled)?;
    graph.pad(last.from).format
}

/// The first thing on the way that is not as it has to be.
fn missing(graph: &MediaGraph, way: &[MediaLink]) -> Option<String> {
    let ends = |link: &MediaLink| {
        format!("{} -> {}", shown(graph, link.from, '\''), shown(graph, link.to, '\''))
    };
    way.iter().find_map(|link| {
        if !link.enabled {
            return Some(format!("the link {} is not enabled", ends(link)));
        }
        match (graph.pad(link.from).format, graph.pad(link.to).format) {
            (Some(from), Some(to)) if from != to => {
                Some(format!("the link {} has {from} at one end and {to} at the other", ends(link)))
            }
            _ => None,
        }
    })
}

/// The lines that enable the way's links; another enabled link into the same pad goes first.
fn links(graph: &MediaGraph, way: &[MediaLink]) -> Vec<String> {
    let line = |link: &MediaLink, flag: u8| {
        let (from, to) = (shown(graph, link.from, '\''), shown(graph, link.to, '\''));
        format!("media-ctl -d {} -l \"{from} -> {to} [{flag}]\"", graph.device.display())
    };
    let mut lines = Vec::new();
    for link in way.iter().filter(|l| !l.enabled) {
        let others = graph
            .links
            .iter()
            .filter(|l| l.to == link.to && l.from != link.from && l.enabled && !l.immutable);
        lines.extend(others.map(|l| line(l, 0)));
        lines.push(line(link, 1));
    }
    lines
}

/// The lines that set the formats of the way, and what then reaches the node.
struct FormatSteps {
    lines: Vec<String>,
    /// `None` where the sensor does not say what it gives.
    end: Option<PadFormat>,
}

fn formats(graph: &MediaGraph, way: &[MediaLink], sensor: Option<PadFormat>) -> FormatSteps {
    let mut steps = FormatSteps { lines: Vec::new(), end: sensor };
    let mut set = |at: PadPlace, format: Option<PadFormat>| {
        // Without the sensor's word the person fills in what its manual says.
        let format = format.map_or_else(|| "CODE/WIDTHxHEIGHT".to_owned(), |f| f.to_string());
        steps.lines.push(format!(
            "media-ctl -d {} -V '{} [fmt:{format} field:none]'",
            graph.device.display(),
            shown(graph, at, '"')
        ));
    };
    let mut format = sensor.map(|sensor| wanted(graph, way, sensor));
    for (number, link) in way.iter().enumerate() {
        if number == 0 {
            set(link.from, format);
        } else {
            let entity = &graph.entities[link.from.entity];
            format = format.map(|f| converted(graph, link.from, f));
            if converts(entity) {
                set(link.from, format);
            }
        }
        if function(graph, link.to) != MediaFunction::Node {
            set(link.to, format);
        }
    }
    steps.end = format;
    steps
}

/// What the sensor has to give: what it gives, but a mosaic where a debayer is on the way.
fn wanted(graph: &MediaGraph, way: &[MediaLink], sensor: PadFormat) -> PadFormat {
    let debayer = way.iter().find(|l| function(graph, l.to) == MediaFunction::Converter);
    let taken = debayer.and_then(|link| graph.pad(link.to).format).filter(|f| f.is_mosaic());
    match taken {
        Some(mosaic) if !sensor.is_mosaic() => sensor.with_code(mosaic.code),
        _ => sensor,
    }
}

fn function(graph: &MediaGraph, at: PadPlace) -> MediaFunction {
    graph.entities[at.entity].function
}

/// Whether what comes out is set apart from what goes in.
fn converts(entity: &MediaEntity) -> bool {
    matches!(
        entity.function,
        MediaFunction::ImageProcessor | MediaFunction::Converter | MediaFunction::Scaler
    )
}

/// What comes out of the entity of `pad` where `format` goes in.
fn converted(graph: &MediaGraph, pad: PadPlace, format: PadFormat) -> PadFormat {
    let entity = &graph.entities[pad.entity];
    // A converter that is set to colours already keeps them.
    let kept = graph.pad(pad).format.filter(|f| !f.is_mosaic()).map(|f| f.code);
    let family = match graph.driver.as_str() {
        "rkisp1" => Some(YUYV8_2X8),
        "vimc" => Some(RGB888_1X24),
        _ => None,
    };
    match entity.function {
        MediaFunction::ImageProcessor | MediaFunction::Converter if format.is_mosaic() => {
            match family.or(kept) {
                Some(code) if graph.driver != "mxc-isi" => format.with_code(code),
                // The pipes of the i.MX8 make no colours of a mosaic.
                _ => format,
            }
        }
        MediaFunction::Converter if graph.driver == "mxc-isi" => {
            format.with_code(kept.unwrap_or(YUV8_1X24))
        }
        _ => format,
    }
}

/// `'NAME':PAD` as `media-ctl` reads it, by the entity's number where a shell or `media-ctl` could
/// take the name for something else: a USB device chooses its own name.
fn shown(graph: &MediaGraph, at: PadPlace, quote: char) -> String {
    let entity = &graph.entities[at.entity];
    let pad = graph.pad(at).number;
    let harmless = |c: char| c.is_ascii_alphanumeric() || " ._-:/()@,+".contains(c);
    match !entity.name.is_empty() && entity.name.chars().all(harmless) {
        true => format!("{quote}{}{quote}:{pad}", entity.name),
        false => format!("{}:{pad}", entity.id),
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::{
        CONVERTER, FORMATTER, NODE, PLAIN, PROCESSOR, SCALER, SENSOR, graph,
    };
    use super::*;

    const ON: u32 = 1;
    const FIXED: u32 = 3;
    /// MEDIA_BUS_FMT_SRGGB10_1X10, _SBGGR10_1X10, _UYVY8_2X8, _UYVY8_1X16, _SBGGR8_1X8.
    const RAW: u32 = 0x300F;
    const RAW_B: u32 = 0x3007;
    const UYVY: u32 = 0x2006;
    const UYVY_SERIAL: u32 = 0x200F;
    const RAW_8: u32 = 0x3001;

    /// Sets pads by entity and number.
    fn set(graph: &mut MediaGraph, pads: &[(usize, usize, u32, (u32, u32))]) {
        for (entity, pad, code, (width, height)) in pads {
            graph.entities[*entity].pads[*pad].format =
                Some(PadFormat { code: *code, width: *width, height: *height });
        }
    }

    fn lines(advice: GraphAdvice) -> (String, Vec<String>) {
        match advice {
            GraphAdvice::SetUp { missing, lines, .. } => (missing, lines),
            other => panic!("{other:?}"),
        }
    }

    /// The graph of the kernel's documentation of rkisp1, with its receiver of later kernels.
    fn rkisp1(sensor_link: u32, selfpath: u32) -> MediaGraph {
        graph(
            "rkisp1",
            &[
                ("imx219 4-0010", SENSOR, &[false]),
                ("rkisp1_csi", PLAIN, &[true, false]),
                ("rkisp1_isp", PROCESSOR, &[true, true, false, false]),
                ("rkisp1_resizer_mainpath", SCALER, &[true, false]),
                ("rkisp1_resizer_selfpath", SCALER, &[true, false]),
                ("rkisp1_mainpath", NODE, &[true]),
                ("rkisp1_selfpath", NODE, &[true]),
                ("rkisp1_params", NODE, &[false]),
                ("rkisp1_stats", NODE, &[true]),
            ],
            &[
                ((0, 0), (1, 0), sensor_link),
                ((1, 1), (2, 0), ON),
                ((2, 2), (3, 0), ON),
                ((2, 2), (4, 0), selfpath),
                ((3, 1), (5, 0), FIXED),
                ((4, 1), (6, 0), FIXED),
                ((7, 0), (2, 1), FIXED),
                ((2, 3), (8, 0), FIXED),
            ],
        )
    }

    #[test]
    fn rockchips_processor_gets_the_lines_of_the_kernels_documentation() {
        let mut graph = rkisp1(0, 0);
        set(&mut graph, &[(0, 0, RAW, (1640, 1232)), (2, 0, RAW, (800, 600))]);
        let (missing, lines) = lines(advise(&graph, (81, 6)));
        assert_eq!(missing, "the link 'imx219 4-0010':0 -> 'rkisp1_csi':0 is not enabled");
        assert_eq!(
            lines,
            [
                "media-ctl -d /dev/media0 -l \"'imx219 4-0010':0 -> 'rkisp1_csi':0 [1]\"",
                "media-ctl -d /dev/media0 -l \"'rkisp1_isp':2 -> 'rkisp1_resizer_selfpath':0 [1]\"",
                "media-ctl -d /dev/media0 -V '\"imx219 4-0010\":0 [fmt:SRGGB10_1X10/1640x1232 field:none]'",
                "media-ctl -d /dev/media0 -V '\"rkisp1_csi\":0 [fmt:SRGGB10_1X10/1640x1232 field:none]'",
                "media-ctl -d /dev/media0 -V '\"rkisp1_isp\":0 [fmt:SRGGB10_1X10/1640x1232 field:none]'",
                "media-ctl -d /dev/media0 -V '\"rkisp1_isp\":2 [fmt:YUYV8_2X8/1640x1232 field:none]'",
                "media-ctl -d /dev/media0 -V '\"rkisp1_resizer_selfpath\":0 [fmt:YUYV8_2X8/1640x1232 field:none]'",
                "media-ctl -d /dev/media0 -V '\"rkisp1_resizer_selfpath\":1 [fmt:YUYV8_2X8/1640x1232 field:none]'",
            ]
        );
        assert!(matches!(advise(&graph, (81, 6)), GraphAdvice::SetUp { processed: true, .. }));
    }

    #[test]
    fn a_graph_whose_links_are_set_and_whose_formats_meet_fits() {
        let mut graph = rkisp1(ON, 0);
        let full = (1640, 1232);
        let (yuyv, both) = (YUYV8_2X8, full);
        set(
            &mut graph,
            &[
                (0, 0, RAW, full),
                (1, 0, RAW, full),
                (1, 1, RAW, full),
                (2, 0, RAW, full),
                (2, 2, yuyv, both),
                (3, 0, yuyv, both),
                (3, 1, yuyv, (1280, 960)),
            ],
        );
        assert_eq!(advise(&graph, (81, 5)), GraphAdvice::Fits);
        let reached = PadFormat { code: yuyv, width: 1280, height: 960 };
        assert_eq!(arriving(&graph, (81, 5)), Some(reached));
        assert_eq!(arriving(&graph, (81, 77)), None);
        // One pad that is set to something else.
        set(&mut graph, &[(3, 0, yuyv, (800, 600))]);
        let (missing, lines) = lines(advise(&graph, (81, 5)));
        assert!(
            missing.contains("YUYV8_2X8/1640x1232 at one end and YUYV8_2X8/800x600"),
            "{missing}"
        );
        assert!(lines.iter().all(|l| l.contains(" -V ")), "{lines:?}");
    }

    /// As the kernel's documentation of imx7 shows it: an OV2680 at the MIPI receiver, with the
    /// multiplexer switched to the parallel input.
    #[test]
    fn a_multiplexer_is_switched_over_and_a_mosaic_at_its_end_is_named() {
        let mut graph = graph(
            "imx7-csi",
            &[
                ("csi", PLAIN, &[true, false]),
                ("csi capture", NODE, &[true]),
                ("csi-mux", PLAIN, &[true, true, false]),
                ("imx7-mipi-csis.0", PLAIN, &[true, false]),
                ("ov2680 1-0036", SENSOR, &[false]),
                ("parallel", PLAIN, &[false]),
            ],
            &[
                ((0, 1), (1, 0), 0),
                ((2, 2), (0, 0), 0),
                ((3, 1), (2, 1), 0),
                ((4, 0), (3, 0), 0),
                ((5, 0), (2, 0), ON),
            ],
        );
        set(&mut graph, &[(4, 0, RAW_B, (800, 600))]);
        let format = PadFormat { code: RAW_B, width: 800, height: 600 };
        assert_eq!(advise(&graph, (81, 1)), GraphAdvice::Mosaic { format });
        set(&mut graph, &[(4, 0, UYVY, (800, 600))]);
        let (_, lines) = lines(advise(&graph, (81, 1)));
        assert_eq!(
            lines[..4],
            [
                "media-ctl -d /dev/media0 -l \"'ov2680 1-0036':0 -> 'imx7-mipi-csis.0':0 [1]\"",
                "media-ctl -d /dev/media0 -l \"'imx7-mipi-csis.0':1 -> 'csi-mux':1 [1]\"",
                "media-ctl -d /dev/media0 -l \"'csi-mux':2 -> 'csi':0 [1]\"",
                "media-ctl -d /dev/media0 -l \"'csi':1 -> 'csi capture':0 [1]\"",
            ]
        );
        assert_eq!(
            lines[4..],
            [
                "media-ctl -d /dev/media0 -V '\"ov2680 1-0036\":0 [fmt:UYVY8_2X8/800x600 field:none]'",
                "media-ctl -d /dev/media0 -V '\"imx7-mipi-csis.0\":0 [fmt:UYVY8_2X8/800x600 field:none]'",
                "media-ctl -d /dev/media0 -V '\"csi-mux\":1 [fmt:UYVY8_2X8/800x600 field:none]'",
                "media-ctl -d /dev/media0 -V '\"csi\":0 [fmt:UYVY8_2X8/800x600 field:none]'",
            ]
        );
    }

    #[test]
    fn another_sensor_in_the_same_pad_is_switched_off_first() {
        let found = graph(
            "sun6i-csi",
            &[
                ("ov5640 2-003c", SENSOR, &[false]),
                ("off", PLAIN, &[true, false]),
                ("sun6i-csi-bridge", PLAIN, &[true, false]),
                ("sun6i-csi-capture", NODE, &[true]),
            ],
            &[((0, 0), (2, 0), 0), ((1, 1), (2, 0), ON), ((2, 1), (3, 0), FIXED)],
        );
        let (missing, lines) = lines(advise(&found, (81, 3)));
        assert!(missing.contains("'ov5640 2-003c':0 -> 'sun6i-csi-bridge':0 is not enabled"));
        assert_eq!(
            lines,
            [
                "media-ctl -d /dev/media0 -l \"'off':1 -> 'sun6i-csi-bridge':0 [0]\"",
                "media-ctl -d /dev/media0 -l \"'ov5640 2-003c':0 -> 'sun6i-csi-bridge':0 [1]\"",
                // Nobody could say what the sensor gives.
                "media-ctl -d /dev/media0 -V '\"ov5640 2-003c\":0 [fmt:CODE/WIDTHxHEIGHT field:none]'",
                "media-ctl -d /dev/media0 -V '\"sun6i-csi-bridge\":0 [fmt:CODE/WIDTHxHEIGHT field:none]'",
            ]
        );
    }

    /// As drivers/media/platform/qcom/camss names its blocks.
    #[test]
    fn qualcomms_way_goes_through_phy_decoder_interface_and_front_end() {
        let mut graph = graph(
            "qcom-camss",
            &[
                ("ov5645 1-0076", SENSOR, &[false]),
                ("msm_csiphy0", PLAIN, &[true, false]),
                ("msm_csid0", PLAIN, &[true, false]),
                ("msm_csid1", PLAIN, &[true, false]),
                ("msm_ispif0", PLAIN, &[true, false]),
                ("msm_vfe0_rdi0", FORMATTER, &[true, false]),
                ("msm_vfe0_video0", NODE, &[true]),
            ],
            &[
                ((0, 0), (1, 0), FIXED),
                ((1, 1), (2, 0), 0),
                ((1, 1), (3, 0), 0),
                ((2, 1), (4, 0), 0),
                ((4, 1), (5, 0), 0),
                ((5, 1), (6, 0), FIXED),
            ],
        );
        set(&mut graph, &[(0, 0, UYVY, (1920, 1080))]);
        let (_, lines) = lines(advise(&graph, (81, 6)));
        assert_eq!(
            lines[..3],
            [
                "media-ctl -d /dev/media0 -l \"'msm_csiphy0':1 -> 'msm_csid0':0 [1]\"",
                "media-ctl -d /dev/media0 -l \"'msm_csid0':1 -> 'msm_ispif0':0 [1]\"",
                "media-ctl -d /dev/media0 -l \"'msm_ispif0':1 -> 'msm_vfe0_rdi0':0 [1]\"",
            ]
        );
        assert_eq!(lines.len(), 9);
        assert!(lines[3..].iter().all(|l| l.contains("UYVY8_2X8/1920x1080")), "{lines:?}");
    }

    /// As drivers/media/platform/nxp/imx8-isi names its blocks.
    #[test]
    fn the_pipe_of_an_imx8_gives_its_own_format_and_makes_no_colours() {
        let mut graph = graph(
            "mxc-isi",
            &[
                ("ov5640 1-003c", SENSOR, &[false]),
                ("csis-32e40000.csi", PLAIN, &[true, false]),
                ("crossbar", PLAIN, &[true, true, false, false]),
                ("mxc_isi.0", FORMATTER, &[true, false]),
                ("mxc_isi.0.capture", NODE, &[true]),
            ],
            &[
                ((0, 0), (1, 0), FIXED),
                ((1, 1), (2, 0), FIXED),
                ((2, 2), (3, 0), FIXED),
                ((3, 1), (4, 0), FIXED),
            ],
        );
        set(&mut graph, &[(0, 0, UYVY_SERIAL, (1280, 720)), (1, 0, UYVY_SERIAL, (640, 480))]);
        let (missing, lines) = lines(advise(&graph, (81, 4)));
        assert!(missing.contains("has UYVY8_1X16/1280x720 at one end"), "{missing}");
        assert_eq!(
            lines.last().unwrap(),
            "media-ctl -d /dev/media0 -V '\"mxc_isi.0\":1 [fmt:YUV8_1X24/1280x720 field:none]'"
        );
        set(&mut graph, &[(0, 0, RAW, (1280, 720))]);
        assert!(matches!(advise(&graph, (81, 4)), GraphAdvice::Mosaic { .. }));
    }

    #[test]
    fn the_virtual_device_gets_the_formats_of_the_kernels_documentation() {
        let mut graph = graph(
            "vimc",
            &[
                ("Sensor A", SENSOR, &[false]),
                ("Debayer A", CONVERTER, &[true, false]),
                ("Scaler", SCALER, &[true, false]),
                ("RGB/YUV Capture", NODE, &[true]),
            ],
            &[((0, 0), (1, 0), FIXED), ((1, 1), (2, 0), ON), ((2, 1), (3, 0), FIXED)],
        );
        // As they are after the module was loaded.
        set(&mut graph, &[(0, 0, RGB888_1X24, (640, 480)), (1, 0, RAW_8, (640, 480))]);
        let (missing, lines) = lines(advise(&graph, (81, 3)));
        assert!(missing.contains("RGB888_1X24/640x480 at one end"), "{missing}");
        assert_eq!(
            lines[..3],
            [
                "media-ctl -d /dev/media0 -V '\"Sensor A\":0 [fmt:SBGGR8_1X8/640x480 field:none]'",
                "media-ctl -d /dev/media0 -V '\"Debayer A\":0 [fmt:SBGGR8_1X8/640x480 field:none]'",
                "media-ctl -d /dev/media0 -V '\"Debayer A\":1 [fmt:RGB888_1X24/640x480 field:none]'",
            ]
        );
    }

    #[test]
    fn a_node_without_a_sensor_and_one_of_another_device_are_told_apart() {
        let found = graph(
            "sun4i-csi",
            &[("sun4i_csi", PLAIN, &[true, false]), ("sun4i_csi video", NODE, &[true])],
            &[((0, 1), (1, 0), FIXED)],
        );
        assert_eq!(advise(&found, (81, 1)), GraphAdvice::NoSensor);
        assert_eq!(advise(&found, (81, 7)), GraphAdvice::NoNode);
    }

    #[test]
    fn no_name_that_a_device_chose_reaches_a_shell() {
        for name in ["x'; reboot; '", "$(reboot)", "`reboot`", "a\"b", "a\\", "é", ""] {
            let found = graph(
                "x",
                &[(name, SENSOR, &[false]), ("node", NODE, &[true])],
                &[((0, 0), (1, 0), 0)],
            );
            let (_, lines) = lines(advise(&found, (81, 1)));
            assert_eq!(lines[0], "media-ctl -d /dev/media0 -l \"1:0 -> 'node':0 [1]\"");
            assert!(lines[1].contains("-V '1:0 [fmt:"), "{lines:?}");
        }
    }
}
