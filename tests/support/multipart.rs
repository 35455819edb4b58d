//! Takes `multipart/form-data` (RFC 7578) apart, by the letter.

/// One part.
#[derive(Debug, Clone)]
pub struct Part {
    /// `name` of its Content-Disposition.
    pub name: String,
    /// `filename`, where it has one.
    pub file_name: Option<String>,
    /// Its Content-Type.
    pub content_type: String,
    /// Its content.
    pub body: Vec<u8>,
}

impl Part {
    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Whether the content is a whole JPEG image.
    pub fn is_jpeg(&self) -> bool {
        self.body.starts_with(&[0xff, 0xd8, 0xff]) && self.body.ends_with(&[0xff, 0xd9])
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn parameter(header: &str, name: &str) -> Option<String> {
    let (_, rest) = header.split_once(&format!("; {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// The parts of a body; `None` where it is none.
pub fn parse(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=")?.trim_matches('"');
    let (delimiter, mut rest) = (format!("\r\n--{boundary}"), body.strip_prefix(format!("--{boundary}").as_bytes())?);
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let headers_end = find(rest, b"\r\n\r\n")?;
        let headers = std::str::from_utf8(&rest[..headers_end]).ok()?;
        let header = |name: &str| {
            let lines = headers.split("\r\n").filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        let disposition = header("content-disposition")?;
        rest = &rest[headers_end + 4..];
        let end = find(rest, delimiter.as_bytes())?;
        parts.push(Part {
            name: parameter(&disposition, "name")?,
            file_name: parameter(&disposition, "filename"),
            content_type: header("content-type").unwrap_or_default(),
            body: rest[..end].to_vec(),
        });
        rest = &rest[end + delimiter.len()..];
    }
}
