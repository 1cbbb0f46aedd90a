//! Times that a client keeps to, and authorities that it trusts.

use std::time::Duration;

#[cfg(feature = "tls")]
use rustls::RootCertStore;
#[cfg(feature = "tls")]
use rustls::pki_types::CertificateDer;
#[cfg(feature = "tls")]
use rustls::pki_types::pem::PemObject as _;

#[cfg(feature = "tls")]
use crate::error::{Error, Result};

/// Times that a client keeps to, and authorities that it trusts.
///
/// ```
/// use std::time::Duration;
/// use chat_client::Options;
///
/// let options = Options::new().retry_for(Duration::from_secs(120));
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) retry_for: Duration,
    pub(crate) timeout: Duration,
    pub(crate) silence: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) socket_retry: Duration,
    /// Authorities whose signature makes a certificate of a server valid.
    #[cfg(feature = "tls")]
    pub(crate) authorities: RootCertStore,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retry_for: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            silence: Duration::from_secs(45),
            longest_pause: Duration::from_secs(15),
            socket_retry: Duration::from_secs(60),
            #[cfg(feature = "tls")]
            authorities: webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        }
    }
}

impl Options {
    /// Returns the options that [`Client::connect`](crate::Client::connect) uses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a call again for this long while it fails for a while: 30 s unless set. Zero makes
    /// each call once.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// Waits this long for the answer to one attempt of a call: 30 s unless set. A call that asks
    /// the server to wait gets that time besides.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Takes a socket for lost on which nothing arrives for this long: 45 s unless set. The server
    /// is pinged three times within it.
    #[must_use]
    pub fn silence(mut self, time: Duration) -> Self {
        self.silence = time;
        self
    }

    /// Pauses at most this long between two attempts: 15 s unless set. Pauses begin at a tenth of a
    /// second, double, and are random from their half up.
    #[must_use]
    pub fn longest_pause(mut self, time: Duration) -> Self {
        self.longest_pause = time;
        self
    }

    /// Tries a socket again after polling for this long: 60 s unless set.
    #[must_use]
    pub fn socket_retry(mut self, time: Duration) -> Self {
        self.socket_retry = time;
        self
    }

    /// Also trusts servers whose certificates these authorities signed, as a company has of its
    /// own: one or more certificates in PEM form. Without this, the authorities are those of
    /// Mozilla.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no certificate, or one that cannot be read.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, pem: &[u8]) -> Result<Self> {
        let refused = |reason: &dyn std::fmt::Display| {
            Error::Invalid(format!("the certificates cannot be read: {reason}"))
        };
        let before = self.authorities.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| refused(&e))?;
            self.authorities.add(certificate).map_err(|e| refused(&e))?;
        }
        if self.authorities.len() == before {
            return Err(refused(&"there is none in PEM form"));
        }
        Ok(self)
    }
}
