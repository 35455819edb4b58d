//! YAML text → trees that know their lines. Scalars are read as `kubectl` reads them (YAML 1.1: `yes`, `on` and `0755` are
//! not strings), so that what passes here means the same in a cluster. Must not know of schemas.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;
/// More nodes in one document are refused, aliases counted at every use.
const MAX_NODES: usize = 100_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line, from 1.
    pub line: usize,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// A truth value, and how it was written.
    Bool(bool, String),
    /// A number, and how it was written.
    Number(Number, String),
    /// A text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Fields in the order of the file.
    Mapping(Vec<Field>),
}

/// One field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub key: String,
    /// Line of the name.
    pub line: usize,
    /// Its value.
    pub value: Node,
}

/// Why a text is no YAML document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Node {
    /// The value of a field, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Mapping(fields) => fields.iter().find(|field| field.key == key).map(|field| &field.value),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => Some(text),
            _ => None,
        }
    }

    /// The line on which a path such as `spec.ports[0].name` stands, or the nearest part of it that is there.
    pub fn line_of(&self, path: &str) -> usize {
        let mut line = self.line;
        let mut node = self;
        for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
            let (next_line, next) = match (&node.content, segment.strip_suffix(']')) {
                (Content::Sequence(items), Some(index)) => {
                    let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                        return line;
                    };
                    (item.line, item)
                }
                (Content::Mapping(fields), None) => {
                    let Some(field) = fields.iter().find(|field| field.key == segment) else { return line };
                    (field.line, &field.value)
                }
                _ => return line,
            };
            line = next_line;
            node = next;
        }
        line
    }

    /// As JSON, without lines.
    pub fn json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value, _) => Value::Bool(*value),
            Content::Number(number, _) => Value::Number(number.clone()),
            Content::String(text) => Value::String(text.clone()),
            Content::Sequence(items) => Value::Array(items.iter().map(Node::json).collect()),
            Content::Mapping(fields) => {
                Value::Object(fields.iter().map(|field| (field.key.clone(), field.value.json())).collect::<Map<_, _>>())
            }
        }
    }
}

/// The documents of a file, each by itself, so that a broken one does not hide the others. Empty documents are left out.
pub fn documents(text: &str) -> Vec<Result<Node, SyntaxError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parts = vec![(0, String::new())];
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            parts.push((index, String::new()));
        }
        if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
        }
    }
    parts.iter().filter_map(|(offset, part)| document(part, *offset).transpose()).collect()
}

/// One document, whose first line is line `offset + 1` of its file; `None` when there is nothing in it.
fn document(text: &str, offset: usize) -> Result<Option<Node>, SyntaxError> {
    let mut builder =
        Builder { parser: Parser::new_from_str(text), offset, line: offset + 1, nodes: 0, anchors: HashMap::new() };
    loop {
        match builder.next()? {
            None | Some((Event::StreamEnd, _)) => return Ok(None),
            Some((Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _)) => {}
            Some((event, span)) => {
                let node = builder.node(event, span, 0)?;
                while let Some((event, span)) = builder.next()? {
                    if !matches!(event, Event::DocumentEnd | Event::StreamEnd) {
                        return Err(SyntaxError {
                            line: offset + span.start.line(),
                            message:
                                "not valid YAML: the document ended before this; separate documents with a line ---"
                                    .to_owned(),
                        });
                    }
                }
                return Ok((node.content != Content::Null).then_some(node));
            }
        }
    }
}

struct Builder<'input> {
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
    offset: usize,
    line: usize,
    nodes: usize,
    anchors: HashMap<usize, Node>,
}

impl<'input> Builder<'input> {
    fn error(&self, line: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.offset + line, message: message.into() }
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, SyntaxError> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.line = self.offset + span.start.line();
                Ok(Some((event, span)))
            }
            Some(Err(error)) => Err(self.error(error.marker().line(), format!("not valid YAML: {}", error.info()))),
        }
    }

    fn count(&mut self, line: usize, depth: usize, nodes: usize) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        if depth > MAX_DEPTH {
            return Err(self.error(line, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        if self.nodes > MAX_NODES {
            return Err(self.error(line, format!("more than {MAX_NODES} values in one document")));
        }
        Ok(())
    }

    fn following(&mut self) -> Result<(Event<'input>, Span), SyntaxError> {
        let line = self.line;
        self.next()?.ok_or(SyntaxError { line, message: "not valid YAML: the document ends in the middle".to_owned() })
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, SyntaxError> {
        let line = span.start.line();
        self.count(line, depth, 1)?;
        let (anchor, content) = match event {
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.error(line, "not valid YAML: an alias (*) of something that is not complete yet"));
                };
                self.count(line, depth, size(&node))?;
                node.line = self.offset + line;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag.as_deref())),
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.following()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (anchor, Content::Sequence(items))
            }
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            other => return Err(self.error(line, format!("not valid YAML: unexpected {other:?}"))),
        };
        let node = Node { line: self.offset + line, content };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Content, SyntaxError> {
        let mut fields: Vec<Field> = Vec::new();
        let mut merged: Vec<Field> = Vec::new();
        loop {
            let (event, span) = self.following()?;
            let line = span.start.line();
            let (key, style) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => (text.into_owned(), style),
                _ => return Err(self.error(line, "a field's name must be a plain text")),
            };
            let (event, span) = self.following()?;
            let value = self.node(event, span, depth + 1)?;
            if key == "<<" && style == ScalarStyle::Plain {
                match value.content {
                    Content::Mapping(more) => merged.extend(more),
                    Content::Sequence(items) => merged.extend(items.into_iter().flat_map(|item| match item.content {
                        Content::Mapping(more) => more,
                        _ => Vec::new(),
                    })),
                    _ => return Err(self.error(line, "<< must be an alias of a mapping")),
                }
                continue;
            }
            if let Some(earlier) = fields.iter().find(|field| field.key == key) {
                let message = format!("{key} is given twice, first on line {}: remove one of them", earlier.line);
                return Err(self.error(line, message));
            }
            fields.push(Field { key, line: self.offset + line, value });
        }
        for field in merged {
            if !fields.iter().any(|own| own.key == field.key) {
                fields.push(field);
            }
        }
        Ok(Content::Mapping(fields))
    }
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Mapping(fields) => 1 + fields.iter().map(|field| size(&field.value)).sum::<usize>(),
        _ => 1,
    }
}

