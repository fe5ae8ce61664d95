//! The stream against a driver that keeps V4L2's rules: queueing a buffer that the driver has is
//! EINVAL, as is dequeueing when none is filled; a closed device answers ENODEV. Time passes only
//! when the stream waits.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use v4l::v4l_sys as sys;

use super::super::BadFrame;
use super::super::media::{
    GraphOfNode, MediaEntity, MediaFunction, MediaGraph, MediaLink, MediaNode, MediaPad,
};
use super::super::media::{PadFormat, PadPlace};
use super::finding::Machine;
use super::format::{Granted, GrantedPlane, Sizes};
use super::state::{Filled, Piece, UsedPlane};
use super::*;
use crate::clock::Now;
use crate::frame::PixelFormat;
use crate::locked::{Locked, LockedBuffer, limited};

/// What the camera does at the next wait.
#[derive(Debug, Clone)]
pub(super) enum CameraEvent {
    /// Nothing for this long.
    Silence(Duration),
    /// The machine sleeps for this long; then `wait` says ready for what was filled before.
    Asleep(Duration),
    /// A frame: bytes, bytes used, flags, sequence.
    Frame(Vec<u8>, usize, u32, u32),
    /// `wait` fails with this number.
    WaitFails(i32),
    /// `wait` says ready, `dequeue` fails with this number.
    DequeueFails(i32),
    /// `dequeue` returns a buffer that nobody queued.
    Stray,
}

pub(super) struct FakeCamera {
    now: Duration,
    events: VecDeque<CameraEvent>,
    /// What the device answers when it is opened: the size that it grants, or an error number.
    opens: VecDeque<Result<(u32, u32), i32>>,
    granted: Option<(u32, u32)>,
    pub(super) capabilities: u32,
    pub(super) driver: &'static str,
    pub(super) formats: Vec<[u8; 4]>,
    /// Buffers of a frame.
    planes: usize,
    data_offset: u32,
    /// Frames that the driver has, in order.
    queued: VecDeque<u32>,
    /// Of each frame its buffers.
    memory: Vec<Vec<Vec<u8>>>,
    streaming: bool,
    queue_fails: Option<i32>,
    start_fails: Option<i32>,
    pub(super) rates: Vec<([u8; 4], f32)>,
    pub(super) map_fails: Option<i32>,
    /// Controls that the camera does not have, and those that were set.
    lacks: Vec<u32>,
    controls: Vec<(u32, i32)>,
    pub(super) graph: Option<GraphOfNode>,
    /// What it offers of one media bus format.
    of_code: Option<(u32, Vec<[u8; 4]>)>,
    /// The format and size that were asked for last.
    asked: Option<([u8; 4], u32, u32)>,
    /// The nodes that there are: card, socket, and whether they give pictures; `None` where any
    /// path is the one camera.
    pub(super) nodes: Option<BTreeMap<PathBuf, (&'static str, String, bool)>>,
    /// The node that is open.
    at: PathBuf,
}

impl FakeCamera {
    /// The stream breaks off.
    pub(super) fn lose(&mut self) {
        self.events = [CameraEvent::WaitFails(libc::ENODEV)].into();
    }
    pub(super) fn frames<const N: usize>(&mut self, events: [CameraEvent; N]) {
        self.events = events.into();
    }
    /// Time passes that nobody waits for.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn new() -> Self {
        Self {
            now: Duration::from_secs(100),
            events: VecDeque::new(),
            opens: VecDeque::new(),
            granted: None,
            capabilities: sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING,
            driver: "uvcvideo",
            formats: vec![*b"GREY", *b"MJPG"],
            planes: 1,
            data_offset: 0,
            queued: VecDeque::new(),
            memory: Vec::new(),
            streaming: false,
            queue_fails: None,
            start_fails: None,
            rates: Vec::new(),
            map_fails: None,
            lacks: Vec::new(),
            controls: Vec::new(),
            graph: None,
            of_code: None,
            asked: None,
            nodes: None,
            at: PathBuf::new(),
        }
    }

