//! The embedded upstream of `dev`: tells each request back as it arrived.
//!
//! It is reached over a real socket, so that what it tells went all the way through the gate.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::tasks::Stop;

/// One machine tries things out; it needs no more.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take over a request's body.
const BODY_LIMIT: Duration = Duration::from_secs(300);

/// Events that `/sse` sends, and the time between two of them.
const EVENTS: u32 = 5;
const EVENT_PAUSE: Duration = Duration::from_millis(200);

type Body = BoxBody<Bytes, Infallible>;

/// Answers on `listener`, HTTP/1.1 and HTTP/2 without TLS, until asked to stop.
pub(super) async fn serve(listener: TcpListener, stop: Stop) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return; // Nobody closes it.
        };
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: let others close some.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new());
            server.http2().timer(TokioTimer::new());
            let service = hyper::service::service_fn(answer);
            tokio::select! {
                () = stop.wait() => {}
                _ = server.serve_connection(TokioIo::new(stream), service) => {}
            }
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == "/sse" {
        return Ok(events());
    }
    let (head, body) = request.into_parts();
    let length = match tokio::time::timeout(BODY_LIMIT, count(body)).await {
        Ok(Ok(length)) => json!(length),
        Ok(Err(error)) => json!(format!("broke off: {error}")),
        Err(_) => json!("did not end in time"),
    };
    let told = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map(|path| path.as_str()),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "version": format!("{:?}", head.version),
        "headers": headers(&head.headers),
        "body_bytes": length,
    });
    let body = Full::new(Bytes::from(format!("{told:#}\n"))).boxed();
    Ok(respond("application/json", body))
}

/// Each header with the list of its values, in order.
fn headers(from: &http::HeaderMap) -> Value {
    let mut fields = Map::new();
    for name in from.keys() {
        let values = from.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        fields.insert(name.to_string(), values.collect());
    }
    Value::Object(fields)
}

/// Counts a body without keeping it.
async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            length += data.len() as u64;
        }
    }
    Ok(length)
}

/// Server-sent events, one at a time: whoever buffers them is found out.
fn events() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        for number in 1..=EVENTS {
            let event = Bytes::from(format!("id: {number}\ndata: event {number}\n\n"));
            if sender.send_data(event).await.is_err() {
                return; // The client has gone.
            }
            if number < EVENTS {
                tokio::time::sleep(EVENT_PAUSE).await;
            }
        }
    });
    respond("text/event-stream", body.boxed())
}

fn respond(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let value = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn exchange(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new();
        let serving = tokio::spawn(serve(listener, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        stop.request();
        serving.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_request_comes_back_as_it_arrived() {
        let answer = exchange(
            "POST /a?b=c HTTP/1.1\r\nHost: app.test\r\nX-Two: 1\r\nX-Two: 2\r\n\
             Content-Length: 5\r\nConnection: close\r\n\r\nhello",
        )
        .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let told: Value = serde_json::from_str(body).unwrap();
        assert_eq!(told["method"], "POST");
        assert_eq!(told["path"], "/a?b=c");
        assert_eq!(told["headers"]["host"], json!(["app.test"]));
        assert_eq!(told["headers"]["x-two"], json!(["1", "2"]));
        assert_eq!(told["body_bytes"], 5);
    }

    #[tokio::test]
    async fn five_events_are_streamed() {
        let answer =
            exchange("GET /sse HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
        assert!(answer.contains("text/event-stream"), "{answer}");
        assert_eq!(answer.matches("data: event ").count(), 5, "{answer}");
    }
}
