//! What FFmpeg's (redacted) messages say of the network, whether it reads a source or pushes to a target. Pure. Must not
//! conclude anything: what a message means depends on who asked.

/// Any of these in a message means that the other side refuses user name, password or whoever comes.
pub const REFUSED: [&str; 6] =
    ["401 Unauthorized", "403 Forbidden", "authorization failed", "access denied", "BADSECRET", "Access denied"];
/// … that nobody answers.
pub const NOBODY: [&str; 10] = [
    "Connection refused",
    "No route to host",
    "Network is unreachable",
    "Host is unreachable",
    "Connection timed out",
    "Failed to resolve hostname",
    "Name or service not known",
    "Cannot open connection",
    "Connection to srt://",
    "5XX Server Error",
];
/// … that MP4, or what else it was to be written in, cannot carry a codec.
pub const NOT_CARRIED: [&str; 2] = ["not currently supported in container", "Could not find tag for codec"];

/// The first message with any of the patterns, which may stand in several tables.
pub fn find<'a>(lines: &'a [String], tables: &[&[&str]]) -> Option<&'a String> {
    lines.iter().find(|line| tables.iter().copied().flatten().any(|pattern| line.contains(pattern)))
}

/// What FFmpeg says, without its own addresses and levels.
pub fn told(line: &str) -> &str {
    let mut rest = line;
    while let Some(inner) = rest.strip_prefix('[') {
        let Some((_, after)) = inner.split_once("] ") else { break };
        rest = after;
    }
    rest.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_without_addresses_and_levels() {
        assert_eq!(told("[tcp @ 0x55] [error] Connection refused"), "Connection refused");
        assert_eq!(told("[unfinished"), "[unfinished");
    }
}