    fn os(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }
}

impl Driver for FakeCamera {
    fn open(&mut self, path: &Path) -> io::Result<()> {
        assert!(!self.streaming && self.queued.is_empty(), "opened again without being closed");
        if self.nodes.as_ref().is_some_and(|nodes| !nodes.contains_key(path)) {
            return Err(Self::os(libc::ENOENT));
        }
        self.at = path.to_owned();
        let size = self.opens.pop_front().unwrap_or(Ok((8, 4))).map_err(Self::os)?;
        self.granted = Some(size);
        Ok(())
    }
    fn identity(&mut self) -> io::Result<Identity> {
        let known = self.nodes.as_ref().and_then(|nodes| nodes.get(&self.at));
        let (card, bus, pictures) = known.cloned().unwrap_or(("fake", "usb-1".into(), true));
        let metadata = sys::V4L2_CAP_META_CAPTURE | sys::V4L2_CAP_STREAMING;
        Ok(Identity {
            driver: self.driver.into(),
            card: card.into(),
            bus,
            capabilities: if pictures { self.capabilities } else { metadata },
        })
    }
    fn graph(&self) -> Option<GraphOfNode> {
        self.graph.clone()
    }
    fn formats(&mut self, bus_code: u32) -> io::Result<Formats> {
        if let Some((code, formats)) = self.of_code.as_ref().filter(|_| bus_code != 0) {
            let known = formats.iter().filter(|_| *code == bus_code);
            return Ok(known.map(FourCC::new).collect());
        }
        Ok(self.formats.iter().map(FourCC::new).collect())
    }
    fn sizes(&mut self, _: FourCC) -> io::Result<Sizes> {
        Ok(Sizes::from_iter([Size::Exactly(640, 480)]))
    }
    fn fastest(&mut self, fourcc: FourCC, _: u32, _: u32) -> io::Result<Option<f32>> {
        Ok(self.rates.iter().find(|(name, _)| *name == fourcc.repr).map(|(_, fps)| *fps))
    }
    fn set_control(&mut self, id: u32, value: i32) -> io::Result<()> {
        if self.lacks.contains(&id) {
            return Err(Self::os(libc::EINVAL));
        }
        self.controls.push((id, value));
        Ok(())
    }
    fn set_format(&mut self, fourcc: FourCC, w: u32, h: u32) -> io::Result<Granted> {
        self.asked = Some((fourcc.repr, w, h));
        let (width, height) = self.granted.ok_or_else(|| Self::os(libc::ENODEV))?;
        let strides = vec![width; self.planes];
        Ok(Granted {
            fourcc,
            width,
            height,
            planes: strides.into_iter().map(|stride| GrantedPlane { stride }).collect(),
            field: sys::v4l2_field_V4L2_FIELD_NONE,
            colorspace: 0,
            encoding: 0,
            quantization: 0,
        })
    }
    fn set_rate(&mut self, _: u32) -> io::Result<Option<f32>> {
        Err(Self::os(libc::ENOTTY))
    }
    fn map(&mut self, count: u32) -> io::Result<usize> {
        self.map_fails.map_or(Ok(()), |code| Err(Self::os(code)))?;
        let bytes = self.granted.map_or(0, |(width, height)| (width * height) as usize).max(4096);
        self.memory = vec![vec![vec![0; bytes]; self.planes]; count as usize];
        Ok(count as usize)
    }
    fn queue(&mut self, index: u32) -> io::Result<()> {
        if let Some(code) = self.queue_fails.filter(|_| self.streaming) {
            return Err(Self::os(code));
        }
        if self.granted.is_none() {
            return Err(Self::os(libc::ENODEV));
        }
        if self.queued.contains(&index) || index as usize >= self.memory.len() {
            return Err(Self::os(libc::EINVAL));
        }
        self.queued.push_back(index);
        Ok(())
    }
    fn start(&mut self) -> io::Result<()> {
        self.start_fails.map_or(Ok(()), |code| Err(Self::os(code)))?;
        self.streaming = true;
        Ok(())
    }
    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        if !self.streaming {
            return Err(Self::os(libc::EIO));
        }
        match self.events.front_mut() {
            None => self.now += patience,
            Some(CameraEvent::Silence(left)) => {
                let passed = patience.min(*left);
                self.now += passed;
                *left -= passed;
                if left.is_zero() {
                    self.events.pop_front();
                }
            }
            Some(CameraEvent::Asleep(time)) => {
                self.now += *time;
                self.events.pop_front();
                return Ok(true);
            }
            Some(CameraEvent::WaitFails(code)) => {
                let e = Self::os(*code);
                self.events.pop_front();
                return Err(e);
            }
            Some(_) => {
                self.now += Duration::from_millis(10);
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn dequeue(&mut self) -> io::Result<Filled> {
        match self.events.pop_front() {
            Some(CameraEvent::Frame(bytes, used, flags, sequence)) => {
                let index = self.queued.pop_front().ok_or_else(|| Self::os(libc::EINVAL))?;
                for memory in &mut self.memory[index as usize] {
                    memory[..bytes.len()].copy_from_slice(&bytes);
                }
                let plane = UsedPlane { bytes_used: used as u32, data_offset: self.data_offset };
                let planes = vec![plane; self.planes].into_iter().collect();
                Ok(Filled { index, planes, flags, sequence })
            }
            Some(CameraEvent::DequeueFails(code)) => Err(Self::os(code)),
            Some(CameraEvent::Stray) => {
                let plane = UsedPlane { bytes_used: 32, data_offset: 0 };
                let planes = heapless::Vec::from_iter([plane]);
                Ok(Filled { index: 77, planes, flags: 0, sequence: 0 })
            }
            _ => Err(Self::os(libc::EAGAIN)),
        }
    }
    fn mapped(&self, index: u32, plane: usize) -> usize {
        self.memory.get(index as usize).and_then(|m| m.get(plane)).map_or(0, Vec::len)
    }
    fn copy(&self, index: u32, pieces: &[Piece], into: &mut LockedBuffer) {
        assert!(!self.queued.contains(&index), "read a buffer that the driver has");
        into.clear();
        for piece in pieces {
            let memory = &self.memory[index as usize][piece.plane];
            into.extend_from_slice(&memory[piece.from..piece.from + piece.len]);
        }
    }
    fn close(&mut self) {
        self.queued.clear();
        self.memory.clear();
        (self.streaming, self.granted) = (false, None);
    }
    fn now(&self) -> Now {
        Now { monotonic: self.now, wall: time::OffsetDateTime::UNIX_EPOCH }
    }
    fn sleep(&mut self, time: Duration) {
        self.now += time;
    }
}

pub(super) fn config() -> V4l2Config {
    V4l2Config { format: CameraFormat::Raw(PixelFormat::Grey), ..V4l2Config::default() }
}

fn stream(fake: FakeCamera) -> CameraStream<FakeCamera> {
    opened(config(), fake).unwrap()
}

/// On a machine without nodes of its own, so that those of this one play no part.
fn opened(config: V4l2Config, fake: FakeCamera) -> Result<CameraStream<FakeCamera>, SourceError> {
    let nowhere = Machine { sys: "/nonexistent/sys".into(), dev: "/nonexistent/dev".into() };
    CameraStream::open(config, fake, nowhere)
}

/// A whole 8x4 grey frame of one value.
pub(super) fn grey(value: u8, sequence: u32) -> CameraEvent {
    CameraEvent::Frame(vec![value; 32], 32, 0, sequence)
}

#[test]
fn after_a_timeout_the_stream_goes_on_without_touching_a_buffer() {
    let mut s = stream(FakeCamera::new());
    s.driver.events =
        [grey(1, 0), CameraEvent::Silence(PATIENCE * 3 / 2), grey(2, 1), grey(3, 2)].into();
    let mut captured = Captured::default();
    s.next(&mut captured).unwrap();
    assert!(matches!(s.next(&mut captured), Err(SourceError::Timeout)));
    for value in [2, 3] {
        s.next(&mut captured).unwrap();
        assert_eq!(captured.bytes, [value; 32]);
        assert_eq!(s.driver.queued.len(), 4, "every buffer is the driver's again");
    }
    assert_eq!(s.counters, SourceCounters { frames: 3, timeouts: 1, ..SourceCounters::default() });
}

#[test]
fn a_stream_that_is_built_again_and_again_locks_no_more_memory_than_its_largest_frames_take() {
    let here =
        a_stream_that_is_built_again_and_again_locks_no_more_memory_than_its_largest_frames_take;
    // Room for three frames of the largest size beside a list of as much, and for no fourth.
    if !limited::to(6 << 20, &here) {
        return;
    }
    let list = Locked::<u8>::zeroed(3 << 20).unwrap();
    let sizes = [(320, 240), (640, 480), (1280, 720), (8, 4), (640, 480), (1280, 720)];
    let mut s = stream(FakeCamera::new());
    // The one that is filled, the one that waits, the one that is looked at.
    let mut frames = [(); 3].map(|()| Captured::default());
    let mut locked = Vec::new();
    for (round, (width, height)) in sizes.iter().cycle().take(30).copied().enumerate() {
        s.driver.opens = [Ok((width, height))].into();
        s.driver.lose();
        assert!(matches!(s.next(&mut frames[0]), Err(SourceError::Lost { .. })));
        let bytes = (width * height) as usize;
        let frame = |number| CameraEvent::Frame(vec![7; bytes], bytes, 0, number);
        s.driver.events = (0..6).map(frame).collect();
        for number in 0..6 {
            let captured = &mut frames[number % 3];
            s.next(captured).unwrap();
            assert_eq!(captured.bytes.len(), bytes);
            assert!(list.is_locked() && captured.bytes.is_locked(), "round {round}");
        }
        locked.push(limited::locked() - list.len());
    }
    assert_eq!(s.counters.reopened, 30);
    let largest = (1280 * 720usize).next_multiple_of(64 << 10);
    assert!(locked[2] >= 3 * largest && locked[2] <= 3 << 20, "{locked:?}");
    assert!(locked[2..].iter().all(|bytes| *bytes == locked[2]), "{locked:?}");
    drop(frames);
    assert_eq!(limited::locked(), list.len());
}

#[test]
fn damaged_empty_and_short_frames_are_counted_and_their_buffers_returned() {
    let mut s = stream(FakeCamera::new());
    let flagged = CameraEvent::Frame(vec![9; 32], 32, sys::V4L2_BUF_FLAG_ERROR, 0);
    let empty = CameraEvent::Frame(vec![], 0, 0, 1);
    let short = CameraEvent::Frame(vec![9; 31], 31, 0, 2);
    s.driver.events = [flagged, empty, short, grey(5, 7)].into();
    let mut captured = Captured::default();
    assert!(matches!(s.next(&mut captured), Err(SourceError::Frame(BadFrame::Flagged))));
    assert!(matches!(
        s.next(&mut captured),
        Err(SourceError::Frame(BadFrame::Short { need: 32, got: 0 }))
    ));
    assert!(matches!(
        s.next(&mut captured),
        Err(SourceError::Frame(BadFrame::Short { need: 32, got: 31 }))
    ));
    assert_eq!(s.driver.queued.len(), 4);
    s.next(&mut captured).unwrap();
    assert_eq!((captured.bytes[0], captured.sequence), (5, 7));
    let expected = SourceCounters {
        frames: 1,
        error_flagged: 1,
        short: 2,
        missed: 4,
        ..SourceCounters::default()
    };
    assert_eq!(s.counters, expected);
}

#[test]
fn a_camera_that_gives_only_damaged_frames_is_built_again_and_more_and_more_rarely() {
    let mut s = stream(FakeCamera::new());
    let flagged = |n| CameraEvent::Frame(vec![9; 32], 32, sys::V4L2_BUF_FLAG_ERROR, n);
    s.driver.events = (0..100_000).map(flagged).collect();
    let (mut captured, start) = (Captured::default(), s.driver.now);
    let mut lost = Vec::new();
    while s.driver.now < start + Duration::from_secs(300) {
        match s.next(&mut captured) {
            Err(SourceError::Lost { .. }) => lost.push(s.driver.now - start),
            Err(SourceError::Frame(BadFrame::Flagged) | SourceError::Timeout) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(lost[0] >= STALL && lost[0] < STALL * 2, "{lost:?}");
    assert!((7..=40).contains(&lost.len()), "{lost:?}");
    let gap = |i: usize| lost[i + 1] - lost[i];
    assert!(gap(lost.len() - 2) > gap(0), "{lost:?}");
    // One good frame, and all is well.
    s.driver.events = [grey(4, 0)].into();
    while s.next(&mut captured).is_err() {}
    assert_eq!(captured.bytes, [4; 32]);
}

#[test]
fn a_multi_planar_camera_is_read_plane_after_plane_from_where_each_begins() {
    let mut fake = FakeCamera::new();
    fake.capabilities = sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_STREAMING;
    (fake.formats, fake.planes, fake.data_offset) = (vec![*b"NM12"], 2, 8);
    let format = CameraFormat::Raw(PixelFormat::Nv12);
    let config = V4l2Config { format, ..V4l2Config::default() };
    let mut s = opened(config, fake).unwrap();
    // 8x4: luma of 32 bytes, chroma of 16, each after 8 bytes that belong to the driver.
    let bytes: Vec<u8> = (0..64).collect();
    s.driver.events =
        [CameraEvent::Frame(bytes.clone(), 40, 0, 0), CameraEvent::Frame(bytes.clone(), 39, 0, 1)]
            .into();
    let mut captured = Captured::default();
    s.next(&mut captured).unwrap();
    assert_eq!(captured.bytes, [&bytes[8..40], &bytes[8..24]].concat());
    assert!(matches!(
        captured.payload,
        Payload::Raw(l) if (l.format(), l.min_len()) == (PixelFormat::Nv12, 48)
    ));
    assert!(matches!(
        s.next(&mut captured),
        Err(SourceError::Frame(BadFrame::Short { need: 32, got: 31 }))
    ));
}

#[test]
fn bytes_used_and_not_the_mapping_is_the_length_of_a_jpeg() {
    let config = V4l2Config { format: CameraFormat::Mjpg, ..V4l2Config::default() };
    let mut s = opened(config, FakeCamera::new()).unwrap();
    s.driver.events = [CameraEvent::Frame(vec![7; 100], 60, 0, 0)].into();
    let mut captured = Captured::default();
    s.next(&mut captured).unwrap();
    assert_eq!(captured.bytes, [7; 60]);
    assert_eq!(captured.payload, Payload::Jpeg { width: 8, height: 4 });
}

#[test]
fn an_unplugged_camera_is_opened_again_and_its_new_format_is_taken() {
    let mut s = stream(FakeCamera::new());
    s.driver.events = [grey(1, 40), CameraEvent::DequeueFails(libc::ENODEV)].into();
    s.driver.opens = [Err(libc::ENOENT), Err(libc::ENOENT), Ok((16, 4))].into();
    let mut captured = Captured::default();
    s.next(&mut captured).unwrap();
    assert!(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })));
    assert!(s.describe().contains("lost"));
    // Twice the node is not there yet; then another mode is granted and the numbering starts over.
    assert!(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })));
    assert!(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })));
    s.driver.events = [CameraEvent::Frame(vec![2; 64], 64, 0, 0)].into();
    s.next(&mut captured).unwrap();
    assert!(matches!(
        captured.payload,
        Payload::Raw(l) if (l.width(), l.format()) == (16, PixelFormat::Grey)
    ));
    assert_eq!((captured.bytes.len(), captured.sequence, s.counters.missed), (64, 1, 0));
    assert_eq!(s.counters.reopened, 1);
}

