//! A server behind TLS, whose certificate an authority of the test signed.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chat_client::{Client, Error, Event, Options, Page, Subscription, Way};
use chat_http::PeerAddr;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tower_service::Service as _;

use self::common::Server;

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);

/// A server that is reached by TLS alone, and its authority in PEM form.
struct Secure {
    server: Server,
    address: SocketAddr,
    authority: String,
}

impl Secure {
    async fn start() -> Self {
        let server = Server::start().await;
        let (config, authority) = certified("localhost");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let app = server.app.clone();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (acceptor, app) = (acceptor.clone(), app.clone());
                tokio::spawn(async move {
                    // Fails where the client does not trust the certificate.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(PeerAddr(peer));
                        app.clone().call(request)
                    });
                    let connection = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    let _ = connection.await;
                });
            }
        });
        Self {
            server,
            address,
            authority,
        }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// Options of a client that trusts the authority. Calls are made once.
    fn options(&self) -> Options {
        let options = Options::new().retry_for(Duration::ZERO);
        options.trust(self.authority.as_bytes()).expect("trusted")
    }
}

/// A certificate for this host, and the certificate of the authority that signed it.
fn certified(host: &str) -> (ServerConfig, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    let root = authority.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(authority, key);

    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([host.to_owned()]).expect("a name");
    let certificate = certificate.signed_by(&key, &issuer).expect("signed");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    (config.expect("a certificate and its key"), root.pem())
}

/// Connects, which must fail, and returns the reason.
async fn refused(url: &str, options: Options) -> String {
    let error = Client::connect_with(url, options).await;
    let error = error.expect_err("no certificate that counts");
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    format!("{error:?}")
}

#[tokio::test]
async fn calls_and_sockets_go_over_tls() {
    let secure = Secure::start().await;
    let client = Client::connect_with(&secure.url("localhost"), secure.options()).await;
    let mut client = client.expect("a client");
    client
        .register("ann", "correct horse")
        .await
        .expect("an account");
    client.post("general", "hello").await.expect("posted");

    let mut events = client.follow([Subscription::from_start("general")]);
    let mut way = None;
    let received = async {
        loop {
            match events.next().await.expect("no end").expect("no error") {
                Event::Connected(connected) => way = Some(connected),
                Event::Message(message) => return message,
                _ => {}
            }
        }
    };
    let received = timeout(SOON, received).await.expect("a message");
    assert_eq!((received.text.as_str(), way), ("hello", Some(Way::Socket)));
    let read = client.messages("general", Page::Newest, 1).await;
    assert_eq!(read.expect("a page"), [received]);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_or_another_host_is_refused() {
    let secure = Secure::start().await;
    let once = Options::new().retry_for(Duration::ZERO);
    let reason = refused(&secure.url("localhost"), once.clone()).await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");

    let (_, other) = certified("localhost");
    let other = once.trust(other.as_bytes()).expect("trusted");
    let reason = refused(&secure.url("localhost"), other).await;
    assert!(
        reason.contains("BadSignature") || reason.contains("UnknownIssuer"),
        "{reason}"
    );

    let reason = refused(&secure.url("127.0.0.1"), secure.options()).await;
    assert!(reason.contains("NotValidForName"), "{reason}");
}

#[tokio::test]
async fn https_does_not_fall_back_to_plain_http() {
    let secure = Secure::start().await;
    let plain = format!("https://localhost:{}", secure.server.address.port());
    refused(&plain, secure.options()).await;
}

#[test]
fn authorities_are_certificates_in_pem_form() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no PEM", broken] {
        let refused = Options::new().trust(pem.as_bytes()).expect_err("refused");
        assert!(
            refused.to_string().contains("certificates cannot be read"),
            "{refused}"
        );
    }
}
