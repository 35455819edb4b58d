//! A session that this program carries itself, over RTMP or RTMPS: no process beside it, what the target says in its own words, and
//! what it has taken as its kernel counts it. Must not know what is sent and when.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::acknowledged::{acknowledged_on, inode};
use super::classify::BUSY;
use super::place::Address;
use super::progress::LIMIT;
use super::sender::{FAREWELL, Over, SEND_BUFFER, Sender};
use crate::agent::rtmp::client::{Client, Problem, Stage};
use crate::agent::rtmp::flv;
use crate::agent::source::byte_queue::ByteQueue;
use crate::agent::source::guard::Guard;
use crate::agent::source::redact::Redactor;
use crate::media::frame::{Configuration, Frame, TrackKind};
use crate::plan::report::Reason;

/// What is read at once: answers are short.
const READ: usize = 4096;
/// Pieces that are handed over at once; the kernel takes no more than 1024.
const PIECES: usize = 64;
/// What may wait while answers are read: a target that talks and does not listen fills no memory.
const MOST_WAITING: usize = 4096;
/// How long one address of a host may take to be connected to, before the next is tried.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(3);
/// A line that nothing goes over is found out to be dead: after so long, by so many questions so far apart.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// Characters of what a target says that are passed on.
const LONGEST_SAID: usize = 300;

/// Why there is no session: its reason, and one redacted sentence.
type Refusal = (Reason, String);

trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Connection for T {}

/// A connection on which a stream is published.
pub struct RtmpSender {
    client: Client,
    reader: ReadHalf<Box<dyn Connection>>,
    writer: WriteHalf<Box<dyn Connection>>,
    queue: ByteQueue,
    /// Something was handed over and may not have left yet.
    is_buffered: bool,
    /// Bytes that were given and acknowledged before the first frame.
    before: (u64, u64),
    has_taken: bool,
    received: BytesMut,
    /// The socket, as the kernel numbers it, and whether it is one of IPv6; `None` where that cannot be told.
    socket: Option<(u32, bool)>,
    timescales: (u32, u32),
    redactor: Redactor,
    /// Why it is over.
    problem: Option<Refusal>,
}

impl RtmpSender {
    /// Connects and asks until the target takes a stream with these tracks. Once connected, waits for [`LIMIT`] at most.
    ///
    /// # Errors
    /// When there is no session.
    pub async fn open(address: &Address, configuration: &Configuration, guard: &Guard) -> Result<Self, Refusal> {
        let stream = connect(address, guard).await.map_err(|why| unreachable(format!("no connection: {why}")))?;
        let asking = Self::ask(stream, address, configuration);
        let nobody = || format!("no session: {} has not answered for {LIMIT:?}", address.named());
        timeout(LIMIT, asking).await.unwrap_or_else(|_| Err(unreachable(nobody())))
    }

    async fn ask(stream: TcpStream, address: &Address, configuration: &Configuration) -> Result<Self, Refusal> {
        let socket = inode(stream.as_fd()).and_then(|inode| Ok((inode, stream.local_addr()?.is_ipv6()))).ok();
        let connection: Box<dyn Connection> = if address.is_secure {
            Box::new(secure(stream, &address.host).await.map_err(unreachable)?)
        } else {
            Box::new(stream)
        };
        let (reader, writer) = tokio::io::split(connection);
        let random = std::array::from_fn(|_| rand::random());
        let mut sender = Self {
            client: Client::new(address.place.clone(), &random),
            reader,
            writer,
            queue: ByteQueue::default(),
            is_buffered: false,
            before: (0, 0),
            has_taken: false,
            received: BytesMut::with_capacity(READ),
            socket,
            timescales: (
                configuration.video.timescale,
                configuration.audio.as_ref().map_or(1, |audio| audio.timescale),
            ),
            redactor: Redactor::new(address.secrets.iter().cloned()),
            problem: None,
        };
        while sender.client.stage() != Stage::Publishing {
            sender.queue();
            if sender.go_on().await == Err(Over) {
                return Err(sender.over());
            }
        }
        sender.before = (sender.given(), sender.acknowledged().await.unwrap_or_default());
        sender.client.send(flv::headers(&configuration.video, configuration.audio.as_deref()));
        sender.queue();
        Ok(sender)
    }

