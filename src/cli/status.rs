//! `evergate status` and `evergate reload`: asks a running gate, prints the answer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::health::{Health, concerns, headline, summary, worst};
use super::picture::Picture;
use super::print::{self, Format, answer, answer_json, chain, clean, complain};
use super::{AdminArgs, CONFIG_INVALID, FAILURE, StatusArgs, block_on, files};

/// From connecting to the last byte of the answer.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// A gate with a hundred thousand certificates stays below it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where a gate tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admin {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Prints what the gate holds, and judges it as `check` does.
pub(super) fn run(args: StatusArgs) -> ExitCode {
    let told = ask(&args.admin, Method::GET, "/api/certificates").and_then(|answer| {
        let status = answer.status;
        if !status.is_success() {
            return Err(AskError::Refused { status });
        }
        let document: Value = serde_json::from_slice(&answer.body).map_err(AskError::Unclear)?;
        let picture = serde_json::from_value(document.clone()).map_err(AskError::Unclear)?;
        Ok((document, picture))
    });
    let (document, picture): (Value, Picture) = match told {
        Ok(told) => told,
        Err(error) => return unknown(&args, &error),
    };
    let concerns = concerns(&picture);
    match args.format {
        Format::Json => answer_json(&document),
        Format::Text => {
            let line = headline(&concerns, &summary(&picture));
            answer(&format!("{line}\n{}", print::picture(&picture)));
        }
    }
    worst(&concerns).exit()
}

/// Has the configuration read anew, and tells what became of it.
pub(super) fn reload(args: AdminArgs) -> ExitCode {
    let told = match ask(&args, Method::POST, "/api/reload") {
        Ok(told) => told,
        Err(error) => {
            complain(&error.advice(&args.admin));
            return ExitCode::from(FAILURE);
        }
    };
    let said = reload_text(&told.body);
    // Diagnostics have lines of their own; everything else in them is kept from the terminal.
    let lines: Vec<_> = said.trim_end().lines().map(clean).collect();
    if told.status.is_success() {
        answer(&lines.join("\n"));
        return ExitCode::SUCCESS;
    }
    let error = AskError::Refused { status: told.status };
    complain(&format!("{}\n{}", error.advice(&args.admin), lines.join("\n")));
    ExitCode::from(reload_code(told.status))
}

/// The gate's answer to a reload, for people; as it came where it is no document.
fn reload_text(body: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    if let Some(complaints) = document.get("complaints").and_then(Value::as_str) {
        return complaints.to_owned();
    }
    let changed = document.get("changed").and_then(Value::as_bool) == Some(true);
    let mut text = match changed {
        true => "the new configuration is in force".to_owned(),
        false => "everything was read anew; the configuration is the same".to_owned(),
    };
    let restart = document.get("restart_needed").and_then(Value::as_array);
    for setting in restart.into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&format!("\n{setting} takes effect with the next start"));
    }
    text
}

fn reload_code(status: StatusCode) -> u8 {
    match status {
        status if status.is_success() => 0,
        // The gate understood and won't: what is on disk is invalid.
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT | StatusCode::BAD_REQUEST => {
            CONFIG_INVALID
        }
        _ => FAILURE,
    }
}

fn unknown(args: &StatusArgs, error: &AskError) -> ExitCode {
    let line = format!("UNKNOWN - {}", error.advice(&args.admin.admin));
    match args.format {
        Format::Text => answer(&line),
        Format::Json => answer_json(&json!({
            "verdict": Health::Unknown.word(), "summary": line,
        })),
    }
    Health::Unknown.exit()
}

/// Takes `HOST:PORT`, `[::1]:9180`, `unix:PATH`, and the first two with `http://` before them.
pub(super) fn parse_admin(text: &str) -> Result<Admin, String> {
    let wrong = || format!("{text:?} is no address: write HOST:PORT or unix:PATH");
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err(wrong()),
            path => Ok(Admin::Unix(PathBuf::from(path))),
        };
    }
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0);
    let in_brackets = host.starts_with('[');
    let host = crate::host::HostName::parse(host).map_err(|_| wrong())?;
    if host.as_str().contains(':') && !in_brackets {
        return Err(wrong());
    }
    Ok(Admin::Tcp { host: host.to_string(), port: port.ok_or_else(wrong)? })
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// Why a gate told nothing.
#[derive(Debug)]
enum AskError {
    Token { path: PathBuf, source: io::Error },
    Connect(io::Error),
    Timeout,
    Talk(Box<dyn std::error::Error + Send + Sync>),
    Refused { status: StatusCode },
    Unclear(serde_json::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { path, .. } => write!(f, "can't read the token in {}", path.display()),
            Self::Connect(_) => f.write_str("can't connect"),
            Self::Timeout => write!(f, "no answer in {} s", ASK_LIMIT.as_secs()),
            Self::Talk(_) => f.write_str("the answer broke off"),
            Self::Refused { status } => write!(f, "the answer is {status}"),
            Self::Unclear(_) => f.write_str("the answer is not what a gate says"),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Token { source, .. } | Self::Connect(source) => Some(source),
            Self::Talk(source) => Some(&**source),
            Self::Unclear(source) => Some(source),
            Self::Timeout | Self::Refused { .. } => None,
        }
    }
}

