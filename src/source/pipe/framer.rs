//! Cuts a stream of bytes into frames: raw, YUV4MPEG2, MJPEG. Sans-IO, no clock.
//!
//! Promises:
//! * Holds at most one frame of at most [`MAX_FRAME_BYTES`].
//! * However the input is cut into pieces, the frames are the same.
//! * Damage costs the frames that it is in. Raw frames carry no marks: a lost byte shifts all that
//!   follow.

use super::super::jpeg::{Broken, SplitStep, Splitter};
use super::super::{BadFrame, MAX_FRAME_BYTES, Payload};
use crate::frame::{Layout, PixelFormat, Range};
use crate::locked::LockedBuffer;

/// Longest header line of YUV4MPEG2 that is read; real ones have about a hundred bytes.
const MAX_LINE: usize = 1024;

const FRAME: &[u8] = b"FRAME";

/// What a piece of input gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framed {
    /// All of it was used; feed more.
    More,
    /// A frame is whole and was put where the caller said.
    Frame(Payload),
    /// A frame is lost; go on feeding.
    Bad(BadFrame),
    /// The stream is of a kind that is not read here.
    Refused(String),
}

/// What was under way when the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Nothing.
    Nothing,
    /// A frame, put where the caller said.
    Frame(Payload),
    /// Part of a frame.
    Cut,
}

/// Its own header says how large it is.
const JPEG: Payload = Payload::Jpeg { width: 0, height: 0 };

/// The state between two pieces of input.
#[derive(Debug)]
pub(super) struct Framer {
    mode: Mode,
    /// The frame under way; swapped with the caller's buffer when it is whole, so that neither is
    /// allocated again.
    partial: LockedBuffer,
}

#[derive(Debug)]
enum Mode {
    Raw { layout: Layout, bytes: usize },
    // Knows where many tables are.
    Mjpeg { splitter: Box<Splitter> },
    Y4m(Y4mReader),
}

/// Reads YUV4MPEG2.
#[derive(Debug)]
struct Y4mReader {
    /// Applies where the header says nothing.
    default_range: Range,
    state: Y4m,
    /// Layout and length of a frame; known after the header.
    frame: Option<(Layout, usize)>,
    /// The header line under way; at most a little more than [`MAX_LINE`].
    line: Vec<u8>,
}

/// Where in a YUV4MPEG2 stream the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Y4m {
    /// In the stream's header line.
    Header,
    /// In a frame's header line.
    FrameLine,
    /// In a frame's samples.
    Samples,
    /// After damage: looking for the next `FRAME`.
    Search,
}

impl Framer {
    pub(super) fn raw(layout: Layout, bytes: usize) -> Self {
        Self { mode: Mode::Raw { layout, bytes }, partial: LockedBuffer::new() }
    }

    pub(super) fn mjpeg() -> Self {
        Self { mode: Mode::Mjpeg { splitter: Box::default() }, partial: LockedBuffer::new() }
    }

    /// `default_range` applies where the header says nothing.
    pub(super) fn y4m(default_range: Range) -> Self {
        let reader = Y4mReader { default_range, state: Y4m::Header, frame: None, line: Vec::new() };
        Self { mode: Mode::Y4m(reader), partial: LockedBuffer::new() }
    }

