//! Peers of the inputs that are not RTSP: processes that pass on what a [`super::camera::Camera`] sends, so that the counters in
//! its pictures can be followed through them. Each can be killed and comes back on the same port.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{free_port, wait};

/// A process and all that it starts, ended as a power cut would when dropped.
pub struct Group(Child);

impl Group {
    /// The process that was started first.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal to all of it.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = killpg(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal);
    }

    pub(super) fn spawn(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        Self(command.process_group(0).spawn().unwrap_or_else(|error| panic!("{shown}: {error}")))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Starts a script of this folder and waits for the line by which it says that it is there.
pub(super) fn script(name: &str, arguments: &[String], first_line: Option<&str>, stdin: Stdio) -> Group {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)).args(arguments);
    let mut group = Group::spawn(command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()));
    if let Some(line) = first_line {
        writeln!(group.0.stdin.take().unwrap(), "{line}").unwrap();
    }
    let mut line = String::new();
    BufReader::new(group.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{name} {arguments:?} did not start: {line:?}");
    group
}

/// A peer that can be killed and brought back.
pub struct Peer {
    running: Option<Vec<Group>>,
    run: Box<dyn Fn() -> Vec<Group>>,
    /// Where it listens.
    pub port: u16,
}

impl Peer {
    fn start(port: u16, run: impl Fn() -> Vec<Group> + 'static) -> Self {
        Self { running: Some(run()), run: Box::new(run), port }
    }

    /// Kills it with all its processes.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Back after [`Self::kill`].
    pub fn restart(&mut self) {
        self.kill();
        self.running = Some((self.run)());
    }

    /// Kills the part that sends; what others connect to stays.
    pub fn kill_sender(&mut self) {
        self.running.as_mut().expect("the peer runs").truncate(1);
    }
}

/// `web_camera.py` before an RTSP camera, and files of a folder; with `login` (`basic` or `digest`, user, password) it asks for that.
pub fn web_camera(source: &str, folder: &Path, login: Option<(&str, &str, &str)>) -> Peer {
    let port = free_port();
    let mut arguments = vec!["--port".to_owned(), port.to_string(), "--source".into(), source.to_owned()];
    arguments.extend(["--folder".into(), folder.to_str().unwrap().to_owned()]);
    if let Some((kind, user, _)) = login {
        arguments.extend(["--auth".into(), kind.into(), "--user".into(), user.into()]);
    }
    let password = login.map(|(_, _, password)| password.to_owned());
    Peer::start(port, move || vec![script("web_camera.py", &arguments, password.as_deref(), Stdio::piped())])
}

/// FFmpeg that reads an RTSP camera and sends it on by copy; begun again when it ends, as such services are.
fn relay(source: &str, output: &[&str]) -> Group {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do \"$@\"; sleep 0.2; done", "relay", "ffmpeg", "-nostdin", "-v", "error", "-y"]);
    command.args(["-rtsp_transport", "tcp", "-i", source, "-c", "copy"]).args(output);
    Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Starts an nginx of our own with this configuration.
pub fn nginx(folder: &Path, address: (&str, u16), configuration: &str) -> Group {
    let path = folder.join("nginx.conf");
    let text = format!("daemon off;\npid {0}/nginx.pid;\nerror_log {0}/error.log;\n{configuration}", folder.display());
    // A root's nginx would give its workers another user, who may not read a test's folder.
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let user = if is_root { "user root;\n" } else { "" };
    fs::write(&path, format!("{user}{text}")).unwrap();
    // It says that it has all its ports.
    let ready = folder.join("nginx.pid");
    let _ = fs::remove_file(&ready);
    let mut command = Command::new("nginx");
    command.arg("-c").arg(path).arg("-p").arg(folder).arg("-e").arg(folder.join("error.log"));
    let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    wait("nginx", || {
        let log = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        assert!(group.0.try_wait().unwrap().is_none(), "nginx has ended: {}", log());
        ready.exists().then_some(()).and(std::net::TcpStream::connect(address).ok())
    });
    group
}

/// nginx with its RTMP module, and an FFmpeg that publishes into it as `live/<key>`.
pub fn rtmp_server(source: &str, folder: &Path, key: &str) -> Peer {
    let port = free_port();
    let configuration = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\nevents {{}}\n\
         rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}\n"
    );
    let (source, folder, target) =
        (source.to_owned(), folder.to_owned(), format!("rtmp://127.0.0.1:{port}/live/{key}"));
    Peer::start(port, move || {
        vec![nginx(&folder, ("127.0.0.1", port), &configuration), relay(&source, &["-f", "flv", &target])]
    })
}

