//! A media graph as found: what the kernel answered, put into relation. Pure data.
//!
//! * Every id is looked up; a pad, link or interface that names nothing that is there is left out,
//!   and counted in [`MediaGraph::left_out`]. Of two with one id the first counts.
//! * Names have no control characters, whatever a device calls itself.
//! * A search visits each entity once, so circles end it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::abi::{self, DeviceAnswer, EntityAnswer, InterfaceAnswer, LinkAnswer, PadAnswer};
use super::formats::PadFormat;

/// Most of each kind; the largest graphs of the kernel have some dozens of entities.
pub(super) const MAX_ENTITIES: usize = 256;
pub(super) const MAX_INTERFACES: usize = 256;
pub(super) const MAX_PADS: usize = 2048;
pub(super) const MAX_LINKS: usize = 4096;

/// What an entity does, as far as the way from sensor to node depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaFunction {
    /// Takes the picture.
    Sensor,
    /// Makes colours of a sensor's mosaic.
    ImageProcessor,
    /// Changes formats: a debayer, a colour converter, a composer.
    Converter,
    /// Changes sizes.
    Scaler,
    /// Writes into memory: a video node.
    Node,
    /// Passes on: a receiver, a multiplexer, or what the kernel has no number for.
    Other,
}

impl MediaFunction {
    /// By `MEDIA_ENT_F_*`.
    fn of(number: u32) -> Self {
        match number {
            0x0002_0001 => Self::Sensor,
            0x4009 => Self::ImageProcessor,
            0x4001..=0x4003 => Self::Converter,
            0x4005 => Self::Scaler,
            0x0001_0001 | 0x1001..=0x1003 => Self::Node,
            _ => Self::Other,
        }
    }
}

/// The device node of an entity, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MediaNode {
    /// Whether it is a `/dev/videoN`; else a `/dev/v4l-subdevN`.
    pub video: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Where links end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MediaPad {
    /// Its number within the entity, as `media-ctl` counts.
    pub number: u32,
    /// Whether pictures come in here; else they go out.
    pub sink: bool,
    /// What it is set to; `None` where the kernel does not say.
    pub format: Option<PadFormat>,
}

/// One block of the hardware, or a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MediaEntity {
    /// The kernel's number of it.
    pub id: u32,
    /// The kernel's name of it.
    pub name: String,
    /// What it does.
    pub function: MediaFunction,
    /// Where links end.
    pub pads: Vec<MediaPad>,
    /// Its device node.
    pub node: Option<MediaNode>,
}

/// A pad, by the places of its entity and of itself in the graph's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PadPlace {
    /// In [`MediaGraph::entities`].
    pub entity: usize,
    /// In [`MediaEntity::pads`].
    pub pad: usize,
}

/// A way that pictures can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MediaLink {
    /// Where they come out.
    pub from: PadPlace,
    /// Where they go in.
    pub to: PadPlace,
    /// Whether they take it.
    pub enabled: bool,
    /// Whether nobody can change that.
    pub immutable: bool,
}

/// A media device and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MediaGraph {
    /// `/dev/mediaN`.
    pub device: PathBuf,
    /// Kernel driver.
    pub driver: String,
    /// Model.
    pub model: String,
    /// Where it sits, as in `platform:rkisp1`.
    pub bus: String,
    /// Blocks and nodes.
    pub entities: Vec<MediaEntity>,
    /// Ways between them.
    pub links: Vec<MediaLink>,
    /// Pads, links and interfaces that named nothing that is there.
    pub left_out: usize,
}

/// A graph, and the major and minor number of the video node that it was looked for.
pub type GraphOfNode = (MediaGraph, (u32, u32));

/// What the kernel answered.
pub(super) struct Answers {
    pub(super) device: DeviceAnswer,
    pub(super) entities: Vec<EntityAnswer>,
    pub(super) interfaces: Vec<InterfaceAnswer>,
    pub(super) pads: Vec<PadAnswer>,
    pub(super) links: Vec<LinkAnswer>,
}

