//! A WebSocket with frames written by hand (RFC 6455).

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::raw::{Raw, message};
use crate::scene::{AUDITED, Request, SOON, Scene, UNAUDITED, comparable, noise};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The answer to a key by which a server shows that it knows the protocol.
fn accepting(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// A whole message in one frame; a client masks it.
fn frame(kind: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | kind];
    match u16::try_from(payload.len()).expect("messages here are short") {
        length @ 0..126 => bytes.push(masked | u8::try_from(length).expect("it is under 126")),
        length => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    let mask = mask.unwrap_or_default();
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

/// The next message; one that comes in several frames is put together.
async fn next(raw: &mut Raw) -> io::Result<(u8, Vec<u8>)> {
    let (mut kind, mut payload) = (0, Vec::new());
    loop {
        let head = raw.exactly(2).await?;
        let length = match head[1] & 0x7f {
            126 => usize::from(u16::from_be_bytes(raw.exactly(2).await?[..].try_into().expect("two bytes"))),
            127 => panic!("messages here are short"),
            length => usize::from(length),
        };
        let mask =
            if head[1] & 0x80 == 0 { [0; 4] } else { raw.exactly(4).await?[..].try_into().expect("four") };
        let part = raw.exactly(length).await?;
        payload.extend(part.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        kind |= head[0] & 0x0f;
        if head[0] & 0x80 != 0 {
            return Ok((kind, payload));
        }
    }
}

#[tokio::test]
async fn c33_messages_and_the_code_of_the_end_pass_both_ways() {
    let scene = Scene::start().await;
    scene.origin.does(|head, mut raw| async move {
        let key = head.header("sec-websocket-key").unwrap_or_default();
        let accept = accepting(key);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: vite-hmr\r\nX-Key: {key}\r\n\r\n"
        );
        raw.write(head).await?;
        loop {
            let (kind, payload) = next(&mut raw).await?;
            raw.write(frame(kind, &payload, None)).await?;
            if kind == CLOSE {
                return Ok(None);
            }
        }
    });
    let request = Request::new("GET")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Protocol", "vite-hmr")
        .header("Sec-WebSocket-Key", KEY);
    let long = noise(20_000);
    let mut end = 4001_u16.to_be_bytes().to_vec();
    end.extend_from_slice(b"enough");
    for path in [UNAUDITED, AUDITED] {
        let mut heads = Vec::new();
        for (address, host) in scene.parties() {
            let talk = async {
                let mut raw = Raw::connect(address).await.expect("it listens");
                raw.write(request.head(&host, path)).await.expect("it reads");
                let head = raw.head().await.expect("it answers").expect("it answers");
                assert_eq!(head.status(), "101", "{path}\n{}", scene.worker.output());
                assert_eq!(head.header("sec-websocket-accept"), Some(accepting(KEY).as_str()));
                let said: [(u8, &[u8]); 5] = [
                    (TEXT, "gr\u{fc}n".as_bytes()),
                    (BINARY, &[0, 255, 1]),
                    (BINARY, &long),
                    (TEXT, b""),
                    (CLOSE, &end),
                ];
                for (kind, payload) in said {
                    raw.write(frame(kind, payload, Some([1, 2, 3, 4]))).await.expect("it reads");
                    let (echoed, back) = next(&mut raw).await.expect("it answers");
                    assert!(echoed == kind && back == payload, "{path}: {kind} came back as {echoed}");
                }
                heads.push(head);
            };
            tokio::time::timeout(SOON, talk).await.expect("an echo comes at once");
        }
        let [direct, through] = &heads[..] else { panic!("there are two parties") };
        assert_eq!(through.first, direct.first);
        let (mut direct, mut through) = (comparable(direct, None), comparable(through, None));
        let keys = [direct.remove("x-key"), through.remove("x-key")];
        assert_eq!(keys[0].as_deref(), Some(KEY));
        assert!(keys[1].is_some() && keys[0] != keys[1], "the Worker makes a handshake of its own: {keys:?}");
        assert_eq!(through, direct, "{path}");
    }
    scene.audits_one_more();
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_refused_upgrade_passes() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain", "not you"));
    for path in [UNAUDITED, AUDITED] {
        let request = Request::new("GET")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", KEY);
        let [direct, through] = scene.both(path, &request).await;
        let (direct, through) = (direct.answer.expect("there is one"), through.answer.expect("there is one"));
        assert_eq!(
            (through.head.status(), through.body, through.whole),
            (direct.head.status(), direct.body, direct.whole),
            "{path}"
        );
    }
    scene.audited_everything().await;
}