#[test]
fn a_camera_that_stays_away_is_asked_more_and_more_rarely_and_no_call_takes_long() {
    let mut s = stream(FakeCamera::new());
    s.driver.events = [CameraEvent::WaitFails(libc::ENODEV)].into();
    s.driver.opens = vec![Err(libc::ENODEV); 1000].into();
    let (mut captured, start) = (Captured::default(), s.driver.now);
    while s.driver.now < start + Duration::from_secs(60) {
        let before = s.driver.now;
        assert!(matches!(
            s.next(&mut captured),
            Err(SourceError::Lost { .. } | SourceError::Timeout)
        ));
        assert!(s.driver.now - before <= PATIENCE);
    }
    let attempts = 1000 - s.driver.opens.len();
    assert!((12..=20).contains(&attempts), "{attempts} attempts in a minute");
}

#[test]
fn every_error_of_a_running_stream_builds_it_again() {
    for event in [
        CameraEvent::WaitFails(libc::EIO),
        CameraEvent::DequeueFails(libc::EIO),
        CameraEvent::DequeueFails(libc::EINVAL),
        CameraEvent::DequeueFails(libc::EPIPE),
        CameraEvent::Stray,
    ] {
        let mut s = stream(FakeCamera::new());
        s.driver.events = [event.clone(), grey(6, 0)].into();
        let mut captured = Captured::default();
        assert!(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })), "{event:?}");
        s.next(&mut captured).unwrap();
        assert_eq!((captured.bytes[0], s.counters.reopened), (6, 1), "{event:?}");
    }
    let mut s = stream(FakeCamera::new());
    s.driver.events = [grey(1, 0), grey(2, 1)].into();
    s.driver.queue_fails = Some(libc::EINVAL);
    let mut captured = Captured::default();
    assert!(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })));
    s.driver.queue_fails = None;
    s.next(&mut captured).unwrap();
}

