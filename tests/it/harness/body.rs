//! Bodies that tests send, piece by piece or at once, and what is left of those they receive.

use std::io;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};

use super::within;

/// Any body that a test sends.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// The hand that sends a body piece by piece.
pub(crate) type Pieces = Sender<Bytes, io::Error>;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A body that ends when its hand is dropped; one piece waits at most.
pub(crate) fn pieces() -> (Pieces, Body) {
    let (sender, body) = Channel::new(1);
    (sender, body.boxed())
}

/// Sends one piece.
pub(crate) async fn send(hand: &mut Pieces, piece: impl Into<Bytes>) {
    within("a piece of a body to be taken", hand.send_data(piece.into())).await.unwrap();
}

/// The next piece; panics where the body ends or breaks.
pub(crate) async fn piece(body: &mut Incoming) -> Bytes {
    let frame = within("a piece of a body", body.frame()).await;
    frame.expect("the body ended").expect("the body broke").into_data().expect("no trailers yet")
}

/// Everything that is left, and the trailers.
pub(crate) async fn rest(body: Incoming) -> Result<(Bytes, Option<HeaderMap>), hyper::Error> {
    let collected = within("the end of a body", body.collect()).await?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

/// Everything that is left, as text.
pub(crate) async fn text(body: Incoming) -> String {
    let (bytes, _) = rest(body).await.expect("the body broke");
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// How many bytes there are, none of which is kept.
pub(crate) async fn count(mut body: Incoming) -> u64 {
    let mut total = 0;
    while !body.is_end_stream() {
        let Some(frame) = within("a piece of a long body", body.frame()).await else { break };
        total += frame.expect("the body broke").data_ref().map_or(0, Bytes::len) as u64;
    }
    total
}
