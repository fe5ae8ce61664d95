//! What a running V4L2 stream decides, without a single call into the kernel: what a filled buffer
//! is worth, who owns which buffer, what an error means.

use v4l::v4l_sys as sys;

use super::super::{BadFrame, MAX_FRAME_BYTES, Payload};

/// Most buffers that a driver may hand out.
pub(super) const MAX_BUFFERS: usize = 32;

/// A buffer that the driver gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) index: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) sequence: u32,
}

/// What a filled buffer is worth: the bytes to copy.
pub(super) fn judge(filled: &Filled, mapped: usize, payload: &Payload) -> Result<usize, BadFrame> {
    if filled.flags & sys::V4L2_BUF_FLAG_ERROR != 0 {
        return Err(BadFrame::Flagged);
    }
    // More used than there is would be a driver's mistake: never read past the mapping.
    let got = (filled.bytes_used as usize).min(mapped);
    let need = match payload {
        Payload::Raw(layout) => layout.min_len(),
        // SOI and EOI; whether the picture is whole is the decoder's business.
        Payload::Jpeg { .. } => 4,
    };
    if got < need {
        return Err(BadFrame::Short { need, got });
    }
    match payload {
        // Padding after the picture is not worth copying.
        Payload::Raw(_) => Ok(need),
        Payload::Jpeg { .. } if got > MAX_FRAME_BYTES => Err(BadFrame::Oversized),
        Payload::Jpeg { .. } => Ok(got),
    }
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

    use super::super::format::Granted;
    use super::*;

    /// What frames are in the packed format with this name.
    fn payload(fourcc: &[u8; 4], width: u32, height: u32, stride: u32) -> Payload {
        Granted {
            fourcc: FourCC::new(fourcc),
            width,
            height,
            stride,
            colorspace: 0,
            quantization: 0,
        }
        .payload()
        .unwrap()
    }

    #[test]
    fn a_damaged_an_empty_and_a_short_buffer_are_told_apart() {
        let raw = payload(b"GREY", 4, 4, 4);
        let jpeg = payload(b"MJPG", 4, 4, 0);
        let filled = |bytes_used, flags| Filled { index: 0, bytes_used, flags, sequence: 0 };
        assert_eq!(judge(&filled(16, 0), 4096, &raw), Ok(16));
        assert_eq!(judge(&filled(4096, 0), 4096, &raw), Ok(16));
        assert_eq!(judge(&filled(4096, 0), 4096, &jpeg), Ok(4096));
        assert_eq!(
            judge(&filled(16, sys::V4L2_BUF_FLAG_ERROR), 4096, &raw),
            Err(BadFrame::Flagged)
        );
        assert_eq!(judge(&filled(0, 0), 4096, &jpeg), Err(BadFrame::Short { need: 4, got: 0 }));
        assert_eq!(judge(&filled(15, 0), 4096, &raw), Err(BadFrame::Short { need: 16, got: 15 }));
        assert_eq!(
            judge(&filled(u32::MAX, 0), 15, &raw),
            Err(BadFrame::Short { need: 16, got: 15 })
        );
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
