//! Text of users in a filter graph of FFmpeg: drawn as it is, and never read as anything else.

/// Escaped for an option of a filter in a filter graph (FFmpeg's utilities manual, "Quoting and escaping": twice, once for the
/// filter's options and once for the graph). Control characters become spaces.
pub fn filter_text(text: &str) -> String {
    let escape = |text: &str, special: &str| {
        let mut out = String::with_capacity(text.len() * 2);
        for character in text.chars() {
            if special.contains(character) {
                out.push('\\');
            }
            out.push(character);
        }
        out
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    escape(&escape(text.trim(), r"\':"), r"\'[],;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_twice() {
        assert_eq!(filter_text("It's 5:00 [a], \\b;\n"), r"It\\\'s 5\\:00 \[a\]\, \\\\b\;");
    }
}
