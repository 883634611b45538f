//! From a request to a connection with several streams: which protocol the client offers, and which answer begins it.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Body, text};

const STREAM_VERSION: &str = "x-stream-protocol-version";
const ACCEPTED_VERSIONS: &str = "x-accepted-stream-protocol-versions";

/// How the upgraded connection carries bytes or messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Spdy,
    WebSocket,
}

/// What was agreed on: the name of the protocol, among those that were offered and are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) carrier: Carrier,
    pub(super) protocol: &'static str,
}

/// Chooses among what the client offers. `spdy` and `web_socket` are the protocols spoken here, the best first.
///
/// The error is the answer to the client.
#[expect(clippy::result_large_err, reason = "it is answered with at once")]
pub(super) fn agree(
    headers: &HeaderMap,
    spdy: &'static [&'static str],
    web_socket: &'static [&'static str],
) -> Result<Agreed, Response<Body>> {
    let words = |name: header::HeaderName| {
        let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    };
    let asks = |wanted: &str| words(header::UPGRADE).iter().any(|word| word.eq_ignore_ascii_case(wanted));
    let refused = |message: &str| text(StatusCode::BAD_REQUEST, message);
    if !words(header::CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Err(refused("unable to upgrade: missing upgrade headers in request"));
    }
    if asks("websocket") {
        let offered = words(header::SEC_WEBSOCKET_PROTOCOL);
        let chosen = offered.iter().find_map(|offer| web_socket.iter().find(|known| *known == offer));
        let is_whole = headers.contains_key(header::SEC_WEBSOCKET_KEY);
        return match chosen {
            Some(protocol) if is_whole => Ok(Agreed { carrier: Carrier::WebSocket, protocol }),
            Some(_) => Err(refused("unable to upgrade: missing Sec-WebSocket-Key")),
            None => {
                Err(text(StatusCode::FORBIDDEN, "unable to upgrade: no supported WebSocket subprotocol is offered"))
            }
        };
    }
    if !asks("spdy/3.1") {
        return Err(refused("unable to upgrade: only SPDY/3.1 and websocket are spoken here"));
    }
    let offered = words(header::HeaderName::from_static(STREAM_VERSION));
    let offered = if offered.is_empty() { vec!["channel.k8s.io".to_owned()] } else { offered };
    match offered.iter().find_map(|offer| spdy.iter().find(|known| *known == offer)) {
        Some(protocol) => Ok(Agreed { carrier: Carrier::Spdy, protocol }),
        None => {
            let mut answer = text(StatusCode::FORBIDDEN, "unable to upgrade: no supported stream protocol is offered");
            for known in spdy {
                answer.headers_mut().append(ACCEPTED_VERSIONS, HeaderValue::from_static(known));
            }
            Err(answer)
        }
    }
}

impl Agreed {
    /// Status 101, after which the connection speaks what was agreed on.
    pub(super) fn answer(self, headers: &HeaderMap) -> Response<Body> {
        let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let to = answer.headers_mut();
        to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        match self.carrier {
            Carrier::Spdy => {
                to.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                to.insert(STREAM_VERSION, HeaderValue::from_static(self.protocol));
            }
            Carrier::WebSocket => {
                to.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                to.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol));
                let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
                let accept = key.and_then(|key| HeaderValue::from_str(&key).ok());
                accept.map(|accept| to.insert(header::SEC_WEBSOCKET_ACCEPT, accept));
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offer_that_is_known_is_agreed_on() {
        const SPDY: &[&str] = &["v4.channel.k8s.io", "channel.k8s.io"];
        const WEB: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
        let check = |pairs: &[(&'static str, &'static str)], expected: Result<(Carrier, &str), u16>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found = agree(&headers, SPDY, WEB).map(|agreed| (agreed.carrier, agreed.protocol));
            assert_eq!(found.map_err(|answer| answer.status().as_u16()), expected, "{pairs:?}");
        };
        let (connection, spdy, web) = (("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("upgrade", "websocket"));
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let versions = |list| (STREAM_VERSION, list);
        check(&[connection, spdy], Ok((Carrier::Spdy, "channel.k8s.io")));
        check(
            &[connection, spdy, versions("v9"), versions("v4.channel.k8s.io")],
            Ok((Carrier::Spdy, "v4.channel.k8s.io")),
        );
        check(&[connection, spdy, versions("v9, v4.channel.k8s.io")], Ok((Carrier::Spdy, "v4.channel.k8s.io")));
        check(&[connection, spdy, versions("v9")], Err(403));
        check(
            &[connection, web, key, ("sec-websocket-protocol", "v5.channel.k8s.io")],
            Ok((Carrier::WebSocket, "v5.channel.k8s.io")),
        );
        check(&[connection, web, ("sec-websocket-protocol", "v5.channel.k8s.io")], Err(400));
        check(&[connection, web, key], Err(403));
        check(&[connection, ("upgrade", "h2c")], Err(400));
        check(&[spdy], Err(400));
    }
}
