//! Rows of cells as text.

use std::fmt::Write as _;

/// Between two columns.
const GAP: &str = "  ";
/// What there is nothing to say of.
pub const NOTHING: &str = "-";

/// Rows of cells, each column as wide as its widest.
pub struct Table {
    titles: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(titles: &'static [&'static str]) -> Table {
        Table {
            titles,
            rows: Vec::new(),
        }
    }

    pub fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.into());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn text(&self) -> String {
        let titles: Vec<String> = self
            .titles
            .iter()
            .map(|title| (*title).to_owned())
            .collect();
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let mut row = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(row, "{cell:width$}{GAP}");
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text that clients chose, so that it stays on its line and commands no terminal.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    // A client id could move the cursor, and show an operator another table than there is.
    #[test]
    fn what_clients_chose_commands_no_terminal() {
        assert_eq!(shown("a\x1b[2Jb\nä"), "a\\u{1b}[2Jb\\nä");
    }
}