#[test]
fn a_call_that_was_interrupted_or_came_too_early_is_repeated() {
    let mut s = stream(FakeCamera::new());
    s.driver.events = [
        CameraEvent::WaitFails(libc::EINTR),
        CameraEvent::DequeueFails(libc::EAGAIN),
        CameraEvent::DequeueFails(libc::EAGAIN),
        grey(4, 0),
    ]
    .into();
    let mut captured = Captured::default();
    s.next(&mut captured).unwrap();
    assert_eq!((captured.bytes[0], s.counters.reopened), (4, 0));
}

#[test]
fn a_camera_that_hangs_is_built_again() {
    let mut s = stream(FakeCamera::new());
    let mut captured = Captured::default();
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })));
    }
    assert_eq!(outcomes, [false, false, false, false, true]);
    s.driver.events = [grey(8, 0)].into();
    s.next(&mut captured).unwrap();
}

#[test]
fn after_the_machine_slept_the_stream_is_built_again_without_a_frame_from_before() {
    // The clock counts the time asleep. Whether the thread slept while it waited, or elsewhere:
    for waiting in [true, false] {
        let mut s = stream(FakeCamera::new());
        s.driver.events = [grey(1, 0)].into();
        let mut captured = Captured::default();
        s.next(&mut captured).unwrap();
        let night = Duration::from_secs(8 * 3600);
        // The driver still has a frame that it filled the evening before.
        s.driver.events = [grey(2, 1)].into();
        if waiting {
            s.driver.events.push_front(CameraEvent::Asleep(night));
        } else {
            s.driver.now += night;
        }
        assert!(matches!(s.next(&mut captured), Err(SourceError::Lost { .. })), "{waiting}");
        assert_eq!(captured.bytes, [1; 32], "nothing of the evening");
        // Stopping a stream empties its buffers.
        s.driver.events = [grey(3, 0)].into();
        s.next(&mut captured).unwrap();
        assert_eq!((captured.bytes[0], s.counters.reopened), (3, 1));
        assert_eq!(captured.at.monotonic, s.driver.now);
        // And that was all: it is no stall for ever.
        for value in 4..40 {
            s.driver.events = [grey(value, u32::from(value))].into();
            s.next(&mut captured).unwrap();
        }
        assert_eq!(s.counters.reopened, 1);
    }
}

