//! What `watchpost evaluate` promises of the data that it is given, with the built binary and its
//! real networks: every form of list, and whatever is wrong with them: counted, listed, never a
//! crash, and an exit code that tells.

mod support;

use std::path::Path;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, fails, watchpost};
use support::people::people;

/// Nothing could be evaluated.
const NOTHING: i32 = 65;

/// Exit code and the one JSON object of an evaluation that says nothing else.
fn evaluate(arguments: &[&str]) -> (i32, Value) {
    let output = watchpost(&[&["evaluate"], arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 1);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let code = output.status.code().expect("no signal");
    assert_eq!(json["evaluated"], Value::Bool(code == 0), "{arguments:?}");
    // What is counted is what is listed.
    let listed = json["left_out"]["list"].as_array().expect("a list").len();
    assert_eq!(json["left_out"]["count"], listed);
    let by_reason = json["left_out"]["by_reason"].as_object().expect("counts");
    assert_eq!(by_reason.values().filter_map(Value::as_u64).sum::<u64>(), listed as u64);
    (code, json)
}

fn left_out<'a>(json: &'a Value, reason: &str) -> Vec<&'a str> {
    let list = json["left_out"]["list"].as_array().expect("a list");
    list.iter()
        .filter(|o| o["reason"] == reason)
        .map(|o| o["what"].as_str().expect("text"))
        .collect()
}

struct Data {
    desk: Desk,
    root: String,
}

impl Data {
    fn new() -> Self {
        let desk = Desk::new();
        people(&desk.path("people"));
        let root = desk.arg("people");
        Self { desk, root }
    }

    /// Writes a file beside the people.
    fn list(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.desk.path(name), text).expect("writes");
        self.desk.arg(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = Path::new(&self.root).join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("writes");
    }

    fn verification(&self, pairs: &str) -> (i32, Value) {
        evaluate(&["verification", "--root", &self.root, "--pairs", pairs])
    }
}

/// A PNG of a wall.
fn wall(shade: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let grey = image::GrayImage::from_fn(64, 48, |x, _| image::Luma([shade.wrapping_add(x as u8)]));
    grey.write_to(&mut bytes, image::ImageFormat::Png).expect("encodes");
    bytes.into_inner()
}

const PAIRS: [&str; 8] = [
    "Obama 1 4",
    "Grace_M_Hopper 1 3",
    "Obama 1 Grace_M_Hopper 2",
    "Biden 1 Collins 2",
    "Biden 2 3",
    "Collins 1 2",
    "Collins 3 Obama 5",
    "Grace_M_Hopper 1 Biden 1",
];

#[test]
fn every_form_of_a_pairs_file_gives_the_same_pairs() {
    let data = Data::new();
    // Genuine first, then impostors: in one piece, or in two folds of two each.
    let order = [0, 1, 4, 5, 2, 3, 6, 7];
    let plain: Vec<&str> = order.map(|i| PAIRS[i]).to_vec();
    let with = |head: &str, lines: &[&str], between: &str, end: &str| {
        [&[head][..], lines]
            .concat()
            .iter()
            .map(|l| l.replace(' ', between) + end)
            .collect::<String>()
    };
    for (name, text, folds) in [
        ("spaces", with("4", &plain, " ", "\n"), None),
        ("tabs", with("4", &plain, "\t", "\n"), None),
        ("tabs and CRLF", with("4", &plain, "\t", "\r\n"), None),
        (
            "a mark before the first line and no end of the last",
            format!("\u{feff}{}", with("4", &plain, "  ", "\n").trim_end()),
            None,
        ),
        ("folds", with("2 2", &PAIRS, "\t", "\n"), Some(2)),
    ] {
        let (code, v) = data.verification(&data.list("pairs.txt", text));
        assert_eq!((code, v["folds"].as_u64()), (0, folds), "{name}");
        assert_eq!(
            (&v["pairs"]["genuine"], &v["pairs"]["impostor"]),
            (&4.into(), &4.into()),
            "{name}"
        );
        assert_eq!(
            (&v["best_accuracy"]["accuracy"]["count"], &v["left_out"]["count"]),
            (&8.into(), &0.into()),
            "{name}"
        );
        // Four impostors say nothing about one in a hundred.
        assert!(v["tar_at_far"][0]["tar"].is_null(), "{name}");
        assert!(
            v["tar_at_far"][0]["unsupported"].as_str().is_some_and(|s| s.contains("at least 100")),
            "{name}"
        );
    }
}

