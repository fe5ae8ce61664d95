//! A document as one HTML file that needs nothing else.

use std::fmt::Write as _;

use super::{Block, Document, PictureStrip, ReportTable};

/// Text made safe inside elements and attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Not allowed in HTML at all, in whatever form; file names may hold them.
            c if c.is_control() && c != '\n' && c != '\t' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

const STYLE: &str = include_str!("style.css");

/// The document as HTML.
pub fn render(document: &Document) -> String {
    let mut out = String::new();
    let title = escape(&document.title);
    let mut add = |element: std::fmt::Arguments<'_>| {
        out.write_fmt(element).expect("writing to a string does not fail");
        out.push('\n');
    };
    add(format_args!("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"));
    add(format_args!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'{}\">",
        if has_pictures(document) { "; img-src data:" } else { "" }
    ));
    add(format_args!("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"));
    add(format_args!("<meta name=\"color-scheme\" content=\"light dark\">"));
    add(format_args!(
        "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n<dl class=\"facts\">"
    ));
    for (label, value) in &document.facts {
        add(format_args!("<div><dt>{}</dt><dd>{}</dd></div>", escape(label), escape(value)));
    }
    add(format_args!(
        "</dl>\n</header>\n<section class=\"headlines\" aria-label=\"Main figures\">"
    ));
    for h in &document.headlines {
        add(format_args!(
            "<div class=\"headline\"><p class=\"label\">{}</p><p class=\"value{}\">{}</p><p \
             class=\"detail\">{}</p></div>",
            escape(&h.label),
            // Words instead of a figure need more room.
            if h.value.starts_with(|c: char| c.is_ascii_digit()) { "" } else { " none" },
            escape(&h.value),
            escape(&h.detail)
        ));
    }
    add(format_args!("</section>"));
    for section in &document.sections {
        add(format_args!("<section>\n<h2>{}</h2>", escape(&section.heading)));
        for block in &section.blocks {
            match block {
                Block::Text(text) => add(format_args!("<p>{}</p>", escape(text))),
                Block::Table(table) => add(format_args!("{}", table_element(table))),
                Block::Figure(f) => {
                    add(format_args!(
                        "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>",
                        f.svg,
                        escape(&f.caption)
                    ));
                }
                Block::Code(text) => add(format_args!("<pre>{}</pre>", escape(text))),
                Block::Pictures(strip) => add(format_args!("{}", strip_element(strip))),
                Block::List(list) => {
                    add(format_args!(
                        "<details><summary>{} ({})</summary>\n<ul>",
                        escape(&list.heading),
                        list.items.len()
                    ));
                    list.items
                        .iter()
                        .for_each(|item| add(format_args!("<li>{}</li>", escape(item))));
                    add(format_args!("</ul></details>"));
                }
            }
        }
        add(format_args!("</section>"));
    }
    add(format_args!("</main>\n</body>\n</html>"));
    out
}

fn has_pictures(document: &Document) -> bool {
    let blocks = document.sections.iter().flat_map(|s| &s.blocks);
    blocks.into_iter().any(|b| matches!(b, Block::Pictures(_)))
}

fn strip_element(strip: &PictureStrip) -> String {
    let pictures: String = strip
        .pictures
        .iter()
        .map(|p| {
            let file = escape(&p.file);
            // Base64 needs no escaping.
            format!(
                "<li><img alt=\"{file}\" src=\"data:image/jpeg;base64,{}\"><span>{file}</span></li>\n",
                p.jpeg
            )
        })
        .collect();
    format!(
        "<figure class=\"strip\">\n<ul>\n{pictures}</ul>\n<figcaption>{}</figcaption>\n</figure>",
        escape(&strip.caption)
    )
}

/// Longest figure, in bytes, that stays on one line: two times, or an interval.
const ONE_LINE: usize = 32;

fn table_element(table: &ReportTable) -> String {
    let class = |column: usize, cell: &str| {
        if table.words.contains(&column) {
            " class=\"words\""
        } else if cell.len() <= ONE_LINE && cell.starts_with(|c: char| c.is_ascii_digit()) {
            " class=\"figure\""
        } else {
            ""
        }
    };
    let cells = |tag: &str, cells: &[String]| -> String {
        cells
            .iter()
            .enumerate()
            .map(|(column, cell)| match (tag, column) {
                ("th", _) => {
                    let class = if table.words.contains(&column) { " class=\"words\"" } else { "" };
                    format!("<th scope=\"col\"{class}>{}</th>", escape(cell))
                }
                (_, 0) => format!("<th scope=\"row\">{}</th>", escape(cell)),
                _ => format!("<td{}>{}</td>", class(column, cell), escape(cell)),
            })
            .collect()
    };
    let rows: String =
        table.rows.iter().map(|r| format!("<tr>{}</tr>\n", cells("td", r))).collect();
    format!(
        "<div \
         class=\"wide\"><table>\n<caption>{}</caption>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>",
        escape(&table.caption),
        cells("th", &table.head)
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Figure, Headline, List, Section};
    use super::*;

    #[test]
    fn nothing_from_outside_is_taken_for_markup_and_nothing_is_fetched() {
        let evil = "<img src=x onerror=alert(1)>\"'&\u{1}";
        let mut table = ReportTable::new(evil, &[evil]);
        table.row([evil.to_owned()]);
        let document = Document {
            title: evil.into(),
            facts: vec![(evil.into(), evil.into())],
            headlines: vec![Headline {
                label: evil.into(),
                value: evil.into(),
                detail: evil.into(),
            }],
            sections: vec![Section {
                heading: evil.into(),
                blocks: vec![
                    Block::Text(evil.into()),
                    Block::Table(table),
                    Block::Figure(Figure { caption: evil.into(), svg: "<svg></svg>".into() }),
                    Block::List(List { heading: evil.into(), items: vec![evil.into()] }),
                    Block::Code(evil.into()),
                ],
            }],
        };
        let html = render(&document);
        assert!(!html.contains("<img") && !html.contains("<script") && !html.contains('\u{1}'));
        assert!(!html.contains("url(") && !html.contains("href=") && !html.contains("src=\""));
        for tag in ["main", "section", "table", "details", "dl", "figure"] {
            assert_eq!(
                html.matches(&format!("<{tag}")).count(),
                html.matches(&format!("</{tag}>")).count(),
                "{tag}"
            );
        }
    }
}