impl MediaGraph {
    /// Puts the answers of `device` into relation.
    pub(super) fn of(device: PathBuf, answers: &Answers) -> Self {
        let mut graph = Self {
            device,
            driver: name(&answers.device.driver),
            model: name(&answers.device.model),
            bus: name(&answers.device.bus_info),
            entities: Vec::new(),
            links: Vec::new(),
            left_out: 0,
        };
        let mut entities = BTreeMap::new();
        for entity in answers.entities.iter().take(MAX_ENTITIES) {
            if entities.contains_key(&entity.id) {
                graph.left_out += 1;
                continue;
            }
            entities.insert(entity.id, graph.entities.len());
            graph.entities.push(MediaEntity {
                id: entity.id,
                name: name(&entity.name),
                function: MediaFunction::of(entity.function),
                pads: Vec::new(),
                node: None,
            });
        }
        let numbered = abi::pads_have_numbers(answers.device.media_version);
        let mut pads = BTreeMap::new();
        for pad in answers.pads.iter().take(MAX_PADS) {
            let entity = entities.get(&pad.entity).copied().filter(|_| !pads.contains_key(&pad.id));
            let Some(entity) = entity else {
                graph.left_out += 1;
                continue;
            };
            let list = &mut graph.entities[entity].pads;
            pads.insert(pad.id, PadPlace { entity, pad: list.len() });
            list.push(MediaPad {
                number: if numbered { pad.index } else { list.len() as u32 },
                sink: pad.flags & (abi::PAD_SINK | abi::PAD_SOURCE) == abi::PAD_SINK,
                format: None,
            });
        }
        let interfaces: BTreeMap<u32, &InterfaceAnswer> =
            answers.interfaces.iter().take(MAX_INTERFACES).rev().map(|i| (i.id, i)).collect();
        for link in answers.links.iter().take(MAX_LINKS) {
            let known = match link.flags & abi::LINK_TYPE {
                abi::LINK_DATA => graph.join(pads.get(&link.source), pads.get(&link.sink), link),
                abi::LINK_INTERFACE => {
                    graph.give(interfaces.get(&link.source).copied(), entities.get(&link.sink))
                }
                // Lens and flash of a sensor: no pictures.
                _ => true,
            };
            graph.left_out += usize::from(!known);
        }
        graph
    }

    /// A link between two pads; false where it names none, or a wrong one.
    fn join(&mut self, from: Option<&PadPlace>, to: Option<&PadPlace>, link: &LinkAnswer) -> bool {
        let (Some(&from), Some(&to)) = (from, to) else { return false };
        if self.pad(from).sink || !self.pad(to).sink {
            return false;
        }
        self.links.push(MediaLink {
            from,
            to,
            enabled: link.flags & abi::LINK_ENABLED != 0,
            immutable: link.flags & abi::LINK_IMMUTABLE != 0,
        });
        true
    }

    /// An entity's device node; false where there is no such entity or interface.
    fn give(&mut self, interface: Option<&InterfaceAnswer>, entity: Option<&usize>) -> bool {
        let (Some(interface), Some(&entity)) = (interface, entity) else { return false };
        let video = match interface.kind {
            abi::INTERFACE_VIDEO => true,
            abi::INTERFACE_SUBDEVICE => false,
            // Sound, television: not ours.
            _ => return true,
        };
        let node = MediaNode { video, major: interface.major, minor: interface.minor };
        self.entities[entity].node.get_or_insert(node);
        true
    }

    /// The entity and the pad at a place of this graph.
    pub fn at(&self, at: PadPlace) -> (&MediaEntity, &MediaPad) {
        let entity = &self.entities[at.entity];
        (entity, &entity.pads[at.pad])
    }

    pub(super) fn pad(&self, at: PadPlace) -> &MediaPad {
        &self.entities[at.entity].pads[at.pad]
    }

    /// The entity of the video node with these numbers.
    pub(super) fn video(&self, node: (u32, u32)) -> Option<usize> {
        self.entities
            .iter()
            .position(|e| e.node.is_some_and(|n| n.video && (n.major, n.minor) == node))
    }

