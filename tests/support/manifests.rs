//! Manifests of other networks than the built-in ones, and folders with their files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use watchpost::vision::Digest;

use super::desk::Desk;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
pub const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
/// Where ArcFace places the landmarks in a face of 112 pixels.
const TEMPLATE: [[f64; 2]; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];

/// The shipped manifest's detector or embedder.
pub fn shipped(part: &str) -> String {
    let text =
        std::fs::read_to_string(format!("{MODELS}/manifest.toml")).expect("the shipped manifest");
    let at = text.find("\n[embedder]").expect("a manifest");
    if part == "detector" { text[..at].to_owned() } else { text[at..].to_owned() }
}

pub fn sha256(path: &Path) -> String {
    Digest::of(&std::fs::read(path).expect("a network")).to_string()
}

/// A detector of the SCRFD family.
pub fn scrfd(file: &str, multiple: usize) -> String {
    let path = PathBuf::from(format!("{FIXTURES}/own_models/{file}"));
    let mut text = format!(
        "[detector]\nname = \"small SCRFD\"\nfile = \"{file}\"\nsha256 = \"{}\"\nfamily \
         = \"scrfd\"\nchannels = \"rgb\"\nmean = [127.5, 127.5, 127.5]\nscale = [0.0078125, \
         0.0078125, 0.0078125]\nmultiple = {multiple}\norigin = \"a test\"\nlicence = \"none\"\n",
        sha256(&path)
    );
    for (stride, [scores, boxes, points]) in
        [(8, ["448", "451", "454"]), (16, ["471", "474", "477"]), (32, ["494", "497", "500"])]
    {
        let _ = write!(
            text,
            "[[detector.levels]]\nstride = {stride}\nscores = [\"{scores}\"]\nboxes \
             = \"{boxes}\"\npoints = \"{points}\"\n"
        );
    }
    text
}

/// An embedder whose aligned face is ArcFace's, scaled.
pub fn embedder(
    path: &str,
    channels: &str,
    mean: &str,
    scale: &str,
    side: usize,
    output: &str,
    dimensions: usize,
) -> String {
    let path = PathBuf::from(path);
    let template = TEMPLATE.map(|p| p.map(|v| v * side as f64 / 112.0));
    format!(
        "\n[embedder]\nname = \"of another origin\"\nfile = \"{}\"\nsha256 = \"{}\"\nchannels \
         = \"{channels}\"\nmean = {mean}\nscale = {scale}\nside = {side}\ntemplate = \
         {template:?}\noutput = \"{output}\"\ndimensions = {dimensions}\norigin = \"a \
         test\"\nlicence = \"none\"\n",
        path.file_name().expect("a file").display(),
        sha256(&path)
    )
}

pub fn mobilefacenet() -> String {
    let file = format!("{FIXTURES}/mobilefacenet_192/mobilefacenet_192_int8.onnx");
    embedder(&file, "rgb", "[128.0, 128.0, 128.0]", "[1.0, 1.0, 1.0]", 112, "embedding", 192)
}

pub fn wide() -> String {
    let file = format!("{FIXTURES}/own_models/embedder_160.onnx");
    embedder(&file, "rgb", "[123.0, 117.0, 104.0]", "[0.017, 0.018, 0.019]", 160, "fc1", 64)
}

pub fn narrow() -> String {
    let file = format!("{FIXTURES}/own_models/embedder_96.onnx");
    // Mean and scale are in the network's own order of channels.
    let scale = "[0.017543859649122806, 0.017543859649122806, 0.017543859649122806]";
    embedder(&file, "bgr", "[104.0, 117.0, 123.0]", scale, 96, "fc1", 1024)
}

/// Writes a manifest and lays every network that this repository has beside it.
pub fn lay_out(desk: &Desk, manifest: &str) -> String {
    for folder in [
        MODELS.to_owned(),
        format!("{FIXTURES}/own_models"),
        format!("{FIXTURES}/mobilefacenet_192"),
    ] {
        for file in std::fs::read_dir(folder).expect("a folder").flatten() {
            if file.path().extension().is_some_and(|e| e == "onnx") {
                std::fs::copy(file.path(), desk.path(&file.file_name().to_string_lossy()))
                    .expect("copies");
            }
        }
    }
    std::fs::write(desk.path("manifest.toml"), manifest).expect("writes");
    desk.arg("manifest.toml")
}
