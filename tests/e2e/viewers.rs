//! Many who look, and one who stops reading: still one connection at the camera, and the recording is complete.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::support::camera::Camera;
use crate::support::program::Program;
use crate::support::{judge, manifest, wait};

/// Opens a path and reads a little, then nothing more.
fn stuck(program: &Program, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(("127.0.0.1", program.port)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut some = [0; 64];
    connection.read_exact(&mut some).unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&some));
    connection
}

#[test]
fn eight_viewers_and_stuck_ones_cost_one_connection_and_no_picture() {
    let mut camera = Camera::start("--fps 25 --bit-rate 1000 --audio aac");
    let mut program = Program::start(&manifest::patient(
        &(manifest::all_of("cam", &camera.url) + &manifest::mjpeg("pictures", "cam")),
    ));
    for path in ["recordings/cam-rec", "streams/cam-live", "streams/pictures"] {
        program.await_object(path);
    }
    let stuck = [
        stuck(&program, "/live/default/pictures/stream.mjpeg"),
        stuck(&program, "/live/default/pictures/stream.mjpeg"),
    ];
    let url = program.url("/live/default/cam-live/index.m3u8");
    let viewers: Vec<_> = (0..8)
        .map(|_| {
            Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-xerror", "-i", &url, "-t", "8", "-c", "copy", "-f", "null", "-"])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for viewer in viewers {
        let output = viewer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let now = camera.stats().frames;
    wait("pictures beside the stuck viewers", || (camera.stats().frames >= now + 100).then_some(()));
    let stats = camera.stats();
    assert_eq!((stats.connections, stats.total_connections, stats.plays), (1, 1, 1));
    assert!(program.terminate().success(), "{}", program.log());
    drop(stuck);
    let files = program.media_files("cam-rec");
    for file in &files {
        judge::assert_decodes(file);
    }
    let stats = camera.stats();
    let counters = judge::counters_of(&files);
    judge::assert_whole(&counters, &stats.skips);
    assert_eq!(Some(counters[0]), stats.first_counter);
}
