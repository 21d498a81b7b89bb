//! TLS of outgoing connections: rustls on ring, the same as for PostgreSQL.

/// Makes ring the process's provider of cryptography for TLS, once. Every HTTP client needs it before it is built.
pub fn use_ring() {
    // An error says that there is a provider already, which can only be this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
