//! The keys of the configuration that messages name.
//!
//! * A message names a key by `setting!(watchlist.trust)`, which is its text. A key that is not in
//!   this list does not compile.
//! * Each key in this list is in `config/watchpost.toml`; `tests/names.rs` holds them against it.

/// The text of a configuration key, as a literal: `concat!` takes it, too.
#[rustfmt::skip]
macro_rules! setting {
    (audit.identity) => { "audit.identity" };
    (audit.log) => { "audit.log" };
    (audit.await_witnesses_s) => { "audit.await_witnesses_s" };
    (audit.on_failure) => { "audit.on_failure" };
    (audit.on_unproved) => { "audit.on_unproved" };
    (audit.on_unwitnessed) => { "audit.on_unwitnessed" };
    (audit.quorum_hours) => { "audit.quorum_hours" };
    (broker.ca_file) => { "broker.ca_file" };
    (broker.client_cert) => { "broker.client_cert" };
    (broker.client_id) => { "broker.client_id" };
    (broker.client_key) => { "broker.client_key" };
    (broker.controls) => { "broker.controls" };
    (broker.event_expiry_s) => { "broker.event_expiry_s" };
    (broker.home_assistant.prefix) => { "broker.home_assistant.prefix" };
    (broker.keep_unheard) => { "broker.keep_unheard" };
    (broker.ledger) => { "broker.ledger" };
    (broker.outbox) => { "broker.outbox" };
    (broker.outbox_bytes) => { "broker.outbox_bytes" };
    (broker.outbox_events) => { "broker.outbox_events" };
    (broker.password_file) => { "broker.password_file" };
    (broker.receipt) => { "broker.receipt" };
    (broker.root) => { "broker.root" };
    (broker.url) => { "broker.url" };
    (broker.username) => { "broker.username" };
    (calibrate.counts) => { "calibrate.counts" };
    (calibrate.decoys) => { "calibrate.decoys" };
    (calibrate.record) => { "calibrate.record" };
    (decision.ambiguity_margin) => { "decision.ambiguity_margin" };
    (decision.cool_down_s) => { "decision.cool_down_s" };
    (decision.least_views) => { "decision.least_views" };
    (decision.patience_ms) => { "decision.patience_ms" };
    (decision.views) => { "decision.views" };
    (device.camera) => { "device.camera" };
    (device.place) => { "device.place" };
    (device.id) => { "device.id" };
    (event.crop) => { "event.crop" };
    (event.crop_quality) => { "event.crop_quality" };
    (event.head) => { "event.head" };
    (event.head_pixels) => { "event.head_pixels" };
    (event.head_times) => { "event.head_times" };
    (metrics.beyond_loopback) => { "metrics.beyond_loopback" };
    (metrics.listen) => { "metrics.listen" };
    (review.deadline_s) => { "review.deadline_s" };
    (review.docket) => { "review.docket" };
    (source.images.fps) => { "source.images.fps" };
    (source.images.hold) => { "source.images.hold" };
    (source.images.path) => { "source.images.path" };
    (source.kind) => { "source.kind" };
    (source.max_pixels) => { "source.max_pixels" };
    (source.mirror) => { "source.mirror" };
    (source.pipe) => { "source.pipe" };
    (source.pipe.height) => { "source.pipe.height" };
    (source.pipe.path) => { "source.pipe.path" };
    (source.pipe.stride) => { "source.pipe.stride" };
    (source.pipe.width) => { "source.pipe.width" };
    (source.rotate) => { "source.rotate" };
    (source.v4l2.buffers) => { "source.v4l2.buffers" };
    (source.v4l2.controls) => { "source.v4l2.controls" };
    (source.v4l2.controls.exposure) => { "source.v4l2.controls.exposure" };
    (source.v4l2.device) => { "source.v4l2.device" };
    (source.v4l2.format) => { "source.v4l2.format" };
    (source.v4l2.fps) => { "source.v4l2.fps" };
    (source.v4l2.height) => { "source.v4l2.height" };
    (source.v4l2.width) => { "source.v4l2.width" };
    (source.zones) => { "source.zones" };
    (vision.models) => { "vision.models" };
    (vision.quality) => { "vision.quality" };
    (vision.quality.max_outside) => { "vision.quality.max_outside" };
    (vision.quality.max_pitch) => { "vision.quality.max_pitch" };
    (vision.quality.max_yaw) => { "vision.quality.max_yaw" };
    (vision.quality.min_eye_distance_px) => { "vision.quality.min_eye_distance_px" };
    (vision.quality.min_score) => { "vision.quality.min_score" };
    (vision.quality.min_sharpness) => { "vision.quality.min_sharpness" };
    (vision.schedule) => { "vision.schedule" };
    (vision.views) => { "vision.views" };
    (vision.views.max_a_track) => { "vision.views.max_a_track" };
    (watchlist.accept_plain) => { "watchlist.accept_plain" };
    (watchlist.await_orders_s) => { "watchlist.await_orders_s" };
    (watchlist.device_key) => { "watchlist.device_key" };
    (watchlist.inbox) => { "watchlist.inbox" };
    (watchlist.list) => { "watchlist.list" };
    (watchlist.position) => { "watchlist.position" };
    (watchlist.require_locked_memory) => { "watchlist.require_locked_memory" };
    (watchlist.require_synchronised_clock) => { "watchlist.require_synchronised_clock" };
    (watchlist.rotations) => { "watchlist.rotations" };
    (watchlist.state) => { "watchlist.state" };
    (watchlist.trust) => { "watchlist.trust" };
}
