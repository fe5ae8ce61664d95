//! Any evaluation as text for a terminal or as one HTML file.
//!
//! A result describes itself once, as a [`Document`] of headline figures, tables and drawings;
//! [`text`] and [`html`] render that. The HTML stands alone: no scripts, no outside resources (its
//! own policy forbids both), photographs of a contact sheet inside the file, drawings as inline SVG
//! with titles and descriptions, readable in the dark, on paper and by a screen reader.

pub(crate) mod format;
pub(crate) mod html;
pub(crate) mod pages;
pub(crate) mod svg;
pub(crate) mod text;

use super::contact::Picture;

/// Everything that a reader is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// What this is.
    pub title: String,
    /// What was measured with what, label and value.
    pub facts: Vec<(String, String)>,
    /// The figures that matter most.
    pub headlines: Vec<Headline>,
    /// The rest.
    pub sections: Vec<Section>,
}

/// One figure that matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Headline {
    /// What it is.
    pub label: String,
    /// The figure, or that it cannot be known.
    pub value: String,
    /// Interval, count, threshold.
    pub detail: String,
}

/// A part with a heading.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Heading.
    pub heading: String,
    /// What follows.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(ReportTable),
    /// A drawing; terminals show nothing of it.
    Figure(Figure),
    /// A long list that is folded away.
    List(List),
    /// Lines to copy, as they are.
    Code(String),
    /// Small photographs side by side; terminals show their names.
    Pictures(PictureStrip),
}

/// A table. The first column is a label, the others hold figures, or words where that is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReportTable {
    /// What it shows.
    pub caption: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// Columns beside the first that hold words.
    pub words: Vec<usize>,
    /// Rows, as many cells as `head`.
    pub rows: Vec<Vec<String>>,
}

impl ReportTable {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, head: &[&str]) -> Self {
        Self {
            caption: caption.into(),
            head: head.iter().map(|h| (*h).to_owned()).collect(),
            words: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Says that the `columns` hold words.
    #[must_use]
    pub fn with_words(self, columns: &[usize]) -> Self {
        Self { words: columns.to_vec(), ..self }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// A drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it shows and how to read it.
    pub caption: String,
    /// An `<svg>` element.
    pub svg: String,
}

/// Small photographs side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureStrip {
    /// What is asked about them.
    pub caption: String,
    /// The photographs.
    pub pictures: Vec<Picture>,
}

/// A long list.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// What it lists.
    pub heading: String,
    /// The items.
    pub items: Vec<String>,
}
