//! The page at `/` in a real browser: the camera's tile, and the opened camera playing through hls.js.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::{hls, manifest, wait};

fn chromium() -> Option<PathBuf> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

#[test]
fn the_page_shows_the_tile_and_plays_the_camera() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let playwright = root.join("web/node_modules/playwright-core");
    let (Some(chromium), true) = (chromium(), playwright.exists()) else {
        eprintln!(
            "SKIPPED: the page in a browser, because Chromium or playwright-core is missing (scripts/install.sh test)"
        );
        return;
    };
    let camera = Camera::start("--fps 25 --audio aac");
    let program = Program::start(&manifest::all_of("cam", &camera.url));
    if !program.get("/").text().contains("<script") {
        eprintln!("SKIPPED: the page in a browser, because this program was built without it (make web)");
        return;
    }
    program.await_object("streams/cam-live");
    wait("three live segments", || {
        hls::fetch(&program.url("/live/default/cam-live/index.m3u8"))
            .filter(|(_, playlist)| playlist.segments.len() >= 3)
    });
    let output = Command::new("node")
        .arg(root.join("tests/support/browser.mjs"))
        .arg(playwright)
        .args([&program.url(""), "default/cam"])
        .arg(chromium)
        .output()
        .expect("node");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counters: Vec<u64> = seen["counters"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    // Five seconds at 25 pictures a second; a busy machine shows fewer, but always later ones.
    assert!(counters.len() >= 25, "{seen}");
    assert!(counters.windows(2).all(|pair| pair[0] <= pair[1]), "{counters:?}");
    assert!(counters.last().unwrap() - counters[0] >= 75, "the picture moves: {counters:?}");
    assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
}
