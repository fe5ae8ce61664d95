//! Exact search: the score of each entry's template for a probe.
//!
//! A [`Gallery`] holds every template of a list once, one row after another, so that a search is
//! one pass over contiguous memory; several probes share the pass. No approximate index: at the
//! sizes that a false-alert budget allows, the exact answer is fast, the same every time, and can
//! be explained.
//!
//! Scores are cosines, and equal to [`Template::cosine`] of probe and template to the last bit, on
//! every processor.

mod top_k;

use std::fmt;
use std::io;
use std::ops::Range;

use time::OffsetDateTime;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use self::top_k::{Hit, TopK};
use super::row::Row;
use crate::kernels::choice;
use crate::kernels::search::{ComponentLine, SearchKernel};
use crate::locked::{Locked, Plain, wipe};
use crate::template::{MAX_DIMENSIONS, MIN_DIMENSIONS, Template, TemplateError, inverse_norm};

// SAFETY: 64 numbers without padding, aligned to far less than a page.
unsafe impl Plain for ComponentLine {}

/// Dot products that are computed before they are looked at: they stay in the first-level cache.
const DOTS: usize = 4096;
/// Most rows of which they are: the more, the longer the streams that the kernel reads.
const BLOCK: usize = 1024;
/// Probes that share one pass over the gallery; more take another pass.
const PROBES: usize = 16;

/// The probes of one pass, one row after another. Wiped when dropped.
#[derive(Default)]
struct Shared {
    lines: heapless::Vec<ComponentLine, { PROBES * (MAX_DIMENSIONS / 64) }>,
    /// Index and inverse norm of each.
    who: heapless::Vec<(usize, f32), PROBES>,
}

impl Shared {
    fn push(&mut self, index: usize, probe: &Template) {
        let row = Row::new(probe.values());
        self.lines
            .extend_from_slice(row.lines())
            .expect("there is room for as many of the longest probes");
        self.who.push((index, probe.inverse_norm())).expect("a chunk has no more probes");
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.lines.as_mut_slice().zeroize();
    }
}

/// One entry's rows.
struct Span {
    // Small, because a search passes over all of them.
    first: u32,
    rows: u16,
    /// Cleared when the entry is wiped.
    live: bool,
}

impl Span {
    fn new(first: usize, rows: usize) -> Self {
        // What does not fit cannot have come out of a list: one has at most ten templates an entry
        // and a gigabyte in all.
        let first = u32::try_from(first).expect("fewer templates than memory could hold");
        Self {
            first,
            rows: u16::try_from(rows).expect("an entry has at most ten templates"),
            live: true,
        }
    }

    fn rows(&self) -> Range<usize> {
        self.first as usize..self.first as usize + usize::from(self.rows)
    }
}

/// A list's templates, ready for search, in [`Locked`] memory: wiped when dropped.
pub struct Gallery {
    dimensions: usize,
    /// Lines a row.
    stride: usize,
    rows: Locked<ComponentLine>,
    inverse_norms: Locked<f32>,
    spans: Vec<Span>,
    /// When each entry ends.
    expires: Vec<OffsetDateTime>,
    kernel: SearchKernel,
}

/// Fills a [`Gallery`] entry by entry. Its memory is made once, for the most templates that there
/// can be.
pub(super) struct Builder {
    gallery: Gallery,
    used: usize,
    /// The first row of the entry that is being filled.
    begun: usize,
}