    /// The links from a sensor to the video node, in the order in which pictures take them: those
    /// that are enabled where there are such, else those with the fewest to enable, and then the
    /// shortest way. Empty where nothing leads to the node.
    pub(super) fn way_to(&self, node: usize) -> Vec<MediaLink> {
        // The dearest thing is a link that has to be enabled.
        const DISABLED: u32 = 1 << 16;
        let mut cost = vec![u32::MAX; self.entities.len()];
        let mut next: Vec<Option<usize>> = vec![None; self.entities.len()];
        let mut done = vec![false; self.entities.len()];
        cost[node] = 0;
        while let Some(here) =
            (0..cost.len()).filter(|e| !done[*e] && cost[*e] < u32::MAX).min_by_key(|e| cost[*e])
        {
            done[here] = true;
            for (number, link) in self.links.iter().enumerate() {
                // What can never be enabled is no way.
                if link.to.entity != here || (link.immutable && !link.enabled) {
                    continue;
                }
                let step = if link.enabled { 1 } else { 1 + DISABLED };
                let through = cost[here].saturating_add(step);
                if through < cost[link.from.entity] {
                    (cost[link.from.entity], next[link.from.entity]) = (through, Some(number));
                }
            }
        }
        let begins = |e: &usize| {
            let entity = &self.entities[*e];
            next[*e].is_some()
                && entity.function != MediaFunction::Node
                && entity.pads.iter().all(|p| !p.sink)
        };
        // What has no sink and is no sensor by its number may be one all the same: an HDMI
        // receiver.
        let start = (0..cost.len())
            .filter(begins)
            .min_by_key(|e| (self.entities[*e].function != MediaFunction::Sensor, cost[*e]));
        let mut way = Vec::new();
        let mut at = start;
        while let Some(number) = at.and_then(|e| next[e])
            && way.len() < self.entities.len()
        {
            way.push(self.links[number]);
            at = Some(self.links[number].to.entity).filter(|e| *e != node);
        }
        way
    }
}