    /// Puts what the client wants to send behind what waits.
    fn queue(&mut self) {
        self.queue.extend(self.client.take_output());
    }

    fn over(&mut self) -> Refusal {
        self.problem.take().unwrap_or_else(|| (Reason::PushEnded, "the session is over".into()))
    }

    /// Notes why it is over.
    fn note(&mut self, read: Result<(), Problem>) -> Result<(), Over> {
        let Err(problem) = read else { return Ok(()) };
        self.problem = Some(judge(self.client.stage(), self.has_taken, &problem, &self.redactor));
        Err(Over)
    }

    /// Notes that the connection is gone.
    fn gone(&mut self, error: Option<&io::Error>) -> Over {
        let how = error.map_or_else(|| "it closed the connection".to_owned(), ToString::to_string);
        self.problem = Some(match self.client.stage() {
            Stage::Handshake => unreachable(format!("no connection: no RTMP server answers there ({how})")),
            Stage::Publishing if self.has_taken => (Reason::PushEnded, format!("the target ended the session: {how}")),
            // Servers that do not know a key just hang up after the handshake, as others that are told to refuse do; some say yes
            // and ask then.
            Stage::Connecting | Stage::Preparing | Stage::Publishing => (
                Reason::PushRefused,
                format!("the target answers and refuses the stream; is the stream key right? ({how})"),
            ),
        });
        Over
    }

    /// Hands over what waits, and sees that it leaves.
    async fn hand_over(
        writer: &mut WriteHalf<Box<dyn Connection>>,
        queue: &ByteQueue,
        is_buffered: bool,
    ) -> io::Result<usize> {
        if queue.is_empty() {
            if is_buffered {
                return writer.flush().await.map(|()| 0);
            }
            return std::future::pending().await;
        }
        let pieces: Vec<IoSlice<'_>> = queue.pieces().take(PIECES).map(|piece| IoSlice::new(piece)).collect();
        match writer.write_vectored(&pieces).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            bytes => Ok(bytes),
        }
    }

    /// Takes so many bytes off what waits.
    fn advance(&mut self, bytes: usize) {
        self.queue.advance(bytes);
        self.is_buffered = bytes > 0;
    }
}

impl Sender for RtmpSender {
    fn is_accepted(&self) -> bool {
        self.has_taken
    }

    fn is_fed(&self) -> bool {
        self.queue.is_empty() && !self.is_buffered
    }

    fn given(&self) -> u64 {
        self.queue.given()
    }

    fn write(&mut self, frames: Vec<Frame>) {
        let (video, audio) = self.timescales;
        let timescale = |frame: &Frame| if frame.track == TrackKind::Video { video } else { audio };
        self.client.send(frames.iter().map(|frame| flv::frame(frame, timescale(frame))));
        self.queue();
    }

    async fn go_on(&mut self) -> Result<(), Over> {
        tokio::select! {
            biased;
            read = self.reader.read_buf(&mut self.received), if self.queue.pieces().len() < MOST_WAITING => match read {
                Ok(1..) => {
                    let received = self.received.split();
                    self.received.reserve(READ);
                    let read = self.client.receive(&received);
                    self.queue();
                    self.note(read)
                }
                Ok(0) => Err(self.gone(None)),
                Err(error) => Err(self.gone(Some(&error))),
            },
            handed_over = Self::hand_over(&mut self.writer, &self.queue, self.is_buffered) => match handed_over {
                Ok(bytes) => {
                    self.advance(bytes);
                    Ok(())
                }
                Err(error) => Err(self.gone(Some(&error))),
            },
        }
    }

    async fn acknowledged(&mut self) -> Option<u64> {
        let told = match self.socket {
            Some((inode, is_ipv6)) => {
                let asked = tokio::task::spawn_blocking(move || acknowledged_on(inode, is_ipv6)).await;
                asked.ok().and_then(Result::ok)
            }
            None => None,
        };
        // What it takes before the first frame says nothing of whether it takes frames.
        let (given, acknowledged) = self.before;
        self.has_taken |= given > 0 && told.map_or(self.given() > given, |told| told > acknowledged);
        told
    }

    async fn end(mut self, leave: bool) -> Refusal {
        if leave && self.problem.is_none() {
            self.client.finish();
            self.queue();
            let leaving = async {
                while !self.is_fed() && self.go_on().await.is_ok() {}
                let _ = self.writer.shutdown().await;
            };
            let _ = timeout(FAREWELL, leaving).await;
        }
        self.over()
    }
}

