//! What a running V4L2 stream decides, without a single call into the kernel: what a filled buffer
//! is worth, who owns which buffer, what an error means.

use v4l::v4l_sys as sys;

use super::super::{BadFrame, MAX_FRAME_BYTES, Payload};
use super::format::{BufferPlan, MAX_PLANES};

/// Most buffers that a driver may hand out.
pub(super) const MAX_BUFFERS: usize = 32;

/// What a driver filled of one of a frame's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsedPlane {
    /// Bytes from the buffer's beginning, `data_offset` included.
    pub(super) bytes_used: u32,
    /// Where the picture begins; 0 but for some multi-planar drivers.
    pub(super) data_offset: u32,
}

/// A frame that the driver gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) index: u32,
    pub(super) planes: heapless::Vec<UsedPlane, MAX_PLANES>,
    pub(super) flags: u32,
    pub(super) sequence: u32,
}

/// Bytes of one of a frame's buffers that belong to the picture, within its mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) plane: usize,
    pub(super) from: usize,
    pub(super) len: usize,
}

/// What a filled frame is worth: the pieces to copy, one after the other. `mapped` gives the bytes
/// of each buffer's mapping.
pub(super) fn judge(
    filled: &Filled,
    mapped: impl Fn(usize) -> usize,
    plan: &BufferPlan,
) -> Result<heapless::Vec<Piece, MAX_PLANES>, BadFrame> {
    if filled.flags & sys::V4L2_BUF_FLAG_ERROR != 0 {
        return Err(BadFrame::Flagged);
    }
    let mut pieces = heapless::Vec::new();
    for (plane, need) in plan.needs.iter().copied().enumerate() {
        let used = filled.planes.get(plane).map_or((0, 0), |p| (p.bytes_used, p.data_offset));
        // More used than there is would be a driver's mistake: never read past the mapping.
        let (end, from) = ((used.0 as usize).min(mapped(plane)), used.1 as usize);
        let got = end.saturating_sub(from);
        if got < need {
            return Err(BadFrame::Short { need, got });
        }
        let len = match plan.payload {
            // Padding after the picture is not worth copying.
            Payload::Raw(_) => need,
            Payload::Jpeg { .. } if got > MAX_FRAME_BYTES => return Err(BadFrame::Oversized),
            Payload::Jpeg { .. } => got,
        };
        pieces.push(Piece { plane, from, len }).expect("as many as the plan has");
    }
    Ok(pieces)
}

/// Who owns each buffer. A buffer may be read and queued only while it is ours, and dequeued only
/// while it is not.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// True where the driver owns it.
    queued: heapless::Vec<bool, MAX_BUFFERS>,
}

/// The driver named a buffer that it does not own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTheDrivers(pub(super) u32);

impl Ring {
    /// `count` buffers, all ours; `None` beyond [`MAX_BUFFERS`].
    pub(super) fn new(count: usize) -> Option<Self> {
        let mut queued = heapless::Vec::new();
        queued.resize(count, false).ok()?;
        Some(Self { queued })
    }

    /// The next buffer that is ours and so may be queued.
    pub(super) fn ours(&self) -> Option<u32> {
        self.queued.iter().position(|queued| !queued).map(|i| i as u32)
    }

    /// The kernel took the buffer.
    pub(super) fn queued(&mut self, index: u32) {
        if let Some(queued) = self.queued.get_mut(index as usize) {
            *queued = true;
        }
    }

    /// The kernel gave the buffer back.
    pub(super) fn dequeued(&mut self, index: u32) -> Result<(), NotTheDrivers> {
        match self.queued.get_mut(index as usize) {
            Some(queued) if *queued => {
                *queued = false;
                Ok(())
            }
            _ => Err(NotTheDrivers(index)),
        }
    }
}

/// Turns the driver's 32-bit frame numbers into ones that never go back, across streams too.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: Option<u32>,
    total: u64,
}

impl Sequence {
    /// Number of this frame, and how many were missed before it.
    pub(super) fn observe(&mut self, sequence: u32) -> (u64, u64) {
        let missed = match self.last.map(|last| sequence.wrapping_sub(last)) {
            // Standing still or going back: a driver that does not count, or a new stream.
            None | Some(0) | Some(0x8000_0000..) => 0,
            Some(step) => u64::from(step - 1),
        };
        self.last = Some(sequence);
        self.total += missed;
        let number = self.total;
        self.total += 1;
        (number, missed)
    }

    /// A new stream starts its own numbering.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }
}

/// What an error from the kernel means for a running stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamAction {
    /// Nothing happened: wait again.
    Again,
    /// Tear the stream down and build it again.
    Rebuild,
}

