//! What an enrolment did, for people and for programs.

use std::path::PathBuf;

use super::super::people::NotAdded;
use super::super::plan::CostOfFew;
use super::super::{CliError, PHOTOGRAPHS_WANTED, output};
use crate::watchlist::Reference;

/// A photograph that was left out.
#[derive(Debug, serde::Serialize)]
pub struct SkippedPhotograph {
    pub reference: Reference,
    pub photograph: PathBuf,
    pub reason: String,
}

/// A photograph that was taken, but not without a doubt.
#[derive(Debug, serde::Serialize)]
pub struct Doubt {
    pub reference: Reference,
    pub photograph: PathBuf,
    #[serde(flatten)]
    pub what: Noticed,
}

/// What was odd about a photograph that was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Noticed {
    /// Small faces beside the person's.
    pub background_faces: usize,
    /// Degrees by which it was turned clockwise, because the face lay on its side.
    pub turned: u32,
}

#[derive(Debug, Default, serde::Serialize)]
pub struct EnrolmentReport {
    /// Entries that are new or have new photographs, each with the qualities of those.
    pub added: Vec<Added>,
    /// Photographs that were in the draft before.
    pub known: usize,
    pub left_out: Vec<SkippedPhotograph>,
    /// People, and folders that are nobody.
    pub not_added: Vec<NotAdded>,
    /// Where the references are that were drawn for folders whose names are not plainly opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<PathBuf>,
    /// Photographs that show others in the background, or were turned.
    pub doubts: Vec<Doubt>,
}

#[derive(Debug, serde::Serialize)]
pub struct Added {
    pub reference: Reference,
    pub qualities: Vec<f32>,
    /// How many photographs the entry has now.
    pub photographs: usize,
}

pub fn print(report: &EnrolmentReport, many: bool) -> Result<(), CliError> {
    for l in &report.left_out {
        output::line(format!(
            "left out: {} {}: {}",
            l.reference,
            l.photograph.display(),
            l.reason
        ))?;
    }
    for n in &report.not_added {
        output::line(format!("not added: {}: {}", n.reference, n.reason))?;
    }
    for d in &report.doubts {
        let of = format!("warning: {} {}", d.reference, d.photograph.display());
        let Noticed { background_faces, turned } = d.what;
        if background_faces > 0 {
            output::line(format!(
                "{of}: small faces in the background ({background_faces}) were left alone; make \
                 sure that the large one is meant"
            ))?;
        }
        if turned > 0 {
            output::line(format!(
                "{of}: the face lies on its side; the photograph was turned by {turned}° \
                 clockwise"
            ))?;
        }
    }
    if let Some(file) = &report.references {
        output::line(format!(
            "some folders are not plainly case numbers, and a name must not be published: their \
             entries have drawn references, which {} holds; keep it to yourselves",
            file.display()
        ))?;
    }
    let photographs: usize = report.added.iter().map(|a| a.qualities.len()).sum();
    if many {
        output::line(format!(
            "added {photographs} photographs of {} people; {} were in the draft already, {} were \
             left out, {} people were not added",
            report.added.len(),
            report.known,
            report.left_out.len(),
            report.not_added.len()
        ))?;
    } else {
        for a in &report.added {
            output::line(format!("added {} with {} photographs", a.reference, a.qualities.len()))?;
        }
        if report.added.is_empty() {
            output::line("nothing to add: the photographs are in the draft already")?;
        }
    }
    Ok(())
}

/// What entries of fewer than three photographs cost: one sentence for each number that there is,
/// and none where more of them would be missed no less. Without measured misses it says so in words
/// alone.
pub fn too_few(added: &[Added], cost: Option<&CostOfFew>) -> Vec<String> {
    let mut sentences = Vec::new();
    for photographs in 1..PHOTOGRAPHS_WANTED {
        let mut of = added.iter().filter(|a| a.photographs == photographs).map(|a| &a.reference);
        let Some(first) = of.next() else { continue };
        let Some(missed) = missed(photographs, cost) else { continue };
        let others = match of.count() {
            0 => String::new(),
            1 => " and another".into(),
            more => format!(" and {more} others"),
        };
        let noun = if photographs == 1 { "photograph" } else { "photographs" };
        sentences.push(format!(
            "{first}{others}: with {photographs} {noun} {missed}; add photographs of other days \
             until there are {PHOTOGRAPHS_WANTED}"
        ));
    }
    sentences
}

/// What is missed with so many photographs; `None` where it is as little as with those wanted.
fn missed(photographs: usize, cost: Option<&CostOfFew>) -> Option<String> {
    let known = cost.and_then(|cost| {
        let of = |n| cost.missed_of_100(n);
        Some((of(photographs)?, of(PHOTOGRAPHS_WANTED)?, cost.threshold))
    });
    let Some((missed, wanted, threshold)) = known else {
        return Some(format!("more passes are missed than with {PHOTOGRAPHS_WANTED}"));
    };
    let (missed, wanted) = (about(missed), about(wanted));
    (missed != wanted).then(|| {
        format!(
            "{missed} of 100 passes are missed, with {PHOTOGRAPHS_WANTED} {wanted}, at this \
             list's threshold as it stands ({threshold:.2})"
        )
    })
}

/// A number of a hundred, as exactly as some hundred people can tell.
fn about(of_100: f64) -> String {
    if of_100 < 1.0 { "under 1".into() } else { format!("about {of_100:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_three_photographs_are_said_with_what_they_cost() {
        let added = |reference: &str, photographs| Added {
            reference: reference.parse().unwrap(),
            qualities: vec![0.5; photographs],
            photographs,
        };
        let people = [added("a", 1), added("b", 3), added("c", 2), added("d", 1), added("e", 10)];
        let said = too_few(&people, Some(&CostOfFew::at(0.75)));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("a and another: with 1 photograph about "), "{said:?}");
        let wanted = "of 100 passes are missed, with 3 under 1, at this list's threshold as it \
                      stands (0.75)";
        assert!(said[0].contains(wanted), "{said:?}");
        assert!(said[1].starts_with("c: with 2 photographs about "), "{said:?}");
        // Where as few are missed with one as with three, nothing is said.
        assert_eq!(too_few(&people, Some(&CostOfFew::at(0.45))), Vec::<String>::new());
        // Beyond what was measured, and with an embedder whose misses are not known.
        let beyond = too_few(&people, Some(&CostOfFew::at(0.99)));
        assert_eq!(beyond, too_few(&people, None));
        assert!(beyond[0].contains("more passes are missed than with 3"), "{beyond:?}");
        assert_eq!(too_few(&people[1..2], None), Vec::<String>::new());
    }
}
