//! Clients that say nothing, say it slowly, say too much, or do not listen: they take bounded time and space, hear why as far as
//! HTTP can tell them, and keep nobody else from being served.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use ingest::config::Connections;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::support::{Response, Server, call, counted};

/// Long beside what is configured here, short beside every default.
const SOON: Duration = Duration::from_secs(5);

async fn connected(address: &str) -> TcpStream {
    TcpStream::connect(address).await.expect("listening")
}

/// Everything that comes until the other side closes.
async fn heard(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it is closed in time");
    bytes
}

fn answer(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a response");
    let raw_head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let head = raw_head.to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Response { status, head, raw_head, body: bytes[end + 4..].to_vec() }
}

/// Sends a beginning, then a byte each 50 ms for as long as it is taken, and gives what is heard.
async fn trickled(address: &str, beginning: &str) -> Vec<u8> {
    let (mut reading, mut writing) = connected(address).await.into_split();
    writing.write_all(beginning.as_bytes()).await.expect("sent");
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(SOON, reading.read_to_end(&mut bytes)).await.expect("it is closed in time");
    trickle.abort();
    bytes
}

/// Somebody else is answered at once.
async fn serves_others(server: &Server) {
    let began = Instant::now();
    assert_eq!(server.call("GET", "/healthz").await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "others waited {:?}", began.elapsed());
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_408_and_a_connection_without_one_ends_without_a_word() {
    let server = Server::with(&[("EDGETRAIL__HTTP__HEAD_TIMEOUT_MS", "400")]).await;
    let began = Instant::now();
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let address = server.address.clone();
            tokio::spawn(
                async move { trickled(&address, "GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await },
            )
        })
        .collect();
    serves_others(&server).await;
    for client in slow {
        let told = answer(&client.await.expect("no panic"));
        assert_eq!(told.problem(408)["type"], "/problems/slow-request");
        assert!(told.head.contains("connection: close"), "{}", told.head);
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "nobody was given their time");
    assert_eq!(
        heard(&mut connected(&server.address).await).await,
        b"",
        "who asked for nothing is told nothing"
    );

    // A connection that was used ends in the same way.
    let mut used = connected(&server.address).await;
    used.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    assert_eq!(answer(&heard(&mut used).await).status, 200);
    let metrics = server.call("GET", "/metrics").await.text();
    for reason in ["slow-head", "idle"] {
        let line = format!("edgetrail_http_connections_ended_total{{reason=\"{reason}\"}} ");
        assert!(counted(&metrics, &line) > 0, "{reason}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_stands_still_or_never_ends_is_408_wherever_it_goes() {
    let server =
        Server::with(&[("EDGETRAIL__HTTP__BODY_TIMEOUT_MS", "300"), ("EDGETRAIL__HTTP__TIMEOUT_MS", "1500")])
            .await;
    let bearer = format!("authorization: Bearer {}\r\n", server.admin_key());
    for (path, more) in [
        ("/v1/batches", "content-type: application/vnd.edgetrail.batch\r\n"),
        ("/v1/holds", bearer.as_str()),
        ("/sign-in", "content-type: application/x-www-form-urlencoded\r\norigin: http://x\r\n"),
    ] {
        let more = more.replace("application/vnd.edgetrail.batch", shared::batch::CONTENT_TYPE);
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n{more}\r\n");
        let mut stalled = connected(&server.address).await;
        stalled.write_all(format!("{head}abc").as_bytes()).await.expect("sent");
        let began = Instant::now();
        let told = answer(&heard(&mut stalled).await);
        assert_eq!(told.problem(408)["type"], "/problems/slow-request", "{path}");
        assert!(told.head.contains("connection: close"), "{path}: {}", told.head);
        assert!(began.elapsed() < Duration::from_millis(1_200), "{path}: the time of the whole request");

        // What never stands still for long is over when the request is.
        let told = answer(&trickled(&server.address, &head).await);
        assert_eq!(told.problem(408)["type"], "/problems/slow-request", "{path}");
    }
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_head_over_its_limits_is_431_and_says_which() {
    let server =
        Server::with(&[("EDGETRAIL__HTTP__MAX_HEADERS", "40"), ("EDGETRAIL__HTTP__MAX_HEAD_BYTES", "8192")])
            .await;
    let fields = |count: usize| -> Vec<(String, String)> {
        (0..count).map(|n| (format!("x-{n}"), "v".to_owned())).collect()
    };
    let send = async |fields: &[(String, String)], path: &str| {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        call(&server.address, "GET", path, &fields, &[]).await
    };
    // Each request has three of its own, and gets an id.
    assert_eq!(send(&fields(36), "/healthz").await.status, 200);
    let refused = send(&fields(37), "/healthz").await;
    let problem = refused.problem(431);
    assert_eq!((&problem["type"], &problem["limit"]), (&json!("/problems/head-too-large"), &json!(40)));
    assert!(
        refused.head.contains("connection: close")
            && refused.head.contains("x-content-type-options: nosniff"),
        "{}",
        refused.head
    );
    let large = [("cookie".to_owned(), "c".repeat(8_200))];
    assert_eq!(send(&large, "/healthz").await.problem(431)["limit"], 8_192);
    let path = format!("/healthz?{}", "q".repeat(8_200));
    assert_eq!(send(&[], &path).await.problem(431)["limit"], 8_192);

    // A flood of them is cut off before it is held in memory.
    for flood in [fields(10_000), vec![("x".to_owned(), "v".repeat(512 << 10))]] {
        assert_eq!(send(&flood, "/healthz").await.status, 431);
    }
    let mut endless = connected(&server.address).await;
    endless.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("sent");
    let mut sent = 0_usize;
    while sent < 64 << 20 && endless.write_all(&[b'h'; 65_536]).await.is_ok() {
        sent += 65_536;
    }
    assert!(sent < 64 << 20, "a head without an end is read for ever");
    serves_others(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn hundreds_of_idle_connections_keep_nobody_out_and_end_no_request() {
    let server =
        Server::with(&[("EDGETRAIL__HTTP__MAX_CONNECTIONS", "40"), ("EDGETRAIL__LOG__INTERVAL_MS", "20")])
            .await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[crate::support::sample(0)])).await["status"], 200);
    crate::support::eventually(async || server.get("/v1/logs").await.text().contains("\"size\":1")).await;

    // A tail that was there before.
    let mut tail = connected(&server.address).await;
    let asked = format!(
        "GET /v1/events/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        server.viewer_key()
    );
    tail.write_all(asked.as_bytes()).await.expect("sent");
    let mut began = vec![0; 12];
    tail.read_exact(&mut began).await.expect("an answer");
    assert_eq!(began, b"HTTP/1.1 200");

    let mut idle = Vec::new();
    for n in 0..300 {
        let mut stream = connected(&server.address).await;
        if n % 2 == 0 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.expect("sent");
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        serves_others(&server).await;
    }
    let metrics = server.call("GET", "/metrics").await.text();
    assert!(counted(&metrics, "edgetrail_http_connections_ended_total{reason=\"displaced\"} ") >= 200);
    // The first who waited are gone, the tail is not.
    assert_eq!(heard(&mut idle[0]).await, b"");
    assert_eq!(server.send(&producer.seal(&[crate::support::sample(1)])).await["status"], 200);
    let mut told = String::new();
    let until = Instant::now() + SOON;
    while !told.contains("occurred_at") {
        assert!(Instant::now() < until, "the tail ended: {told}");
        let mut piece = [0; 4096];
        let count = tokio::time::timeout(SOON, tail.read(&mut piece)).await.expect("in time").expect("open");
        assert!(count > 0, "the tail ended: {told}");
        told.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    server.stop().await;
}

/// The listener over routes of a test.
struct Listening {
    address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Listening {
    async fn with(app: Router, limits: Connections) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(ingest::listen::serve(listener, app, limits, async {
            let _ = stopped.await;
        }));
        Self { address, stop, serving }
    }
}

fn limits() -> Connections {
    let config = ingest::config::Config::load(None, &ingest::config::Environment::default());
    config.expect("the defaults").http.connections
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_its_connection_and_one_that_is_read_slowly_does_not() {
    // It goes on for as long as somebody takes it.
    let (ended, mut gone) = mpsc::channel::<()>(2);
    let endless = move || {
        let alive = ended.clone();
        let pieces = stream::unfold(alive, |alive| async {
            Some((Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 65_536])), alive))
        });
        async move { Body::from_stream(pieces) }
    };
    let within = Duration::from_millis(500);
    let listening = Listening::with(
        Router::new().route("/", get(endless)),
        Connections { answer_within: within, ..limits() },
    )
    .await;
    let ask = async || {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16_384).expect("a small buffer");
        let address: SocketAddr = listening.address.parse().expect("an address");
        let mut stream = socket.connect(address).await.expect("listening");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        stream
    };
    // Who reads a little each tenth of a second is slow, and there.
    let mut slow = ask().await;
    let until = Instant::now() + 3 * within;
    let mut piece = vec![0; 65_536];
    while Instant::now() < until {
        assert!(slow.read(&mut piece).await.expect("open") > 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let deaf = ask().await;
    drop(listening.stop);
    // The route is gone once both answers are: the slow reader leaves, the deaf one is left.
    drop(slow);
    tokio::time::timeout(SOON, listening.serving).await.expect("the answer is given up").expect("no panic");
    assert!(gone.recv().await.is_none());
    drop(deaf);
}

#[tokio::test]
async fn where_every_connection_is_busy_whoever_comes_is_told_to_come_again_and_who_leaves_makes_room() {
    let (begun, mut begins) = mpsc::channel::<oneshot::Sender<()>>(4);
    let wait = move || {
        let begun = begun.clone();
        async move {
            let (end, ends) = oneshot::channel();
            begun.send(end).await.expect("a test that listens");
            let _ = ends.await;
            "done"
        }
    };
    let app = Router::new().route("/wait", get(wait)).route("/", get(|| async { "here" }));
    let listening = Listening::with(app, Connections { max: 2, ..limits() }).await;
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let address = listening.address.clone();
            tokio::spawn(async move { call(&address, "GET", "/wait", &[], &[]).await })
        })
        .collect();
    let mut ends = Vec::new();
    for _ in 0..2 {
        ends.push(begins.recv().await.expect("a request"));
    }
    let refused = call(&listening.address, "GET", "/", &[], &[]).await;
    assert_eq!(refused.problem(503)["type"], "/problems/too-many-connections");
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    drop(ends);
    for asked in asking {
        assert_eq!(asked.await.expect("no panic").text(), "done", "what is under way is not displaced");
    }
    assert_eq!(call(&listening.address, "GET", "/", &[], &[]).await.text(), "here");
    drop(listening.stop);
    tokio::time::timeout(SOON, listening.serving).await.expect("it stops").expect("no panic");
}
