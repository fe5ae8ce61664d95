//! Which node is the camera that is meant, under whatever number it is now.
//!
//! Promises:
//! * A path, a link below `/dev/v4l` and `usb:VENDOR:PRODUCT[:SERIAL]` are looked up at each
//!   opening.
//! * Once opened, a camera is known by what it says of itself and by its USB numbers. Where another
//!   one has its place, it is looked for among all nodes; what is not it is never read in its name:
//!   zones and site records are of one camera.
//! * Several that it could be are an error with their names.
//!
//! Not promised: telling two cameras apart that have the same model, no serial number of their own
//! and the same socket one after the other. Nothing is remembered across a restart of the daemon.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::super::SourceError;
use super::driver::Driver;
use super::identity::Identity;
use super::refusal::{self, OpenStep};

/// Most nodes that are looked at.
pub(super) const MAX_NODES: usize = 64;

/// How many folders up from a video node its USB device is looked for.
const MAX_ANCESTORS: usize = 12;
/// Most bytes of one of sysfs's short texts; a USB string has at most 126 characters.
const MAX_TEXT: u64 = 512;

/// A USB device's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsbId {
    vendor: u16,
    product: u16,
    /// `None` where it has none.
    serial: Option<String>,
}

/// As `source.v4l2.device` names it.
impl std::fmt::Display for UsbId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "usb:{:04x}:{:04x}", self.vendor, self.product)?;
        self.serial.iter().try_for_each(|serial| write!(f, ":{serial}"))
    }
}

/// How `source.v4l2.device` names a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CameraName {
    Path(PathBuf),
    /// `usb:VENDOR:PRODUCT[:SERIAL]`.
    Usb(UsbId),
}

impl CameraName {
    /// `None` for what begins with `usb:` and does not go on as it has to.
    pub(super) fn parse(device: &Path) -> Option<Self> {
        let Some(rest) = device.to_str().and_then(|d| d.strip_prefix("usb:")) else {
            return Some(Self::Path(device.to_owned()));
        };
        let mut parts = rest.splitn(3, ':');
        let mut number = || {
            let digits = parts.next()?;
            (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok())?
        };
        let (vendor, product) = (number()?, number()?);
        let serial = match parts.next() {
            Some("") => return None,
            serial => serial.map(str::to_owned),
        };
        Some(Self::Usb(UsbId { vendor, product, serial }))
    }

    /// Whether it is the name of a model rather than of a place, so that the socket does not count.
    fn is_of_a_model(&self) -> bool {
        match self {
            Self::Path(path) => path.starts_with("/dev/v4l/by-id"),
            Self::Usb(_) => true,
        }
    }
}

/// Where the kernel shows devices.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) sys: PathBuf,
    pub(super) dev: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into() }
    }
}

/// What sysfs says of one video node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    /// `/dev/videoN`.
    path: PathBuf,
    /// Its place among the nodes of its device: picture, metadata, second stream.
    index: Option<u32>,
    usb: Option<UsbId>,
    /// The USB device's folder: one for each plugged-in device.
    device: Option<PathBuf>,
}

impl Machine {
    /// Every video node that is here, in the order of their numbers; a container has not all that
    /// sysfs shows.
    fn nodes(&self) -> Vec<Shown> {
        let mut numbers: Vec<u32> = std::fs::read_dir(&self.dev)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                entry.ok()?.file_name().to_str()?.strip_prefix("video")?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        numbers.truncate(MAX_NODES);
        numbers.into_iter().map(|n| self.shown(self.dev.join(format!("video{n}")))).collect()
    }

    /// The folder of a node in sysfs: by its numbers, because a container may give it another name.
    fn entry(&self, path: &Path) -> Option<PathBuf> {
        let about = path.metadata().ok()?;
        if about.file_type().is_char_device() {
            let device = about.rdev() as libc::dev_t;
            let numbers = format!("{}:{}", libc::major(device), libc::minor(device));
            return Some(self.sys.join("dev/char").join(numbers));
        }
        Some(self.sys.join("class/video4linux").join(path.canonicalize().ok()?.file_name()?))
    }

