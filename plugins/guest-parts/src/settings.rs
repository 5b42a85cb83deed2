//! Settings, read strictly: what is unknown, of a wrong type or contradictory is a [`Problem`] that names the place, and all of them are
//! told at once. Nothing that is misspelt becomes a silent default.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One fault in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a JSON pointer, empty for the settings as a whole.
    pub path: String,
    /// What, for the operator who wrote them.
    pub message: String,
}

/// Something that one setting can be.
pub trait Setting: Sized {
    /// What stands at `path`, or what is wrong with it there or below.
    fn read(value: &Value, path: &str) -> Result<Self, Problem>;
}

/// One object of the settings, of which keys are taken; those left over at its end are unknown.
#[derive(Debug)]
pub struct Table<'a> {
    path: String,
    entries: Map<String, Value>,
    problems: &'a mut Vec<Problem>,
}

/// Reads `json` by `take`, which takes every key that it knows and answers `None` only after a problem.
pub fn read<T>(json: &str, take: impl FnOnce(&mut Table) -> Option<T>) -> Result<T, Vec<Problem>> {
    let entries = match crate::json::parse(json.as_bytes()) {
        Ok(Value::Object(entries)) => entries,
        Ok(other) => return Err(vec![Problem::new("", format!("must be an object, not {}", kind(&other)))]),
        Err(what) => return Err(vec![Problem::new("", what)]),
    };
    let mut problems = Vec::new();
    let taken = Table::read(String::new(), entries, &mut problems, take);
    match taken {
        Some(taken) if problems.is_empty() => Ok(taken),
        None if problems.is_empty() => Err(vec![Problem::new("", "not usable".to_owned())]),
        _ => Err(problems),
    }
}

impl Problem {
    /// A fault at `path`.
    pub fn new(path: &str, message: String) -> Self {
        Self { path: path.to_owned(), message }
    }
}

impl<'a> Table<'a> {
    fn read<T>(
        path: String,
        entries: Map<String, Value>,
        problems: &'a mut Vec<Problem>,
        take: impl FnOnce(&mut Table) -> Option<T>,
    ) -> Option<T> {
        let mut table = Table { path, entries, problems };
        let taken = take(&mut table);
        let unknown: Vec<String> = table.entries.keys().cloned().collect();
        for key in unknown {
            table.problem(&key, "no such setting".to_owned());
        }
        taken
    }

    /// Whether the operator wrote `key`, which is not taken by this.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// How many faults are known so far, of the whole settings.
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Says that `key` is wrong.
    pub fn problem(&mut self, key: &str, message: String) {
        let path = below(&self.path, key);
        self.problems.push(Problem { path, message });
    }

    /// `key`, if it is there and right.
    pub fn optional<T: Setting>(&mut self, key: &str) -> Option<T> {
        let value = self.entries.remove(key)?;
        match T::read(&value, &below(&self.path, key)) {
            Ok(setting) => Some(setting),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// `key`, or `default` where it is absent.
    pub fn or<T: Setting>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// `key`, whose absence is a problem.
    pub fn required<T: Setting>(&mut self, key: &str) -> Option<T> {
        if !self.has(key) {
            self.problem(key, "is required".to_owned());
        }
        self.optional(key)
    }

    /// `key` as one of `choices`, or `default` where it is absent.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(name) = self.optional::<String>(key) else { return default };
        if let Some((_, choice)) = choices.iter().find(|(choice, _)| *choice == name) {
            return *choice;
        }
        let names: Vec<String> = choices.iter().map(|(choice, _)| format!("{choice:?}")).collect();
        self.problem(key, format!("{name:?} is none of {}", names.join(", ")));
        default
    }

    /// The object `key`, read by `take`.
    pub fn table<T>(&mut self, key: &str, take: impl FnOnce(&mut Table) -> Option<T>) -> Option<T> {
        let path = below(&self.path, key);
        match self.entries.remove(key)? {
            Value::Object(entries) => Table::read(path, entries, self.problems, take),
            other => {
                self.problems.push(Problem { path, message: format!("must be a table, not {}", kind(&other)) });
                None
            }
        }
    }

    /// The array of objects `key`, each read by `take`; empty where it is absent.
    pub fn tables<T>(&mut self, key: &str, mut take: impl FnMut(&mut Table) -> Option<T>) -> Vec<T> {
        let path = below(&self.path, key);
        let items = match self.entries.remove(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                let message = format!("must be an array of tables, not {}", kind(&other));
                self.problems.push(Problem { path, message });
                return Vec::new();
            }
        };
        let mut taken = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = below(&path, &index.to_string());
            match item {
                Value::Object(entries) => taken.extend(Table::read(path, entries, self.problems, &mut take)),
                other => {
                    let message = format!("must be a table, not {}", kind(&other));
                    self.problems.push(Problem { path, message });
                }
            }
        }
        taken
    }
}

impl Setting for String {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong(path, "a string", value))
    }
}

impl Setting for bool {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        value.as_bool().ok_or_else(|| wrong(path, "true or false", value))
    }
}

impl Setting for u64 {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        value.as_u64().ok_or_else(|| wrong(path, "a whole number from 0", value))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let items = value.as_array().ok_or_else(|| wrong(path, "an array", value))?;
        items.iter().enumerate().map(|(index, item)| T::read(item, &below(path, &index.to_string()))).collect()
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let entries = value.as_object().ok_or_else(|| wrong(path, "a table", value))?;
        entries.iter().map(|(key, item)| Ok((key.clone(), T::read(item, &below(path, key))?))).collect()
    }
}

/// `path` and one step down, escaped as RFC 6901 has it.
pub fn below(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn wrong(path: &str, expected: &str, found: &Value) -> Problem {
    Problem::new(path, format!("must be {expected}, not {}", kind(found)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(json: &str, take: impl FnOnce(&mut Table) -> Option<()>) -> Vec<String> {
        read(json, take).expect_err("is refused").into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let json = r#"{"a": 1, "list": ["x", 2], "rows": [{}, {"k": 1, "odd": 2}, 3], "a/b~c": 1, "way": "up"}"#;
        let found = paths(json, |table| {
            table.optional::<String>("a");
            table.optional::<Vec<String>>("list");
            table.required::<u64>("missing");
            table.choice("way", &[("left", 1), ("right", 2)], 1);
            table.tables("rows", |row| row.required::<u64>("k"));
            Some(())
        });
        assert_eq!(found, ["/a", "/list/1", "/missing", "/way", "/rows/0/k", "/rows/1/odd", "/rows/2", "/a~1b~0c"]);
    }

    #[test]
    fn only_an_object_is_settings() {
        for json in ["", "[]", "null", "{", "{} x", "\"x\""] {
            assert_eq!(paths(json, |_| Some(())), [""], "{json}");
        }
        assert_eq!(read("{}", |_| Some(7)), Ok(7));
    }

    #[test]
    fn absent_and_present_settings_read_as_they_are() {
        let read = read(r#"{"n": 3, "s": "x", "t": {"k": true}}"#, |table| {
            let nested = table.table("t", |nested| nested.required::<bool>("k"));
            Some((table.required::<u64>("n")?, table.or("s", String::new()), table.or("absent", 9_u64), nested?))
        });
        assert_eq!(read, Ok((3, "x".to_owned(), 9, true)));
    }
}
