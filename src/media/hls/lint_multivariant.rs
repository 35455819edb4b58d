//! Judges multivariant playlists by RFC 8216 §4.3.4.2 and its successor draft. Must not know who wrote one.

use super::lint::Violation;

const STREAM: &str = "#EXT-X-STREAM-INF:";

/// Attributes as they are written; commas within quotes do not part them (§4.2).
fn attributes(text: &str) -> Vec<(&str, &str)> {
    let mut quoted = false;
    let parts = text.split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    parts.filter_map(|part| part.split_once('=')).collect()
}

fn quoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"').filter(|inner| !inner.is_empty())
}

fn is_size(value: &str) -> bool {
    value.split_once('x').is_some_and(|(width, height)| {
        [width, height].iter().all(|side| side.parse::<u32>().is_ok_and(|pixels| pixels > 0))
    })
}

/// The rules that a multivariant playlist breaks.
pub fn lint_multivariant(text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut say = |line: usize, rule: &'static str, message: &str| {
        violations.push(Violation { line, rule, message: message.to_owned() });
    };
    if text.lines().next() != Some("#EXTM3U") {
        say(1, "4.3.1.1", "does not begin with #EXTM3U");
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut uris: Vec<&str> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        if ["#EXTINF", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-MAP", "#EXT-X-PART"]
            .iter()
            .any(|tag| line.starts_with(tag))
        {
            say(number, "4.1", "a tag of media playlists stands among variants");
        }
        let Some(stream) = line.strip_prefix(STREAM) else { continue };
        match lines.get(index + 1).filter(|uri| !uri.is_empty() && !uri.starts_with('#')) {
            Some(uri) if uris.contains(uri) => say(number, "4.3.4.2", "two variants have the same URI"),
            Some(uri) => uris.push(uri),
            None => say(number, "4.3.4.2", "no URI follows"),
        }
        let attributes = attributes(stream);
        let of = |name: &str| attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let rate = |name: &str| of(name).and_then(|value| value.parse::<u64>().ok()).filter(|rate| *rate > 0);
        let most = rate("BANDWIDTH");
        if most.is_none() {
            say(number, "4.3.4.2", "BANDWIDTH is missing or no number");
        }
        match (rate("AVERAGE-BANDWIDTH"), most) {
            (Some(mean), Some(most)) if mean > most => say(number, "4.3.4.2", "AVERAGE-BANDWIDTH is above BANDWIDTH"),
            (None, _) if of("AVERAGE-BANDWIDTH").is_some() => say(number, "4.3.4.2", "AVERAGE-BANDWIDTH is no number"),
            _ => {}
        }
        if of("CODECS").and_then(quoted).is_none() {
            say(number, "4.3.4.2", "CODECS is missing or not quoted");
        }
        if !of("RESOLUTION").is_some_and(is_size) {
            say(number, "4.3.4.2", "RESOLUTION is missing or no size");
        }
        let is_rate = |value: &str| value.parse::<f64>().is_ok_and(|rate| rate > 0.0);
        if !of("FRAME-RATE").is_some_and(is_rate) {
            say(number, "4.3.4.2", "FRAME-RATE is missing or no number");
        }
    }
    if uris.is_empty() {
        say(0, "4.3.4.2", "no variant");
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#EXTM3U\n#EXT-X-VERSION:6\n\
        #EXT-X-STREAM-INF:BANDWIDTH=3000,AVERAGE-BANDWIDTH=2000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=25.000\n\
        a/index.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=300,CODECS=\"avc1.64001f\",RESOLUTION=320x180,FRAME-RATE=25.000\nb/index.m3u8\n";

    #[test]
    fn what_is_right_is_taken_and_each_fault_is_named() {
        assert_eq!(lint_multivariant(GOOD), []);
        for (from, to) in [
            ("#EXTM3U\n", ""),
            ("BANDWIDTH=3000,AV", "BANDWIDTH=1,AV"),
            ("BANDWIDTH=300,", ""),
            ("\"avc1.64001f\"", "avc1.64001f"),
            (",RESOLUTION=320x180", ""),
            ("320x180", "320"),
            (",FRAME-RATE=25.000\nb", "\nb"),
            ("b/index", "a/index"),
            ("a/index.m3u8\n", ""),
            ("b/index.m3u8\n", "#EXTINF:4,\nb/index.m3u8\n"),
        ] {
            let broken = GOOD.replace(from, to);
            assert_ne!(broken, GOOD, "{from}");
            assert_ne!(lint_multivariant(&broken), [], "{broken}");
        }
    }
}
