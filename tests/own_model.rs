//! "Bring your own model", with the built binary: other detectors and embedders through a manifest,
//! and every way in which a manifest and its files may not fit each other.
//!
//! MobileFaceNet-192 is a real embedder of another origin; the small networks of
//! `fixtures/own_models` have the exact form of other families and sizes, and their answers are
//! known from onnxruntime (see `make.py` there).

mod support;

use std::path::Path;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, fails, ok};
use support::manifests::{
    FIXTURES, MODELS, lay_out, mobilefacenet, narrow, scrfd, sha256, shipped, wide,
};
use support::people::people;
use watchpost::frame::{Frame, Layout, PixelFormat, Range};
use watchpost::vision::{AlignedFace, Alignment, Detector, Digest, Embedder, Faces, Models};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn expected() -> Value {
    json(
        &std::fs::read_to_string(format!("{FIXTURES}/own_models/expected.json"))
            .expect("a fixture"),
    )
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn close(got: f32, want: f32, within: f32, what: &str) {
    assert!((got - want).abs() <= within, "{what}: {got} is not {want}");
}

#[test]
fn a_second_real_embedder_is_carried_through_by_its_manifest_alone() {
    let desk = Desk::new();
    // A curve of the test's own: what matters is that the list's threshold follows from it.
    let curve = "\n[[embedder.groups]]\nname = \"all\"\nsource = \"a test\"\npeople = 5000\npairs \
        = 12497500\nexact_to = 0.45\ncurve = [[0.3, 1e-3], [0.38, 1e-7]]\n";
    let models = lay_out(&desk, &format!("{}{}{curve}", shipped("detector"), mobilefacenet()));
    let portrait = |name: &str| format!("{PORTRAITS}/{name}.jpg");

    // One against one.
    let compare = |a: &str, b: &str| {
        json(&ok(&["compare", &portrait(a), &portrait(b), "--models", &models, "--json"]))["similarity"]
            .as_f64()
            .expect("a number")
    };
    let (same, other) = (compare("obama-2010", "obama-2012"), compare("obama-2010", "hopper"));
    assert!(same > 0.5 && other < 0.3, "{same} {other}");
    assert!(ok(&["detect", &portrait("hopper"), "--models", &models]).contains("1 faces"));

    // A list made with it.
    for key in ["alice.key", "bob.key"] {
        ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
    }
    let public =
        ["alice.key", "bob.key"].map(|k| ok(&["key", "show", &desk.arg(k)]).trim().to_owned());
    let trust = desk.arg("trust.toml");
    ok(&["key", "trust", &public[0], &public[1], "--out", &trust]);
    let draft = desk.arg("draft.json");
    let about = "--id promises --authority test --decision 1/26 --aim consent --device gate-1 \
        --most-entries 2 --faces-per-day 1000 --false-alerts-per-day 0.2 --expires \
        2099-01-01T00:00:00Z";
    let about: Vec<&str> = about.split_whitespace().collect();
    ok(&[&["watchlist", "new", &draft, "--models", &models][..], &about].concat());
    let entry =
        ["--reference", "case-1", "--legal-basis", "order 1/26", "--purpose", "a promise kept"];
    let photograph = portrait("obama-2012");
    ok(&[&["watchlist", "add", &draft, &photograph, "--models", &models][..], &entry].concat());
    let list = desk.arg("list.cose");
    let sign =
        ["watchlist", "sign", &draft, "--key", &desk.arg("alice.key"), "--out", &list, "--yes"];
    // The promise that is signed is this embedder's: without its manifest there is none.
    let (_, errors) = fails(&sign);
    assert!(errors.contains("another embedder") && errors.contains("--models"), "{errors}");
    ok(&[&sign[..], &["--models", &models]].concat());
    ok(&["watchlist", "sign", &list, "--key", &desk.arg("bob.key"), "--out", &list, "--yes"]);
    let search = [
        "identify",
        &portrait("obama-2010"),
        "--watchlist",
        &list,
        "--trust",
        &trust,
        "--device",
        "gate-1",
    ];
    let found = json(&ok(&[&search[..], &["--models", &models, "--json"]].concat()));
    assert_eq!(found["faces"][0]["candidates"][0]["entry"], "case-1", "{found}");

    // The built-in embedder refuses it by digest, in every command, and this one a list of the
    // built-in one.
    let ours = sha256(Path::new(&format!("{MODELS}/fr_feature_int8.onnx")));
    let theirs = sha256(&desk.path("mobilefacenet_192_int8.onnx"));
    let named = |errors: &str| errors.contains(&ours[..8]) && errors.contains(&theirs[..8]);
    let (code, errors) = fails(&search);
    assert!(
        code == 1 && named(&errors) && errors.contains("enrol the photographs again"),
        "{errors}"
    );
    let verify = ["watchlist", "verify", &list, "--trust", &trust, "--device", "gate-1"];
    ok(&[&verify[..], &["--models", &models]].concat());
    assert!(named(&fails(&verify).1));
    let (_, errors) = fails(&[&["watchlist", "add", &draft, &photograph][..], &entry].concat());
    assert!(errors.contains("another embedder") && errors.contains("--models"), "{errors}");

    // The daemon's own check of all this.
    desk.pictures(&["hopper.jpg"]);
    desk.configure(1, "");
    let config = std::fs::read_to_string(desk.path("watchpost.toml")).expect("a configuration");
    let checks = |config: &str| -> Vec<Value> {
        std::fs::write(desk.path("watchpost.toml"), config).expect("writes");
        let output = desk.command("check").arg("--json").output().expect("the binary runs");
        String::from_utf8_lossy(&output.stdout).lines().map(json).collect()
    };
    let of = |checks: &[Value], name: &str| {
        checks.iter().find(|c| c["check"] == name).expect("such a check").clone()
    };
    let own = checks(&format!("{config}\n[vision]\nmodels = \"{models}\"\n"));
    // A network that our own engine cannot lower is a warning.
    assert!(of(&own, "models")["outcome"] != "failed", "{own:?}");
    assert_eq!(of(&own, "watchlist")["outcome"], "ok", "{own:?}");
    let builtin = of(&checks(&config), "watchlist");
    assert!(builtin["outcome"] == "failed" && named(&builtin["detail"].to_string()), "{builtin}");
}

#[test]
fn a_second_real_embedder_is_measured_and_its_table_goes_into_its_manifest() {
    let desk = Desk::new();
    let manifest = format!("{}{}", shipped("detector"), mobilefacenet());
    let models = lay_out(&desk, &manifest);
    let root = desk.arg("people");
    people(Path::new(&root));
    std::fs::write(
        desk.path("pairs.txt"),
        "4\nObama\t1\t4\nObama\t2\t5\nGrace_M_Hopper\t1\t3\nBiden\t1\t2\nObama\t1\tGrace_M_Hopper\t1\nBiden\t1\tCollins\t2\nObama\t4\tBiden\t3\nGrace_M_Hopper\t2\tCollins\t1\n",
    )
    .expect("writes");
    let pairs = desk.arg("pairs.txt");
    let result = json(&ok(&[
        "evaluate",
        "verification",
        "--root",
        &root,
        "--pairs",
        &pairs,
        "--models",
        &models,
        "--json",
    ]));
    assert_eq!(result["embedder"]["sha256"], sha256(&desk.path("mobilefacenet_192_int8.onnx")));
    assert_eq!(
        (&result["best_accuracy"]["accuracy"]["count"], &result["left_out"]["count"]),
        (&8.into(), &0.into())
    );

    // The table names the embedder it is true of, and the manifest takes it as it is.
    let table = desk.arg("table.toml");
    let curve = [
        "evaluate",
        "curve",
        "--root",
        &root,
        "--models",
        &models,
        "--least-pairs",
        "2",
        "--table",
        &table,
    ];
    let measured = json(&ok(&[&curve[..], &["--json"]].concat()));
    let points = measured["points"].as_array().expect("a curve").len();
    let text = std::fs::read_to_string(&table).expect("a table");
    assert!(
        points > 0 && text.contains(&sha256(&desk.path("mobilefacenet_192_int8.onnx"))),
        "{text}"
    );
    assert_eq!(text.matches("[[embedder.groups]]").count(), 1);
    std::fs::write(desk.path("manifest.toml"), format!("{manifest}{text}")).expect("writes");
    let with_curve = Models::open(Path::new(&models)).expect("a manifest with the table");
    assert_eq!(with_curve.manifest.embedder.groups[0].curve.len(), points);
}

#[test]
fn an_scrfd_is_read_as_its_authors_read_it_in_each_form_that_it_is_exported_in() {
    let picture =
        image::open(format!("{FIXTURES}/own_models/scene.png")).expect("a scene").to_rgb8();
    let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, picture.width(), picture.height())
        .expect("a layout");
    let frame = Frame::new(layout, &picture).expect("a frame");
    let expected = expected();
    let want = expected["faces"].as_array().expect("faces");
    for (file, multiple, long_side) in
        [("scrfd.onnx", 32, 640), ("scrfd_batched.onnx", 32, 96), ("scrfd_fixed.onnx", 96, 96)]
    {
        let desk = Desk::new();
        let models = Models::open(Path::new(&lay_out(
            &desk,
            &format!("{}{}", scrfd(file, multiple), shipped("embedder")),
        )))
        .expect("a manifest");
        let mut detector = Detector::new(&models, long_side).expect("a detector");
        let mut faces = Faces::new();
        detector.detect(&frame, 0.6, &mut faces).expect("runs");
        if file == "scrfd_fixed.onnx" {
            // Its canvas is taller than the scene: what is found in the black below is its own
            // affair.
            assert!(!faces.is_empty(), "{file}");
            continue;
        }
        assert_eq!(faces.len(), want.len(), "{file}");
        for (face, want) in faces.iter().zip(want) {
            close(face.score, want["score"].as_f64().expect("a score") as f32, 1e-4, file);
            let r = &face.rect;
            let edges = [r.x, r.y, r.x + r.width, r.y + r.height];
            edges
                .iter()
                .zip(numbers(&want["box"]))
                .for_each(|(got, want)| close(*got, want, 0.01, file));
            for (got, want) in face.landmarks.iter().zip(want["points"].as_array().expect("points"))
            {
                close(got.x, numbers(want)[0], 0.01, file);
                close(got.y, numbers(want)[1], 0.01, file);
            }
        }
    }
}