    /// What sysfs says of the node that `path` leads to, now.
    fn shown(&self, path: PathBuf) -> Shown {
        let nowhere = Shown { path: path.clone(), index: None, usb: None, device: None };
        let Some(entry) = self.entry(&path) else { return nowhere };
        let index = text(&entry.join("index")).and_then(|t| t.parse().ok());
        let device = entry.join("device").canonicalize().ok();
        let device = device.as_deref().into_iter().flat_map(Path::ancestors).take(MAX_ANCESTORS);
        let device =
            device.take_while(|d| d.starts_with(&self.sys)).find(|d| d.join("idVendor").exists());
        let usb = device.and_then(|folder| {
            let number = |name| u16::from_str_radix(&text(&folder.join(name))?, 16).ok();
            Some(UsbId {
                vendor: number("idVendor")?,
                product: number("idProduct")?,
                serial: text(&folder.join("serial")).filter(|s| !s.is_empty()),
            })
        });
        Shown { index, usb, device: device.map(Path::to_owned), ..nowhere }
    }

    /// The USB numbers of the node that `path` leads to, as `source.v4l2.device` may name it.
    pub(super) fn usb_name(&self, path: &Path) -> Option<String> {
        self.shown(path.to_owned()).usb.map(|usb| usb.to_string())
    }
}

/// One of sysfs's short texts.
fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_TEXT).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim().chars().filter(|c| !c.is_control()).collect())
}

/// The camera that was opened first.
#[derive(Debug, Clone)]
pub(super) struct KnownCamera {
    identity: Identity,
    shown: Shown,
    /// Others were there with the same numbers, its serial among them: it tells nothing.
    has_twins: bool,
}

/// How like a node is to the camera that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// It is the camera, where it was.
    Same,
    /// It is the camera, in another socket.
    Moved,
    Another,
}

impl KnownCamera {
    fn likeness(&self, name: &CameraName, identity: &Identity, shown: &Shown) -> Likeness {
        let (mine, its) = (&self.identity, identity);
        let both = |a: Option<u32>, b: Option<u32>| a.is_some() && b.is_some() && a != b;
        if (&mine.driver, &mine.card) != (&its.driver, &its.card)
            || both(self.shown.index, shown.index)
        {
            return Likeness::Another;
        }
        let socket = mine.bus == its.bus;
        let may_move = match (&self.shown.usb, &shown.usb) {
            (Some(a), Some(b)) if a != b => return Likeness::Another,
            (Some(a), Some(_)) => name.is_of_a_model() || (a.serial.is_some() && !self.has_twins),
            _ => false,
        };
        match (socket, may_move) {
            (true, _) => Likeness::Same,
            (false, true) => Likeness::Moved,
            (false, false) => Likeness::Another,
        }
    }
}

impl std::fmt::Display for KnownCamera {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        named(f, &self.identity, &self.shown)
    }
}

fn named(f: &mut std::fmt::Formatter<'_>, identity: &Identity, shown: &Shown) -> std::fmt::Result {
    write!(f, "{} ({}", identity.card, identity.bus)?;
    shown.usb.iter().try_for_each(|usb| write!(f, ", {usb}"))?;
    write!(f, ")")
}

/// A node that was opened, and what it says.
struct OpenNode {
    identity: Identity,
    shown: Shown,
}

impl std::fmt::Display for OpenNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.shown.path.display())?;
        named(f, &self.identity, &self.shown)
    }
}