#[test]
fn pairs_that_cannot_be_compared_are_listed_by_reason_and_the_others_are_compared() {
    let data = Data::new();
    data.put("Biden/Biden_0007.jpg", b"\xff\xd8\xff\xe0 cut short");
    data.put("Biden/Biden_0008.jpg", b"");
    data.put("Biden/Biden_0009.png", &wall(10));
    let first =
        std::fs::read(Path::new(&data.root).join("Biden/Biden_0001.jpg")).expect("a portrait");
    data.put("Biden/Biden_0010.jpg", &first);
    let text = "6\nObama 1 4\nBiden 1 7\nBiden 1 8\nBiden 1 9\nBiden 1 10\nBiden 1 77\nObama 1 \
        Biden 1\nObama 1 Nobody 1\nObama 1 Biden 9\nObama x Biden 1\n../Biden 1 Obama 1\nObama 2\n";
    let (code, v) = data.verification(&data.list("pairs.txt", text));
    assert_eq!(code, 0);
    let p = &v["pairs"];
    // A photograph without a face is no fault of the data: the pair counts, as a failure to
    // acquire.
    assert_eq!(
        [&p["genuine"], &p["impostor"], &p["genuine_failed"], &p["impostor_failed"]]
            .map(Value::as_u64),
        [1; 4].map(Some)
    );
    assert_eq!(v["acquisition"]["failure_to_acquire"]["count"], 1);
    assert_eq!(v["acquisition"]["failures"][0]["what"], "Biden/Biden_0009.png");
    assert_eq!(
        left_out(&v, "unreadable photograph"),
        ["Biden/Biden_0007.jpg", "Biden/Biden_0008.jpg"]
    );
    assert_eq!(left_out(&v, "pair with an unreadable photograph").len(), 2);
    assert_eq!(
        left_out(&v, "pair of one photograph with itself or a copy"),
        ["line 6: Biden/Biden_0001 and Biden/Biden_0010"]
    );
    assert_eq!(left_out(&v, "pair that names a missing file").len(), 2);
    assert_eq!(left_out(&v, "line that is no pair"), ["line 11", "line 12", "line 13"]);
}

#[test]
fn a_pairs_file_whose_files_are_all_missing_evaluates_nothing_and_one_that_is_none_is_an_error() {
    let data = Data::new();
    let (code, v) =
        data.verification(&data.list("pairs.txt", "1\nNobody 1 2\nNobody 1 Somebody 1\n"));
    assert_eq!((code, left_out(&v, "pair that names a missing file").len()), (NOTHING, 2));
    for (name, text, word) in [
        ("empty", &b""[..], "empty"),
        ("prose", b"Dear Sir\n", "first line"),
        ("latin1", b"1\nAndr\xe9 1 2\n", "UTF-8"),
    ] {
        let pairs = data.list(name, text);
        let (code, errors) =
            fails(&["evaluate", "verification", "--root", &data.root, "--pairs", &pairs]);
        assert!(code == 1 && errors.contains(word), "{name}: {errors}");
    }
}

#[test]
fn people_with_one_photograph_are_strangers_and_copies_are_not_probes() {
    let data = Data::new();
    data.put("Alone/Alone_0001.png", &wall(80));
    data.put("Twice/Twice_0001.png", &wall(120));
    data.put("Twice/Twice_0002.png", &wall(120));
    data.put("stray.jpg", b"x");
    data.put("Biden/notes.txt", b"x");
    let (code, i) =
        evaluate(&["identification", "--root", &data.root, "--gallery", "3", "--draws", "2"]);
    assert_eq!((code, &i["people"], &i["people_with_two"]), (0, &6.into(), &4.into()));
    assert_eq!(left_out(&i, "copy of another photograph"), ["Twice/Twice_0002.png"]);
    assert_eq!(left_out(&i, "not inside a person's folder"), ["stray.jpg"]);
    assert_eq!(left_out(&i, "neither JPEG nor PNG by its name"), ["Biden/notes.txt"]);
    for draw in i["draws"].as_array().expect("draws") {
        // One of the four is not on the list; the two walls are strangers who alarm nobody.
        assert_eq!(
            (&draw["non_mated"], &draw["non_mated_failed"], &draw["rank_1"]["rate"]),
            (&1.into(), &2.into(), &1.0.into())
        );
    }
    assert!(
        i["fnir_at_fpir"][0]["mean"].is_null() && i["fnir_at_fpir"][0]["unsupported"].is_string()
    );
    // More than there are: said so, and as many as there are.
    let (code, i) =
        evaluate(&["identification", "--root", &data.root, "--gallery", "900", "--draws", "1"]);
    assert_eq!(
        (code, &i["gallery"], left_out(&i, "gallery smaller than asked for").len()),
        (0, &4.into(), 1)
    );
}