#[test]
fn a_camera_that_refuses_to_start_after_the_night_is_tried_until_it_does() {
    let mut s = stream(FakeCamera::new());
    s.driver.events = [CameraEvent::DequeueFails(libc::EIO)].into();
    s.driver.start_fails = Some(libc::EIO);
    let mut captured = Captured::default();
    for _ in 0..10 {
        assert!(s.next(&mut captured).is_err());
    }
    s.driver.start_fails = None;
    s.driver.events = [grey(9, 0)].into();
    while s.next(&mut captured).is_err() {}
    assert_eq!(captured.bytes[0], 9);
}

/// A sensor whose link to its node is not set.
pub(super) fn unset_graph() -> GraphOfNode {
    let format = PadFormat { code: 0x2008, width: 1640, height: 1232 };
    let entity = |id, name: &str, function, sink, node| MediaEntity {
        id,
        name: name.into(),
        function,
        pads: vec![MediaPad { number: 0, sink, format: Some(format).filter(|_| !sink) }],
        node,
    };
    let node = MediaNode { video: true, major: 81, minor: 3 };
    let graph = MediaGraph {
        device: "/dev/media0".into(),
        driver: "rkisp1".into(),
        model: String::new(),
        bus: String::new(),
        entities: vec![
            entity(1, "imx219 4-0010", MediaFunction::Sensor, false, None),
            entity(2, "rkisp1_mainpath", MediaFunction::Node, true, Some(node)),
        ],
        links: vec![MediaLink {
            from: PadPlace { entity: 0, pad: 0 },
            to: PadPlace { entity: 1, pad: 0 },
            enabled: false,
            immutable: false,
        }],
        left_out: 0,
    };
    (graph, (81, 3))
}

