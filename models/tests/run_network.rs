//! Runs a network of this repository for a test written in another language.
//!
//! `run_network FILE.onnx HEIGHT WIDTH < pixels > values`: takes images of `HEIGHT * WIDTH * 3`
//! bytes from standard input, in the network's channel order, until it ends; gives every output of
//! every image as little-endian `f32`, in the file's order. The input is `pixel - 128`, as the
//! files in `models/` want it. Standard error names the engine.

use std::error::Error;
use std::io::{Read, Write};

use watchpost::vision::engine::{self, NetworkInput, Normalization};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, height, width] = arguments.as_slice() else {
        return Err("usage: run_network FILE.onnx HEIGHT WIDTH < pixels > values".into());
    };
    let (height, width) = (height.parse()?, width.parse()?);
    let normalization = Normalization { mean: [128.0; 3], scale: [1.0; 3] };
    let mut network = engine::load(&std::fs::read(file)?, height, width, normalization)?;
    eprintln!("{}", network.name());
    let mut pixels = Vec::new();
    std::io::stdin().read_to_end(&mut pixels)?;
    let mut images = pixels.chunks_exact(height * width * 3);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for image in &mut images {
        network.run(&NetworkInput::Interleaved(image))?;
        for index in 0..network.output_names().len() {
            network.output(index).iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?;
        }
    }
    out.flush()?;
    if images.remainder().is_empty() {
        Ok(())
    } else {
        Err("standard input ended within an image".into())
    }
}