#[test]
fn a_folder_in_which_nobody_has_a_second_photograph_evaluates_nothing() {
    let desk = Desk::new();
    for name in ["biden-2010", "hopper"] {
        let folder = desk.path("people").join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(format!("{PORTRAITS}/{name}.jpg"), folder.join("1.jpg")).expect("copies");
    }
    let root = desk.arg("people");
    let (code, i) = evaluate(&["identification", "--root", &root]);
    assert_eq!((code, &i["people_with_two"]), (NOTHING, &0.into()));
    // Two people who are not alike give no curve either, and no table.
    let table = desk.arg("table.toml");
    let (code, c) = evaluate(&["curve", "--root", &root, "--table", &table]);
    assert!(code == NOTHING && c["ends"].as_str().is_some_and(|e| e.contains("no curve")), "{c}");
    assert!(!Path::new(&table).exists());
}

#[test]
fn ground_truth_that_is_empty_or_wrong_is_told_by_line() {
    let data = Data::new();
    let detection =
        |list: &str| evaluate(&["detection", "--root", &data.root, "--ground-truth", list]);
    for empty in ["", "\n\n", "{\"image\":\"Obama/Obama_0001.jpg\",\"boxes_xywh\":[]}\n"] {
        assert_eq!(detection(&data.list("truth.jsonl", empty)).0, NOTHING, "{empty:?}");
    }
    data.put("Biden/Biden_0007.jpg", b"no image");
    let text = "{\"image\":\"Obama/Obama_0001.jpg\",\"boxes_xywh\":[[150,100,200,240]]}\n\
                {\"image\":\"Obama/Obama_0099.jpg\",\"boxes_xywh\":[[1,1,9,9]]}\n\
                {\"image\":\"Biden/Biden_0007.jpg\",\"boxes_xywh\":[[1,1,9,9]]}\n\
                {\"image\":\"Obama/Obama_0001.jpg\",\"boxes_xywh\":[]}\n\
                {\"image\":\"Obama/Obama_0002.png\",\"boxes_xywh\":[[1,1,-9,9]]}\n\
                not JSON\n";
    let (code, d) = detection(&data.list("truth.jsonl", text));
    assert_eq!((code, &d["images"], &d["faces"]), (0, &1.into(), &1.into()));
    assert_eq!(left_out(&d, "missing image"), ["Obama/Obama_0099.jpg"]);
    assert_eq!(left_out(&d, "unreadable image"), ["Biden/Biden_0007.jpg"]);
    assert_eq!(left_out(&d, "image named a second time"), ["line 4"]);
    assert_eq!(left_out(&d, "line that is no ground truth"), ["line 5", "line 6"]);
}