/// Opens the camera that `device` names, or the known one wherever it is, and leaves it open.
///
/// # Errors
/// [`SourceError::Configuration`] with the remedy; no node is open then.
pub(super) fn find<D: Driver>(
    device: &Path,
    machine: &Machine,
    known: Option<&KnownCamera>,
    driver: &mut D,
) -> Result<KnownCamera, SourceError> {
    let name = CameraName::parse(device).ok_or_else(|| refusal::no_usb_name(device))?;
    let first = match &name {
        CameraName::Path(path) => open(driver, machine.shown(path.clone())),
        CameraName::Usb(usb) => by_usb(driver, machine, usb),
    };
    let found = match (known, first) {
        (None, first) => first?,
        (Some(known), Ok(node))
            if known.likeness(&name, &node.identity, &node.shown) == Likeness::Same =>
        {
            node
        }
        (Some(known), first) => again(driver, machine, &name, known)?.ok_or_else(|| {
            driver.close();
            first.map_or_else(
                |e| e,
                |node| refusal::another(device, &node.to_string(), &known.to_string()),
            )
        })?,
    };
    let has_twins = known.map_or_else(|| twins(machine, &found.shown), |k| k.has_twins);
    let (identity, shown) = (found.identity, found.shown);
    // The first one stays what later ones are held to, but for its socket.
    let usb = known.map_or(shown.usb.clone(), |k| k.shown.usb.clone());
    Ok(KnownCamera { identity, shown: Shown { usb, ..shown }, has_twins })
}

impl KnownCamera {
    /// The node where it is.
    pub(super) fn path(&self) -> &Path {
        &self.shown.path
    }

    /// What it said of itself.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }
}

fn open<D: Driver>(driver: &mut D, shown: Shown) -> Result<OpenNode, SourceError> {
    let at = |step| {
        let path = shown.path.clone();
        move |e: std::io::Error| refusal::failed(&path, step, &e)
    };
    driver.open(&shown.path).map_err(at(OpenStep::Open))?;
    let identity = driver.identity().map_err(at(OpenStep::Identity));
    let identity = identity.and_then(|identity| {
        refusal::check_node(&shown.path, &identity)?;
        Ok(identity)
    });
    match identity {
        Ok(identity) => Ok(OpenNode { identity, shown }),
        Err(e) => {
            driver.close();
            Err(e)
        }
    }
}

/// Whether other devices have the same numbers.
fn twins(machine: &Machine, shown: &Shown) -> bool {
    let Some(usb) = &shown.usb else { return false };
    machine.nodes().iter().any(|n| n.usb.as_ref() == Some(usb) && n.device != shown.device)
}

/// The picture's node of the one camera with these numbers.
fn by_usb<D: Driver>(
    driver: &mut D,
    machine: &Machine,
    wanted: &UsbId,
) -> Result<OpenNode, SourceError> {
    let is_it = |usb: &UsbId| {
        (usb.vendor, usb.product) == (wanted.vendor, wanted.product)
            && (wanted.serial.is_none() || usb.serial == wanted.serial)
    };
    let mut found = BTreeMap::new();
    let mut refused = None;
    for shown in machine.nodes() {
        if !shown.usb.as_ref().is_some_and(is_it) || found.contains_key(&shown.device) {
            continue;
        }
        match open(driver, shown) {
            Ok(node) => drop(found.insert(node.shown.device.clone(), node)),
            Err(e) => refused = refused.or(Some(e)),
        }
        driver.close();
    }
    let mut nodes = found.into_values();
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => open(driver, node.shown),
        (Some(one), Some(other)) => Err(refusal::ambiguous(
            &wanted.to_string(),
            [one, other].into_iter().chain(nodes).map(|n| n.to_string()),
        )),
        (None, _) => Err(refused.unwrap_or_else(|| refusal::not_plugged_in(&wanted.to_string()))),
    }
}

/// The known camera among all nodes, left open; `None` where it is not there.
fn again<D: Driver>(
    driver: &mut D,
    machine: &Machine,
    name: &CameraName,
    known: &KnownCamera,
) -> Result<Option<OpenNode>, SourceError> {
    driver.close();
    let mut moved = BTreeMap::new();
    for shown in machine.nodes() {
        let Ok(node) = open(driver, shown) else { continue };
        match known.likeness(name, &node.identity, &node.shown) {
            Likeness::Same => return Ok(Some(node)),
            Likeness::Moved => drop(moved.entry(node.shown.device.clone()).or_insert(node)),
            Likeness::Another => {}
        }
        driver.close();
    }
    let mut nodes = moved.into_values();
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => open(driver, node.shown).map(Some),
        (Some(one), Some(other)) => Err(refusal::ambiguous(
            &known.to_string(),
            [one, other].into_iter().chain(nodes).map(|n| n.to_string()),
        )),
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
