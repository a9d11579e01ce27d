//! One request after the other on a connection that stays, through a real gate over loopback to
//! an upstream that answers with 1 KiB.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::sync::Arc;

use criterion::Criterion;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

mod scene;

use scene::Scene;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    h1(&mut criterion, &scene, &runtime);
    h2(&mut criterion, &scene, &runtime);
    criterion.final_summary();
}

fn h1(criterion: &mut Criterion, scene: &Scene, runtime: &Runtime) {
    let mut sender = runtime.block_on(async {
        let stream = connect(scene, "http/1.1").await;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    });
    criterion.bench_function("request_keepalive_1k_h1", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                sender.ready().await.unwrap();
                let request = Request::get("/").header("host", "localhost");
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                read(sender.send_request(request).await.unwrap()).await
            })
        });
    });
}

fn h2(criterion: &mut Criterion, scene: &Scene, runtime: &Runtime) {
    let mut sender = runtime.block_on(async {
        let stream = connect(scene, "h2").await;
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    });
    criterion.bench_function("request_keepalive_1k_h2", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                sender.ready().await.unwrap();
                let request = Request::get("https://localhost/");
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                read(sender.send_request(request).await.unwrap()).await
            })
        });
    });
}

async fn connect(scene: &Scene, protocol: &str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(scene.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connector = TlsConnector::from(Arc::new(scene.client(protocol)));
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await.unwrap()
}

async fn read(response: Response<Incoming>) {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 1024);
}