const fn unreachable(why: String) -> Refusal {
    (Reason::TargetUnreachable, why)
}

/// What a problem means at that stage; the target's own words without secrets.
fn judge(stage: Stage, has_taken: bool, problem: &Problem, redactor: &Redactor) -> Refusal {
    match problem {
        Problem::Malformed(what) if stage == Stage::Handshake => unreachable(format!("no connection: {what}")),
        Problem::Malformed(what) => (Reason::PushEnded, format!("the target cannot be understood: {what}")),
        Problem::Refused { code, description } => {
            let said = [code.as_str(), description.as_str()].into_iter().filter(|part| !part.is_empty());
            let said = said.collect::<Vec<_>>().join(", ").replace(char::is_control, " ");
            // Cut last: half a key would not be known for one.
            let said: String = redactor.redact(&said).chars().take(LONGEST_SAID).collect();
            let said = if said.is_empty() { "it gives no reason".to_owned() } else { said };
            if BUSY.iter().any(|word| said.contains(word)) {
                let message = format!("the target has another session under this name or key: {said}");
                (Reason::TargetBusy, message)
            } else if has_taken {
                (Reason::PushEnded, format!("the target ended the session: {said}"))
            } else {
                (Reason::PushRefused, format!("the target refuses the push: {said}"))
            }
        }
    }
}

/// Connects to the first address of the host that answers and may be connected to.
async fn connect(address: &Address, guard: &Guard) -> Result<TcpStream, String> {
    let (host, port) = (address.host.as_str(), address.port);
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|error| format!("the name {host} cannot be looked up: {error}"))?;
    let mut why = format!("{host} has no address that may be connected to");
    for target in found.filter(|target| guard.allows(target.ip())) {
        match timeout(ADDRESS_PATIENCE, connect_to(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = format!("{target}: {error}"),
            Err(_) => why = format!("{target} does not answer"),
        }
    }
    Err(why)
}

async fn connect_to(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(SEND_BUFFER)?;
    let stream = socket.connect(target).await?;
    // What is handed over is whole pictures already.
    stream.set_nodelay(true)?;
    let (idle, interval, count) = KEEP_ALIVE;
    set_socket_keepalive(&stream, true)?;
    set_tcp_keepidle(&stream, idle)?;
    set_tcp_keepintvl(&stream, interval)?;
    set_tcp_keepcnt(&stream, count)?;
    Ok(stream)
}

