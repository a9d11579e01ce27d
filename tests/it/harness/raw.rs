//! A client that sends and reads bytes, for promises about bytes.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::within;

/// One end of a connection, over TLS or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection of bytes.
pub(crate) struct Raw {
    io: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(io: impl Stream + 'static) -> Self {
        Self { io: Box::new(io), unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes).await, "the other end has closed");
    }

    /// Sends, if the other end still takes it.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sending = async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        };
        within("bytes to be sent", sending).await.is_ok()
    }

    /// Ends the sending side.
    pub(crate) async fn finish(&mut self) {
        within("the sending side to end", self.io.shutdown()).await.unwrap();
    }

    /// Everything up to and with `mark`.
    pub(crate) async fn until(&mut self, mark: &str) -> String {
        loop {
            let found = self.unread.windows(mark.len()).position(|part| part == mark.as_bytes());
            if let Some(at) = found {
                let rest = self.unread.split_off(at + mark.len());
                let text = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8_lossy(&text).into_owned();
            }
            if !self.fill(mark).await {
                let seen = String::from_utf8_lossy(&self.unread).into_owned();
                panic!("the connection ended before {mark:?}; there was {seen:?}");
            }
        }
    }

    /// A header section.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// The next header section, if the other end does not end here.
    pub(crate) async fn next_head(&mut self) -> Option<String> {
        if self.unread.is_empty() && !self.fill("the next header section").await {
            return None;
        }
        Some(self.head().await)
    }

    /// A header section and as many bytes as its `Content-Length` says.
    pub(crate) async fn response(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = field(&head, "content-length").map_or(0, |text| text.parse().unwrap());
        (head, self.exactly(length).await)
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> String {
        while self.unread.len() < count {
            assert!(self.fill("bytes").await, "the connection ended early");
        }
        let rest = self.unread.split_off(count);
        let text = std::mem::replace(&mut self.unread, rest);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What comes next, however little; none at the end.
    pub(crate) async fn some(&mut self) -> Option<Vec<u8>> {
        if self.unread.is_empty() && !self.fill("anything").await {
            return None;
        }
        Some(std::mem::take(&mut self.unread))
    }

    /// Everything until the connection ends, in whatever way.
    pub(crate) async fn end(&mut self) -> String {
        while self.fill("the end of the connection").await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Whether there was more.
    async fn fill(&mut self, awaited: &str) -> bool {
        let mut buffer = [0; 16 * 1024];
        let what = format!("{awaited:?} from the other end");
        let count = within(&what, self.io.read(&mut buffer)).await.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

/// The value of a header field, whatever the case of its name.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The status of a response.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}
