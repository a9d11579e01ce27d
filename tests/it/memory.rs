//! Bodies of any size pass through a gate that does not grow with them.

use bytes::Bytes;
use http::Response;

use crate::harness::client::{self, Http, Tls};
use crate::harness::program::Program;
use crate::harness::{body, gate, upstream, within};

const HOST: &str = "app.test";
const PIECE: usize = 256 * 1024;
const TOTAL: usize = 256 * 1024 * 1024;
/// What a debug build may need above what it needs at rest.
const GROWTH_MAX: u64 = 16 * 1024 * 1024;

/// The most memory that a process has had, in bytes.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// A body of [`TOTAL`] bytes that is made as it is sent.
fn large() -> body::Body {
    let (mut hand, body) = body::pieces();
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; PIECE]);
        for _ in 0..TOTAL / PIECE {
            if hand.send_data(piece.clone()).await.is_err() {
                return;
            }
        }
    });
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_passes_either_way_in_bounded_memory() {
    if !std::path::Path::new("/proc/self/status").exists() {
        return; // Nobody to ask here.
    }
    let server = upstream::serving(|request| async move {
        if request.uri().path() == "/down" {
            return Response::new(large());
        }
        let count = body::count(request.into_body()).await;
        Response::new(body::full(count.to_string()))
    })
    .await;
    let plan = gate().cert(HOST).route(HOST, server.url());
    plan.write();
    let program = Program::start(plan.folder(), &["run", "--config", "evergate.toml"]);
    let line = program.line(&["listening", "address="]).await;
    let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
    let address = address.parse().unwrap();
    for version in ["http/1.1", "h2"] {
        let config = Tls::trusting(plan.ca.roots()).alpn(&[version]).build(None);
        let stream = client::connect(address, HOST, &config).await.unwrap();
        let mut client = match version {
            "h2" => Http::h2(stream, HOST, "https").await,
            _ => Http::h1(stream, HOST, "https").await,
        };
        client.get("/up").await;
        let before = peak(program.id());
        let request = client.request("GET", "/down").body(body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(body::count(response.into_body()).await, TOTAL as u64, "{version}");
        let ready = client.ready().await;
        ready.unwrap_or_else(|error| panic!("{version}: {error:?}\n{}", program.said()));
        let request = client.request("POST", "/up").body(large()).unwrap();
        let uploading = client.begin(request);
        let limit = std::time::Duration::from_secs(60);
        let response = tokio::time::timeout(limit, uploading).await.expect("a long upload");
        let text = within("the count", body::text(response.unwrap().into_body())).await;
        assert_eq!(text, TOTAL.to_string(), "{version}");
        let grown = peak(program.id()).saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{version}: grown by {grown} bytes");
    }
}