/// The certificates that are trusted: those of the system, or of `SSL_CERT_FILE`. Read anew each time, as they are renewed; blocks.
fn trusted() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates that are trusted cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Begins TLS. The certificate must be trusted, for this name.
async fn secure(stream: TcpStream, host: &str) -> Result<impl Connection + 'static, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} cannot stand in a certificate"))?;
    let trusted = tokio::task::spawn_blocking(trusted).await.map_err(|error| error.to_string())?;
    TlsConnector::from(trusted).connect(name, stream).await.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(what)) => {
                let what = format!("{what:?}");
                let advice = if what.contains("CaUsedAsEndEntity") {
                    "; it is the certificate of an authority (CA:TRUE), which is for signing others: make one for the server, with \
                     its name as subjectAltName"
                } else {
                    ""
                };
                format!("the target's certificate is not trusted for its name ({what}){advice}")
            }
            _ => format!("no connection: no TLS ({error})"),
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::agent::output::push::arguments::Resolved;
    use crate::agent::output::push::arguments::tests::push;
    use crate::media::fixture::{H264, coded};

    /// What a server says behind the handshake that lets everybody publish.
    const YES: &[u8] = include_bytes!("../../../../fuzz/corpus/rtmp/published");

    /// A server that says yes to a stream and then does as it is told with the connection.
    async fn opened<F: Future<Output = ()> + Send + 'static>(
        and_then: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> (RtmpSender, Vec<Frame>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("rtmp://{}/live/door", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 1537]).await.unwrap();
            stream.write_all(&[&[3][..], &[7; 3072], YES].concat()).await.unwrap();
            and_then(stream).await;
        });
        let coded = coded(&H264, 25, 1, false);
        let address = Address::of(&push(&url), &Resolved::default()).unwrap();
        let sender = RtmpSender::open(&address, &coded.configuration, &Guard::default()).await;
        (sender.map_err(|(_, message)| message).unwrap(), coded.frames)
    }

    #[tokio::test]
    async fn a_target_that_says_yes_and_hangs_up_has_refused() {
        let (mut sender, frames) = opened(|stream| async move { drop(stream) }).await;
        sender.write(frames);
        assert!(!sender.is_accepted());
        while sender.go_on().await.is_ok() {}
        let (reason, message) = sender.end(false).await;
        assert_eq!(reason, Reason::PushRefused, "{message}");
    }

    #[tokio::test]
    async fn a_target_that_takes_frames_and_hangs_up_has_ended_it() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (mut sender, frames) = opened(|mut stream| async move {
            let mut taken = 0;
            while taken < 20_000 {
                taken += stream.read(&mut [0; 4096]).await.unwrap();
            }
            told.await.unwrap();
        })
        .await;
        for _ in 0..20 {
            sender.write(frames.clone());
        }
        while !sender.is_accepted() {
            // When all is handed over there is nothing more to do than to look.
            let _ = timeout(Duration::from_millis(50), sender.go_on()).await;
            sender.acknowledged().await.unwrap();
        }
        tell.send(()).unwrap();
        while sender.go_on().await.is_ok() {}
        let (reason, message) = sender.end(false).await;
        assert_eq!(reason, Reason::PushEnded, "{message}");
    }

    #[tokio::test]
    async fn a_target_that_talks_and_does_not_listen_is_not_listened_to_for_ever() {
        let (mut sender, frames) = opened(|mut stream| async move {
            let ping = [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4];
            while stream.write_all(&ping.repeat(100)).await.is_ok() {}
        })
        .await;
        // More than the kernel takes.
        for _ in 0..400 {
            sender.write(frames.clone());
        }
        let most = sender.queue.pieces().len() + MOST_WAITING;
        // Until it waits for the target.
        for _ in 0..100_000 {
            let Ok(went_on) = timeout(Duration::from_millis(200), sender.go_on()).await else { break };
            went_on.unwrap();
            assert!(sender.queue.pieces().len() <= most, "{}", sender.queue.pieces().len());
        }
    }

    #[test]
    fn what_servers_say_becomes_a_reason() {
        let refused =
            |code: &str, description: &str| Problem::Refused { code: code.into(), description: description.into() };
        for (stage, problem, expected) in [
            (Stage::Preparing, refused("NetStream.Publish.BadName", "Already publishing"), Reason::TargetBusy),
            (Stage::Preparing, refused("", "Already publishing"), Reason::TargetBusy),
            (Stage::Connecting, refused("NetConnection.Connect.Rejected", ""), Reason::PushRefused),
            (Stage::Preparing, refused("NetStream.Publish.Denied", "Stream not authorized"), Reason::PushRefused),
            (Stage::Publishing, refused("NetStream.Publish.Denied", "no such key"), Reason::PushRefused),
            (Stage::Handshake, Problem::Malformed("it does not answer in RTMP"), Reason::TargetUnreachable),
            (Stage::Publishing, Problem::Malformed("it sends a command that is none"), Reason::PushEnded),
            (Stage::Connecting, refused("", ""), Reason::PushRefused),
        ] {
            let (reason, message) = judge(stage, false, &problem, &Redactor::default());
            assert_eq!(reason, expected, "{message}");
        }
        let (reason, _) =
            judge(Stage::Publishing, true, &refused("NetStream.Publish.Failed", "disk full"), &Redactor::default());
        assert_eq!(reason, Reason::PushEnded);
        let long = refused("a\nb\u{1b}[2J", &"x".repeat(100_000));
        let (_, message) = judge(Stage::Preparing, false, &long, &Redactor::default());
        assert!(message.len() < 400 && !message.contains(char::is_control), "{message}");
        // Wherever a key stands, no part of it is left.
        let redactor = Redactor::new(["mango-4711-quince".to_owned()]);
        for before in LONGEST_SAID - 30..LONGEST_SAID {
            let echoed = refused("", &format!("{}mango-4711-quince", "x".repeat(before)));
            let (_, message) = judge(Stage::Preparing, false, &echoed, &redactor);
            assert!(!message.contains("man"), "{message}");
        }
    }
}