#[test]
fn behind_a_media_graph_the_node_is_set_to_what_reaches_it() {
    let set_up = || {
        let (mut graph, node) = unset_graph();
        graph.links[0].enabled = true;
        let mut fake = FakeCamera::new();
        fake.capabilities |= sys::V4L2_CAP_IO_MC;
        fake.formats = vec![*b"GREY", *b"NV12"];
        fake.graph = Some((graph, node));
        fake
    };
    let auto = || V4l2Config { fps: 0, ..V4l2Config::default() };
    let mut fake = set_up();
    fake.of_code = Some((0x2008, vec![*b"NV12"]));
    let asked = |fake| opened(auto(), fake).unwrap().driver.asked.unwrap();
    assert_eq!(asked(fake), (*b"NV12", 1640, 1232));
    // A driver that does not tell by what reaches it.
    let mut fake = set_up();
    fake.of_code = Some((1, vec![]));
    let (_, width, height) = asked(fake);
    assert_eq!((width, height), (1640, 1232));
    // A node that sets its own graph is asked for what is wanted.
    let mut fake = set_up();
    fake.capabilities &= !sys::V4L2_CAP_IO_MC;
    let (_, width, height) = asked(fake);
    assert_eq!((width, height), (1280, 720));
    // A graph that is set up and refuses all the same says where to look.
    let mut fake = set_up();
    fake.start_fails = Some(libc::EPIPE);
    let text = refused(fake);
    assert!(text.contains("although the links of /dev/media0 are set"), "{text}");
}

