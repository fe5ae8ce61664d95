//! A document for a terminal.

use std::fmt::Write as _;

use super::{Block, Document, ReportTable};

/// Items of a list that are shown.
const SHOWN: usize = 20;

/// The document as text.
pub fn render(document: &Document) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&document.title);
    line(&"=".repeat(document.title.chars().count()));
    line("");
    let pad = |text: &str, width: usize| {
        format!("{text}{}", " ".repeat(width.saturating_sub(text.chars().count())))
    };
    let widest = |texts: &mut dyn Iterator<Item = &String>| {
        texts.map(|t| t.chars().count()).max().unwrap_or(0)
    };
    let labels = widest(
        &mut document.facts.iter().map(|f| &f.0).chain(document.headlines.iter().map(|h| &h.label)),
    );
    for (label, value) in &document.facts {
        line(&format!("{}  {value}", pad(label, labels)));
    }
    line("");
    for h in &document.headlines {
        line(format!("{}  {}  {}", pad(&h.label, labels), h.value, h.detail).trim_end());
    }
    for section in &document.sections {
        line("");
        line(&section.heading);
        line(&"-".repeat(section.heading.chars().count()));
        for block in &section.blocks {
            match block {
                Block::Text(text) => line(text),
                Block::Table(table) => {
                    for row in table_lines(table) {
                        line(&row);
                    }
                    line("");
                }
                Block::Figure(_) => {}
                Block::Code(text) => line(text),
                Block::Pictures(strip) => {
                    let names: Vec<&str> = strip.pictures.iter().map(|p| p.file.as_str()).collect();
                    line(&format!("  {}: {}", strip.caption, names.join(", ")));
                }
                Block::List(list) => {
                    line(&format!("{}:", list.heading));
                    list.items.iter().take(SHOWN).for_each(|item| line(&format!("  {item}")));
                    if list.items.len() > SHOWN {
                        line(&format!(
                            "  and {} more: --json or --report lists all.",
                            list.items.len() - SHOWN
                        ));
                    }
                }
            }
        }
    }
    out
}

fn table_lines(table: &ReportTable) -> Vec<String> {
    let width = |column: usize| {
        let cells = table.rows.iter().filter_map(|r| r.get(column));
        cells.chain([&table.head[column]]).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let row = |cells: &[String]| {
        let mut text = String::from(" ");
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.chars().count());
            let written = if column == 0 {
                write!(text, " {cell}{space}")
            } else {
                write!(text, "  {space}{cell}")
            };
            written.expect("writing to a string does not fail");
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![format!("{}:", table.caption), row(&table.head)];
    lines.extend(table.rows.iter().map(|r| row(r)));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::{List, Section};
    use super::*;

    #[test]
    fn columns_line_up_and_long_lists_say_what_they_hide() {
        let mut table = ReportTable::new("Rates", &["at", "rate"]);
        table.row(["a".into(), "1.00 %".into()]);
        table.row(["long label".into(), "12.00 %".into()]);
        let items = (0..25).map(|i| format!("item {i}")).collect();
        let document = Document {
            title: "T".into(),
            sections: vec![Section {
                heading: "S".into(),
                blocks: vec![
                    Block::Table(table),
                    Block::List(List { heading: "Left out".into(), items }),
                ],
            }],
            ..Document::default()
        };
        let text = render(&document);
        assert!(text.contains("  a            1.00 %\n  long label  12.00 %\n"), "{text}");
        assert!(text.contains("item 19\n  and 5 more") && !text.contains("item 20\n"));
    }
}
