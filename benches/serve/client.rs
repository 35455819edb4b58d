//! A load generator: many connections that ask for the same paths one after the other, as fast as they are answered. It reads
//! what HTTP/1.1 asks of a client (RFC 9112 §6.2) and no more, so that the servers are what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Whole answers.
    pub requests: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Asks a server on this machine for `paths` in turn, over so many connections, for so long. Every answer must be 200.
pub async fn ask(port: u16, paths: Vec<String>, connections: usize, span: Duration) -> Answered {
    let paths: Arc<[String]> = paths.into();
    let requests = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let (paths, requests, over) = (paths.clone(), requests.clone(), over.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = vec![0; 256 << 10];
                for turn in number.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let path = &paths[turn % paths.len()];
                    one(&mut stream, path, &mut buffer).await;
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(span).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    Answered { requests: requests.load(Ordering::Relaxed), elapsed: begun.elapsed() }
}

/// One request, and its whole answer.
async fn one(stream: &mut TcpStream, path: &str, buffer: &mut [u8]) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut filled = 0;
    let (head, length) = loop {
        let count = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(count > 0, "{path}: the connection ended");
        filled += count;
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().unwrap())
            });
            break (end + 4, length.unwrap_or_else(|| panic!("{path}: no length: {head}")));
        }
    };
    let mut left = length - (filled - head) as u64;
    while left > 0 {
        let count = stream.read(buffer).await.unwrap();
        assert!(count > 0, "{path}: the connection ended in the middle");
        left -= count as u64;
    }
}
