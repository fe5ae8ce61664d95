//! What a report and the papers that follow from it say in the same words.

use crate::audit::report::DeploymentReport;
use crate::audit::report::words::{LIST_HEAD, list_cells};
use crate::evaluate::report::{Block, ReportTable, Section};

pub fn lists(report: &DeploymentReport) -> Section {
    let mut table =
        ReportTable::new("Lists with which faces were compared", &LIST_HEAD).with_words(&[1, 2]);
    report.lists.iter().for_each(|used| table.row(list_cells(used)));
    Section { heading: "What was searched for".into(), blocks: vec![Block::Table(table)] }
}

/// What the log does not support.
pub fn missing(report: &DeploymentReport) -> Block {
    let mut table =
        ReportTable::new("What the log cannot say", &["Figure", "Why"]).with_words(&[1]);
    for figure in &report.missing {
        table.row([figure.figure.to_owned(), figure.why.clone()]);
    }
    Block::Table(table)
}
