//! A FIFO, a folder, a huge file or a loop of links where a certificate should be: judged within
//! a bounded time, and nobody else's trouble.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::handshake::Looker;
use super::pki::Pki;
use super::program::{Gate, LISTEN, configure, ends};
use super::upstream::Upstream;

/// Puts something that is no certificate at a path where nothing is.
type Spoil = fn(&Path);

const BAD: [(&str, Spoil); 5] = [
    ("not_a_file", |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }),
    ("not_a_file", |path| fs::create_dir(path).unwrap()),
    ("too_large", |path| fs::write(path, vec![b'A'; 40 << 20]).unwrap()),
    // Sparse: it claims far more than a machine could read.
    ("too_large", |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ("unreadable", |path| symlink(path.file_name().unwrap(), path).unwrap()),
];

/// For the whole process, on a machine with other work; the judgement itself is far quicker.
const JUDGED_WITHIN: Duration = Duration::from_secs(2);

const BOTH: &str = "\
[[cert]]
chain = \"good.crt\"
key = \"good.key\"
[[cert]]
chain = \"bad.crt\"
key = \"bad.key\"
";

#[test]
fn what_is_no_file_is_judged_in_bounded_time() {
    let pki = Pki::new();
    for (code, spoil) in BAD {
        for (file, other) in [("bad.crt", "bad.key"), ("bad.key", "bad.crt")] {
            let folder = tempfile::tempdir().unwrap();
            pki.round(&["good.test"], 0).write(folder.path(), "good");
            pki.round(&["bad.test"], 0).write(folder.path(), "bad");
            assert!(folder.path().join(other).is_file());
            fs::remove_file(folder.path().join(file)).unwrap();
            spoil(&folder.path().join(file));
            let route =
                "[[route]]\nhosts = [\"good.test\", \"bad.test\"]\nto = \"http://127.0.0.1:9\"\n";
            let config = configure(folder.path(), &format!("{LISTEN}{BOTH}{route}"));
            let arguments = ["check", "--format", "json", "--config", config.to_str().unwrap()];
            let (output, took) = ends(&arguments, Duration::from_secs(20));
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(2), "{code} {file}: {text}");
            assert!(text.contains(&format!("\"{code}\"")), "{code} {file}: {text}");
            assert!(took < JUDGED_WITHIN, "{code} {file}: judged after {took:?}");
            eprintln!("{code} in place of {file}: judged after {took:?}");
        }
    }
}

#[test]
fn what_is_no_file_in_a_folder_of_certificates_is_judged_in_bounded_time() {
    let pki = Pki::new();
    for (code, spoil) in BAD {
        let folder = tempfile::tempdir().unwrap();
        pki.round(&["good.test"], 0).write(folder.path(), "good");
        spoil(&folder.path().join("bad.pem"));
        let arguments = ["check", folder.path().to_str().unwrap()];
        let (output, took) = ends(&arguments, Duration::from_secs(20));
        assert!(took < JUDGED_WITHIN, "{code}: judged after {took:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("good.test"), "{code}: {text}");
    }
}

#[test]
fn a_gate_serves_the_others_from_the_start_and_the_old_one_later() {
    let pki = Pki::new();
    for (code, spoil) in BAD {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start(folder.path());
        let good = pki.round(&["localhost"], 0);
        good.write(folder.path(), "good");
        spoil(&folder.path().join("bad.crt"));
        fs::write(folder.path().join("bad.key"), "").unwrap();
        let gate = Gate::start(folder.path(), &format!("{BOTH}{}", upstream.route()));
        let looker = Looker::new(gate.address, "localhost", &pki.root_pem);
        assert_eq!(looker.look(), Ok(good.fingerprint.clone()), "{code}: at the start");
        // And now the served one is taken away in the same manner.
        fs::remove_file(folder.path().join("good.crt")).unwrap();
        spoil(&folder.path().join("good.crt"));
        gate.reload();
        assert_eq!(looker.look(), Ok(good.fingerprint), "{code}: later");
        gate.end();
    }
}