    /// Width and height where they are known.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        match &self.mode {
            Mode::Raw { layout, .. } | Mode::Y4m(Y4mReader { frame: Some((layout, _)), .. }) => {
                Some((layout.width(), layout.height()))
            }
            _ => None,
        }
    }

    /// Whether what came last belongs to no frame: it looks for the beginning of one.
    pub(super) fn is_searching(&self) -> bool {
        match &self.mode {
            // Any bytes are a frame.
            Mode::Raw { .. } => false,
            Mode::Mjpeg { .. } => self.partial.is_empty(),
            Mode::Y4m(reader) => reader.state == Y4m::Search,
        }
    }

    /// The stream ended: says what becomes of what is under way, and forgets it. A JPEG picture
    /// without its end marker is a frame, swapped into `into`.
    pub(super) fn finish(&mut self, into: &mut LockedBuffer) -> Last {
        let cut = |inside| if inside { Last::Cut } else { Last::Nothing };
        let last = match &mut self.mode {
            Mode::Raw { .. } => cut(!self.partial.is_empty()),
            Mode::Mjpeg { splitter } => match splitter.finish() {
                Ok(()) => {
                    std::mem::swap(&mut self.partial, into);
                    Last::Frame(JPEG)
                }
                Err(broken) => cut(broken != Broken::NotJpeg),
            },
            Mode::Y4m(reader) => {
                let inside = reader.state == Y4m::Samples || !reader.line.is_empty();
                (reader.state, reader.frame) = (Y4m::Header, None);
                reader.line.clear();
                cut(inside)
            }
        };
        self.partial.clear();
        last
    }

    /// Takes some of `input` and says how much. A whole frame is swapped into `into`.
    pub(super) fn feed(&mut self, input: &[u8], into: &mut LockedBuffer) -> (usize, Framed) {
        match &mut self.mode {
            Mode::Raw { layout, bytes } => {
                let (used, whole) = fill(&mut self.partial, input, *bytes);
                if !whole {
                    return (used, Framed::More);
                }
                deliver(&mut self.partial, into);
                (used, Framed::Frame(Payload::Raw(*layout)))
            }
            Mode::Mjpeg { splitter } => feed_mjpeg(splitter, &mut self.partial, input, into),
            Mode::Y4m(reader) => reader.feed(&mut self.partial, input, into),
        }
    }
}

/// Appends to `partial` up to `want` bytes in all.
fn fill(partial: &mut LockedBuffer, input: &[u8], want: usize) -> (usize, bool) {
    let used = input.len().min(want.saturating_sub(partial.len()));
    partial.extend_from_slice(&input[..used]);
    (used, partial.len() >= want)
}

fn deliver(partial: &mut LockedBuffer, into: &mut LockedBuffer) {
    std::mem::swap(partial, into);
    partial.clear();
}

fn feed_mjpeg(
    splitter: &mut Splitter,
    partial: &mut LockedBuffer,
    input: &[u8],
    into: &mut LockedBuffer,
) -> (usize, Framed) {
    let (used, step) = splitter.feed(input, partial);
    // One piece of input is small against the limit, so looking after each is soon enough.
    if partial.len() > MAX_FRAME_BYTES {
        *splitter = Splitter::default();
        // So much memory is not for keeping.
        partial.release();
        return (used, Framed::Bad(BadFrame::Oversized));
    }
    match step {
        SplitStep::More => (used, Framed::More),
        SplitStep::Whole => {
            deliver(partial, into);
            (used, Framed::Frame(JPEG))
        }
        SplitStep::Broken => (used, Framed::Bad(BadFrame::Truncated)),
    }
}

impl Y4mReader {
    fn feed(
        &mut self,
        partial: &mut LockedBuffer,
        input: &[u8],
        into: &mut LockedBuffer,
    ) -> (usize, Framed) {
        match (self.state, self.frame) {
            (Y4m::Samples, Some((layout, bytes))) => {
                let (used, whole) = fill(partial, input, bytes);
                if !whole {
                    return (used, Framed::More);
                }
                deliver(partial, into);
                self.state = Y4m::FrameLine;
                (used, Framed::Frame(Payload::Raw(layout)))
            }
            (Y4m::Search, _) => (self.search(input), Framed::More),
            _ => self.read_line(input),
        }
    }

    /// Goes on to just after the next `FRAME`, even where two pieces of input share it.
    fn search(&mut self, input: &[u8]) -> usize {
        for (i, &byte) in input.iter().enumerate() {
            if self.line.len() == MAX_LINE {
                self.line.drain(..MAX_LINE - FRAME.len());
            }
            self.line.push(byte);
            if self.line.ends_with(FRAME) {
                self.line.clear();
                self.line.extend_from_slice(FRAME);
                self.state = Y4m::FrameLine;
                return i + 1;
            }
        }
        input.len()
    }

