//! An origin that writes exactly what a test tells it to, and remembers what came.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::raw::{Head, Raw};

/// What answers a request: it takes the connection and gives it back if it is to be used again.
type Answering = Arc<dyn Fn(Head, Raw) -> BoxFuture<'static, io::Result<Option<Raw>>> + Send + Sync>;

/// A request as it reached the origin.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) whole: bool,
}

pub(crate) struct Origin {
    address: SocketAddr,
    answering: Arc<Mutex<Answering>>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    accepting: JoinHandle<()>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let nothing: Answering = Arc::new(|_, _| Box::pin(async { Ok(None) }));
        let answering = Arc::new(Mutex::new(nothing));
        let current = answering.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(Raw::new(socket), current.clone()));
            }
        });
        Self { address, answering, arrivals: Arc::default(), accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every request is read to its end, remembered, and answered with these bytes.
    pub(crate) fn answers(&self, bytes: impl Into<Vec<u8>>) {
        let bytes: Arc<[u8]> = bytes.into().into();
        let arrivals = self.arrivals.clone();
        self.does(move |head, mut raw| {
            let (bytes, arrivals) = (bytes.clone(), arrivals.clone());
            async move {
                let (body, whole) = raw.rest(head.request_body()).await;
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Arrival { head, body, whole });
                raw.write(&bytes).await?;
                let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]).to_ascii_lowercase();
                Ok((!head.contains("connection: close")).then_some(raw))
            }
        });
    }

    /// From now on this happens with every request.
    pub(crate) fn does<F>(&self, answering: impl Fn(Head, Raw) -> F + Send + Sync + 'static)
    where
        F: Future<Output = io::Result<Option<Raw>>> + Send + 'static,
    {
        let answering: Answering = Arc::new(move |head, raw| Box::pin(answering(head, raw)));
        *self.answering.lock().unwrap_or_else(PoisonError::into_inner) = answering;
    }

    /// What came since this was last asked.
    pub(crate) fn arrived(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut raw: Raw, current: Arc<Mutex<Answering>>) {
    while let Ok(Some(head)) = raw.head().await {
        let answering = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match answering(head, raw).await {
            Ok(Some(back)) => raw = back,
            // Where the client is gone there is nobody to tell.
            Ok(None) | Err(_) => return,
        }
    }
}