impl AskError {
    fn advice(&self, admin: &Admin) -> String {
        let remedy = match self {
            Self::Connect(_) | Self::Timeout => {
                "is a gate running, and is this the address in its [admin]? --admin names another"
            }
            Self::Refused { status } if *status == StatusCode::UNAUTHORIZED => {
                "name the file of [admin] token by --token-file"
            }
            Self::Unclear(_) => "does something else listen there, or a gate of another version?",
            _ => return format!("{admin}: {}", chain(self)),
        };
        format!("{admin}: {}; {remedy}", chain(self))
    }
}

fn ask(args: &AdminArgs, method: Method, path: &str) -> Result<Answer, AskError> {
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    let talk = async {
        match &args.admin {
            Admin::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                exchange(stream, &args.admin, method, path, token).await
            }
            Admin::Unix(socket) => {
                let stream = UnixStream::connect(socket).await;
                exchange(stream, &args.admin, method, path, token).await
            }
        }
    };
    let limited = async { tokio::time::timeout(ASK_LIMIT, talk).await };
    match block_on(limited).map_err(AskError::Connect)? {
        Ok(outcome) => outcome,
        Err(_) => Err(AskError::Timeout),
    }
}

async fn exchange<S>(
    stream: io::Result<S>,
    admin: &Admin,
    method: Method,
    path: &str,
    token: Option<String>,
) -> Result<Answer, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = stream.map_err(AskError::Connect)?;
    let talk = |error: hyper::Error| AskError::Talk(error.into());
    let host = match admin {
        Admin::Tcp { .. } => admin.to_string(),
        Admin::Unix(_) => "localhost".to_owned(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| AskError::Talk(error.into()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(talk)?;
    // It ends with this process's only runtime at the latest.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(talk)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(AskError::Talk)?.to_bytes();
    Ok(Answer { status, body })
}

fn read_token(path: &Path) -> Result<String, AskError> {
    let text = files::read_small(path)
        .map_err(|source| AskError::Token { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_reload_is_told_in_sentences() {
        let cases = [
            (
                r#"{"result":"published","changed":true,"restart_needed":["[admin]"]}"#,
                "[admin] takes",
            ),
            (r#"{"result":"published","changed":false,"restart_needed":[]}"#, "is the same"),
            (r#"{"result":"refused","complaints":"a.toml:1:1: no\n  help"}"#, "1:1: no\n  help"),
            ("the gate is stopping\n", "is stopping"),
        ];
        for (body, expected) in cases {
            let text = reload_text(body.as_bytes());
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_admin_address_is_tcp_or_a_socket() {
        let tcp = |host: &str, port| Admin::Tcp { host: host.to_owned(), port };
        let cases = [
            ("127.0.0.1:9180", tcp("127.0.0.1", 9180)),
            ("localhost:1", tcp("localhost", 1)),
            ("[::1]:9180", tcp("::1", 9180)),
            ("http://127.0.0.1:9180/", tcp("127.0.0.1", 9180)),
            ("unix:/run/a.sock", Admin::Unix(PathBuf::from("/run/a.sock"))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_admin(text), Ok(expected), "{text}");
        }
        for text in ["", "a", "9180", "a:", "a:0", "unix:", "::1:9180", "a b:1", "https://a:1"] {
            assert!(parse_admin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refused_configuration_is_told_by_the_exit_code() {
        let cases = [(200, 0), (422, 3), (409, 3), (400, 3), (401, 1), (404, 1), (500, 1)];
        for (status, expected) in cases {
            assert_eq!(reload_code(StatusCode::from_u16(status).unwrap()), expected);
        }
    }

    fn admin_args(admin: Admin, token_file: Option<PathBuf>) -> AdminArgs {
        AdminArgs { admin, token_file }
    }

    #[test]
    fn a_gate_behind_a_socket_is_asked_with_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, token) = (folder.path().join("admin.sock"), folder.path().join("token"));
        std::fs::write(&token, "secret\n").unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap().to_lowercase()
        });
        let args = admin_args(Admin::Unix(socket), Some(token));
        let told = ask(&args, Method::GET, "/api/certificates").unwrap();
        assert_eq!((told.status, &told.body[..]), (StatusCode::OK, &b"{}"[..]));
        let request = serving.join().unwrap();
        assert!(request.starts_with("get /api/certificates http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer secret\r\n"), "{request}");
    }

    #[test]
    fn a_gate_that_is_not_there_is_told_with_a_remedy() {
        let args = admin_args(Admin::Unix(PathBuf::from("/nowhere/admin.sock")), None);
        let error = ask(&args, Method::GET, "/").unwrap_err();
        let advice = error.advice(&args.admin);
        assert!(advice.starts_with("unix:/nowhere/admin.sock: can't connect"), "{advice}");
        assert!(advice.contains("--admin names another"), "{advice}");
    }
}
