//! Syslog over TLS (RFC 5425): the certificate is checked, and each batch has a connection that both sides close.
//!
//! Syslog has no answers. A receiver that closes after us has read what we wrote; one that is gone before it did so breaks the
//! connection, and the batch is repeated. More cannot be known.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::SendError;
use crate::webhook::target::addresses;

/// A receiver of syslog.
#[derive(Debug, Clone)]
pub(in super::super) struct Peer {
    pub(in super::super) host: String,
    pub(in super::super) port: u16,
    pub(in super::super) allow_private: bool,
    pub(in super::super) trust: Arc<ClientConfig>,
}

impl Peer {
    /// The name that its certificate must be for.
    pub(in super::super) fn name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).ok()
    }

    /// Writes messages, each with its length before it, and waits until the other side has closed.
    pub(in super::super) async fn write(&self, messages: &[Vec<u8>]) -> Result<(), SendError> {
        let name =
            self.name().ok_or_else(|| SendError::Unusable("no certificate can be for the host".into()))?;
        let found = addresses(&self.host, self.port, self.allow_private).await?;
        let broken = |error: std::io::Error| SendError::transport(&error);
        let stream = connect(&found).await.map_err(broken)?;
        let connector = TlsConnector::from(Arc::clone(&self.trust));
        let mut stream = connector.connect(name, stream).await.map_err(broken)?;
        let framed: Vec<u8> = messages
            .iter()
            .flat_map(|message| [format!("{} ", message.len()).into_bytes(), message.clone()])
            .flatten()
            .collect();
        stream.write_all(&framed).await.map_err(broken)?;
        stream.shutdown().await.map_err(broken)?;
        // Receivers of syslog say nothing; what comes all the same means nothing.
        while stream.read(&mut [0; 1024]).await.map_err(broken)? > 0 {}
        Ok(())
    }
}

/// A connection to the first address that takes one.
async fn connect(found: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut failed = std::io::Error::other("no address");
    for address in found {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Trust in the system's certificates and in some more.
pub(in super::super) fn client_config(more: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    crate::tls::use_ring();
    let mut roots = RootCertStore::empty();
    // What the system has and cannot be read is not trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(more.iter().cloned());
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
