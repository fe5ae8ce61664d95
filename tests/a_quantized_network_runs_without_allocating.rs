//! After loading, a run of either default network allocates nothing; after the first, neither do
//! the detector's input, an aligned face, or a second look at a face.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use watchpost::frame::{Frame, Layout as FrameLayout, PixelFormat, Range};
use watchpost::geometry::{Point, Rect};
use watchpost::vision::engine::{NetworkInput, Normalization, load};
use watchpost::vision::{AlignedFace, Alignment, Detection, Detector, Models, SecondLook};

struct Counting;

thread_local! {
    // Of this thread: the test harness allocates in its own at any time.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Fails while the thread ends, when nobody counts any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_quantized_network_runs_without_allocating() {
    let symmetric = Normalization { mean: [127.5; 3], scale: [1.0 / 128.0; 3] };
    let networks = [
        (&include_bytes!("../models/yunet_s_int8.onnx")[..], 256, 320, Normalization::NONE),
        (&include_bytes!("../models/fr_feature_int8.onnx")[..], 112, 112, symmetric),
    ];
    for (onnx, height, width, normalization) in networks {
        let mut network = load(onnx, height, width, normalization).unwrap();
        assert!(network.name().starts_with("plan "), "{}", network.name());
        let image = vec![77; 3 * height * width];
        let before = ALLOCATIONS.get();
        network.run(&NetworkInput::Interleaved(&image)).unwrap();
        network.wipe();
        network.run(&NetworkInput::Interleaved(&image)).unwrap();
        assert_eq!(ALLOCATIONS.get(), before);
    }
}

#[test]
fn a_second_look_at_a_face_allocates_nothing() {
    let mut detector = Detector::new(&Models::builtin().unwrap(), 128).unwrap();
    let layout = FrameLayout::packed(PixelFormat::Grey, Range::Full, 128, 128).unwrap();
    let data: Vec<u8> = (0..128 * 128).map(|i| (i % 251) as u8).collect();
    let frame = Frame::new(layout, &data).unwrap();
    let landmarks = [(48.0, 50.0), (80.0, 50.0), (64.0, 66.0), (52.0, 84.0), (76.0, 84.0)]
        .map(|(x, y)| Point::new(x, y));
    // A score at which turned pictures are looked at too.
    let face = Detection { rect: Rect::new(32.0, 24.0, 64.0, 80.0), landmarks, score: 0.7 };
    let mut second_look = SecondLook::default();
    second_look.refine(&mut detector, &frame, &face).unwrap();
    let before = ALLOCATIONS.get();
    second_look.refine(&mut detector, &frame, &face).unwrap();
    assert_eq!(ALLOCATIONS.get(), before);
}

#[test]
fn the_detectors_input_and_an_aligned_face_allocate_nothing_after_the_first() {
    let models = Models::builtin().unwrap();
    let mut detector = Detector::new(&models, 320).unwrap();
    let alignment = Alignment::from(&models.manifest.embedder);
    let mut face = AlignedFace::new(alignment.side);
    for (format, (width, height)) in
        PixelFormat::ALL.into_iter().flat_map(|f| [(320, 240), (641, 359)].map(|size| (f, size)))
    {
        let layout = FrameLayout::packed(format, Range::Limited, width, height).unwrap();
        let data: Vec<u8> = (0..layout.min_len()).map(|i| (i % 251) as u8).collect();
        let frame = Frame::new(layout, &data).unwrap();
        detector.fill(&frame);
        let before = ALLOCATIONS.get();
        detector.fill(&frame);
        for scale in [0.5, 1.5, 2.9] {
            let landmarks =
                alignment.template.map(|p| Point::new(p.x * scale + 9.0, p.y * scale - 5.0));
            face.warp(&frame, &landmarks, &alignment).unwrap();
        }
        assert_eq!(ALLOCATIONS.get(), before, "{format} {width}x{height}");
    }
}
