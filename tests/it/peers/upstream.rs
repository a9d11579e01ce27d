//! What stands behind the gate: nginx where it is installed, a small server of hyper's otherwise.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use super::{NGINX, until};

/// A server on a socket in the file system. It ends with this value.
pub(super) struct Upstream {
    /// As a route's `to` has it.
    pub(super) url: String,
    child: Option<Child>,
}

/// What it answers to everything.
pub(super) const ANSWER: &str = "answered upstream\n";

impl Upstream {
    /// Starts it in `folder`.
    pub(super) fn start(folder: &Path) -> Self {
        let socket = folder.join("upstream.sock");
        let child = match NGINX.find() {
            Some(_) => Some(nginx(folder, &socket)),
            None => {
                hyper_server(&socket);
                None
            }
        };
        until("the upstream", Duration::from_secs(10), || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        Self { url: format!("unix:{}", socket.display()), child }
    }

    /// A route of every host to it.
    pub(super) fn route(&self) -> String {
        format!("[[route]]\nto = \"{}\"\n", self.url)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn nginx(folder: &Path, socket: &Path) -> Child {
    let (root, listen) = (folder.display(), socket.display());
    let config = format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr error;
         events {{ worker_connections 1024; }}
         http {{
           access_log off;
           client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
           fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
           scgi_temp_path {root}/scgi;
           server {{
             listen unix:{listen};
             location / {{ default_type text/plain; return 200 '{ANSWER}'; }}
           }}
         }}"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    NGINX
        .command()
        .args(["-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// On a thread that ends with the process.
fn hyper_server(socket: &Path) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = async |_: Request<Incoming>| {
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(ANSWER))))
                };
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(connection);
            }
        });
    });
}
