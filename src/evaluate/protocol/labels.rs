//! A list of photographs with the person in each and the group that the deployer counts them to:
//! CSV with the columns `file`, `person`, `group` in any order, other columns ignored.
//!
//! The groups are the deployer's own words. This program infers none.

use crate::evaluate::left_out::LeftOut;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelLine {
    /// Path below the root.
    pub file: String,
    /// Who it is: the same word for the same person.
    pub person: String,
    /// The group.
    pub group: String,
}

/// Why a list cannot be used at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LabelsError {
    /// Nothing in it.
    #[error(
        "the list of groups is empty: its first line must name the columns file, person and group"
    )]
    Empty,
    /// No such column.
    #[error(
        "the list of groups has no column `{0}`: its first line must name the columns file, \
         person and group"
    )]
    Column(&'static str),
}

/// Understands a list. Lines with fields missing, with a file a second time, or that put a person
/// into a second group are left out.
///
/// # Errors
/// [`LabelsError`], where the first line does not name the columns.
pub fn parse(text: &str, left_out: &mut LeftOut) -> Result<Vec<LabelLine>, LabelsError> {
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty());
    let (_, header) = lines.next().ok_or(LabelsError::Empty)?;
    let header = fields(header).unwrap_or_default();
    let column = |name: &'static str| {
        header
            .iter()
            .position(|f| f.trim().eq_ignore_ascii_case(name))
            .ok_or(LabelsError::Column(name))
    };
    let columns = [column("file")?, column("person")?, column("group")?];
    let mut labelled: Vec<LabelLine> = Vec::new();
    let mut files = std::collections::HashSet::new();
    let mut group_of = std::collections::HashMap::new();
    for (number, line) in lines {
        let what = format!("line {}", number + 1);
        let found = fields(line).and_then(|f| {
            let [file, person, group] =
                columns.map(|c| f.get(c).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()));
            Some(LabelLine { file: file?, person: person?, group: group? })
        });
        let Some(found) = found else {
            left_out.add(what, "line without file, person and group", "");
            continue;
        };
        let group = group_of.entry(found.person.clone()).or_insert_with(|| found.group.clone());
        if *group != found.group {
            left_out.add(
                what,
                "person in a second group",
                format!("{}: {group}, then {}", found.person, found.group),
            );
        } else if files.insert(found.file.clone()) {
            labelled.push(found);
        } else {
            left_out.add(what, "file named a second time", found.file);
        }
    }
    Ok(labelled)
}

/// The fields of one line (RFC 4180, but for line breaks inside quotes). `None` where a quote is
/// not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut rest = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    all.push(field);
    (!quoted).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_may_come_in_any_order_and_fields_in_quotes() {
        let mut left_out = LeftOut::default();
        let list = parse(
            "group,id,File,person\r\nnorth,1,\"a,\"\"b\"\".jpg\",Ann\r\nsouth,2,c.jpg,Bob\r\n",
            &mut left_out,
        )
        .unwrap();
        assert_eq!(
            list[0],
            LabelLine { file: "a,\"b\".jpg".into(), person: "Ann".into(), group: "north".into() }
        );
        assert_eq!((list.len(), left_out.is_empty()), (2, true));
    }

    #[test]
    fn lines_that_contradict_each_other_are_listed() {
        let mut left_out = LeftOut::default();
        let text =
            "file,person,group\na.jpg,Ann,x\nb.jpg,Ann,y\na.jpg,Ann,x\nc.jpg,,x\n\"open,Ann,x\n";
        assert_eq!(parse(text, &mut left_out).unwrap().len(), 1);
        assert_eq!(
            left_out.omissions().iter().map(|o| o.reason).collect::<Vec<_>>(),
            [
                "person in a second group",
                "file named a second time",
                "line without file, person and group",
                "line without file, person and group"
            ]
        );
    }

    #[test]
    fn a_list_without_its_columns_is_refused() {
        let mut l = LeftOut::default();
        assert_eq!(parse("", &mut l), Err(LabelsError::Empty));
        assert_eq!(parse("file,person\n", &mut l), Err(LabelsError::Column("group")));
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_listed(text in "[a-c,\"\n\r]{0,100}") {
            let all = format!("file,person,group\n{text}");
            let lines = text.lines().filter(|l| !l.trim().is_empty()).count();
            let mut left_out = LeftOut::default();
            let list = parse(&all, &mut left_out).unwrap();
            prop_assert_eq!(list.len() + left_out.omissions().len(), lines);
        }
    }
}
