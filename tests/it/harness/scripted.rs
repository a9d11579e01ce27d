//! An upstream whose part is played by the test itself, exchange by exchange.

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};

use super::body::{self, Body, Pieces};
use super::upstream::{self, Upstream};
use super::within;

/// An upstream that hands every request to the test.
pub(crate) struct Scripted {
    pub(crate) upstream: Upstream,
    exchanges: mpsc::UnboundedReceiver<Exchange>,
}

/// A request that waits for the test's response.
pub(crate) struct Exchange {
    pub(crate) request: Request<Incoming>,
    reply: oneshot::Sender<Response<Body>>,
}

/// Over HTTP/1.1.
pub(crate) async fn h1() -> Scripted {
    let (told, exchanges) = mpsc::unbounded_channel();
    let upstream = upstream::serving(move |request| wait(told.clone(), request)).await;
    Scripted { upstream, exchanges }
}

/// Over HTTP/2 without TLS.
pub(crate) async fn h2c() -> Scripted {
    let (told, exchanges) = mpsc::unbounded_channel();
    let upstream = upstream::serving_h2c(move |request| wait(told.clone(), request)).await;
    Scripted { upstream, exchanges }
}

/// Both, for what must hold for either.
pub(crate) async fn both() -> [Scripted; 2] {
    [h1().await, h2c().await]
}

async fn wait(told: mpsc::UnboundedSender<Exchange>, request: Request<Incoming>) -> Response<Body> {
    let (reply, response) = oneshot::channel();
    let _ = told.send(Exchange { request, reply });
    match response.await {
        Ok(response) => response,
        // The test let the exchange fall: the client waits for ever.
        Err(_) => std::future::pending().await,
    }
}

impl Scripted {
    pub(crate) fn url(&self) -> &str {
        self.upstream.url()
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Exchange {
        within("a request at the upstream", self.exchanges.recv()).await.unwrap()
    }
}

impl Exchange {
    /// Answers; gives the request's body, which may still be on its way.
    pub(crate) fn answer(self, response: Response<Body>) -> Incoming {
        self.reply.send(response).expect("somebody waits for the response");
        self.request.into_body()
    }

    /// Answers 200 with a body that is sent by hand.
    pub(crate) fn answer_by_hand(self) -> (Pieces, Incoming) {
        let (hand, body) = body::pieces();
        (hand, self.answer(Response::new(body)))
    }
}
