//! Tables for people.

use crate::output;

/// A column of a table.
pub(crate) enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

use Column::{Left, Right};

/// Rows below a line of headings, each column as wide as its widest cell. Cells may be from outside: nothing in them plays tricks on a terminal.
pub(crate) fn table<const N: usize>(columns: &[Column; N], rows: &[[String; N]]) -> String {
    let headings = columns.each_ref().map(|column| {
        let (Left(heading) | Right(heading)) = column;
        (*heading).to_owned()
    });
    let lines: Vec<[String; N]> =
        std::iter::once(headings).chain(rows.iter().map(|row| row.each_ref().map(|cell| output::printable(cell)))).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    lines.iter().map(|line| self::line(columns, &widths, line)).collect()
}

fn line<const N: usize>(columns: &[Column; N], widths: &[usize], cells: &[String; N]) -> String {
    let padded = columns.iter().zip(widths).zip(cells).map(|((column, width), cell)| match column {
        Left(_) => format!("{cell:<width$}"),
        Right(_) => format!("{cell:>width$}"),
    });
    format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
}

/// Lines of a name and a value.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    fields.iter().map(|(name, value)| format!("{name:<width$}  {}\n", output::printable(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_are_harmless() {
        let rows = [["a".into(), "10".into(), "x\x1b[2J".into()], ["long".into(), "9".into(), String::new()]];
        let shown = table(&[Left("NAME"), Right("N"), Left("LAST")], &rows);
        assert_eq!(shown, "NAME   N  LAST\na     10  x\\x1b[2J\nlong   9\n");
        assert_eq!(fields(&[("a", "1".into()), ("bcd", "2\n".into())]), "a    1\nbcd  2\\x0a\n");
    }
}
