//! Every video node of the machine: what it is, what it offers, whether it can be read here, and if
//! not what to do.
//!
//! Promises:
//! * Opens each node for a moment, changes nothing and starts no camera.
//! * A node that cannot be opened (another user's) is in the answer with the remedy.
//! * At most [`MAX_NODES`] nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use v4l::FourCC;

use super::super::SourceError;
use super::super::media::MediaGraph;
use super::driver::{Driver, KernelDriver};
use super::finding::{MAX_NODES, Machine};
use super::format::{Formats, Size, choose, known};
use super::identity::Identity;
use super::refusal::{self, OpenStep};
use super::{V4l2Config, arriving, formats, offers};
use crate::clock::Clock;

/// One format of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Format {
    /// Four characters, as in `YUYV`.
    pub fourcc: String,
    /// Whether watchpost reads it.
    pub readable: bool,
    /// Sizes in pixels, each with the most frames a second where the driver says.
    pub sizes: Vec<(Size, Option<f32>)>,
}

/// Whether a node can be used.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum NodeVerdict {
    /// `source.v4l2.device` may name it; with the configured size and rate it would be read in this
    /// format.
    Usable {
        /// Four characters.
        format: String,
    },
    /// It carries no pictures: a metadata node, an output, a codec. Nothing is wrong.
    Other {
        /// What it is.
        what: String,
    },
    /// A camera that cannot be read as it is.
    Trouble {
        /// What is wrong.
        what: String,
        /// What to do, exactly.
        remedy: String,
    },
}

/// One `/dev/videoN`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// `/dev/videoN`.
    pub path: PathBuf,
    /// Paths that stay the same across restarts.
    pub stable: Vec<PathBuf>,
    /// Kernel driver; empty where the node cannot be opened.
    pub driver: String,
    /// Name of the device.
    pub card: String,
    /// Where it is plugged in.
    pub bus: String,
    /// A USB camera's own name, `usb:VENDOR:PRODUCT[:SERIAL]`, which `source.v4l2.device` may be.
    pub usb: Option<String>,
    /// The media graph behind it, where somebody has to set its links before it streams.
    pub media: Option<MediaGraph>,
    /// What it offers.
    pub formats: Vec<Format>,
    /// Whether it can be used.
    pub verdict: NodeVerdict,
}

/// Looks at every video node. `wanted` says for which size and rate the format is chosen.
pub fn survey(wanted: &V4l2Config) -> Vec<Node> {
    let stable = links(Path::new("/dev/v4l"));
    let machine = Machine::default();
    let mut numbers: Vec<u32> = entries(Path::new("/dev"))
        .filter_map(|path| path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.truncate(MAX_NODES);
    let node = |number| {
        let path = PathBuf::from(format!("/dev/video{number}"));
        let stable = stable.get(&path).cloned().unwrap_or_default();
        let mut driver = KernelDriver::new(Clock::default());
        let opened = driver.open(&path);
        let usb = machine.usb_name(&path);
        Node { usb, ..look(path, stable, opened, &mut driver, wanted) }
    };
    numbers.into_iter().map(node).collect()
}

/// The files of a folder; none where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok().map(|e| e.path()))
}

/// The links below `by-id` and `by-path`, by the node that they lead to.
fn links(root: &Path) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for kind in ["by-id", "by-path"] {
        let mut links: Vec<PathBuf> = entries(&root.join(kind)).collect();
        links.sort();
        for link in links {
            if let Ok(node) = link.canonicalize() {
                found.entry(node).or_default().push(link);
            }
        }
    }
    found
}

/// Asks one node.
fn look<D: Driver>(
    path: PathBuf,
    stable: Vec<PathBuf>,
    opened: std::io::Result<()>,
    driver: &mut D,
    wanted: &V4l2Config,
) -> Node {
    let mut node = Node {
        path,
        stable,
        driver: String::new(),
        card: String::new(),
        bus: String::new(),
        usb: None,
        media: None,
        formats: Vec::new(),
        verdict: NodeVerdict::Other { what: String::new() },
    };
    node.verdict = match opened.map_err(|e| refusal::failed(&node.path, OpenStep::Open, &e)) {
        Ok(()) => verdict(&mut node, driver, wanted).unwrap_or_else(trouble),
        Err(error) => trouble(error),
    };
    driver.close();
    node
}

fn verdict<D: Driver>(
    node: &mut Node,
    driver: &mut D,
    wanted: &V4l2Config,
) -> Result<NodeVerdict, SourceError> {
    let path = node.path.clone();
    let at = |stage| {
        let path = path.clone();
        move |e: std::io::Error| refusal::failed(&path, stage, &e)
    };
    let identity: Identity = driver.identity().map_err(at(OpenStep::Identity))?;
    (node.driver, node.card, node.bus) =
        (identity.driver.clone(), identity.card.clone(), identity.bus.clone());
    if let Some(what) = refusal::no_camera(&identity) {
        return Ok(NodeVerdict::Other { what: what.to_owned() });
    }
    refusal::check_node(&path, &identity)?;
    let (graph, arriving) = arriving(&identity, driver);
    node.media = graph.as_ref().map(|(graph, _)| graph.clone());
    let formats: Formats = formats(driver, arriving).map_err(at(OpenStep::Formats))?;
    node.formats = formats.iter().map(|f| format(driver, *f)).collect();
    let fourcc = choose(&wanted.wanted(), &offers(wanted, driver, &formats))
        .ok_or_else(|| refusal::no_format(&path, &identity, wanted.format, &formats))?;
    if let Some(error) = graph.and_then(|(graph, at)| refusal::unset(&path, &identity, &graph, at))
    {
        return Err(error);
    }
    // Buffers that another program holds are noticed only when the format would be changed or
    // buffers be asked for; asking for none changes nothing.
    driver.map(0).map_err(at(OpenStep::Buffers))?;
    Ok(NodeVerdict::Usable { format: fourcc.to_string() })
}