/// nginx that serves `<folder>/hls`.
fn web_server(folder: &Path, port: u16) -> Group {
    let configuration = format!(
        "events {{}}\nhttp {{ client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi; \
         uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi; access_log off;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ root {0}/hls; }} }} }}\n",
        folder.display()
    );
    nginx(folder, ("127.0.0.1", port), &configuration)
}

/// Makes a folder anew and has an FFmpeg write a playlist `live.m3u8` there, with segments of a second.
fn segmenter(source: &str, folder: &Path, options: &[&str]) -> Group {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    let playlist = folder.join("live.m3u8");
    relay(source, &[&["-f", "hls", "-hls_time", "1"], options, &[playlist.to_str().unwrap()]].concat())
}

/// [`web_server`], and a [`segmenter`] that writes a live playlist there.
pub fn hls_server(source: &str, folder: &Path) -> Peer {
    let port = free_port();
    let (source, folder) = (source.to_owned(), folder.to_owned());
    Peer::start(port, move || {
        let options = ["-hls_list_size", "6", "-hls_flags", "delete_segments"];
        let sender = segmenter(&source, &folder.join("hls"), &options);
        vec![web_server(&folder, port), sender]
    })
}

/// [`web_server`], and a [`segmenter`] whose segments are served when they are published.
pub fn hls_archive(source: &str, folder: &Path) -> Peer {
    let port = free_port();
    let (source, folder) = (source.to_owned(), folder.to_owned());
    Peer::start(port, move || {
        let sender = segmenter(&source, &folder.join("made"), &["-hls_list_size", "0"]);
        vec![web_server(&folder, port), sender]
    })
}

/// Waits for so many segments of an [`hls_archive`], and serves them: a live playlist of the newest six.
pub fn publish(folder: &Path, count: usize) {
    let (made, served) = (folder.join("made"), folder.join("hls"));
    let segments = wait("segments", || {
        let playlist = fs::read_to_string(made.join("live.m3u8")).ok()?;
        let lines: Vec<String> = playlist
            .lines()
            .filter(|line| line.starts_with("#EXTINF:") || !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        (lines.len() >= 2 * count).then_some(lines)
    });
    fs::create_dir_all(&served).unwrap();
    let first = count.saturating_sub(6);
    let mut playlist = format!("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
    for segment in segments[..2 * count].chunks(2).skip(first) {
        fs::copy(made.join(&segment[1]), served.join(&segment[1])).unwrap();
        playlist += &format!("{}\n{}\n", segment[0], segment[1]);
    }
    // Whoever reads it has the old or the new one, never a part.
    fs::write(served.join("next"), playlist).unwrap();
    fs::rename(served.join("next"), served.join("live.m3u8")).unwrap();
}

/// FFmpeg that waits for an SRT caller who knows the passphrase.
pub fn srt_server(source: &str, passphrase: &str) -> Peer {
    let port = free_port();
    let target = format!("srt://127.0.0.1:{port}?mode=listener&passphrase={passphrase}");
    let source = source.to_owned();
    Peer::start(port, move || vec![relay(&source, &["-f", "mpegts", &target])])
}

/// An SRT listener that has one stream, by its identifier.
pub fn srt_stream(source: &str, stream_id: &str) -> Peer {
    let port = free_port();
    let arguments = ["--port".to_owned(), port.to_string(), "--stream-id".into(), stream_id.to_owned()];
    let source = source.to_owned();
    Peer::start(port, move || {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", &source]);
        command.args(["-c", "copy", "-f", "mpegts", "pipe:1"]);
        let mut sender = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let media = sender.0.stdout.take().unwrap();
        vec![script("srt_listener.py", &arguments, None, media.into()), sender]
    })
}

/// A folder of files that nobody may read, beneath another, with a film that would play.
pub fn private_film(folder: &Path) -> PathBuf {
    let private = folder.join("private");
    fs::create_dir_all(&private).unwrap();
    let film = private.join("film.ts");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10", "-t", "20"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-f", "mpegts"])
        .arg(&film)
        .status()
        .unwrap();
    assert!(made.success());
    film
}