#[test]
fn an_scrfd_serves_the_commands_and_is_evaluated() {
    let desk = Desk::new();
    let models = lay_out(&desk, &format!("{}{}", scrfd("scrfd.onnx", 32), shipped("embedder")));
    let scene = format!("{FIXTURES}/own_models/scene.png");
    let want = expected();
    let want = want["faces"].as_array().expect("faces");
    let found = json(&ok(&["detect", &scene, "--models", &models, "--json"]));
    assert_eq!(found["faces"].as_array().map(Vec::len), Some(want.len()));
    // The faces that it finds are the ground truth: all must be found again, and nothing else.
    std::fs::copy(&scene, desk.path("scene.png")).expect("copies");
    let boxes: Vec<Value> =
        found["faces"].as_array().expect("faces").iter().map(|f| f["box"].clone()).collect();
    let truth = serde_json::json!({ "image": "scene.png", "boxes_xywh": boxes });
    std::fs::write(desk.path("truth.jsonl"), truth.to_string()).expect("writes");
    let root = desk.arg("");
    let truth = desk.arg("truth.jsonl");
    let result = json(&ok(&[
        "evaluate",
        "detection",
        "--root",
        &root,
        "--ground-truth",
        &truth,
        "--models",
        &models,
        "--json",
    ]));
    assert_eq!(result["sets"][0]["recall"]["count"], want.len());
    assert_eq!(result["false_positives"]["count"], 0);
    assert_eq!(result["detector"]["name"], "small SCRFD");
}

