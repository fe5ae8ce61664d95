//! What is read, what is left out, and why.

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Result<People, String> {
    let defaults = Defaults { purpose: Some("as ordered".into()), ..Defaults::default() };
    parse(text, Path::new("/photos"), &defaults).map_err(|e| e.to_string())
}

fn people(text: &str) -> Vec<NewPerson> {
    let found = parsed(text).unwrap();
    assert_eq!(found.not_added, []);
    found.people
}

#[test]
fn quoted_fields_defaults_and_several_photographs_are_understood() {
    let text = "reference,legal_basis,purpose,expires,photographs\ncase-1,\"order 1, \
                \"\"urgent\"\"\",missing,2099-01-01T00:00:00Z,a.jpg; b.png\n\ncase-2,order \
                2,,,c.jpg";
    let all = people(text);
    assert_eq!(all[0].legal_basis.as_deref(), Some("order 1, \"urgent\""));
    assert_eq!(
        all[0].photographs,
        [PathBuf::from("/photos/a.jpg"), PathBuf::from("/photos/b.png")]
    );
    assert_eq!((all[0].expires.is_some(), all[1].expires), (true, None));
    assert_eq!(
        (all[0].purpose.as_deref(), all[1].purpose.as_deref()),
        (Some("missing"), Some("as ordered"))
    );
}

#[test]
fn a_spreadsheets_semicolons_tabs_and_first_line_are_understood() {
    let comma = people("reference,purpose,photographs\ncase-1,\"a; b\",a.jpg\n");
    for text in [
        "reference;purpose;photographs\ncase-1;\"a; b\";a.jpg\n",
        "sep=;\nreference;purpose;photographs\ncase-1;\"a; b\";a.jpg\n",
        "reference\tpurpose\tphotographs\ncase-1\ta; b\ta.jpg\n",
    ] {
        assert_eq!(people(text), comma, "{text}");
    }
    let two = people("reference;photographs\ncase-1;\"a.jpg;b.jpg\"\n");
    assert_eq!(two[0].photographs.len(), 2);
}

#[test]
fn a_table_that_makes_no_sense_is_refused_as_a_whole() {
    for (text, what) in [
        ("", "it is empty"),
        ("reference,name,photographs\n", "unknown column \"name\""),
        ("reference,purpose\n", "are needed"),
        ("reference,photographs,purpose,purpose\n", "the column purpose is there twice"),
        ("reference,photographs\ncase-1,\"a.jpg\n", "line 2: a quotation mark is not closed"),
    ] {
        let refusal = parsed(text).unwrap_err();
        assert!(refusal.contains(what), "{refusal}");
    }
}

#[test]
fn a_row_that_cannot_be_used_is_left_out_with_its_line_and_the_others_stay() {
    for (row, what) in [
        ("case 2,b.jpg,", "line 2: reference"),
        ("case-1,a.jpg,b.jpg,c.jpg", "line 2: 4 fields"),
        ("case-1,,", "line 2: no photographs"),
        ("case-1,;,", "line 2: no photographs"),
        ("case-1,a.jpg,tomorrow", "line 2"),
    ] {
        let found =
            parsed(&format!("reference,photographs,expires\n{row}\ncase-9,z.jpg,\n")).unwrap();
        assert_eq!(found.people.len(), 1, "{row}");
        let [left_out] = &found.not_added[..] else { panic!("{row}") };
        assert!(left_out.reason.contains(what), "{left_out:?}");
    }
}

#[test]
fn however_a_spreadsheet_spells_headings_and_empty_fields_the_people_are_the_same() {
    let plain = people("reference,legal_basis,photographs,expires\ncase-1,order 1,a.jpg,\n");
    for text in [
        "Reference,Legal basis,PHOTOGRAPHS,Expires\ncase-1,order 1,a.jpg,\n",
        " reference , LEGAL-BASIS ,photographs,expires\ncase-1,order 1,a.jpg\n",
        "reference,legal_basis,photographs,expires\n,,,\ncase-1,order 1,a.jpg,,,\n , , , \n",
        "reference,legal_basis,photographs,expires,,\ncase-1,order 1,a.jpg,,,\n",
    ] {
        assert_eq!(people(text), plain, "{text}");
    }
    let twice = parsed("reference,photographs,Photographs\n").unwrap_err();
    assert!(twice.contains("the column photographs is there twice"), "{twice}");
    let nobody = parsed("reference,photographs\n,\n").unwrap_err();
    assert!(nobody.contains("nobody"), "{nobody}");
    let unnamed = parsed("reference,photographs,\ncase-1,a.jpg,x\n").unwrap();
    assert!(unnamed.not_added[0].reason.contains("without a name"), "{:?}", unnamed.not_added);
}

