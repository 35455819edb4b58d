//! Which driver reads a source: the native one, or FFmpeg. Pure. Must not know how a driver works, only what it can carry.

use url::Url;

use super::address::Address;
use super::native::session::Target;
use crate::plan::unit::{Engine, RtspTransport, Source};

/// The driver that reads a source.
#[derive(Debug)]
pub enum Driver {
    /// The native RTSP driver, which calls this.
    Native(Target),
    /// FFmpeg; with why, as part of a sentence, where the native one would have been asked first.
    FFmpeg(Option<String>),
}

/// Chooses. `beyond`: what the native driver found out that it cannot carry, if it did.
pub fn choose(source: &Source, address: Option<&Address>, beyond: Option<&str>) -> Driver {
    let (Source::Rtsp { transport, engine, .. }, Some(address)) = (source, address) else {
        return Driver::FFmpeg(None);
    };
    if *engine == Engine::FFmpeg {
        return Driver::FFmpeg(None);
    }
    let Ok(mut url) = Url::parse(&address.url) else { return Driver::FFmpeg(None) };
    let instead = if url.scheme() == "rtsps" {
        Some("its address is rtsps://".to_owned())
    } else if *engine == Engine::Native {
        None
    } else if *transport == RtspTransport::Udp {
        Some("over UDP packets may overtake one another".to_owned())
    } else {
        beyond.map(str::to_owned)
    };
    if instead.is_some() {
        return Driver::FFmpeg(instead);
    }
    let password = url.password().map(decoded);
    let credentials = (!url.username().is_empty() || password.is_some())
        .then(|| (decoded(url.username()), password.unwrap_or_default()));
    // Neither fails for a URL with a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Driver::Native(Target { url, credentials, transport: *transport })
}

/// Without percent-encoding.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = match (first, after) {
            (b'%', [high, low, ..]) => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::source::address::Resolved;
    use crate::plan::unit::{Location, SecretKey};

    fn chosen(source: &Source, resolved: &Resolved, beyond: Option<&str>) -> Driver {
        choose(source, Address::of(source, resolved).expect("acceptable").as_ref(), beyond)
    }

    fn rtsp(url: &str, transport: RtspTransport, engine: Engine) -> Source {
        Source::Rtsp { location: Location::Url(url.into()), transport, credentials: None, engine }
    }

    #[test]
    fn the_native_driver_is_asked_where_it_can_carry_it() {
        const URL: &str = "rtsp://192.0.2.10/live";
        let none = Resolved::default();
        for (url, transport, engine, beyond, native) in [
            (URL, RtspTransport::Tcp, Engine::Auto, None, true),
            (URL, RtspTransport::Tcp, Engine::Auto, Some("its sound is PCMU"), false),
            (URL, RtspTransport::Tcp, Engine::Native, Some("its sound is PCMU"), true),
            (URL, RtspTransport::Tcp, Engine::FFmpeg, None, false),
            (URL, RtspTransport::Udp, Engine::Auto, None, false),
            (URL, RtspTransport::Udp, Engine::Native, None, true),
            ("rtsps://192.0.2.10/live", RtspTransport::Tcp, Engine::Auto, None, false),
        ] {
            let driver = chosen(&rtsp(url, transport, engine), &none, beyond);
            assert_eq!(
                matches!(driver, Driver::Native(_)),
                native,
                "{url} {transport:?} {engine:?} {beyond:?}: {driver:?}"
            );
        }
        let source = Source::Rtmp { location: Location::Url("rtmp://192.0.2.10/live".into()) };
        assert!(matches!(chosen(&source, &none, None), Driver::FFmpeg(None)));
    }

    #[test]
    fn credentials_leave_the_address() {
        let source = rtsp("rtsp://192.0.2.10/live", RtspTransport::Tcp, Engine::Auto);
        let resolved = Resolved { credentials: Some(("ad:min".into(), "pa%s/w@rd".into())), ..Resolved::default() };
        let Driver::Native(target) = chosen(&source, &resolved, None) else { panic!("native") };
        assert_eq!(target.url.as_str(), "rtsp://192.0.2.10/live");
        assert_eq!(target.credentials, Some(("ad:min".into(), "pa%s/w@rd".into())));
        let key = SecretKey { namespace: "default".into(), name: "door".into(), key: "url".into() };
        let source = Source::Rtsp {
            location: Location::Secret(key),
            transport: RtspTransport::Tcp,
            credentials: None,
            engine: Engine::Auto,
        };
        let resolved = Resolved { url: Some("rtsp://admin:p%40ss@192.0.2.10/live?x=1".into()), ..Resolved::default() };
        let Driver::Native(target) = chosen(&source, &resolved, None) else { panic!("native") };
        assert_eq!(target.url.as_str(), "rtsp://192.0.2.10/live?x=1");
        assert_eq!(target.credentials, Some(("admin".into(), "p@ss".into())));
        assert!(!format!("{target:?}").contains("p@ss"));
    }
}
