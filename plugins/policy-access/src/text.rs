//! The table as text, one row a line: `caller | action | project | variables`, and `| external` where it is about secrets that live
//! elsewhere; with commas within a cell.

use guest_parts::action::ActionPattern;
use guest_parts::pattern::Pattern;

use crate::access::{Effect, Project, Row};

/// All rows of `text`, or what is wrong in which line.
pub fn rows(text: &str) -> Result<Vec<Row>, Vec<String>> {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (line, number) in text.lines().zip(1_u64..) {
        let line = without_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        match row(line) {
            Ok(row) => rows.push(row),
            Err(what) => wrong.push(format!("line {number}: {what}")),
        }
    }
    if wrong.is_empty() { Ok(rows) } else { Err(wrong) }
}

/// A cell of projects, one pattern of it.
pub fn project(text: &str) -> Project {
    if text == "-" { Project::None } else { Project::Named(Pattern::new(text)) }
}

/// A cell of places, one pattern of it.
pub fn place(text: &str) -> Result<String, String> {
    let is_place =
        text == "*" || text.split_once(':').is_some_and(|(provider, what)| !provider.is_empty() && !what.is_empty());
    if is_place {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not provider:reference, such as vault:secret/data/*"))
    }
}

fn row(line: &str) -> Result<Row, String> {
    let (effect, line) = line.strip_prefix('!').map_or((Effect::Allow, line), |rest| (Effect::Deny, rest));
    let cells: Vec<&str> = line.split('|').collect();
    let (callers, actions, projects, variables, external) = match cells.as_slice() {
        [callers, actions, projects, variables] => (callers, actions, projects, variables, None),
        [callers, actions, projects, variables, external] => (callers, actions, projects, variables, Some(external)),
        _ => {
            let count = cells.len();
            return Err(format!("{count} cells, and must be 4 or 5: caller | action | project | variables | external"));
        }
    };
    let external = match external {
        None => Vec::new(),
        Some(cell) => names(cell, "external")?.map(place).collect::<Result<_, _>>()?,
    };
    Ok(Row {
        effect,
        callers: names(callers, "caller")?.map(Pattern::new).collect(),
        actions: names(actions, "action")?.map(ActionPattern::parse).collect::<Result<_, _>>()?,
        projects: names(projects, "project")?.map(project).collect(),
        variables: names(variables, "variables")?.map(Pattern::new).collect(),
        external,
    })
}

fn names<'a>(cell: &'a str, column: &str) -> Result<impl Iterator<Item = &'a str> + use<'a>, String> {
    if cell.split(',').any(|name| name.trim().is_empty()) {
        return Err(format!("an empty name in the column {column}"));
    }
    Ok(cell.split(',').map(str::trim))
}

/// A `#` begins a comment at the start of a line or after white space, so that a name may hold one.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line.get(..at).unwrap_or(line);
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_as_people_write_them() {
        let text = "\n# who | what\nrunner|decrypt-all|shop-*,-|*\n  ! intern | decrypt-* , encrypt | * | C#, DB_* # not yet\n\n";
        let rows = rows(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].effect, rows[1].effect), (Effect::Allow, Effect::Deny));
        assert_eq!(rows[0].projects, [Project::Named(Pattern::new("shop-*")), Project::None]);
        assert_eq!(rows[1].variables, [Pattern::new("C#"), Pattern::new("DB_*")]);
        assert_eq!(rows[1].callers, [Pattern::new("intern")]);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = "a | encrypt | b\na | decript | b | c\n\na | encrypt | | c\na | encrypt | b | c | d\na | encrypt | b | c | d:e | f\na,, | encrypt | b | c\nok | * | * | *";
        let wrong = rows(text).unwrap_err();
        let lines: Vec<&str> = wrong.iter().filter_map(|what| what.split(':').next()).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 4", "line 5", "line 6", "line 7"]);
    }
}