    fn read_line(&mut self, input: &[u8]) -> (usize, Framed) {
        let newline = input.iter().position(|&b| b == b'\n');
        let text = &input[..newline.unwrap_or(input.len())];
        let room = (MAX_LINE + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&text[..text.len().min(room)]);
        let fits = self.line.len() <= MAX_LINE;
        let used = newline.map_or(input.len(), |at| at + 1);
        if newline.is_none() && fits {
            return (used, Framed::More);
        }
        let outcome = if self.state == Y4m::Header {
            match parse_header(&self.line, self.default_range).filter(|_| fits) {
                Some(Ok(frame)) => {
                    self.frame = Some(frame);
                    self.state = Y4m::FrameLine;
                    Framed::More
                }
                Some(Err(what)) => Framed::Refused(what),
                None => Framed::Refused("the stream does not begin with a YUV4MPEG2 header".into()),
            }
        } else if fits && (self.line == FRAME || self.line.starts_with(b"FRAME ")) {
            self.state = Y4m::Samples;
            Framed::More
        } else {
            self.state = Y4m::Search;
            Framed::Bad(BadFrame::OutOfStep)
        };
        self.line.clear();
        (used, outcome)
    }
}

/// `None`: not a header at all. The inner error: a header of a kind that is not read.
fn parse_header(line: &[u8], default_range: Range) -> Option<Result<(Layout, usize), String>> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    let mut words = text.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        return None;
    }
    let (mut width, mut height, mut format, mut range) = (0, 0, PixelFormat::I420, default_range);
    for word in words.filter(|w| !w.is_empty()) {
        // A word is not empty, and its first character may be wider than one byte.
        let (tag, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        match tag {
            "W" => width = value.parse().unwrap_or(0),
            "H" => height = value.parse().unwrap_or(0),
            "C" => {
                format = match value {
                    "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::I420,
                    "mono" => PixelFormat::Grey,
                    other => return Some(Err(format!("YUV4MPEG2 with colour space C{other}"))),
                }
            }
            "X" => match value {
                "COLORRANGE=FULL" => range = Range::Full,
                "COLORRANGE=LIMITED" => range = Range::Limited,
                _ => {}
            },
            // Frame rate, interlacing and aspect ratio change nothing here.
            _ => {}
        }
    }
    let layout = match Layout::packed(format, range, width, height) {
        Ok(layout) => layout,
        Err(e) => return Some(Err(format!("YUV4MPEG2 announces {e}"))),
    };
    match layout.min_len() {
        bytes if bytes > MAX_FRAME_BYTES => {
            Some(Err(format!("YUV4MPEG2 announces frames of {bytes} bytes")))
        }
        bytes => Some(Ok((layout, bytes))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::jpeg::samples;
    use super::*;

    /// Every frame and every other outcome of `stream`, fed in pieces.
    fn run(framer: &mut Framer, stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<Framed>) {
        let (mut frames, mut others, mut into) = (Vec::new(), Vec::new(), LockedBuffer::new());
        for mut chunk in stream.chunks(piece) {
            while !chunk.is_empty() {
                let (used, outcome) = framer.feed(chunk, &mut into);
                chunk = &chunk[used..];
                match outcome {
                    Framed::More => assert!(used > 0 || chunk.is_empty()),
                    Framed::Frame(_) => frames.push(into.to_vec()),
                    other => others.push(other),
                }
            }
        }
        (frames, others)
    }

    #[test]
    fn the_header_gives_size_format_and_range() {
        let header =
            b"YUV4MPEG2 W640 H480 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL";
        let (layout, bytes) = parse_header(header, Range::Limited).unwrap().unwrap();
        assert_eq!(layout, Layout::packed(PixelFormat::I420, Range::Full, 640, 480).unwrap());
        assert_eq!(bytes, 460_800);
        let (layout, _) = parse_header(b"YUV4MPEG2 W4 H4 Cmono", Range::Limited).unwrap().unwrap();
        assert_eq!((layout.format(), layout.range()), (PixelFormat::Grey, Range::Limited));
        // Without C the format means 4:2:0.
        assert_eq!(parse_header(b"YUV4MPEG2 W3 H3", Range::Limited).unwrap().unwrap().1, 9 + 8);
        for refused in ["C444", "C422", "C420p10", "W0", "W99999999999", "W20000"] {
            let line = format!("YUV4MPEG2 W4 H4 {refused}");
            assert!(parse_header(line.as_bytes(), Range::Limited).unwrap().is_err(), "{refused}");
        }
        assert!(parse_header(b"RIFF", Range::Limited).is_none());
    }

    #[test]
    fn frame_parameters_are_allowed_and_damage_costs_one_frame() {
        let samples = [9u8; 24];
        let stream = [
            b"YUV4MPEG2 W4 H4\nFRAME\n",
            &samples[..],
            b"FRAME Ip XX=1\n",
            &samples,
            b"FRAMX\n",
            &samples,
            b"FRAME\n",
            &samples,
        ]
        .concat();
        for piece in [1, 2, 3, 5, 1000] {
            let (frames, others) = run(&mut Framer::y4m(Range::Limited), &stream, piece);
            assert_eq!(frames, vec![samples.to_vec(); 3]);
            assert_eq!(others, [Framed::Bad(BadFrame::OutOfStep)]);
        }
    }

    #[test]
    fn an_endless_header_line_is_refused_and_not_kept() {
        let mut framer = Framer::y4m(Range::Limited);
        let (_, others) = run(&mut framer, &[b'Y'; 100_000], 700);
        assert!(matches!(others[0], Framed::Refused(_)));
        assert!(matches!(&framer.mode, Mode::Y4m(reader) if reader.line.capacity() < 10_000));
    }

    #[test]
    fn an_endless_jpeg_is_given_up_at_the_limit_and_the_next_one_is_read() {
        let jpeg = samples::colour(16, 16);
        let scan = samples::scan_at(&jpeg) + 20;
        let mut framer = Framer::mjpeg();
        let mut into = LockedBuffer::new();
        assert_eq!(framer.feed(&jpeg[..scan], &mut into).1, Framed::More);
        let flood = vec![1; 1 << 20];
        let mut outcomes = Vec::new();
        for _ in 0..70 {
            outcomes.push(framer.feed(&flood, &mut into).1);
            assert!(framer.partial.len() <= MAX_FRAME_BYTES + flood.len());
        }
        assert_eq!(outcomes.iter().filter(|o| **o == Framed::Bad(BadFrame::Oversized)).count(), 1);
        assert_eq!(run(&mut framer, &jpeg, 100).0, [jpeg]);
    }

    #[test]
    fn the_end_of_the_stream_tells_a_cut_frame_from_a_clean_end() {
        let mut into = LockedBuffer::new();
        let mut framer = Framer::y4m(Range::Limited);
        run(&mut framer, b"YUV4MPEG2 W2 H2\nFRAME\n123456", 4);
        assert_eq!(framer.finish(&mut into), Last::Nothing);
        // A new writer begins with a header again.
        let (frames, _) = run(&mut framer, b"YUV4MPEG2 W4 H1 Cmono\nFRAME\nabcdFRAME\nab", 4);
        assert_eq!(frames, [b"abcd"]);
        assert_eq!(framer.finish(&mut into), Last::Cut);
        let mut framer = Framer::mjpeg();
        run(&mut framer, &samples::colour(8, 8)[..50], 50);
        assert_eq!(framer.finish(&mut into), Last::Cut);
        assert_eq!(framer.finish(&mut into), Last::Nothing);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_for_raw_frames(
            bytes in 1usize..40,
            stream in prop::collection::vec(any::<u8>(), 0..300),
            piece in 1usize..64,
        ) {
            let layout = Layout::packed(PixelFormat::Grey, Range::Full, bytes as u32, 1).unwrap();
            let (frames, _) = run(&mut Framer::raw(layout, bytes), &stream, piece);
            let expected: Vec<_> = stream.chunks_exact(bytes).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(frames, expected);
        }

        #[test]
        fn nothing_makes_the_framer_panic_or_stand_still(
            bytes in prop::collection::vec(
                prop_oneof![
                    Just(b'F'),
                    Just(b'\n'),
                    Just(0xFFu8),
                    Just(0xD8),
                    Just(b' '),
                    any::<u8>()
                ],
                0..300,
            ),
            piece in 1usize..32,
            head: bool,
        ) {
            let mut stream = if head { b"YUV4MPEG2 W2 H2\n".to_vec() } else { Vec::new() };
            stream.extend(&bytes);
            run(&mut Framer::y4m(Range::Limited), &stream, piece);
            run(&mut Framer::mjpeg(), &stream, piece);
        }
    }
}
