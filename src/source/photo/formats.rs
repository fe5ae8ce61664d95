//! Names of what is no JPEG and no PNG, so that whoever has such a file knows what to do with it.

/// What files of a kind begin with, at an offset, and its name.
const KINDS: &[(usize, &[u8], &str)] = &[
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF or a camera's raw picture"),
    (0, b"MM\0*", "a TIFF or a camera's raw picture"),
    (0, b"\0\x05\x16\x07", "what a Mac keeps beside a file (AppleDouble), and no picture"),
    (0, b"\0\x05\x16\x00", "what a Mac keeps beside a file (AppleSingle), and no picture"),
    (0, b"%PDF", "a PDF"),
    (0, b"\xFF\x0A", "a JPEG XL"),
    (4, b"JXL ", "a JPEG XL"),
    (4, b"jP  ", "a JPEG 2000"),
    (0, b"\xFF\x4F\xFF\x51", "a JPEG 2000"),
    (8, b"WEBP", "a WebP"),
    (8, b"avif", "an AVIF"),
    (8, b"avis", "an AVIF"),
    (8, b"heic", "a HEIC"),
    (8, b"heix", "a HEIC"),
    (8, b"heim", "a HEIC"),
    (8, b"heis", "a HEIC"),
    (8, b"hevc", "a HEIC"),
    (8, b"mif1", "a HEIF (HEIC or AVIF)"),
    (8, b"msf1", "a HEIF (HEIC or AVIF)"),
    (8, b"crx ", "a camera's raw picture"),
    (4, b"ftyp", "a video or a HEIF"),
    (0, b"8BPS", "a Photoshop picture"),
    (0, b"<svg", "an SVG"),
    (0, b"<?xml", "XML"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"PK\x03\x04", "a ZIP archive"),
];

/// What `bytes` are by their beginning.
pub(super) fn name(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return "an empty file";
    }
    let kind = |(at, magic, _): &&(usize, &[u8], &str)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    KINDS.iter().find(kind).map_or("of no kind that is known here", |(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_phones_and_web_pages_give_is_named() {
        for (bytes, expected) in [
            (&b"\0\0\0\x20ftypheic\0\0"[..], "HEIC"),
            (b"\0\0\0\x20ftypavif", "AVIF"),
            (b"\0\0\0\x20ftypmif1", "HEIF"),
            (b"\0\0\0\x20ftypisom", "video"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
            (b"\0\x05\x16\x07\0\x02", "AppleDouble"),
            (b"\0\0\0\x0CJXL \r\n", "JPEG XL"),
            (b"GIF89a", "GIF"),
            (b"", "empty"),
            (b"x", "no kind"),
        ] {
            assert!(name(bytes).contains(expected), "{}", name(bytes));
        }
    }
}