fn format<D: Driver>(driver: &mut D, fourcc: FourCC) -> Format {
    let sizes = driver.sizes(fourcc).unwrap_or_default();
    let sizes = sizes
        .into_iter()
        .map(|size| {
            let (width, height) = match size {
                Size::Exactly(width, height) | Size::Between(_, (width, height)) => (width, height),
            };
            (size, driver.fastest(fourcc, width, height).unwrap_or(None))
        })
        .collect();
    Format { fourcc: fourcc.to_string(), readable: known(fourcc).is_some(), sizes }
}

fn trouble(error: SourceError) -> NodeVerdict {
    match error {
        SourceError::Configuration { what, remedy } => NodeVerdict::Trouble { what, remedy },
        other => NodeVerdict::Trouble {
            what: other.to_string(),
            remedy: "see the kernel's log: `dmesg`".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use v4l::v4l_sys as sys;

    use super::super::tests::FakeCamera;
    use super::*;

    fn seen(fake: &mut FakeCamera, opened: io::Result<()>) -> Node {
        let wanted = V4l2Config { fps: 0, ..V4l2Config::default() };
        look("/dev/video7".into(), vec![], opened, fake, &wanted)
    }

    #[test]
    fn a_camera_is_described_with_formats_sizes_and_the_format_that_would_be_read() {
        let mut fake = FakeCamera::new();
        fake.rates = vec![(*b"MJPG", 30.0)];
        let node = seen(&mut fake, Ok(()));
        assert_eq!(
            (node.driver.as_str(), node.card.as_str(), node.bus.as_str()),
            ("uvcvideo", "fake", "usb-1")
        );
        assert_eq!(node.verdict, NodeVerdict::Usable { format: "MJPG".into() });
        let mjpg = node.formats.iter().find(|f| f.fourcc == "MJPG").unwrap();
        assert_eq!(mjpg.sizes, [(Size::Exactly(640, 480), Some(30.0))]);
    }

    #[test]
    fn a_metadata_node_is_no_trouble() {
        let mut fake = FakeCamera::new();
        fake.capabilities = sys::V4L2_CAP_META_CAPTURE | sys::V4L2_CAP_STREAMING;
        assert!(matches!(
            seen(&mut fake, Ok(())).verdict,
            NodeVerdict::Other { what } if what.contains("metadata")
        ));
    }

    #[test]
    fn the_raw_node_of_a_csi_camera_names_the_pipe_command_of_its_board() {
        for (driver, command) in [
            ("unicam", "rpicam-vid"),
            ("rp1-cfe", "rpicam-vid"),
            ("tegra-video", "nvarguscamerasrc"),
        ] {
            let mut fake = FakeCamera::new();
            (fake.driver, fake.formats) = (driver, vec![*b"pBAA", *b"BG10"]);
            let verdict = seen(&mut fake, Ok(())).verdict;
            assert!(
                matches!(
                    &verdict,
                    NodeVerdict::Trouble { what, remedy }
                        if what.contains("mosaic") && remedy.contains(command)
                ),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_node_whose_graph_is_not_set_up_shows_it_and_the_lines_to_type() {
        let mut fake = FakeCamera::new();
        fake.driver = "rkisp1";
        fake.formats = vec![*b"NV12"];
        fake.capabilities = sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_STREAMING;
        fake.graph = Some(super::super::tests::unset_graph());
        // A node that sets its own links is not asked for them.
        let node = seen(&mut fake, Ok(()));
        assert!(matches!(node.verdict, NodeVerdict::Usable { .. }) && node.media.is_none());
        fake.capabilities |= sys::V4L2_CAP_IO_MC;
        let node = seen(&mut fake, Ok(()));
        let NodeVerdict::Trouble { what, remedy } = &node.verdict else { panic!("{node:?}") };
        assert!(what.contains("'imx219 4-0010':0 -> 'rkisp1_mainpath':0 is not enabled"), "{what}");
        assert!(remedy.contains("media-ctl -d /dev/media0 -l"), "{remedy}");
        assert_eq!(node.media.map(|g| g.entities.len()), Some(2));
    }

    #[test]
    fn a_node_of_another_user_and_a_busy_one_have_their_remedies() {
        let refused = io::Error::from_raw_os_error(libc::EACCES);
        let verdict = seen(&mut FakeCamera::new(), Err(refused)).verdict;
        assert!(
            matches!(verdict, NodeVerdict::Trouble { remedy, .. } if remedy.contains("group video"))
        );
        let mut fake = FakeCamera::new();
        fake.map_fails = Some(libc::EBUSY);
        let verdict = seen(&mut fake, Ok(())).verdict;
        assert!(matches!(verdict, NodeVerdict::Trouble { what, .. } if what.contains("in use")));
    }

    #[test]
    fn links_are_found_by_the_node_that_they_lead_to() {
        let root = tempfile::tempdir().unwrap();
        let node = root.path().join("video0");
        std::fs::write(&node, "").unwrap();
        std::fs::create_dir(root.path().join("by-id")).unwrap();
        let link = root.path().join("by-id/usb-cam-index0");
        std::os::unix::fs::symlink("../video0", &link).unwrap();
        std::os::unix::fs::symlink("../video9", root.path().join("by-id/gone")).unwrap();
        assert_eq!(links(root.path()).get(&node.canonicalize().unwrap()), Some(&vec![link]));
    }
}
