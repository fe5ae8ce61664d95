//! Times one network on the plan, kernel by kernel, and on tract, alternating, and prints one JSON
//! line an engine.
//!
//! `engine MODEL.onnx HEIGHT WIDTH (shifted|symmetric|none) [IMAGE.raw [OUTPUTS]]`: the image is
//! `HEIGHT * WIDTH * 3` bytes, a fixed pattern where none is given. With `OUTPUTS`, each engine's
//! outputs are written to `OUTPUTS.ENGINE.f32`, one after the other. The number of runs is `ROUNDS`
//! (default 200 for the plan, a tenth of that for tract), `ENGINES` a list of names to choose from.
//! `SERVE=N` waits for lines on standard input, runs the fastest engine `N` times for each, and
//! answers with one JSON line of its microseconds: so `peers/networks.py` takes turns with other
//! programs. Pin it: `taskset -c 1 cargo bench --bench engine -- ...`. Times are of the thread's
//! own processor time, which other programs on the core do not lengthen; `wall_us` is what a clock
//! on the wall says.
#![allow(clippy::print_stdout, reason = "its output is the result")]

use std::time::Instant;

use watchpost::clock::processor_time;
use watchpost::kernels::networks as kernels;
use watchpost::vision::engine::{self, Network, NetworkInput, Normalization};

type Failure = Box<dyn std::error::Error>;

struct Engine {
    network: Box<dyn Network>,
    micros: Vec<f64>,
    wall: Vec<f64>,
}

/// A part of the way through the sorted values.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}

fn main() -> Result<(), Failure> {
    // `cargo bench` appends `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [model, height, width, normalization, rest @ ..] = &arguments[..] else {
        println!(
            "usage: engine MODEL.onnx HEIGHT WIDTH shifted|symmetric|none [IMAGE.raw [OUTPUTS]]"
        );
        return Ok(());
    };
    let (onnx, height, width) = (std::fs::read(model)?, height.parse()?, width.parse()?);
    let normalization = match normalization.as_str() {
        // As the built-in networks take it.
        "shifted" => Normalization { mean: [128.0; 3], scale: [1.0; 3] },
        "none" => Normalization::NONE,
        "symmetric" => Normalization { mean: [127.5; 3], scale: [1.0 / 128.0; 3] },
        other => return Err(format!("unknown normalization {other}").into()),
    };
    let image = match rest.first() {
        Some(path) => std::fs::read(path)?,
        None => (0..height * width * 3).map(|i| (i * 31 % 251) as u8).collect(),
    };
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(200);
    let chosen = std::env::var("ENGINES").ok();
    let wanted = |name: &str| chosen.as_ref().is_none_or(|c| c.split(',').any(|c| c == name));

    let mut engines = Vec::new();
    for kernel in kernels::available().iter().filter(|k| wanted(k.set().name())) {
        engines.push(engine::load_with(&onnx, height, width, normalization, *kernel)?);
    }
    if wanted("tract") {
        engines.push(engine::reference(&onnx, height, width, normalization)?);
    }
    if let Some(each) = std::env::var("SERVE").ok().and_then(|n| n.parse().ok()) {
        return serve(engines, &image, each, rest.get(1));
    }
    let mut engines: Vec<Engine> = engines
        .into_iter()
        .map(|network| Engine { network, micros: Vec::new(), wall: Vec::new() })
        .collect();
    for round in 0..rounds {
        for engine in &mut engines {
            let slow = !engine.network.name().starts_with("plan")
                || engine.network.name().ends_with("scalar");
            if slow && round % 10 != 0 {
                continue;
            }
            let (start, own) = (Instant::now(), processor_time());
            engine.network.run(&NetworkInput::Interleaved(&image))?;
            engine.micros.push((processor_time() - own).as_secs_f64() * 1e6);
            engine.wall.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    for engine in &mut engines {
        let line = serde_json::json!({
            "engine": engine.network.name(), "runs": engine.micros.len(),
            "median_us": quantile(&mut engine.micros, 0.5),
            "p99_us": quantile(&mut engine.micros, 0.99),
            "wall_us": quantile(&mut engine.wall, 0.5),
        });
        println!("{line}");
        if let Some(path) = rest.get(1) {
            write_outputs(&*engine.network, path)?;
        }
    }
    Ok(())
}

fn write_outputs(network: &dyn Network, path: &str) -> Result<(), Failure> {
    let values = (0..network.output_names().len()).flat_map(|o| network.output(o).iter());
    let bytes: Vec<u8> = values.flat_map(|v| v.to_le_bytes()).collect();
    Ok(std::fs::write(format!("{path}.{}.f32", network.name().replace(' ', "-")), bytes)?)
}

/// Runs the first engine, which is the fastest, `each` times for every line on standard input.
fn serve(
    engines: Vec<Box<dyn Network>>,
    image: &[u8],
    each: usize,
    outputs: Option<&String>,
) -> Result<(), Failure> {
    let mut network = engines.into_iter().next().ok_or("no engine was chosen")?;
    for line in std::io::stdin().lines() {
        line?;
        let mut micros = Vec::with_capacity(each);
        for _ in 0..each {
            let own = processor_time();
            network.run(&NetworkInput::Interleaved(image))?;
            micros.push((processor_time() - own).as_secs_f64() * 1e6);
        }
        println!("{}", serde_json::json!({ network.name(): micros }));
    }
    outputs.map_or(Ok(()), |path| write_outputs(&*network, path))
}