#[test]
fn embedders_of_other_sizes_lengths_channels_means_and_scales_give_what_onnxruntime_gives() {
    for (manifest, picture, key) in
        [(wide(), "face_160.png", "embedder_160"), (narrow(), "face_96.png", "embedder_96")]
    {
        let desk = Desk::new();
        let models =
            Models::open(Path::new(&lay_out(&desk, &format!("{}{manifest}", shipped("detector")))))
                .expect("fits");
        let spec = &models.manifest.embedder;
        let picture =
            image::open(format!("{FIXTURES}/own_models/{picture}")).expect("a picture").to_rgb8();
        let side = spec.side as u32;
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, side, side).expect("a layout");
        let alignment = Alignment::from(spec);
        let mut face = AlignedFace::new(spec.side);
        // Landmarks that lie where they are wanted: the face is the picture.
        face.warp(&Frame::new(layout, &picture).expect("a frame"), &spec.template(), &alignment)
            .expect("aligns");
        assert_eq!(face.rgb(), picture.as_raw().as_slice(), "{key}");
        let mut network = Embedder::new(&models).expect("fits");
        assert_eq!(network.dimensions(), spec.dimensions);
        let got = network.embed(&face).expect("embeds");
        let want = numbers(&expected()[key]);
        // The embedding has length one; what is known of it may be its beginning.
        let norm = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
        let got = &got.values()[..want.len()];
        let length = norm(got);
        for (got, want_value) in got.iter().zip(&want) {
            close(got / length, want_value / norm(&want), 1e-3, key);
        }
    }
}

