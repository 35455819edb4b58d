//! The structural schema of Kubernetes, applied offline: types, required fields, bounds, patterns, enumerations, and unknown
//! fields, which are refused. Nulls are dropped first, as an API server does where null is not allowed. CEL is not done here.

use regex::Regex;
use serde_json::{Map, Value};

use super::yaml::{Content, Node};
use crate::api::duration::{self, Duration};

/// Something that the schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Such as `spec.source.rtsp.url`; empty for the whole document.
    pub path: String,
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong and what to write.
    pub message: String,
    /// Whether CEL rules cannot be asked any more, because they could not rely on shapes.
    pub blocks_rules: bool,
    /// Whether only a pattern does not match; a CEL rule on the same field says it better.
    pub is_pattern: bool,
}

/// Checks `node` and returns it as an API server would store it: without nulls and unknown fields.
pub fn validate(node: &Node, schema: &Value, path: &str, violations: &mut Vec<Violation>) -> Value {
    let mut check = Check { line: node.line, path, violations };
    let expected = schema["type"].as_str().unwrap_or_default();
    match (&node.content, expected) {
        (Content::Mapping(fields), "object") => return object(node, fields, schema, path, violations),
        (Content::Sequence(items), "array") => {
            if let Some(most) = schema["maxItems"].as_u64().filter(|most| items.len() as u64 > *most) {
                check.blocking(format!("must hold at most {most} items, not {}", items.len()));
            }
            if let Some(least) = schema["minItems"].as_u64().filter(|least| (items.len() as u64) < *least) {
                check.refuse(format!("must hold at least {least} items"));
            }
            let items = items.iter().enumerate();
            return Value::Array(
                items
                    .map(|(index, item)| validate(item, &schema["items"], &format!("{path}[{index}]"), violations))
                    .collect(),
            );
        }
        (Content::String(text), "string") => string(text, schema, &mut check),
        (Content::Number(number, written), "integer") => match number.as_i64() {
            Some(value) => {
                let format = schema["format"].as_str();
                if format == Some("int32") && i32::try_from(value).is_err() {
                    check.blocking(format!("must fit 32 bits, not {value}"));
                }
                let bound = |key: &str| schema[key].as_f64().map(|bound| bound as i64);
                if let Some(least) = bound("minimum").filter(|least| value < *least) {
                    check.refuse(format!("must be at least {least}, not {value}"));
                }
                if let Some(most) = bound("maximum").filter(|most| value > *most) {
                    check.refuse(format!("must be at most {most}, not {value}"));
                }
            }
            None => check.blocking(format!("must be a whole number, not {written}")),
        },
        (Content::Bool(..), "boolean") => {}
        (content, expected) => check.blocking(mismatch(content, expected, schema)),
    }
    node.json()
}

struct Check<'a> {
    line: usize,
    path: &'a str,
    violations: &'a mut Vec<Violation>,
}

impl Check<'_> {
    fn push(&mut self, message: String, blocks_rules: bool, is_pattern: bool) {
        self.violations.push(Violation {
            path: self.path.to_owned(),
            line: self.line,
            message,
            blocks_rules,
            is_pattern,
        });
    }

    fn refuse(&mut self, message: String) {
        self.push(message, false, false);
    }

    fn blocking(&mut self, message: String) {
        self.push(message, true, false);
    }
}

fn object(
    node: &Node,
    fields: &[super::yaml::Field],
    schema: &Value,
    path: &str,
    violations: &mut Vec<Violation>,
) -> Value {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let properties = schema["properties"].as_object();
    let mut kept = Map::new();
    for field in fields {
        let child = properties.and_then(|properties| properties.get(&field.key)).or_else(|| {
            let additional = &schema["additionalProperties"];
            additional.is_object().then_some(additional)
        });
        match child {
            Some(_) if field.value.content == Content::Null => {}
            Some(child) => {
                let mut value = field.value.clone();
                // A field is reported where its name stands.
                value.line = field.line;
                kept.insert(field.key.clone(), validate(&value, child, &join(&field.key), violations));
            }
            None => {
                let known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                violations.push(Violation {
                    path: join(&field.key),
                    line: field.line,
                    message: unknown(&field.key, &known),
                    blocks_rules: false,
                    is_pattern: false,
                });
            }
        }
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !kept.contains_key(required) {
            violations.push(Violation {
                path: join(required),
                line: node.line,
                message: match &schema["properties"][required]["description"] {
                    Value::String(description) => format!("is required: {}", first_sentence(description)),
                    _ => "is required".to_owned(),
                },
                blocks_rules: true,
                is_pattern: false,
            });
        }
    }
    Value::Object(kept)
}

fn string(text: &str, schema: &Value, check: &mut Check<'_>) {
    let length = text.chars().count() as u64;
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        check.blocking(format!("must be at most {most} characters long, not {length}"));
    }
    if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
        check.refuse(format!("must be at least {least} characters long, not {length}"));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        check.push(format!("must match {pattern}"), false, true);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        if !allowed.contains(&text) {
            let hint = nearest(text, &allowed).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            check.blocking(format!("must be one of {}{hint}", allowed.join(", ")));
        }
    }
}