#[test]
fn a_list_of_groups_is_read_as_csv_is_written_and_what_is_wrong_in_it_is_listed() {
    let data = Data::new();
    let groups = |text: &str| {
        evaluate(&["groups", "--root", &data.root, "--groups", &data.list("groups.csv", text)])
    };
    let mut text = "\u{feff}Group,comment,PERSON,file\r\n".to_owned();
    for (group, name, count) in [
        ("\"the \"\"first\"\"\"", "Biden", 3),
        ("\"the \"\"first\"\"\"", "Collins", 3),
        ("two, in words", "Grace_M_Hopper", 3),
        ("two, in words", "Obama", 6),
    ] {
        let quoted = if group.contains(", ") { format!("\"{group}\"") } else { group.to_owned() };
        for number in 1..=count {
            let extension = ["jpg", "png", "jpeg"][(number - 1) % 3];
            text += &format!("{quoted},\"a, b\",{name},{name}/{name}_{number:04}.{extension}\r\n");
        }
    }
    let (code, g) = groups(&text);
    assert_eq!((code, &g["left_out"]["count"]), (0, &0.into()), "{g}");
    let names: Vec<&str> = g["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .filter_map(|g| g["group"].as_str())
        .collect();
    assert_eq!(names, ["the \"first\"", "two, in words"]);
    assert_eq!(
        (&g["groups"][0]["impostor_comparisons"], &g["groups"][1]["genuine_comparisons"]),
        (&9.into(), &18.into())
    );

    let wrong = "north,,Biden,Biden/Biden_0099.jpg\r\nnorth,,Biden,Biden/Biden_0001.jpg\r\nnorth,,Eve,\r\n\"north,,Eve,x\r\n";
    let (code, g) = groups(&(text.clone() + wrong));
    assert_eq!(code, 0);
    // Biden is in another group already, whatever the file.
    assert_eq!(left_out(&g, "person in a second group").len(), 2);
    assert_eq!(left_out(&g, "line without file, person and group").len(), 2);

    // A group alone has rates, but is not worse or better than anything.
    let one: String =
        text.lines().filter(|l| !l.contains("two, in words")).map(|l| format!("{l}\n")).collect();
    let (code, g) = evaluate(&[
        "groups",
        "--root",
        &data.root,
        "--groups",
        &data.list("one.csv", one),
        "--threshold",
        "0.1",
    ]);
    assert_eq!(code, 0);
    let at = g["thresholds"].as_array().expect("thresholds").last().expect("the one given");
    assert_eq!(at["groups"][0]["fnmr"]["comparisons"], 6);
    assert_eq!(at["groups"][0]["fnmr"]["people"], 2);
    assert!(
        at["fmr_differential"]["unsupported"]
            .as_str()
            .is_some_and(|s| s.contains("fewer than two groups")),
        "{at}"
    );
    assert!(g["safety_factor"].is_null());

    for (text, word) in [("", "empty"), ("a,b,c\n", "`file`"), ("file,person\n", "`group`")] {
        let list = data.list("wrong.csv", text);
        let (code, errors) =
            fails(&["evaluate", "groups", "--root", &data.root, "--groups", &list]);
        assert!(code == 1 && errors.contains(word), "{errors}");
    }
    let (code, g) = groups("file,person,group\nno/such.jpg,Eve,north\n");
    assert_eq!((code, left_out(&g, "unreadable photograph").len()), (NOTHING, 1));
}

#[test]
fn what_cannot_be_written_is_found_out_before_the_work() {
    let data = Data::new();
    for flag in ["--report", "--scores", "--table"] {
        let path = data.desk.arg("no/such/folder/file");
        let (code, errors) = fails(&["evaluate", "curve", "--root", &data.root, flag, &path]);
        assert!(code == 1 && errors.contains(&path), "{flag}: {errors}");
    }
    // A disk that is full is an error, not a shorter file.
    let (code, errors) = fails(&[
        "evaluate",
        "curve",
        "--root",
        &data.root,
        "--least-pairs",
        "1",
        "--scores",
        "/dev/full",
    ]);
    assert!(code == 1 && errors.contains("/dev/full"), "{errors}");
}

#[test]
fn a_report_needs_nothing_but_itself_and_every_comparison_is_written_on_request_without_a_template()
{
    let data = Data::new();
    let pairs = data.list(
        "pairs.txt",
        format!("4\n{}\n", [0, 1, 4, 5, 2, 3, 6, 7].map(|i| PAIRS[i]).join("\n")),
    );
    let (report, scores) = (data.desk.arg("report.html"), data.desk.arg("scores.jsonl"));
    let truth = data.list(
        "truth.jsonl",
        "{\"image\":\"Obama/Obama_0001.jpg\",\"boxes_xywh\":[[150,100,200,240]]}\n",
    );
    let groups = data.list(
        "groups.csv",
        "file,person,group\nBiden/Biden_0001.jpg,B,<b>north\nCollins/Collins_0001.jpg,C,<b>north\nObama/Obama_0001.jpg,O,south\nObama/Obama_0004.jpg,O,south\n",
    );
    for (arguments, drawings, lines) in [
        (vec!["verification", "--pairs", &pairs], 3, 8),
        (vec!["identification", "--gallery", "3", "--draws", "1", "--probes", "1"], 1, 7),
        (vec!["detection", "--ground-truth", &truth], 1, 1),
        (vec!["groups", "--groups", &groups, "--threshold", "0.2"], 1, 6),
        (vec!["curve", "--least-pairs", "1"], 2, 105),
    ] {
        let more = ["--root", &data.root, "--report", &report, "--scores", &scores];
        let (code, _) = evaluate(&[&arguments[..], &more].concat());
        assert_eq!(code, 0, "{arguments:?}");
        let html = std::fs::read_to_string(&report).expect("a report");
        assert!(
            html.matches("<svg").count() >= drawings,
            "{arguments:?}: {}",
            html.matches("<svg").count()
        );
        assert!(html.contains("default-src 'none'") && html.contains("prefers-color-scheme: dark"));
        for outside in ["<script", "<img", "<link", "url(", "@import", "href=", "src=", "<b>"] {
            assert!(!html.contains(outside), "{arguments:?}: {outside}");
        }
        let written = std::fs::read_to_string(&scores).expect("lines");
        assert_eq!(written.lines().count(), lines, "{arguments:?}");
        for line in written.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            // A template would be a list of numbers longer than any box.
            let longest = line
                .as_object()
                .expect("an object")
                .values()
                .filter_map(Value::as_array)
                .map(Vec::len)
                .max();
            assert!(longest.unwrap_or(0) <= 5, "{line}");
        }
    }
}
