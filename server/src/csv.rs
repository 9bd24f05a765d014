//! Comma-separated values as table programs write them (RFC 4180): the text of an import in, its rows out. A row that
//! cannot be read has its reason and those around it stay.

/// One row, which may have several lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it begins; 1 is the first line.
    pub line: u64,
    pub cells: Result<Vec<String>, &'static str>,
}

/// The rows of a text, those without anything left out.
pub fn rows(text: &str) -> impl Iterator<Item = Row> + '_ {
    let mut reader = Reader { rest: text, line: 1 };
    std::iter::from_fn(move || reader.row())
}

struct Reader<'a> {
    rest: &'a str,
    line: u64,
}

impl Reader<'_> {
    fn row(&mut self) -> Option<Row> {
        while self.rest.starts_with(['\r', '\n']) {
            self.skip(1);
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let cells = self.cells();
        Some(Row { line, cells })
    }

    fn cells(&mut self) -> Result<Vec<String>, &'static str> {
        let mut cells = Vec::new();
        loop {
            let cell = match self.rest.starts_with('"') {
                true => self.quoted()?,
                false => self.plain(),
            };
            cells.push(cell);
            if self.rest.starts_with(',') {
                self.skip(1);
                continue;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            let is_end = self.rest[..end].trim_end_matches('\r').is_empty();
            self.skip(end);
            return match is_end {
                true => Ok(cells),
                false => Err("has text behind a closing quotation mark"),
            };
        }
    }

    fn plain(&mut self) -> String {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let cell = self.rest[..end].trim_end_matches('\r').to_owned();
        self.skip(end);
        cell
    }

    /// What stands between quotation marks, where two of them mean one.
    fn quoted(&mut self) -> Result<String, &'static str> {
        self.skip(1);
        let mut cell = String::new();
        loop {
            let Some(end) = self.rest.find('"') else {
                // Whatever follows may belong to it.
                self.skip(self.rest.len());
                return Err("has a quotation mark that is never closed");
            };
            cell += &self.rest[..end];
            self.skip(end + 1);
            if !self.rest.starts_with('"') {
                return Ok(cell);
            }
            cell.push('"');
            self.skip(1);
        }
    }

    fn skip(&mut self, n_bytes: usize) {
        let (skipped, rest) = self.rest.split_at(n_bytes);
        self.line += skipped.matches('\n').count() as u64;
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, Result<Vec<String>, &'static str>)> {
        rows(text).map(|row| (row.line, row.cells)).collect()
    }

    fn good(line: u64, cells: &[&str]) -> (u64, Result<Vec<String>, &'static str>) {
        (line, Ok(cells.iter().map(|&cell| cell.to_owned()).collect()))
    }

    #[test]
    fn quoted_cells_hold_commas_quotation_marks_and_line_ends() {
        let text = "a,b,c\r\n\"1,2\",\"say \"\"hi\"\"\",\"two\nlines\"\r\n\r\n,,\n한,글,x";
        let expected = [
            good(1, &["a", "b", "c"]),
            good(2, &["1,2", "say \"hi\"", "two\nlines"]),
            good(5, &["", "", ""]),
            good(6, &["한", "글", "x"]),
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named_by_its_line_and_those_around_it_stay() {
        let found = read("a,b\n\"x\"y,2\n1,2\n\"open,3\n4,5");
        assert_eq!(found[0], good(1, &["a", "b"]));
        assert_eq!(found[1].0, 2);
        assert!(found[1].1.as_ref().unwrap_err().contains("behind"));
        assert_eq!(found[2], good(3, &["1", "2"]));
        assert_eq!((found[3].0, found[3].1.is_err(), found.len()), (4, true, 4));
    }
}