impl Builder {
    /// Room for `templates` of `dimensions` components.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn new(templates: usize, dimensions: usize) -> io::Result<Self> {
        let stride = dimensions.div_ceil(64);
        let rows = Locked::zeroed(templates.saturating_mul(stride))?;
        let inverse_norms = Locked::zeroed(templates)?;
        let (spans, expires) = (Vec::new(), Vec::new());
        let gallery = Gallery {
            dimensions,
            stride,
            rows,
            inverse_norms,
            spans,
            expires,
            kernel: SearchKernel::with(choice::in_use()),
        };
        Ok(Self { gallery, used: 0, begun: 0 })
    }

    /// Adds a template to the entry that is being filled. The caller has made room for it.
    ///
    /// # Errors
    /// Where it has another number of components, or only zeros.
    pub fn push(
        &mut self,
        values: impl ExactSizeIterator<Item = i8> + Clone,
    ) -> Result<(), TemplateError> {
        let Gallery { dimensions, stride, rows, inverse_norms, .. } = &mut self.gallery;
        if values.len() != *dimensions {
            return Err(TemplateError::Dimensions(values.len()));
        }
        inverse_norms[self.used] = inverse_norm(values.clone()).ok_or(TemplateError::Zero)?;
        let row = rows[self.used * *stride..][..*stride].iter_mut().flat_map(|line| &mut line.0);
        row.zip(values).for_each(|(to, from)| *to = from);
        self.used += 1;
        Ok(())
    }

    /// Ends the entry, which is found until `expires`.
    pub fn end(&mut self, expires: OffsetDateTime) {
        self.gallery.spans.push(Span::new(self.begun, self.used - self.begun));
        self.gallery.expires.push(expires);
        self.begun = self.used;
    }

    /// Wipes what was pushed since the last end.
    pub fn take_back(&mut self) {
        let Gallery { stride, rows, inverse_norms, .. } = &mut self.gallery;
        wipe(&mut rows[self.begun * *stride..self.used * *stride]);
        wipe(&mut inverse_norms[self.begun..self.used]);
        self.used = self.begun;
    }

    pub fn finish(self) -> Gallery {
        let Self { mut gallery, used, .. } = self;
        gallery.rows.shorten(used * gallery.stride);
        gallery.inverse_norms.shorten(used);
        gallery
    }
}

impl Gallery {
    /// A gallery of `entries`, one template each; those of another length than `dimensions`, which
    /// a checked list cannot have, are left out. Only lists that are verified reach a device's
    /// search; authors use this for look-alikes.
    ///
    /// # Panics
    /// Where there is no memory.
    #[cfg(any(feature = "author", test))]
    pub(super) fn of(dimensions: usize, entries: &[super::model::Entry]) -> Self {
        let mut builder = Builder::new(entries.len(), dimensions)
            .expect("memory for a second copy of the templates");
        for entry in entries {
            let fused = entry.fused().ok();
            if let Some(one) = fused.filter(|s| s.template.values().len() == dimensions) {
                let pushed = builder.push(one.template.values().iter().copied());
                pushed.expect("a template has a length, and those of another one are left out");
            }
            builder.end(entry.expires);
        }
        builder.finish()
    }

    /// A gallery of `templates`, one an entry, which do not expire by themselves. Those of another
    /// length than the first are left out.
    ///
    /// # Errors
    /// Where there is no memory.
    pub(crate) fn of_templates(templates: &[Template]) -> io::Result<Self> {
        let dimensions = templates.first().map_or(MIN_DIMENSIONS, |t| t.values().len());
        let never = OffsetDateTime::new_utc(time::Date::MAX, time::Time::MIDNIGHT);
        let mut builder = Builder::new(templates.len(), dimensions)?;
        for template in templates.iter().filter(|t| t.values().len() == dimensions) {
            let pushed = builder.push(template.values().iter().copied());
            pushed.expect("a template has a length, and those of another one are left out");
            builder.end(never);
        }
        Ok(builder.finish())
    }

    /// The first template of each entry, in their order; of an entry that was wiped, or has none,
    /// that of nobody.
    pub(crate) fn first_templates(&self) -> Vec<Template> {
        let nobody = || {
            let values = (0..self.dimensions).map(|i| i8::from(i == 0)).collect();
            Template::new(values).expect("one component is not zero")
        };
        let row = |row: usize| {
            let lines = &self.rows[row * self.stride..][..self.stride];
            let values = lines.iter().flat_map(|line| line.0).take(self.dimensions).collect();
            Template::new(values).unwrap_or_else(|_| nobody())
        };
        let first = |span: &Span| if span.rows > 0 { row(span.first as usize) } else { nobody() };
        self.spans.iter().map(first).collect()
    }

    /// Whether the kernel keeps its templates from swap and dumps.
    pub fn is_locked(&self) -> bool {
        self.rows.is_locked() && self.inverse_norms.is_locked()
    }