/// What opening such a device says.
fn refused(fake: FakeCamera) -> String {
    match opened(config(), fake).map(|_| ()) {
        Err(SourceError::Configuration { what, remedy }) => format!("{what} | {remedy}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_wrong_device_is_refused_with_its_remedy() {
    let with = |change: &dyn Fn(&mut FakeCamera)| {
        let mut fake = FakeCamera::new();
        change(&mut fake);
        refused(fake)
    };
    let opens = |code| with(&|f| f.opens = [Err(code)].into());
    let says = |text: String, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "no `{part}` in: {text}");
        }
    };
    says(opens(libc::ENOENT), &["there is no /dev/video0", "/dev/v4l/by-id"]);
    says(opens(libc::EACCES), &["usermod -aG video"]);
    says(opens(libc::EBUSY), &["fuser -v /dev/video0"]);
    says(with(&|f| f.start_fails = Some(libc::EBUSY)), &["in use", "fuser"]);
    let capabilities = |caps| with(&|f| f.capabilities = caps);
    says(capabilities(sys::V4L2_CAP_META_CAPTURE | sys::V4L2_CAP_STREAMING), &["metadata node"]);
    says(capabilities(sys::V4L2_CAP_STREAMING), &["does not capture", "exclusive_caps=1"]);
    says(capabilities(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE), &["cannot stream into mapped buffers"]);
    let mosaic = |driver| {
        with(&|f| {
            f.driver = driver;
            f.formats = vec![*b"pBAA", *b"BG10"];
        })
    };
    says(mosaic("unicam"), &["raw mosaic", "rpicam-vid -t 0", "format = \"i420\""]);
    says(mosaic("rp1-cfe"), &["rpicam-vid -t 0"]);
    says(mosaic("tegra-video"), &["nvarguscamerasrc", "fdsink"]);
    says(mosaic("other"), &["rpicam-vid", "nvarguscamerasrc"]);
    says(with(&|f| f.formats = vec![*b"H264"]), &["no format that is read here", "y4m"]);
    says(with(&|f| f.formats = vec![*b"YUYV"]), &["does not offer grey; it offers yuyv", "auto"]);
    says(with(&|f| f.start_fails = Some(libc::EINVAL)), &["refuses to start", "rpicam-vid"]);
    for code in [libc::EPIPE, libc::EINVAL, libc::ENOLINK] {
        let text = with(&|f| (f.start_fails, f.graph) = (Some(code), Some(unset_graph())));
        says(text, &["cannot stream yet", "is not enabled", "media-ctl -d /dev/media0 -l"]);
        let text = with(&|f| {
            f.start_fails = Some(code);
            f.capabilities |= sys::V4L2_CAP_IO_MC;
        });
        says(text, &["refuses to start", "`watchpost cameras`, run as root"]);
    }
    says(with(&|f| f.start_fails = Some(libc::ENOLINK)), &["no signal", "--set-dv-bt-timings"]);
}