#[test]
fn a_template_of_any_length_is_enrolled_and_compared() {
    for manifest in [wide(), narrow()] {
        let desk = Desk::new();
        let models = lay_out(&desk, &format!("{}{manifest}", shipped("detector")));
        let portrait = format!("{PORTRAITS}/hopper.jpg");
        let same = json(&ok(&["compare", &portrait, &portrait, "--models", &models, "--json"]));
        assert!(same["similarity"].as_f64() > Some(0.9999), "{same}");
        assert_eq!(same["false_match_rate"], Value::Null, "nothing was measured of it");
    }
}

/// What `compare` says of a manifest, after `spoil` had its way with the folder.
fn refusal(manifest: &str, spoil: impl FnOnce(&Desk)) -> String {
    let desk = Desk::new();
    let models = lay_out(&desk, manifest);
    spoil(&desk);
    let portrait = format!("{PORTRAITS}/hopper.jpg");
    let (code, errors) = fails(&["compare", &portrait, &portrait, "--models", &models]);
    assert_eq!(code, 1, "{errors}");
    assert_eq!(errors.trim().lines().count(), 1, "one sentence: {errors}");
    // Whoever evaluates is told the same before any work.
    let (code, also) = fails(&["evaluate", "curve", "--root", &desk.arg(""), "--models", &models]);
    assert!(code == 1 && also == errors, "{also} {errors}");
    errors
}

fn says(errors: &str, words: &[&str]) {
    for word in words {
        assert!(errors.contains(word), "`{word}` is not in: {errors}");
    }
}

#[test]
fn an_output_that_the_network_does_not_have_is_named_with_those_it_has() {
    let manifest =
        format!("{}{}", shipped("detector"), mobilefacenet().replace("\"embedding\"", "\"fc1\""));
    says(&refusal(&manifest, |_| ()), &["no output `fc1`", "it has embedding"]);
    let manifest =
        format!("{}{}", scrfd("scrfd.onnx", 32).replace("\"474\"", "\"475\""), shipped("embedder"));
    says(&refusal(&manifest, |_| ()), &["small SCRFD", "no output `475`", "448"]);
}

