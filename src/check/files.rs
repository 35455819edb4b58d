//! Which files a `-f` argument stands for, and their text. The only file access of `check`.

use std::path::{Path, PathBuf};

/// Larger files are refused: a manifest is written by people.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// A file's text, or why there is none.
pub type Text = (PathBuf, Result<String, String>);

/// The texts of all files that `paths` stand for. A folder stands for the manifests that lie directly in it, by name.
pub fn read(paths: &[PathBuf]) -> Vec<Text> {
    let mut texts = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(files) if files.is_empty() => {
                let message = "no manifests: a folder must hold .yaml, .yml or .json files".to_owned();
                texts.push((path.clone(), Err(message)));
            }
            Ok(files) => texts.extend(files.into_iter().map(|file| {
                let text = text(&file);
                (file, text)
            })),
            Err(error) => texts.push((path.clone(), Err(format!("cannot be read: {error}")))),
        }
    }
    texts
}

fn expand(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let is_manifest = file
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"));
        // Editors keep their drafts in hidden files.
        let is_hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_manifest && !is_hidden && std::fs::metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn text(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("is {size} bytes long; a manifest may be {MAX_FILE_BYTES}"));
    }
    let bytes = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
