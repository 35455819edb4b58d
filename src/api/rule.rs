//! Small builders for CEL rules, so that every rule carries a message. Must stay free of any kind's knowledge.

use kube::core::Rule;

/// A rule on `self` with its message.
pub fn rule(expression: impl Into<String>, message: impl AsRef<str>) -> Rule {
    Rule::new(expression).message(message.as_ref())
}

/// `pattern` as a CEL raw string literal. Patterns here never hold `"`.
pub fn literal(pattern: &str) -> String {
    debug_assert!(!pattern.contains('"'), "a raw literal cannot hold its own quote: {pattern}");
    format!("r\"{pattern}\"")
}

/// The text must match.
pub fn matches(pattern: &str, message: impl AsRef<str>) -> Rule {
    rule(format!("self.matches({})", literal(pattern)), message)
}

/// The text must not match.
pub fn matches_not(pattern: &str, message: impl AsRef<str>) -> Rule {
    rule(format!("!self.matches({})", literal(pattern)), message)
}

/// Of these fields exactly one is set.
pub fn exactly_one_of(fields: &[&str], message: impl AsRef<str>) -> Rule {
    let present: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    rule(format!("[{}].filter(present, present).size() == 1", present.join(", ")), message)
}
