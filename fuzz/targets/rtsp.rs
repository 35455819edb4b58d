//! Hostile bytes as what an RTSP server sends: a description, and then media, to the native driver and on to frames.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camera_operator::agent::source::assembly::{Assembly, Effects};
use camera_operator::agent::source::native::samples::Samples;
use camera_operator::agent::source::native::session::{self, Target};
use camera_operator::media::clock::Arrival;
use camera_operator::media::frame::{RunId, UtcMicros};
use camera_operator::plan::unit::RtspTransport;
use retina::codec::CodecItem;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Two bytes of length, so much of a description, and then interleaved packets as they are.
pub fn run(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (description, media) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { return };
        let Ok(address) = listener.local_addr() else { return };
        let Ok(url) = format!("rtsp://{address}/camera").parse() else { return };
        let target = Target { url, credentials: None, transport: RtspTransport::Tcp };
        let serve = async {
            if let Ok((connection, _)) = listener.accept().await {
                serve(connection, description, media).await;
            }
        };
        // A server that ends is the end of the session; a time-out is for a driver that hangs, and an error.
        let both = async { tokio::join!(serve, read(&target)) };
        assert!(tokio::time::timeout(Duration::from_secs(20), both).await.is_ok(), "it hangs");
    });
    runtime.shutdown_background();
}

/// Answers in order whatever it is asked; the media follows PLAY, and then the end.
async fn serve(connection: TcpStream, description: &[u8], media: &[u8]) -> Option<()> {
    let mut connection = BufReader::new(connection);
    let mut setups = 0;
    loop {
        let (mut method, mut sequence) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line if method.is_empty() => line.split(' ').next()?.clone_into(&mut method),
                line => {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("cseq:") {
                        value.trim().clone_into(&mut sequence);
                    }
                }
            }
        }
        let (headers, body) = match method.as_str() {
            "DESCRIBE" => ("Content-Type: application/sdp\r\n".to_owned(), description),
            "SETUP" => {
                setups += 2;
                let transport = format!("RTP/AVP/TCP;unicast;interleaved={}-{}", setups - 2, setups - 1);
                (format!("Session: 1\r\nTransport: {transport}\r\n"), &[][..])
            }
            _ => ("Session: 1\r\n".to_owned(), &[][..]),
        };
        let head = format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        connection.get_mut().write_all(head.as_bytes()).await.ok()?;
        connection.get_mut().write_all(body).await.ok()?;
        if method == "PLAY" {
            connection.get_mut().write_all(media).await.ok()?;
            return Some(());
        }
    }
}

async fn read(target: &Target) {
    static RUNS: AtomicU64 = AtomicU64::new(1);
    let name_run = || RunId(RUNS.fetch_add(1, Ordering::Relaxed));
    let Ok(mut playing) = session::open(target).await else { return };
    let mut assembly = Assembly::new(playing.audio.is_some(), false);
    let mut samples = Samples::new(playing.video, playing.audio, playing.raw, std::sync::Arc::default());
    let mut effects = Effects { list: Vec::new(), name_run: &name_run };
    let mut now = Arrival { wall: UtcMicros(1_800_000_000_000_000), monotonic: 0 };
    while let Some(Ok(item)) = playing.next().await {
        now = Arrival { wall: now.wall.plus_micros(40_000), monotonic: now.monotonic + 40_000 };
        let header = |stream| playing.sample_entry(stream);
        let _ = match item {
            CodecItem::VideoFrame(picture) => {
                samples.picture(picture, header, &mut assembly, now, &mut effects).map(|_| ())
            }
            CodecItem::AudioFrame(sound) => samples.sound(&sound, header, &mut assembly, now, &mut effects),
            CodecItem::Rtcp(packet) => {
                samples.report(&packet, now);
                Ok(())
            }
            _ => Ok(()),
        };
    }
    samples.finish(&mut assembly, now, &mut effects);
    assembly.finish(&mut effects);
    drop(playing);
}