/// A C string from the kernel, without what a terminal would obey.
fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers of functions, as the kernel has them.
    pub(in super::super) const SENSOR: u32 = 0x0002_0001;
    pub(in super::super) const NODE: u32 = 0x0001_0001;
    pub(in super::super) const PROCESSOR: u32 = 0x4009;
    pub(in super::super) const FORMATTER: u32 = 0x4002;
    pub(in super::super) const CONVERTER: u32 = 0x4003;
    pub(in super::super) const SCALER: u32 = 0x4005;
    pub(in super::super) const PLAIN: u32 = 0x0002_0000;

    fn zeroed() -> Answers {
        let device = DeviceAnswer {
            driver: [0; 16],
            model: [0; 32],
            serial: [0; 40],
            bus_info: [0; 32],
            media_version: 6 << 16,
            hw_revision: 0,
            driver_version: 0,
            reserved: [0; 31],
        };
        Answers { device, entities: vec![], interfaces: vec![], pads: vec![], links: vec![] }
    }

    /// A block and its pad, the block and pad that it leads to, flags.
    pub(in super::super) type GivenLink = ((usize, u32), (usize, u32), u32);

    /// Answers as the kernel would give them for blocks (name, function, pads that are sinks) and
    /// links (block and pad, to block and pad, flags). Nodes have major 81 and their block's place
    /// as the minor number.
    pub(in super::super) fn answers(
        driver: &str,
        blocks: &[(&str, u32, &[bool])],
        links: &[GivenLink],
    ) -> Answers {
        let mut out = zeroed();
        out.device.driver[..driver.len()].copy_from_slice(driver.as_bytes());
        let id_of = |block: usize, pad: u32| 1000 + block as u32 * 10 + pad;
        for (at, (block, function, pads)) in blocks.iter().enumerate() {
            let mut name = [0; 64];
            name[..block.len()].copy_from_slice(block.as_bytes());
            let id = at as u32 + 1;
            out.entities.push(EntityAnswer {
                id,
                name,
                function: *function,
                flags: 0,
                reserved: [0; 5],
            });
            for (index, sink) in pads.iter().enumerate() {
                let index = index as u32;
                let flags = if *sink { abi::PAD_SINK } else { abi::PAD_SOURCE };
                out.pads.push(PadAnswer {
                    id: id_of(at, index),
                    entity: id,
                    flags,
                    index,
                    reserved: [0; 4],
                });
            }
            let kind =
                if *function == NODE { abi::INTERFACE_VIDEO } else { abi::INTERFACE_SUBDEVICE };
            let interface = 5000 + id;
            out.interfaces.push(InterfaceAnswer {
                id: interface,
                kind,
                flags: 0,
                reserved: [0; 9],
                major: 81,
                minor: at as u32,
                rest: [0; 14],
            });
            out.links.push(LinkAnswer {
                id: 7000 + id,
                source: interface,
                sink: id,
                flags: abi::LINK_INTERFACE | abi::LINK_ENABLED,
                reserved: [0; 6],
            });
        }
        for (number, (from, to, flags)) in links.iter().enumerate() {
            out.links.push(LinkAnswer {
                id: 9000 + number as u32,
                source: id_of(from.0, from.1),
                sink: id_of(to.0, to.1),
                flags: *flags,
                reserved: [0; 6],
            });
        }
        out
    }

    pub(in super::super) fn graph(
        driver: &str,
        blocks: &[(&str, u32, &[bool])],
        links: &[GivenLink],
    ) -> MediaGraph {
        MediaGraph::of("/dev/media0".into(), &answers(driver, blocks, links))
    }

    #[test]
    fn of_two_ways_the_enabled_one_is_taken_and_a_circle_is_none() {
        let on = abi::LINK_ENABLED;
        let mux: &[bool] = &[true, true, false];
        let blocks: &[(&str, u32, &[bool])] = &[
            ("near", SENSOR, &[false]),
            ("far", SENSOR, &[false]),
            ("bridge", PLAIN, &[true, false]),
            ("mux", PLAIN, mux),
            ("node", NODE, &[true]),
        ];
        let mut links = vec![
            ((0, 0), (3, 0), 0),
            ((1, 0), (2, 0), on),
            ((2, 1), (3, 1), on),
            ((3, 2), (4, 0), on | abi::LINK_IMMUTABLE),
            // Round and round.
            ((3, 2), (2, 0), on),
        ];
        let found = graph("x", blocks, &links);
        let names = |g: &MediaGraph| {
            let way = g.way_to(g.video((81, 4)).unwrap());
            way.iter().map(|l| g.entities[l.from.entity].name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&found), ["far", "bridge", "mux"]);
        // With neither enabled the shorter.
        (links[1].2, links[2].2) = (0, 0);
        assert_eq!(names(&graph("x", blocks, &links)), ["near", "mux"]);
        // What can never be enabled is no way.
        links[0].2 = abi::LINK_IMMUTABLE;
        assert_eq!(names(&graph("x", blocks, &links)), ["far", "bridge", "mux"]);
        assert_eq!(found.video((81, 0)), None, "a sub-device is no video node");
    }

    #[test]
    fn what_names_nothing_is_left_out_and_counted() {
        let mut raw = answers("x", &[("s", SENSOR, &[false]), ("n", NODE, &[true])], &[]);
        let link =
            |source, sink, flags| LinkAnswer { id: 1, source, sink, flags, reserved: [0; 6] };
        raw.links.push(link(1, 2, abi::LINK_DATA));
        // From a sink to a source.
        raw.links.push(link(1010, 1000, abi::LINK_DATA));
        raw.links.push(link(77, 1, abi::LINK_INTERFACE));
        raw.pads.push(PadAnswer { id: 1, entity: 99, flags: 1, index: 0, reserved: [0; 4] });
        raw.entities.push(raw.entities[0]);
        let graph = MediaGraph::of("/dev/media0".into(), &raw);
        assert_eq!((graph.left_out, graph.links.len(), graph.entities.len()), (5, 0, 2));
        assert_eq!(graph.way_to(1), []);
    }

    #[test]
    fn pads_of_old_kernels_are_counted_as_they_come_and_names_obey_nobody() {
        let mut raw = answers("x", &[("m", PLAIN, &[true, true, false])], &[]);
        raw.device.media_version = 4 << 16 | 18 << 8;
        raw.pads.iter_mut().for_each(|p| p.index = 0xFFFF);
        raw.entities[0].name[..4].copy_from_slice(b"\x1b[2J");
        let graph = MediaGraph::of("/dev/media0".into(), &raw);
        let numbers: Vec<u32> = graph.entities[0].pads.iter().map(|p| p.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(graph.entities[0].name, "\u{FFFD}[2J");
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_answers_it_is_bounded_and_ends(
            entities in prop::collection::vec((0u32..80, any::<[u8; 4]>(), any::<u32>()), 0..80),
            pads in prop::collection::vec((0u32..200, 0u32..90, 0u32..8, any::<u32>()), 0..200),
            interfaces in prop::collection::vec((0u32..80, 0x1FFu32..0x205, 0u32..3), 0..80),
            links in prop::collection::vec((0u32..220, 0u32..220, any::<u32>(), 0u32..3), 0..300),
            wide in any::<bool>(),
        ) {
            let mut raw = zeroed();
            for (id, start, function) in &entities {
                let mut name = [b'x'; 64];
                name[..4].copy_from_slice(start);
                let function = [SENSOR, NODE, PLAIN, *function][*id as usize % 4];
                let (id, flags, reserved) = (*id, 0, [0; 5]);
                raw.entities.push(EntityAnswer { id, name, function, flags, reserved });
            }
            for (id, entity, flags, index) in &pads {
                let (id, entity, flags, index) = (*id, *entity, *flags, *index);
                raw.pads.push(PadAnswer { id, entity, flags, index, reserved: [0; 4] });
            }
            for (id, kind, minor) in &interfaces {
                raw.interfaces.push(InterfaceAnswer {
                    id: *id,
                    kind: *kind,
                    flags: 0,
                    reserved: [0; 9],
                    major: 81,
                    minor: *minor,
                    rest: [0; 14],
                });
            }
            for (source, sink, flags, kind) in &links {
                let flags = if wide { *flags } else { (flags & 3) | (kind << 28) };
                let (source, sink, reserved) = (*source, *sink, [0; 6]);
                raw.links.push(LinkAnswer { id: 0, source, sink, flags, reserved });
            }
            let graph = MediaGraph::of("/dev/media0".into(), &raw);
            prop_assert!(graph.entities.len() <= entities.len());
            prop_assert!(graph.links.len() <= links.len());
            for link in &graph.links {
                prop_assert!(!graph.pad(link.from).sink && graph.pad(link.to).sink);
            }
            for node in 0..graph.entities.len() {
                let way = graph.way_to(node);
                for pair in way.windows(2) {
                    prop_assert_eq!(pair[0].to.entity, pair[1].from.entity);
                }
                if let Some(last) = way.last() {
                    prop_assert_eq!(last.to.entity, node);
                    prop_assert!(way.len() < graph.entities.len());
                }
            }
            for minor in 0..3 {
                super::super::remedy::advise(&graph, (81, minor));
            }
        }
    }

    #[test]
    fn more_than_the_largest_graph_is_cut_off() {
        let mut raw = zeroed();
        for id in 0..1000 {
            raw.entities.push(EntityAnswer {
                id,
                name: [0; 64],
                function: 0,
                flags: 0,
                reserved: [0; 5],
            });
            for pad in 0..10 {
                let id = id * 10 + pad;
                raw.pads.push(PadAnswer {
                    id,
                    entity: id / 10,
                    flags: 1,
                    index: 0,
                    reserved: [0; 4],
                });
            }
        }
        let graph = MediaGraph::of("/dev/media0".into(), &raw);
        let pads: usize = graph.entities.iter().map(|e| e.pads.len()).sum();
        assert_eq!((graph.entities.len(), pads), (MAX_ENTITIES, MAX_PADS));
    }

    #[test]
    fn each_of_sixty_four_cameras_of_one_device_has_its_own_way() {
        let sensors: Vec<String> = (0..64).map(|n| format!("sensor {n}")).collect();
        let nodes: Vec<String> = (0..64).map(|n| format!("node {n}")).collect();
        let mut blocks: Vec<(&str, u32, &[bool])> = Vec::new();
        let mut links = Vec::new();
        for n in 0..64 {
            blocks.push((&sensors[n], SENSOR, &[false]));
            blocks.push((&nodes[n], NODE, &[true]));
            links.push(((2 * n, 0), (2 * n + 1, 0), abi::LINK_ENABLED));
        }
        // Ids of pads are ten apart from block to block, so that the numbers stay unique.
        let graph = graph("x", &blocks, &links);
        for (n, sensor) in (0u32..).zip(&sensors) {
            let node = graph.video((81, 2 * n + 1)).unwrap();
            let way = graph.way_to(node);
            assert_eq!(graph.entities[way[0].from.entity].name, *sensor);
        }
    }
}
