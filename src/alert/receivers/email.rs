//! An email over SMTP, as text and as HTML with the latest picture in it (`multipart/related`). Its Message-ID is the delivery's
//! key, so that a repetition is the same message to whoever keeps mail.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor};

use super::{Access, PASSWORD_KEY, PATIENCE, Receive, SendError, USERNAME_KEY, detail};
use crate::alert::message::Message;
use crate::api::alert_receiver::{Email, SmtpTls};

/// Where the picture is called for within the message.
const PICTURE: &str = "picture@camera-operator";

/// `Auto-Submitted` (RFC 3834): no answer is wanted, not even that somebody is away.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn mailbox(text: &str) -> Result<Mailbox, SendError> {
    text.parse()
        .map_err(|_| SendError::Invalid(format!("{text} is no mail address: write one such as ops@example.com")))
}

/// The mail.
fn mail(email: &Email, message: &Message) -> Result<Mail, SendError> {
    let mut builder = Mail::builder()
        .from(mailbox(&email.from)?)
        .subject(&message.subject)
        .header(AutoSubmitted)
        .message_id(Some(format!("<{}@camera-operator.dev>", message.delivery.key)));
    for to in &email.to {
        builder = builder.to(mailbox(to)?);
    }
    let html = html(message);
    let rich = match &message.picture {
        None => MultiPart::alternative_plain_html(message.body.clone(), html),
        Some(picture) => {
            let image = Attachment::new_inline_with_name(PICTURE.to_owned(), "camera.jpg".to_owned());
            let jpeg = ContentType::parse("image/jpeg").map_err(|error| SendError::Invalid(error.to_string()))?;
            let related = MultiPart::related()
                .singlepart(SinglePart::html(html))
                .singlepart(image.body(picture.jpeg.to_vec(), jpeg));
            MultiPart::alternative().singlepart(SinglePart::plain(message.body.clone())).multipart(related)
        }
    };
    builder.multipart(rich).map_err(|error| SendError::Invalid(format!("no mail can be made of it: {error}")))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn html(message: &Message) -> String {
    let lines = message.body.lines().map(|line| {
        let text = escaped(line);
        // Our own links stand on lines of their own.
        let is_link =
            (line.starts_with("https://") || line.starts_with("http://")) && !line.contains(char::is_whitespace);
        if is_link { format!("<a href=\"{text}\">{text}</a>") } else { text }
    });
    let text = lines.collect::<Vec<_>>().join("<br>\r\n");
    let picture = message.picture.as_ref().map(|_| {
        format!("<p><img src=\"cid:{PICTURE}\" alt=\"latest picture\" style=\"max-width:100%;height:auto\"></p>\r\n")
    });
    format!(
        "<!DOCTYPE html>\r\n<html><body style=\"font-family:sans-serif\">\r\n<p>{text}</p>\r\n{}</body></html>\r\n",
        picture.unwrap_or_default()
    )
}

/// What an SMTP error means. What the server said holds no password: it is not told back, and cut out if it is.
fn send_error(error: &SmtpError, password: &str) -> SendError {
    if let Some(code) = error.status() {
        let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        return SendError::Refused { status: u16::from(code), detail: detail(&said, password), retry_after: None };
    }
    // What is beneath lettre's error is an error of the connection, or of TLS within it.
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let (mut is_refused, mut is_tls) = (false, error.is_tls());
    for cause in causes {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        is_refused |= kind == Some(std::io::ErrorKind::ConnectionRefused);
        is_tls |= cause.to_string().contains("certificate");
    }
    if error.is_timeout() {
        return SendError::Uncertain("it did not answer in time");
    }
    if is_refused {
        return SendError::Unreachable(
            "it cannot be connected to: look whether host and port are right and it is running",
        );
    }
    if is_tls {
        return SendError::Unreachable(
            "no secure connection can be made: look whether its certificate is valid for this name, and whether tls is right",
        );
    }
    if error.is_client() {
        return SendError::Unreachable(
            "it offers no way to log in or no STARTTLS: look whether tls and port are right",
        );
    }
    // lettre connects only to send, and does not say which of the two failed.
    SendError::Uncertain("it cannot be connected to, or the connection broke: look whether host and port are right")
}

impl Receive for Email {
    fn type_(&self) -> &'static str {
        "email"
    }

    fn secrets(&self) -> Vec<(String, String)> {
        let reference = self.smtp.credentials_secret_ref.iter();
        reference
            .flat_map(|reference| [USERNAME_KEY, PASSWORD_KEY].map(|key| (reference.name.clone(), key.to_owned())))
            .collect()
    }

    fn send<'a>(&'a self, message: &'a Message, access: Access<'a>) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let mail = mail(self, message)?;
            let smtp = &self.smtp;
            let parameters = || {
                TlsParameters::new(smtp.host.clone()).map_err(|_| {
                    SendError::Invalid(format!("{} is no name that a certificate can be checked against", smtp.host))
                })
            };
            let (tls, port) = match smtp.tls.unwrap_or(SmtpTls::StartTls) {
                SmtpTls::StartTls => (Tls::Required(parameters()?), 587),
                SmtpTls::Tls => (Tls::Wrapper(parameters()?), 465),
                SmtpTls::None => (Tls::None, 25),
            };
            let port = smtp.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(port);
            // Not dangerous here: the way is secured as the spec says, which asks for TLS by default.
            let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
                .port(port)
                .tls(tls)
                .timeout(Some(PATIENCE));
            let mut password = String::new();
            if let Some(reference) = &smtp.credentials_secret_ref {
                let user = access.key(&reference.name, USERNAME_KEY).await?;
                password = access.key(&reference.name, PASSWORD_KEY).await?;
                transport = transport.credentials(Credentials::new(user, password.clone()));
            }
            let sent = transport.build().send(mail).await;
            sent.map(|_| ()).map_err(|error| send_error(&error, &password))
        }
        .boxed()
    }
}
