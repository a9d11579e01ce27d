//! What people read when a configuration is wrong: each `config_errors/NAME.toml` beside the exact
//! text it gives, `NAME.expected`. `UPDATE=1 cargo test config_errors` rewrites the latter.

use std::path::{Path, PathBuf};
use std::time::Duration;

use evergate::config::{self, Refusal};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/config_errors")
}

fn cases() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    cases.sort();
    cases
}

/// Errors, or warnings of what can be used.
fn rendered(case: &Path) -> String {
    let text = std::fs::read_to_string(case).unwrap();
    let name = case.file_name().unwrap();
    match config::parse(&text, Path::new(name)) {
        Ok(proved) => proved.warnings.to_string(),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

#[test]
fn every_mistake_is_told_with_its_place_and_its_remedy() {
    let update = std::env::var_os("UPDATE").is_some();
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut stale = Vec::new();
    for case in cases {
        let kept = case.with_extension("expected");
        let found = rendered(&case);
        if update {
            std::fs::write(&kept, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&kept).unwrap_or_default();
        if found != expected {
            stale.push(format!("{}\nexpected:\n{expected}\nfound:\n{found}", case.display()));
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}

#[test]
fn nothing_is_complained_about_without_a_remedy() {
    for case in cases() {
        let text = std::fs::read_to_string(&case).unwrap();
        let list = match config::parse(&text, &case) {
            Ok(proved) => proved.warnings.list,
            Err(diagnostics) => diagnostics.list,
        };
        assert!(!list.is_empty(), "{} is right", case.display());
        for diagnostic in list {
            assert!(
                !diagnostic.message.is_empty() && !diagnostic.help.is_empty(),
                "{diagnostic:?}"
            );
        }
    }
}

#[test]
fn half_a_configuration_never_panics() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/evergate.toml");
    for case in cases().into_iter().chain([reference]) {
        let text = std::fs::read_to_string(&case).unwrap();
        let ends = text.char_indices().map(|(at, _)| at);
        for end in ends {
            let shown = config::parse(&text[..end], &case).map_err(|d| d.to_string());
            drop(shown);
        }
    }
}

/// Why `path` can't be read, or a panic if it takes longer than it may.
async fn refusal(path: PathBuf) -> String {
    let loading = tokio::task::spawn_blocking(move || config::load(&path));
    let loaded = tokio::time::timeout(Duration::from_secs(10), loading).await;
    match loaded.expect("a hang").unwrap() {
        Err(refusal) => refusal.to_string(),
        Ok(_) => panic!("it was taken"),
    }
}

#[tokio::test]
async fn what_is_no_readable_file_is_refused_without_a_hang() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    std::fs::write(at("long.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    std::fs::write(at("latin1.toml"), b"# fine\n[gate]\n# caf\xe9 \n").unwrap();
    std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
    let cases = [
        ("missing.toml", "no such file"),
        ("fifo", "no regular file"),
        ("", "a folder"),
        ("long.toml", "longer than 1 MiB"),
        ("latin1.toml", "latin1.toml:3:6: error: this byte is no UTF-8"),
        ("loop", "can't read"),
    ];
    for (name, expected) in cases {
        let shown = refusal(at(name)).await;
        assert!(shown.contains(expected) && shown.contains("= help: "), "{name}: {shown}");
    }
    let shown = refusal("/dev/zero".into()).await;
    assert!(shown.contains("no regular file"), "{shown}");
}

#[test]
fn a_hostile_text_is_refused_in_bounded_time_and_depth() {
    let deep = format!("{}a = 1", "a.".repeat(250_000));
    let deep_header = format!("[host.{}a]\n", "a.".repeat(250_000));
    let deep_broken = format!("{deep}\n= \n");
    let brackets = format!("a = {}", "[".repeat(500_000));
    let unknown: String = (0..100_000).map(|n| format!("k{n}=1\n")).collect();
    let listeners = "[[listen]]\n".repeat(90_000);
    let routes: String =
        (0..20_000).map(|n| format!("[[route]]\nto=\"u{n}\"\npath=\"/{n}\"\n")).collect();
    let upstreams: String = (0..10_000).map(|n| format!("[upstream.v{n}]\n")).collect();
    let named = upstreams + &routes[..routes.len() / 2];
    for text in [deep, deep_header, deep_broken, brackets, unknown, listeners, routes, named] {
        assert!(text.len() <= 1 << 20);
        let start = tokio::time::Instant::now();
        let diagnostics = config::parse(&text, Path::new("a.toml")).unwrap_err();
        assert!(diagnostics.to_string().len() < 100_000);
        assert!(start.elapsed() < Duration::from_secs(20), "{}", &text[..40]);
    }
}

#[test]
fn machines_get_a_refusal_as_json() {
    let refusal = config::load(Path::new("/nonexistent/evergate.toml")).unwrap_err();
    let json = serde_json::to_value(&refusal).unwrap();
    assert_eq!(json["kind"], "unreadable");
    let diagnostics = config::parse("[gate]\nworker = 1\n", Path::new("a.toml")).unwrap_err();
    let json = serde_json::to_value(Refusal::Invalid(diagnostics)).unwrap();
    assert_eq!(json["kind"], "invalid");
    assert_eq!(json["diagnostics"][2]["line"], 2);
    assert_eq!(json["diagnostics"][2]["help"], "did you mean `workers`?");
}