    /// A gallery of pseudo-random templates of nobody, one an entry, for measuring. `dimensions` is
    /// cut to what a template may have.
    pub fn synthetic(entries: usize, dimensions: usize, seed: u64) -> Self {
        let dimensions = dimensions.clamp(MIN_DIMENSIONS, MAX_DIMENSIONS);
        // Xorshift; its state must not be zero.
        let mut state = seed | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as i8 | 1
        };
        let never = OffsetDateTime::new_utc(time::Date::MAX, time::Time::MIDNIGHT);
        let mut builder =
            Builder::new(entries, dimensions).expect("memory for what is to be measured");
        for _ in 0..entries {
            let values: Vec<i8> = (0..dimensions).map(|_| random()).collect();
            builder
                .push(values.into_iter())
                .expect("the number is in range and no component is zero");
            builder.end(never);
        }
        builder.finish()
    }

    /// Entries, wiped ones included: positions stay those of [`super::Watchlist::entries`].
    pub fn entries(&self) -> usize {
        self.spans.len()
    }

    /// Entries that can still be found.
    pub fn live_entries(&self) -> usize {
        self.spans.iter().filter(|s| s.live).count()
    }

    /// Templates, wiped ones included.
    pub fn templates(&self) -> usize {
        self.inverse_norms.len()
    }

    /// Reads every template once and does next to nothing with it: what any exact search must take
    /// at least, for measuring. In four places at once, which is the fastest way there is.
    pub fn read_once(&self) -> u64 {
        let mut sums = [0u64; 8];
        let mut add = |line: &ComponentLine| {
            for (sum, eight) in sums.iter_mut().zip(line.0.as_chunks::<8>().0) {
                *sum ^= u64::from_ne_bytes(eight.map(i8::cast_unsigned));
            }
        };
        let (quarters, rest) = self.rows.split_at(self.rows.len() / 4 * 4);
        let mut quarters = quarters.chunks_exact((quarters.len() / 4).max(1));
        if let (Some(a), Some(b), Some(c), Some(d)) =
            (quarters.next(), quarters.next(), quarters.next(), quarters.next())
        {
            for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                [a, b, c, d].into_iter().for_each(&mut add);
            }
        }
        rest.iter().for_each(add);
        sums.iter().fold(0, |all, sum| all ^ sum)
    }

    /// The inner loop that was chosen for this processor, for reports.
    pub fn kernel(&self) -> &'static str {
        self.kernel.set.name()
    }

    /// Puts the entries that score best for `probe` into `top`, over what it holds.
    ///
    /// A probe of another number of dimensions finds nothing: it is of another embedder.
    pub fn search(&self, probe: &Template, top: &mut TopK) {
        self.search_all(std::slice::from_ref(probe), std::slice::from_mut(top));
    }

    /// Similarity of `probe` to the nearest template of one entry, as a search would find it;
    /// `None` where the entry was wiped, or the probe is of another embedder.
    pub fn similarity(&self, entry: usize, probe: &Template) -> Option<f32> {
        let span = self.spans.get(entry).filter(|s| s.live && s.rows > 0)?;
        if probe.values().len() != self.dimensions {
            return None;
        }
        let cosine = |row: usize| {
            let lines = &self.rows[row * self.stride..(row + 1) * self.stride];
            let values = lines.iter().flat_map(|line| &line.0);
            let dot: i32 =
                values.zip(probe.values()).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            dot as f32 * probe.inverse_norm() * self.inverse_norms[row]
        };
        span.rows().map(cosine).max_by(f32::total_cmp)
    }

    /// Searches several probes in one pass over the gallery. `tops[i]` receives what `probes[i]`
    /// finds; what has no counterpart is left alone.
    pub fn search_all(&self, probes: &[Template], tops: &mut [TopK]) {
        self.scan(probes, 0, |probe, hit| {
            let Some(top) = tops.get_mut(probe) else { return f32::INFINITY };
            top.offer(hit);
            top.floor()
        });
    }

    /// Calls `found` with the best hit of live entries from `from` on, for each probe by its index;
    /// those of one probe come in the order of the entries. `found` answers which similarity a
    /// later hit of that probe must exceed: hits that do not may be left out. Allocates nothing.
    pub(crate) fn scan(
        &self,
        probes: &[Template],
        from: usize,
        mut found: impl FnMut(usize, Hit) -> f32,
    ) {
        for (pass, chunk) in probes.chunks(PROBES).enumerate() {
            let mut shared = Shared::default();
            for (i, probe) in
                chunk.iter().enumerate().filter(|(_, p)| p.values().len() == self.dimensions)
            {
                shared.push(pass * PROBES + i, probe);
            }
            self.pass(&shared, from, &mut found);
        }
    }

    fn pass(&self, probes: &Shared, from: usize, found: &mut impl FnMut(usize, Hit) -> f32) {
        let mut dots = [0i32; DOTS];
        let mut scores = [0f32; BLOCK];
        let most = BLOCK.min(DOTS / probes.who.len().max(1));
        let mut length = most;
        let mut floors = [f32::NEG_INFINITY; PROBES];
        let mut start = from;
        while start < self.spans.len() {
            // A block is a run of whole entries.
            let first = self.spans[start].rows().start;
            length = self.block(start, most, length);
            let block = &self.spans[start..start + length];
            let Some(last) = block.last() else {
                debug_assert!(false, "an entry has at most ten rows, fewer than a block");
                return;
            };
            let rows = first..last.rows().end;
            let dots = &mut dots[..rows.len() * probes.who.len()];
            let lines = &self.rows[rows.start * self.stride..rows.end * self.stride];
            self.kernel.dots(self.stride, &probes.lines, lines, dots);
            let norms = &self.inverse_norms[rows.clone()];
            for (p, ((index, probe_norm), floor)) in probes.who.iter().zip(&mut floors).enumerate()
            {
                let dots = &dots[p * rows.len()..][..rows.len()];
                let scores = &mut scores[..rows.len()];
                let mut above = 0;
                for ((score, dot), norm) in scores.iter_mut().zip(dots).zip(norms) {
                    *score = *dot as f32 * probe_norm * norm;
                    above += u32::from(*score > *floor);
                }
                // Nearly all blocks of a long list end here.
                if above == 0 {
                    continue;
                }
                for (n, span) in block.iter().enumerate().filter(|(_, s)| s.live && s.rows > 0) {
                    let own = &scores[span.first as usize - first..][..usize::from(span.rows)];
                    if own.iter().all(|score| *score <= *floor) {
                        continue;
                    }
                    let mut best = Hit { entry: start + n, template: 0, score: f32::NEG_INFINITY };
                    for (template, score) in own.iter().enumerate() {
                        if *score > best.score {
                            best = Hit { template, score: *score, ..best };
                        }
                    }
                    *floor = found(*index, best);
                }
            }
            start += block.len();
        }
        dots.zeroize();
        scores.zeroize();
    }

    /// How many entries from `start` on have at most `most` rows together. Looked for around
    /// `guess`: a list is longer than the caches, and its entries are seldom of very different
    /// sizes.
    fn block(&self, start: usize, most: usize, guess: usize) -> usize {
        let spans = &self.spans[start..];
        let fits = |n: usize| spans[n - 1].rows().end - spans[0].rows().start <= most;
        let mut length = guess.min(spans.len());
        while length > 0 && !fits(length) {
            length -= 1;
        }
        while length < spans.len() && fits(length + 1) {
            length += 1;
        }
        length
    }

    /// Wipes one entry's templates; it is never found again. False where there is no such entry or
    /// it was wiped before.
    pub fn wipe(&mut self, entry: usize) -> bool {
        let Some(span) = self.spans.get_mut(entry).filter(|s| s.live) else { return false };
        span.live = false;
        let rows = span.rows();
        wipe(&mut self.rows[rows.start * self.stride..rows.end * self.stride]);
        wipe(&mut self.inverse_norms[rows]);
        true
    }

    /// Wipes the entries whose own expiry has come at `now`; how many there were.
    pub fn wipe_expired(&mut self, now: OffsetDateTime) -> usize {
        (0..self.spans.len()).filter(|i| self.expires[*i] <= now && self.wipe(*i)).count()
    }
}

