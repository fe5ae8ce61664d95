//! Tables as spreadsheets write them: fields between commas, semicolons or tabs.

use super::CliError;

/// What may be between fields.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// What is between the fields of `text`, and the text after a line that only says so, as Excel
/// writes and reads (`sep=;`): else whatever the first line has most of.
fn separator(text: &str) -> (char, &str) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let said = first.strip_prefix("sep=").and_then(|s| s.chars().next());
    if let Some(said) = said.filter(|s| SEPARATORS.contains(s)) {
        return (said, rest);
    }
    let count = |s: &char| first.chars().filter(|c| c == s).count();
    // Of equally many the comma, which is last here.
    let most = SEPARATORS.into_iter().rev().max_by_key(count).unwrap_or(',');
    (most, text)
}

/// The records of a CSV text (RFC 4180; lines end in `\n` alone) with the number of the line on
/// which each begins; empty lines are left out.
pub(super) fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, CliError> {
    let (separator, text) = separator(text);
    let mut rows = Vec::new();
    let (mut row, mut field) = (Vec::new(), String::new());
    let (mut quoted, mut was_quoted) = (false, false);
    let (mut line, mut begun) = (1, 1);
    let mut chars = text.chars().peekable();
    loop {
        let c = chars.next();
        match c {
            Some('"') if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            Some('"') if quoted => quoted = false,
            Some(other) if quoted => {
                line += usize::from(other == '\n');
                field.push(other);
            }
            None if quoted => {
                return Err(format!("line {begun}: a quotation mark is not closed").into());
            }
            Some('"') if field.is_empty() && !was_quoted => (quoted, was_quoted) = (true, true),
            Some('"') => {
                return Err(format!(
                    "line {line}: a quotation mark inside a field; double it and quote the field"
                )
                .into());
            }
            Some(c) if c == separator => {
                row.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            Some('\n') | None => {
                if !(row.is_empty() && field.is_empty() && !was_quoted) {
                    row.push(std::mem::take(&mut field));
                    rows.push((begun, std::mem::take(&mut row)));
                }
                was_quoted = false;
                if c.is_none() {
                    return Ok(rows);
                }
                line += 1;
                begun = line;
            }
            Some(other) => field.push(other),
        }
    }
}