fn mismatch(content: &Content, expected: &str, schema: &Value) -> String {
    let wanted = match expected {
        "string" => "a text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "object" => "a mapping (indented fields)",
        "array" => "a list (lines that start with -)",
        other => other,
    };
    let (got, written) = match content {
        Content::Null => ("nothing", None),
        Content::Bool(_, written) => ("a truth value", Some(written)),
        Content::Number(_, written) => ("a number", Some(written)),
        Content::String(_) => ("a text", None),
        Content::Sequence(_) => ("a list", None),
        Content::Mapping(_) => ("a mapping", None),
    };
    let hint = match (expected, content, written) {
        ("string", Content::Number(..), Some(written)) if schema["pattern"] == duration::PATTERN => {
            let meant = format!("{written}{}", usual_unit(schema));
            let meant = if meant.parse::<Duration>().is_ok() { meant.as_str() } else { "10s" };
            format!(": write one number and one unit (ms, s, m, h or d), such as {meant}")
        }
        ("string", _, Some(written)) => format!(": write \"{written}\" in quotes"),
        ("integer", Content::String(text), _) if text.parse::<i64>().is_ok() => {
            format!(": write {text} without quotes")
        }
        ("boolean", Content::String(text), _) if matches!(text.as_str(), "true" | "false") => {
            format!(": write {text} without quotes")
        }
        ("object", Content::String(_), _) => ": write its fields on the lines below it, indented".to_owned(),
        _ => String::new(),
    };
    format!("must be {wanted}, not {got}{hint}")
}

/// The unit of the example with which a duration's rule ends: what people write there.
fn usual_unit(schema: &Value) -> &str {
    let rules = schema["x-kubernetes-validations"].as_array();
    let example = rules.into_iter().flatten().find_map(|rule| rule["message"].as_str()?.rsplit(' ').next());
    let unit = example.map(|example| example.trim_start_matches(|character: char| character.is_ascii_digit()));
    unit.filter(|unit| matches!(*unit, "ms" | "s" | "m" | "h" | "d")).unwrap_or("s")
}

fn unknown(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("unknown field; did you mean {near}?"),
        None if known.is_empty() => "unknown field: nothing may stand here".to_owned(),
        None => format!("unknown field; known here: {}", known.join(", ")),
    }
}

/// The candidate that `word` was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let fold = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let word = fold(word);
    let distance = |candidate: &str| strsim::osa_distance(&word, &fold(candidate));
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .iter()
        .copied()
        .filter(|candidate| distance(candidate) <= allowed)
        .min_by_key(|candidate| distance(candidate))
}

fn first_sentence(description: &str) -> &str {
    let end = description.find(". ").or_else(|| description.strip_suffix('.').map(str::len));
    description.get(..end.unwrap_or(description.len())).unwrap_or(description)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::yaml::documents;

    fn violations(text: &str) -> (Value, Vec<(String, usize, String)>) {
        let schema = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 5, "pattern": "^[a-z]+$", "description": "What it is called. More."},
            "count": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 3},
            "transport": {"type": "string", "enum": ["TCP", "UDP"]},
            "on": {"type": "boolean"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "items": {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
            "stallTimeout": {"type": "string", "pattern": duration::PATTERN},
            "maxAge": {"type": "string", "pattern": duration::PATTERN, "x-kubernetes-validations": [
                {"rule": "true", "message": "must be a duration, such as 30d"}
            ]},
            "playlistSegments": {"type": "integer"}
        }});
        let node = documents(text).remove(0).unwrap_or_else(|error| panic!("{error}"));
        let mut found = Vec::new();
        let value = validate(&node, &schema, "", &mut found);
        (value, found.into_iter().map(|found| (found.path, found.line, found.message)).collect())
    }

    #[test]
    fn each_violation_is_named_where_it_stands() {
        for (text, path, line, message) in [
            ("count: 1", "name", 1, "is required: What it is called"),
            ("name: abcdef", "name", 1, "at most 5"),
            ("name: A", "name", 1, "must match"),
            ("name: 5", "name", 1, "write \"5\" in quotes"),
            (
                "name: a\nstallTimeout: 10",
                "stallTimeout",
                2,
                "must be a text, not a number: write one number and one unit (ms, s, m, h or d), such as 10s",
            ),
            ("name: a\nmaxAge: 30", "maxAge", 2, "such as 30d"),
            ("name: a\nmaxAge: 1.5", "maxAge", 2, "such as 10s"),
            ("name: a\nstallTimeout: no", "stallTimeout", 2, "write \"no\" in quotes"),
            ("name: no", "name", 1, "write \"no\" in quotes"),
            ("name: a\ncount: 9", "count", 2, "at most 3, not 9"),
            ("name: a\ncount: 0", "count", 2, "at least 1"),
            ("name: a\ncount: '2'", "count", 2, "without quotes"),
            ("name: a\ncount: 1.5", "count", 2, "whole number"),
            ("name: a\ncount: 99999999999", "count", 2, "32 bits"),
            ("name: a\ntransport: tcp", "transport", 2, "did you mean TCP?"),
            ("name: a\nlabels:\n  a: 1", "labels.a", 3, "in quotes"),
            ("name: a\nlabels: x", "labels", 2, "must be a mapping"),
            ("name: a\nitems:\n- 1\n- 2", "items", 2, "at most 1"),
            ("name: a\nitems:\n- x", "items[0]", 3, "whole number"),
            ("name: a\nplaylist_segment: 5", "playlist_segment", 2, "did you mean playlistSegments?"),
            ("name: a\nzzz: 5", "zzz", 2, "known here: name, count"),
        ] {
            let (_, found) = violations(text);
            assert!(
                found.iter().any(|found| found.0 == path && found.1 == line && found.2.contains(message)),
                "{text:?}: {found:?}"
            );
        }
    }

    #[test]
    fn nulls_are_as_good_as_absent() {
        let (value, found) = violations("name: a\ncount:\nlabels: ~");
        assert_eq!(found, []);
        assert_eq!(value, json!({"name": "a"}));
    }
}