/// A scalar by the rules that `kubectl` goes by (those of go-yaml 2).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Content {
    let is_text =
        style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if is_text {
        return Content::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            return Content::Bool(true, text.to_owned());
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Content::Bool(false, text.to_owned());
        }
        _ => {}
    }
    match number(text) {
        Some(number) => Content::Number(number, text.to_owned()),
        None => Content::String(text.to_owned()),
    }
}

fn number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let based = |prefix: &[&str], radix| {
        let rest = prefix.iter().find_map(|prefix| digits.strip_prefix(prefix))?;
        i64::from_str_radix(rest, radix).ok().filter(|_| !rest.starts_with(['+', '-']))
    };
    let whole = based(&["0x", "0X"], 16)
        .or_else(|| based(&["0o", "0O"], 8))
        .or_else(|| based(&["0b", "0B"], 2))
        .or_else(|| if digits.len() > 1 { based(&["0"], 8) } else { None })
        .or_else(|| digits.parse().ok());
    if let Some(whole) = whole {
        return Some(Number::from(if negative { -whole } else { whole }));
    }
    let floating = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = floating.then(|| plain.parse().ok()).flatten()?;
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(text: &str) -> Node {
        match documents(text).pop() {
            Some(Ok(node)) => node,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_are_what_kubectl_takes_them_for() {
        let node = only(
            "a: yes\nb: 'yes'\nc: 0755\nd: 1_000\ne: 1.5\nf: 30s\ng: 0x10\nh: ~\ni: 100Gi\nj: 192.0.2.10\nk: 2026-11-21\nl: -5\n\
             m: !!str 5\nn: 0\no: 1e3\np: |\n  text\n",
        );
        assert_eq!(
            node.json(),
            json!({
                "a": true, "b": "yes", "c": 493, "d": 1000, "e": 1.5, "f": "30s", "g": 16, "h": null, "i": "100Gi",
                "j": "192.0.2.10", "k": "2026-11-21", "l": -5, "m": "5", "n": 0, "o": 1000.0, "p": "text\n"
            })
        );
    }

    #[test]
    fn a_broken_document_hides_no_other() {
        let found = documents("# head\n---\na: 1\n---\nb: [1\n---\n# nothing\n---\nc:\n  d:\n  - 1\n  - e: 2\n");
        let lines: Vec<Result<usize, usize>> =
            found.iter().map(|found| found.as_ref().map(|node| node.line).map_err(|error| error.line)).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], Ok(3));
        assert!(matches!(lines[1], Err(5 | 6)), "{lines:?}");
        assert_eq!(lines[2], Ok(9));
        let last = found.into_iter().next_back().and_then(Result::ok);
        assert_eq!(last.as_ref().map(|node| node.line_of("c.d[1].e")), Some(12));
        assert_eq!(last.as_ref().map(|node| node.line_of("c.d[7].e")), Some(10));
        assert_eq!(last.as_ref().map(|node| node.line_of("c.x")), Some(9));
    }

    #[test]
    fn aliases_and_merges() {
        let node = only("base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\nsame: *base\n");
        assert_eq!(node.json()["other"], json!({"b": 3, "a": 1}));
        assert_eq!(node.json()["same"], json!({"a": 1, "b": 2}));
    }

    #[test]
    fn bombs_and_doubles_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..8 {
            let previous = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", "));
        }
        assert!(documents(&bomb)[0].is_err());
        assert!(documents(&"[".repeat(1000))[0].is_err());
        let twice = documents("a: 1\nb: 2\na: 3\n");
        assert_eq!(twice[0].as_ref().map_err(|error| error.line), Err(3));
        assert!(documents("\n# only a comment\n---\n---\n").is_empty());
    }
}