#[test]
fn outputs_of_another_form_than_the_family_has_are_refused() {
    // Boxes and points exchanged.
    let swapped = scrfd("scrfd.onnx", 32)
        .replace("\"451\"", "\"x\"")
        .replace("\"454\"", "\"451\"")
        .replace("\"x\"", "\"454\"");
    says(
        &refusal(&format!("{swapped}{}", shipped("embedder")), |_| ()),
        &["output `454`", "values", "stride 8"],
    );
    // A YuNet under the name of an SCRFD.
    let yunet = shipped("detector")
        .replace("\"yunet\"", "\"scrfd\"")
        .replace(", \"obj_8\"", "")
        .replace(", \"obj_16\"", "");
    says(
        &refusal(&format!("{yunet}{}", shipped("embedder")), |_| ()),
        &["detector.levels.scores", "one for `scrfd`"],
    );
}

#[test]
fn an_input_of_another_size_is_refused() {
    let manifest = format!("{}{}", shipped("detector"), wide().replace("side = 160", "side = 192"));
    says(&refusal(&manifest, |_| ()), &["embedder", "input", "192"]);
    let manifest = format!("{}{}", scrfd("scrfd_fixed.onnx", 32), shipped("embedder"));
    says(&refusal(&manifest, |_| ()), &["detector", "input", "96"]);
}

#[test]
fn another_number_of_dimensions_is_refused() {
    let manifest = format!(
        "{}{}",
        shipped("detector"),
        mobilefacenet().replace("dimensions = 192", "dimensions = 512")
    );
    says(&refusal(&manifest, |_| ()), &["192 dimensions", "the manifest says 512"]);
    for outside in ["63", "1025"] {
        let to = format!("dimensions = {outside}");
        let manifest =
            format!("{}{}", shipped("detector"), mobilefacenet().replace("dimensions = 192", &to));
        says(&refusal(&manifest, |_| ()), &["embedder.dimensions", "64 to 1024"]);
    }
}

#[test]
fn a_file_that_is_not_the_manifests_is_refused_by_digest_and_one_that_is_missing_by_name() {
    let manifest = format!("{}{}", shipped("detector"), mobilefacenet());
    let file = "mobilefacenet_192_int8.onnx";
    let digest = |desk: &Desk| sha256(&desk.path(file));
    let errors = refusal(&manifest, |desk| {
        let mut bytes = std::fs::read(desk.path(file)).expect("a network");
        bytes[4000] ^= 1;
        std::fs::write(desk.path(file), bytes).expect("writes");
        assert_eq!(digest(desk).len(), 64);
    });
    says(&errors, &[file, "SHA-256", "embedder.sha256"]);
    says(
        &refusal(&manifest, |desk| std::fs::remove_file(desk.path(file)).expect("removes")),
        &[file, "beside"],
    );
}

/// The manifest of `change` done to the embedder of 96 pixels, the new file in place and its digest
/// right.
fn changed(change: impl Fn(&mut Vec<u8>)) -> String {
    let file = format!("{FIXTURES}/own_models/embedder_96.onnx");
    let mut bytes = std::fs::read(&file).expect("a network");
    let before = Digest::of(&bytes).to_string();
    change(&mut bytes);
    let manifest = format!(
        "{}{}",
        shipped("detector"),
        narrow().replace(&before, &Digest::of(&bytes).to_string())
    );
    refusal(&manifest, |desk| {
        std::fs::write(desk.path("embedder_96.onnx"), &bytes).expect("writes")
    })
}

#[test]
fn a_file_that_was_cut_short_is_refused_even_where_the_manifest_has_its_digest() {
    says(&changed(|bytes| bytes.truncate(bytes.len() / 2)), &["embedder", "cut short"]);
    says(&changed(Vec::clear), &["embedder", "not an ONNX file"]);
}

#[test]
fn a_weight_that_is_not_finite_is_refused_by_name() {
    let at = expected()["weights_of_embedder_96_begin_at"].as_u64().expect("an offset") as usize;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let errors = changed(|bytes| bytes[at + 400..at + 404].copy_from_slice(&bad.to_le_bytes()));
        says(&errors, &["embedder", "`fc.weight` is not finite"]);
    }
}
