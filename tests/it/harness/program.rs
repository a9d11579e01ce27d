//! The real program: run to its end, or left running.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use super::{LIMIT, within};

/// What a program that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program with `arguments`, in the folder `place`.
pub(crate) fn command(place: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergate"));
    command.args(arguments).current_dir(place).env_remove("RUST_LOG").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(place: &std::path::Path, arguments: &[&str]) -> Ended {
    let what = format!("evergate {} to end", arguments.join(" "));
    let output = within(&what, command(place, arguments).output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("an exit code");
    Ended { code, out: text(output.stdout), err: text(output.stderr) }
}

/// A program that runs; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    said: Arc<Mutex<String>>,
    news: Arc<Notify>,
}

impl Program {
    pub(crate) fn start(place: &std::path::Path, arguments: &[&str]) -> Self {
        let mut child = command(place, arguments).spawn().unwrap();
        let (said, news) = (Arc::new(Mutex::new(String::new())), Arc::new(Notify::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(out, Arc::clone(&said), Arc::clone(&news));
        listen(err, Arc::clone(&said), Arc::clone(&news));
        Self { child, said, news }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Everything it has said so far, on either stream.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said a line with all of `words`; gives the line.
    pub(crate) async fn line(&self, words: &[&str]) -> String {
        let search = async {
            loop {
                let news = self.news.notified();
                let said = self.said();
                let mut lines = said.lines();
                if let Some(line) = lines.find(|line| words.iter().all(|word| line.contains(word)))
                {
                    return line.to_owned();
                }
                news.await;
            }
        };
        match tokio::time::timeout(LIMIT, search).await {
            Ok(line) => line,
            Err(_) => panic!("no line with {words:?} in:\n{}", self.said()),
        }
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await.unwrap();
        assert!(status.success(), "kill -s {name}");
    }

    /// Waits until it has ended; gives its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        within("the program to end", self.child.wait()).await.unwrap().code()
    }
}

fn listen(
    from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    said: Arc<Mutex<String>>,
    news: Arc<Notify>,
) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
            drop(said);
            // One who waits looks through everything, so one call for it is enough.
            news.notify_one();
        }
    });
}
