//! Tables for a terminal, in columns as kubectl prints them.

use std::fmt::Write as _;

/// A line for the head and for each row; each column is as wide as its longest cell.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let lengths = lines().map(|line| line[column].chars().count());
        lengths.max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in lines() {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("   ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [["é", "4"], ["longer", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(
            table(["NAME", "N"], &rows),
            "NAME     N\né        4\nlonger\n"
        );
        assert_eq!(table(["NAME", "N"], &[]), "NAME   N\n");
    }
}