/// Anything but "not yet" leaves the stream in an unknown state, so it is built again.
pub(super) fn action(e: &std::io::Error) -> StreamAction {
    match e.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => StreamAction::Again,
        _ => StreamAction::Rebuild,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use v4l::FourCC;

    use super::super::format::{Granted, GrantedPlane};
    use super::*;

    /// What frames are in the format with this name.
    fn plan(fourcc: &[u8; 4], width: u32, height: u32, strides: &[u32]) -> BufferPlan {
        Granted {
            fourcc: FourCC::new(fourcc),
            width,
            height,
            planes: strides.iter().map(|stride| GrantedPlane { stride: *stride }).collect(),
            field: sys::v4l2_field_V4L2_FIELD_NONE,
            colorspace: 0,
            encoding: 0,
            quantization: 0,
        }
        .plan()
        .unwrap()
    }

    fn filled(planes: &[(u32, u32)], flags: u32) -> Filled {
        let used = |(bytes_used, data_offset)| UsedPlane { bytes_used, data_offset };
        Filled { index: 0, planes: planes.iter().copied().map(used).collect(), flags, sequence: 0 }
    }

    /// Bytes to copy of a frame in one buffer of 4096 or fewer bytes.
    fn judged(used: u32, flags: u32, mapped: usize, plan: &BufferPlan) -> Result<usize, BadFrame> {
        judge(&filled(&[(used, 0)], flags), |_| mapped, plan).map(|pieces| pieces[0].len)
    }

    #[test]
    fn a_damaged_an_empty_and_a_short_buffer_are_told_apart() {
        let raw = plan(b"GREY", 4, 4, &[4]);
        let jpeg = plan(b"MJPG", 4, 4, &[0]);
        assert_eq!(judged(16, 0, 4096, &raw), Ok(16));
        assert_eq!(judged(4096, 0, 4096, &raw), Ok(16));
        assert_eq!(judged(4096, 0, 4096, &jpeg), Ok(4096));
        assert_eq!(judged(16, sys::V4L2_BUF_FLAG_ERROR, 4096, &raw), Err(BadFrame::Flagged));
        assert_eq!(judged(0, 0, 4096, &jpeg), Err(BadFrame::Short { need: 4, got: 0 }));
        assert_eq!(judged(15, 0, 4096, &raw), Err(BadFrame::Short { need: 16, got: 15 }));
        assert_eq!(judged(u32::MAX, 0, 15, &raw), Err(BadFrame::Short { need: 16, got: 15 }));
    }

    #[test]
    fn each_plane_of_a_frame_is_whole_or_the_frame_is_short() {
        let plan = plan(b"NM12", 4, 4, &[4, 4]);
        let pieces = judge(&filled(&[(20, 4), (8, 0)], 0), |_| 4096, &plan).unwrap();
        let piece = |plane, from, len| Piece { plane, from, len };
        assert_eq!(pieces.as_slice(), [piece(0, 4, 16), piece(1, 0, 8)]);
        for (planes, short) in [
            // A plane that is short, that is missing, and one that begins beyond its end.
            (&[(16, 0), (7, 0)][..], BadFrame::Short { need: 8, got: 7 }),
            (&[(16, 0)][..], BadFrame::Short { need: 8, got: 0 }),
            (&[(16, u32::MAX), (8, 0)][..], BadFrame::Short { need: 16, got: 0 }),
        ] {
            assert_eq!(judge(&filled(planes, 0), |_| 4096, &plan), Err(short));
        }
    }

    #[test]
    fn missed_frames_are_counted_across_the_wrap_and_not_across_streams() {
        let mut s = Sequence::default();
        assert_eq!(s.observe(u32::MAX - 1), (0, 0));
        assert_eq!(s.observe(1), (3, 2));
        assert_eq!(s.observe(1), (4, 0));
        assert_eq!(s.observe(0), (5, 0));
        s.restart();
        assert_eq!(s.observe(900), (6, 0));
    }

    proptest! {
        #[test]
        fn no_piece_reaches_beyond_its_mapping(
            planes in prop::collection::vec((any::<u32>(), any::<u32>()), 0..=3),
            near in prop::collection::vec((0u32..600, 0u32..40), 0..=3),
            mapped in 0usize..600,
        ) {
            let plan = plan(b"YM12", 16, 16, &[16, 8, 8]);
            for planes in [planes, near] {
                if let Ok(pieces) = judge(&filled(&planes, 0), |_| mapped, &plan) {
                    prop_assert_eq!(pieces.len(), 3);
                    prop_assert!(pieces.iter().all(|p| p.from + p.len <= mapped));
                }
            }
        }

        #[test]
        fn no_buffer_is_ever_queued_twice_or_read_while_it_is_the_drivers(
            count in 1usize..=MAX_BUFFERS,
            ops in prop::collection::vec((any::<bool>(), 0u32..40), 0..200),
        ) {
            let mut ring = Ring::new(count).unwrap();
            let mut model = std::collections::BTreeSet::new();
            for (queue, index) in ops {
                if queue {
                    if let Some(i) = ring.ours() {
                        prop_assert!((i as usize) < count && model.insert(i));
                        ring.queued(i);
                    } else {
                        prop_assert_eq!(model.len(), count);
                    }
                } else {
                    prop_assert_eq!(ring.dequeued(index).is_ok(), model.remove(&index));
                }
            }
            prop_assert!(Ring::new(MAX_BUFFERS + 1).is_none());
        }
    }
}