#[test]
fn one_folder_that_cannot_be_used_does_not_keep_the_others_out() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [
        ("case-1", Some("a.jpg")),
        ("@eaDir", Some("a.jpg")),
        (".AppleDouble", None),
        ("case-2", None),
        ("case-3", Some("._b.jpg")),
        ("Jane_Doe", Some("c.heic")),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        if let Some(file) = file {
            std::fs::write(path.join(file), b"").unwrap();
        }
    }
    let draft = folder.path().join("draft.json");
    let read_again = || {
        let mut references = References::of_draft(&draft).unwrap();
        let found = read(folder.path(), &Defaults::default(), &mut references).unwrap();
        references.save().unwrap();
        found
    };
    let found = read_again();
    let names: Vec<&str> = found.people.iter().map(|p| p.reference.as_str()).collect();
    assert_eq!((names.len(), names[1]), (2, "case-1"), "{names:?}");
    // Opaque, and the same again.
    assert!(names[0].starts_with("ref-") && !names[0].contains("Jane"));
    assert_eq!(read_again().people, found.people);
    let kept = std::fs::read_to_string(folder.path().join("draft.json.references.csv")).unwrap();
    assert!(kept.contains("Jane_Doe") && kept.contains(names[0]), "{kept}");
    let mut left_out: Vec<(&str, bool)> =
        found.not_added.iter().map(|n| (n.reference.as_str(), n.is_nobody)).collect();
    left_out.sort_unstable();
    assert_eq!(
        left_out,
        [(".AppleDouble", true), ("@eaDir", true), ("case-2", false), ("case-3", false)]
    );
}

#[test]
fn a_second_row_for_somebody_is_left_out_and_the_first_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.csv");
    std::fs::write(
        &file,
        b"reference,photographs,purpose\ncase-1,a.jpg,Beschlu\xDF\ncase-1,b.jpg,\n",
    )
    .unwrap();
    let found = read(&file, &Defaults::default(), &mut References::default()).unwrap();
    assert_eq!((found.people.len(), found.not_added.len(), found.notes.len()), (1, 1, 1));
    assert_eq!(found.people[0].purpose.as_deref(), Some("Beschluß"));
    assert!(found.notes[0].contains("Windows-1252"), "{}", found.notes[0]);
}

#[test]
fn a_folder_that_is_not_plainly_a_case_number_gets_a_drawn_reference() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "schroeder",
        "JOHN",
        "jane-doe-2",
        "john.smith.1985",
        "JaneDoe1985",
        "DOE-JANE-1",
        "mueller7",
        "K.Annan.3",
        "o_brien",
        "case-0412",
        "2026-17",
    ];
    for name in names {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("a.jpg"), b"").unwrap();
    }
    let draft = folder.path().join("draft.json");
    let mut references = References::of_draft(&draft).unwrap();
    let found = read(folder.path(), &Defaults::default(), &mut references).unwrap();
    let file = references.save().unwrap().expect("some were drawn").to_owned();
    assert_eq!(found.people.len(), names.len());
    let (drawn, kept): (Vec<_>, Vec<_>) =
        found.people.iter().map(|p| p.reference.as_str()).partition(|r| r.starts_with("ref-"));
    assert_eq!(kept, ["2026-17", "case-0412"]);
    let mapping = std::fs::read_to_string(file).unwrap();
    assert!(drawn.iter().all(|reference| mapping.contains(reference)), "{mapping}");
    assert!(mapping.contains("john.smith.1985") && !mapping.contains("case-0412"), "{mapping}");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_what_is_quoted_comes_back(
        text in "[ab\",;\t\n]{0,60}",
        fields in proptest::collection::vec("[a\",;\n]{0,8}", 1..5),
        separator in prop_oneof![Just(','), Just(';'), Just('\t')],
    ) {
        let _ = parsed(&text);
        let line: Vec<String> =
            fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
        let table = format!("sep={separator}\n{}", line.join(&separator.to_string()));
        prop_assert_eq!(&rows(&table).unwrap()[0].1, &fields);
    }
}