// What `Locked` memory does.
impl ZeroizeOnDrop for Gallery {}

impl fmt::Debug for Gallery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Gallery({} entries, {} templates, {})",
            self.entries(),
            self.templates(),
            self.kernel.set.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::model::Entry;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gallery_of_templates_gives_each_back_and_finds_it() {
        let templates: Vec<Template> = (1..5).map(fixture::template).collect();
        let mut gallery = Gallery::of_templates(&templates).unwrap();
        assert!(gallery.first_templates() == templates);
        let mut found = Vec::new();
        gallery.scan(&templates[2..3], 0, |_, hit| {
            found.push((hit.entry, hit.score == templates[2].cosine(&templates[hit.entry])));
            f32::NEG_INFINITY
        });
        assert_eq!(found, [(0, true), (1, true), (2, true), (3, true)]);
        gallery.wipe(1);
        assert!(gallery.first_templates()[1] != templates[1], "of a wiped one nothing is left");
    }

    fn naive(entries: &[Entry], probe: &Template, k: usize) -> Vec<Hit> {
        let mut all: Vec<Hit> = Vec::new();
        for (entry, e) in entries.iter().enumerate() {
            let score = probe.cosine(&e.fused().unwrap().template);
            all.push(Hit { entry, template: 0, score });
        }
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(k);
        all
    }

    proptest! {
        #[test]
        fn several_probes_find_at_once_what_a_plain_search_finds(
            sizes in proptest::collection::vec(1u64..=10, 0..300),
            k in 1usize..80,
            probes in 0u64..40,
            seed: u32,
            twins: bool,
        ) {
            let seed = u64::from(seed) << 20;
            let entries: Vec<Entry> = sizes.iter().enumerate().map(|(n, size)| Entry {
                // Twins have equal scores, whose order must be that of the list.
                templates: (0..*size)
                    .map(|t| if twins { t / 2 } else { n as u64 * 16 + t / 2 })
                    .map(|t| fixture::stored(seed + t))
                    .collect(),
                ..fixture::entry(n as u64)
            }).collect();
            let gallery = Gallery::of(64, &entries);
            let probes: Vec<_> = (0..probes).map(|p| fixture::template(seed + p * 3)).collect();
            let mut tops = vec![TopK::new(k); probes.len()];
            gallery.search_all(&probes, &mut tops);
            for (probe, top) in probes.iter().zip(&tops) {
                prop_assert_eq!(top.hits(), naive(&entries, probe, k.min(top_k::MAX_TOP)));
            }
        }
    }

    #[test]
    fn a_wiped_entry_is_not_found_and_its_rows_are_zero() {
        let entries: Vec<Entry> = (0..5).map(fixture::entry).collect();
        let mut gallery = Gallery::of(64, &entries);
        let probe = &entries[2].fused().unwrap().template;
        let mut top = TopK::new(1);
        gallery.search(probe, &mut top);
        assert_eq!((top.hits()[0].entry, top.hits()[0].score > 0.999), (2, true));
        assert!(gallery.wipe(2));
        assert!(!gallery.wipe(2), "only once");
        assert!(!gallery.wipe(99));
        let rows = gallery.spans[2].rows();
        assert!(gallery.inverse_norms[rows.clone()].iter().all(|norm| *norm == 0.0));
        assert!(gallery.rows[rows].iter().all(|line| line.0 == [0; 64]));
        let mut top = TopK::new(top_k::MAX_TOP);
        gallery.search(probe, &mut top);
        assert_eq!(top.hits().len(), 4);
        assert!(top.hits().iter().all(|h| h.entry != 2));
        assert_eq!((gallery.live_entries(), gallery.entries()), (4, 5));
    }

    #[test]
    fn entries_are_wiped_at_their_own_expiry() {
        let entries: Vec<Entry> = (0..5).map(fixture::entry).collect();
        let mut gallery = Gallery::of(64, &entries);
        assert_eq!(gallery.wipe_expired(entries[0].expires - time::Duration::SECOND), 0);
        assert_eq!(gallery.wipe_expired(entries[0].expires), 5);
        let mut top = TopK::new(5);
        gallery.search(&entries[0].templates[0].template, &mut top);
        assert_eq!(top.hits(), []);
    }

    #[test]
    fn a_probe_of_another_embedder_finds_nothing_and_an_empty_gallery_neither() {
        let entries: Vec<Entry> = (0..5).map(fixture::entry).collect();
        let longer = Template::new(vec![1; 128].into()).unwrap();
        let mut top = TopK::new(5);
        Gallery::of(64, &entries).search(&longer, &mut top);
        Gallery::of(64, &[]).search(&fixture::template(1), &mut top);
        assert_eq!(top.hits(), []);
    }

    #[test]
    fn a_synthetic_gallery_is_searched_like_any() {
        let gallery = Gallery::synthetic(1000, 512, 7);
        let row = &gallery.rows[8 * 700..8 * 701];
        let probe = Template::new(row.iter().flat_map(|l| l.0).collect()).unwrap();
        let mut top = TopK::new(2);
        gallery.search(&probe, &mut top);
        assert_eq!(top.hits()[0].entry, 700);
        assert!(top.hits()[0].score > 0.999 && top.hits()[1].score < 0.3, "{top:?}");
        assert_eq!(
            (gallery.templates(), Gallery::synthetic(1000, 512, 7).rows[5].0),
            (1000, gallery.rows[5].0)
        );
    }

    #[test]
    fn debug_output_shows_counts_only() {
        let text = format!("{:?}", Gallery::of(64, &[fixture::entry(0)]));
        assert!(text.starts_with("Gallery(1 entries, 1 templates, "), "{text}");
    }
}
