//! Script and style of the pages, in the binary.
//!
//! The script is what is in this folder, as it is: nothing is built but `age.js`, the age file
//! format of the npm package age-encryption, which `age/bundle` makes again bit for bit.

/// One file that is served as it is.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path below `/`.
    pub path: &'static str,
    /// Media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal: $content_type:literal,)*) => {
        /// All of them.
        pub const ASSETS: &[Asset] = &[$(Asset {
            path: concat!("static/", $name),
            content_type: $content_type,
            bytes: include_bytes!($name),
        },)*];
    };
}

assets! {
    "age.js": "text/javascript; charset=utf-8",
    "cbor.js": "text/javascript; charset=utf-8",
    "desk.css": "text/css; charset=utf-8",
    "desk.js": "text/javascript; charset=utf-8",
    "desk.svg": "image/svg+xml",
    "keys.js": "text/javascript; charset=utf-8",
    "pictures.js": "text/javascript; charset=utf-8",
    "verdict.js": "text/javascript; charset=utf-8",
}