#[test]
fn a_path_that_is_no_camera_is_refused_by_the_real_kernel() {
    let refuse = |device: &str| {
        let config = V4l2Config { device: device.into(), ..V4l2Config::default() };
        match super::open(&config, Clock::default()).map(|_| ()) {
            Err(SourceError::Configuration { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refuse("/nonexistent/video9"), "there is no /nonexistent/video9");
    assert!(refuse("/dev/null").contains("is not a V4L2 camera"));
    assert!(refuse("/tmp").contains("is not a V4L2 camera"));
    assert!(refuse("/dev/vid\0eo").contains("is not a V4L2 camera"));
}

#[test]
fn settings_of_the_camera_are_made_in_the_order_that_drivers_need_and_a_missing_one_costs_nothing_else()
 {
    let mut fake = FakeCamera::new();
    fake.lacks = vec![sys::V4L2_CID_POWER_LINE_FREQUENCY];
    let controls = Controls {
        power_line: PowerLine::Hz50,
        exposure: Exposure::Micros(8000),
        steady_rate: true,
    };
    let stream = opened(V4l2Config { controls, ..V4l2Config::default() }, fake).unwrap();
    let manual = sys::v4l2_exposure_auto_type_V4L2_EXPOSURE_MANUAL as i32;
    assert_eq!(
        stream.driver.controls,
        [
            (sys::V4L2_CID_EXPOSURE_AUTO, manual),
            (sys::V4L2_CID_EXPOSURE_ABSOLUTE, 80),
            (sys::V4L2_CID_EXPOSURE_AUTO_PRIORITY, 0),
        ]
    );
}
