//! Behind TLS, with a certificate of our own making.

use std::{net::SocketAddr, sync::Arc};

use backend::{Error, conformance, read_all};
use s3::{Bucket, PART_BYTES_MIN, S3, S3Options, UploadOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};

use crate::server::{BUCKET, Server, options};

/// Takes TLS off the connections to `server`. Gives its address, and its certificate as PEM.
async fn terminate(server: SocketAddr) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    (address, made.cert.pem())
}

async fn bucket(host: &str, port: u16, ca_file: Option<&std::path::Path>) -> Bucket {
    let base = options(SocketAddr::from(([127, 0, 0, 1], port)));
    let options = S3Options { endpoint: Some(format!("https://{host}:{port}")), ca_file: ca_file.map(Into::into), ..base };
    S3::new(options).await.unwrap().bucket(BUCKET).unwrap()
}

#[tokio::test]
async fn a_ca_file_is_trusted_for_the_names_in_its_certificate() {
    let server = Server::start(true).await;
    let (address, pem) = terminate(server.address).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();

    let trusting = bucket("localhost", address.port(), Some(file.path())).await;
    let content = conformance::content(PART_BYTES_MIN as usize + 1000);
    let mut upload = trusting.upload("k", UploadOptions { part_bytes: PART_BYTES_MIN, ..UploadOptions::default() }).unwrap();
    upload.write(&content).await.unwrap();
    upload.finish().await.unwrap();
    let blob = trusting.open("k").await.unwrap();
    assert!(read_all(&blob, 0..blob.size(), blob.size()).await.unwrap() == content);

    let error = bucket("localhost", address.port(), None).await.open("k").await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "nobody vouches for it: {error:?}");
    let error = bucket("127.0.0.1", address.port(), Some(file.path())).await.open("k").await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "another name: {error:?}");
}
